"""What an order looks like on its way to Kraken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from kraken_recon.kraken.trading_client import add_order_parameters
from kraken_recon.kraken.transport import encode_parameters
from kraken_recon.orders.rules.order import Order, OrderStatus, OrderType, Side, Source, TimeInForce

NOW = datetime(2026, 1, 5, 12, 0, 0, 250_000, tzinfo=UTC)
ORDER = Order(
    order_id=1,
    account_id=1,
    source=Source.MANUAL,
    pair="BTC/USD",
    base="BTC",
    quote="USD",
    side=Side.BUY,
    order_type=OrderType.MARKET,
    volume=Decimal("1E-7"),
    portion=None,
    limit_price=None,
    trigger_price=None,
    expected_price=Decimal(50000),
    time_in_force=TimeInForce.GOOD_TILL_CANCELED,
    expires_at=None,
    is_post_only=False,
    is_dry_run=False,
    cl_ord_id="6d1b345e-2821-40e2-ad83-4ecb18a06876",
    kraken_txid=None,
    status=OrderStatus.SUBMITTING,
    deadline=NOW,
    decided_at=NOW,
    submitted_at=NOW,
    ended_at=None,
    volume_executed=Decimal(0),
    cost_executed=Decimal(0),
    fee_reported=Decimal(0),
)
PLAIN = {
    "ordertype": "market",
    "type": "buy",
    "volume": "0.0000001",
    "pair": "XBTUSD",
    "cl_ord_id": "6d1b345e-2821-40e2-ad83-4ecb18a06876",
    "deadline": "2026-01-05T12:00:00.250Z",
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"is_dry_run": True}, {"validate": "true"}),
        (
            {"order_type": OrderType.LIMIT, "limit_price": Decimal("49999.5"), "is_post_only": True},
            {"ordertype": "limit", "price": "49999.5", "oflags": "post"},
        ),
        (
            {"order_type": OrderType.STOP_LOSS, "trigger_price": Decimal(45000)},
            {"ordertype": "stop-loss", "price": "45000"},
        ),
        (
            {
                "order_type": OrderType.LIMIT,
                "limit_price": Decimal(1),
                "time_in_force": TimeInForce.GOOD_TILL_DATE,
                "expires_at": NOW,
            },
            {"ordertype": "limit", "price": "1", "timeinforce": "GTD", "expiretm": "1767614400"},
        ),
    ],
    ids=str,
)
def test_an_order_is_written_as_kraken_wants_it(change: dict[str, object], expected: dict[str, str]) -> None:
    order = replace(ORDER, **change)  # type: ignore[arg-type]
    assert encode_parameters(add_order_parameters(order, "XBTUSD")) == PLAIN | expected


@pytest.mark.parametrize("missing", ["cl_ord_id", "deadline", "volume"])
def test_an_order_without_its_intent_is_never_written(missing: str) -> None:
    with pytest.raises(ValueError, match="expected order 1 to have"):
        add_order_parameters(replace(ORDER, **{missing: None}), "XBTUSD")  # type: ignore[arg-type]

"""What an order looks like on its way to Kraken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from desks.reported_orders import order
from kraken_recon.kraken.trading_client import add_order_parameters
from kraken_recon.kraken.transport import encode_parameters
from kraken_recon.orders.rules.order import OrderStatus, OrderType, TimeInForce

NOW = datetime(2026, 1, 5, 12, 0, 0, 250_000, tzinfo=UTC)
ORDER = order(
    volume=Decimal("1E-7"),
    expected_price=Decimal(50000),
    cl_ord_id="6d1b345e-2821-40e2-ad83-4ecb18a06876",
    kraken_txid=None,
    status=OrderStatus.SUBMITTING,
    deadline=NOW,
    ended_at=None,
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
    changed = replace(ORDER, **change)  # type: ignore[arg-type]
    assert encode_parameters(add_order_parameters(changed, "XBTUSD")) == PLAIN | expected


@pytest.mark.parametrize("missing", ["cl_ord_id", "deadline", "volume"])
def test_an_order_without_its_intent_is_never_written(missing: str) -> None:
    with pytest.raises(ValueError, match="expected order 1 to have"):
        add_order_parameters(replace(ORDER, **{missing: None}), "XBTUSD")  # type: ignore[arg-type]

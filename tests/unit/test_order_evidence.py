"""What balances say of orders that Kraken does not show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from kraken_recon.domain.orders import Order, OrderStatus, OrderType, Side, Source, TimeInForce
from kraken_recon.service.order_evidence import judged

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
ORDER = Order(
    order_id=1,
    account_id=1,
    source=Source.MANUAL,
    pair="BTC/USD",
    base="BTC",
    quote="USD",
    side=Side.BUY,
    order_type=OrderType.LIMIT,
    volume=Decimal("0.5"),
    portion=None,
    limit_price=Decimal(50000),
    trigger_price=None,
    expected_price=None,
    time_in_force=TimeInForce.GOOD_TILL_CANCELED,
    expires_at=None,
    is_post_only=False,
    is_dry_run=False,
    cl_ord_id="x",
    kraken_txid=None,
    status=OrderStatus.UNKNOWN,
    deadline=NOW,
    decided_at=NOW,
    submitted_at=NOW,
    ended_at=None,
    volume_executed=Decimal(0),
    cost_executed=Decimal(0),
    fee_reported=Decimal(0),
)
SELL = replace(ORDER, order_id=2, side=Side.SELL, volume=Decimal("0.2"), limit_price=None)
MARKET = replace(ORDER, order_id=3, volume=Decimal("0.7"), limit_price=None, expected_price=Decimal(50000))


def test_one_set_explains_the_balances() -> None:
    drifts = {"BTC": Decimal("0.3"), "USD": Decimal("-15050.12")}
    assert judged([ORDER, SELL, MARKET], drifts)["orders"] == ["1", "2"]


def test_a_market_order_costs_about_what_was_expected() -> None:
    told = judged([ORDER, MARKET], {"BTC": Decimal("0.7"), "USD": Decimal(-35100)})
    assert (told["explained_by"], told["orders"]) == ("unique", ["3"])
    told = judged([ORDER, MARKET], {"BTC": Decimal("0.7"), "USD": Decimal(-40000)})
    assert told["explained_by"] == "impossible"
    assert told["residual_units"] == [7_000_000_000, -400_000_000_000_000]


def test_twins_stay_ambiguous() -> None:
    twin = replace(ORDER, order_id=9)
    told = judged([ORDER, twin], {"BTC": Decimal("0.5"), "USD": Decimal(-25000)})
    assert told["sets"] == [["1"], ["9"]]

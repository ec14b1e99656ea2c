"""What balances say of orders that Kraken does not show."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from desks.reported_orders import order
from kraken_recon.orders.absence_evidence import inferred, told
from kraken_recon.orders.rules.absence import AbsenceEvidence, doubts
from kraken_recon.orders.rules.order import Order, OrderStatus, OrderType, Side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ORDER = order(
    order_type=OrderType.LIMIT,
    volume=Decimal("0.5"),
    limit_price=Decimal(50000),
    kraken_txid=None,
    status=OrderStatus.UNKNOWN,
    ended_at=None,
)
SELL = replace(ORDER, order_id=2, side=Side.SELL, volume=Decimal("0.2"), limit_price=None)
MARKET = replace(ORDER, order_id=3, volume=Decimal("0.7"), limit_price=None, expected_price=Decimal(50000))


def judged(orders: Sequence[Order], drifts: Mapping[str, Decimal]) -> dict[str, Any]:
    return told(AbsenceEvidence({}, drifts=drifts, inference=inferred(orders, drifts)))


def test_one_set_explains_the_balances() -> None:
    drifts = {"BTC": Decimal("0.3"), "USD": Decimal("-15050.12")}
    assert judged([ORDER, SELL, MARKET], drifts)["orders"] == ["1", "2"]


def test_a_market_order_costs_about_what_was_expected() -> None:
    known = judged([ORDER, MARKET], {"BTC": Decimal("0.7"), "USD": Decimal(-35100)})
    assert (known["explained_by"], known["orders"]) == ("unique", ["3"])
    known = judged([ORDER, MARKET], {"BTC": Decimal("0.7"), "USD": Decimal(-40000)})
    assert known["explained_by"] == "impossible"
    assert known["residual_units"] == [7_000_000_000, -400_000_000_000_000]


def test_twins_stay_ambiguous() -> None:
    twin = replace(ORDER, order_id=9)
    known = judged([ORDER, twin], {"BTC": Decimal("0.5"), "USD": Decimal(-25000)})
    assert known["sets"] == [["1"], ["9"]]


def test_an_amount_of_more_digits_than_krakens_stops_nothing() -> None:
    finer = {"BTC": Decimal("0.500000000000000001"), "USD": Decimal(-25000)}
    assert judged([ORDER], finer)["explained_by"] == "impossible"


def doubted(orders: Sequence[Order], drifts: Mapping[str, Decimal]) -> list[bool]:
    seen = AbsenceEvidence({}, drifts=drifts, is_open=True, inference=inferred(orders, drifts))
    return [bool(doubts(one, seen)) for one in orders]


def test_balances_that_one_order_may_explain_forbid_its_absence() -> None:
    nothing = {"BTC": Decimal(0), "USD": Decimal(0)}
    assert doubted([ORDER, SELL], nothing) == [False, False]
    assert doubted([ORDER, SELL], {"BTC": Decimal("0.5"), "USD": Decimal(-25000)}) == [True, False]
    assert doubted([ORDER, SELL], {"BTC": Decimal("-0.2"), "USD": Decimal(9900)}) == [False, True]
    # Filled in part, or beside something else that is on its way.
    assert doubted([ORDER, SELL], {"BTC": Decimal("0.2"), "USD": Decimal(-9900)}) == [True, False]
    assert doubted([ORDER, SELL], {"BTC": Decimal("0.5"), "USD": Decimal(50000)}) == [True, True]
    assert doubted([ORDER], {"BTC": Decimal("-0.5"), "USD": Decimal(50000)}) == [False]

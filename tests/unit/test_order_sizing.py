"""What an order must keep to before it may leave, and what a report makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desks.reported_orders import order
from kraken_recon.ledger.entries import Balance, HoldingKey
from kraken_recon.orders.rules.order import (
    ENDED_AT_EXCHANGE,
    Order,
    OrderStatus,
    OrderType,
    Side,
)
from kraken_recon.orders.rules.reports import ReportedOrder, reported_onto
from kraken_recon.orders.rules.sizing import (
    Funds,
    Market,
    Markets,
    Sized,
    Undecidable,
    Unfit,
    size,
    spendable,
)
from kraken_recon.values.money import ZERO

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MARKET = Market(
    pair_id="XXBTZUSD",
    altname="XBTUSD",
    base="BTC",
    quote="USD",
    status="online",
    lot_decimals=8,
    price_decimals=1,
    order_minimum=Decimal("0.0001"),
    cost_minimum=Decimal("0.5"),
    tick_size=Decimal("0.1"),
    fee_percent=Decimal("0.4"),
)
SELL = order(
    side=Side.SELL, cl_ord_id=None, kraken_txid=None, status=OrderStatus.DECIDED, deadline=None,
    decided_at=NOW, submitted_at=None, ended_at=None,
)  # fmt: skip
BUY = replace(SELL, side=Side.BUY)
PRICE = Decimal(50000)
amounts = st.decimals(min_value=0, max_value=10**9, places=8)


def funds(reported: str, uncertain: str = "0") -> Funds:
    return Funds(Decimal(reported), Decimal(uncertain))


def test_what_is_there_may_leave() -> None:
    assert size(SELL, MARKET, funds("1"), PRICE) == Sized(Decimal(1), Decimal(1))
    assert size(BUY, MARKET, funds("50200"), PRICE) == Sized(Decimal(1), Decimal(50200))


def test_what_is_not_there_may_not() -> None:
    assert isinstance(size(SELL, MARKET, funds("0.99999999"), PRICE), Unfit)
    assert isinstance(size(BUY, MARKET, funds("50199.99"), PRICE), Unfit)


def test_what_an_earlier_order_may_still_take_is_waited_for() -> None:
    assert isinstance(size(SELL, MARKET, funds("1.5", "0.5"), PRICE), Sized)
    assert isinstance(size(SELL, MARKET, funds("1.5", "0.6"), PRICE), Undecidable)
    portion = replace(SELL, volume=None, portion=Decimal("0.5"))
    assert isinstance(size(portion, MARKET, funds("1.5", "0.1"), PRICE), Undecidable)
    assert isinstance(size(BUY, MARKET, funds("100000"), None), Undecidable)


@pytest.mark.parametrize(
    "change",
    [
        {"limit_price": Decimal("50000.05"), "order_type": OrderType.LIMIT},
        {"trigger_price": Decimal("0.01"), "order_type": OrderType.STOP_LOSS},
        {"volume": Decimal("0.00009")},
        {"volume": Decimal("0.123456789")},
        {"volume": Decimal("0.0001"), "limit_price": Decimal(1000), "order_type": OrderType.LIMIT},
    ],
    ids=str,
)
def test_krakens_rules_are_kept(change: dict[str, object]) -> None:
    assert isinstance(size(replace(SELL, **change), MARKET, funds("10"), PRICE), Unfit)  # type: ignore[arg-type]


@given(amounts, st.decimals(min_value="0.01", max_value=1, places=4), st.sampled_from([SELL, BUY]))
def test_a_portion_never_takes_more_than_its_share(available: Decimal, portion: Decimal, kind: Order) -> None:
    sized = size(replace(kind, volume=None, portion=portion), MARKET, Funds(available, ZERO), PRICE)
    if isinstance(sized, Sized):
        assert sized.reserved <= available * portion
        assert sized.volume % Decimal("0.00000001") == 0
        # Not a whole lot is left out, beyond the room for fee and price of a BUY.
        room = Decimal("1.02") if kind.side is Side.BUY else Decimal(1)
        unit = Decimal("0.00000001") * (PRICE if kind.side is Side.BUY else 1)
        assert (sized.reserved + unit) * room >= available * portion
    else:
        assert isinstance(sized, Unfit)


def test_money_that_earns_counts_with_the_hold_that_sits_on_its_base() -> None:
    balances = {
        HoldingKey("BTC", "spot"): Balance(ZERO, Decimal("0.4"), ZERO, ZERO),
        HoldingKey("BTC", "F"): Balance(Decimal(1), ZERO, ZERO, ZERO),
        HoldingKey("BTC", "S"): Balance(Decimal(7), ZERO, ZERO, ZERO),
        HoldingKey("ETH", "spot"): Balance(Decimal(7), ZERO, ZERO, ZERO),
    }
    assert spendable(balances, "BTC") == Decimal("0.6")


def test_a_market_is_found_by_every_name() -> None:
    markets = Markets([MARKET], {"XBT/USD": "XXBTZUSD"})
    for name in ("BTC/USD", "btc/usd", "BTCUSD", "XBTUSD", "XXBTZUSD", "XBT/USD"):
        assert markets.find(name) is MARKET
    assert markets.find("BTC/EUR") is None
    assert markets.name_of("GONE") == "GONE"


statuses = st.sampled_from(["pending", "open", "closed", "canceled", "expired"])


def report(status: str, executed: int) -> ReportedOrder:
    return ReportedOrder(
        kraken_txid="O1",
        cl_ord_id="x",
        status_reported=status,
        pair="BTC/USD",
        side=Side.SELL,
        order_type=OrderType.MARKET,
        volume=Decimal(10),
        limit_price=None,
        trigger_price=None,
        volume_executed=Decimal(executed),
        cost=Decimal(executed) * PRICE,
        fee=ZERO,
        price_average=PRICE,
        opened_at=NOW,
        closed_at=NOW if status in {"closed", "canceled", "expired"} else None,
        expires_at=None,
        reason=None,
        flags=frozenset(),
    )


@given(st.lists(st.tuples(statuses, st.integers(0, 10)), max_size=8))
def test_reports_in_any_order_never_take_anything_back(reports: list[tuple[str, int]]) -> None:
    before = replace(SELL, status=OrderStatus.OPEN, kraken_txid="O1")
    for number, (status, executed) in enumerate(reports):
        after = reported_onto(before, report(status, executed), NOW + timedelta(seconds=number))
        assert after.volume_executed >= before.volume_executed
        if before.status in ENDED_AT_EXCHANGE:
            assert (after.status, after.ended_at) == (before.status, before.ended_at)
        assert (after.status in ENDED_AT_EXCHANGE) == (after.ended_at is not None)
        before = after

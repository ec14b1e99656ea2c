"""Invariant 5: what others book while a sync reads is neither undone nor booked twice."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from desks.fake_exchange import bring
from desks.histories import (
    HOLDINGS,
    Movement,
    adjustments,
    at_exchange,
    happen,
    movements,
    on_database,
    opened_account,
    unconnected_events,
)
from desks.interruptions import Steps, stepped_ports
from kraken_recon.values.intervals import RUN_INTERVAL

if TYPE_CHECKING:
    from desks.fake_exchange import Desk

BETWEEN_TRANSACTIONS = ("BalanceEx", "Ledgers", "before a unit of work")


class Meanwhile(NamedTuple):
    """What happens at one step: movements, who books them, and perhaps a second sync."""

    movements: list[Movement]
    booked: bool
    other_sync: bool


meanwhiles = st.dictionaries(
    st.integers(1, 14),
    st.builds(Meanwhile, st.lists(movements, max_size=2), st.booleans(), st.booleans()),
    min_size=1,
    max_size=4,
)


@on_database
@given(st.lists(movements, max_size=3), meanwhiles)
def test_whatever_happens_between_reading_and_booking_is_counted_once(
    desk: Desk, missed: list[Movement], meanwhile: dict[int, Meanwhile]
) -> None:
    name, books = opened_account(desk)
    account = desk.account_id(name)
    for movement in missed:
        happen(books, movement)
    place = 0

    def act(_: int, step: str) -> None:
        nonlocal place
        if step not in BETWEEN_TRANSACTIONS:
            return
        place += 1
        happening = meanwhile.get(place)
        if happening is None:
            return
        entries = [happen(books, movement) for movement in happening.movements]
        if happening.booked:
            bring(desk.engine, {account: entries})
        if happening.other_sync:
            exchange = desk.exchanges[name]
            exchange.before_call, interrupted = (lambda _: None), exchange.before_call
            calls = exchange.calls
            desk.now += RUN_INTERVAL
            desk.sync_again(name)
            exchange.before_call, exchange.calls = interrupted, calls

    desk.now += RUN_INTERVAL
    desk.sync_again(name, ports=stepped_ports(desk, desk.engine, Steps(act)))
    assert desk.run(name)["status"] in {"succeeded", "moving"}, desk.run(name)["error"]
    assert adjustments(desk, name) == []
    assert desk.rows("select * from trading.residuals where account_id = :a", a=account) == []
    assert desk.positions(name) == desk.event_totals(name)
    desk.exchanges[name].before_call = lambda _: None
    desk.sync(name)
    assert desk.run(name)["status"] == "succeeded"
    assert desk.positions(name) == desk.event_totals(name) == at_exchange(books)
    assert adjustments(desk, name) == unconnected_events(desk, name) == []


def test_reading_that_is_older_than_a_repair_does_not_undo_it(desk: Desk) -> None:
    name, books = opened_account(desk)
    key = HOLDINGS[2]
    books.residuals[key] = Decimal("-0.5")
    desk.sync(name)
    assert desk.findings(name)["ETH"]["action"] == "awaiting_confirmation"
    del books.residuals[key]
    books.add("ETH", "1")

    def other_sync_repairs(_: int, step: str) -> None:
        if "insert into trading.ledger_entries" in step and key not in books.residuals:
            books.residuals[key] = Decimal("-0.5")
            desk.exchanges[name].before_call = lambda _: None
            desk.now += RUN_INTERVAL
            desk.sync_again(name)
            assert desk.findings(name)["ETH"]["action"] == "update"

    desk.now += RUN_INTERVAL
    desk.sync_again(name, ports=stepped_ports(desk, desk.engine, Steps(other_sync_repairs)))
    assert desk.run(name)["status"] == "succeeded"
    assert [row["reason"] for row in adjustments(desk, name)] == ["residual_repaired"]
    assert desk.positions(name) == desk.event_totals(name) == at_exchange(books)

"""Invariant 2: a ledger entry moves a position once, whoever brings it, however often and in any order."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from desks.fake_exchange import Desk, bring
from desks.histories import (
    HOLDINGS,
    Movement,
    adjustments,
    at_exchange,
    fresh_account,
    happen,
    movements,
    on_database,
    opened_account,
    unconnected_events,
)


@on_database
@given(st.lists(movements, min_size=1, max_size=12), st.data())
def test_any_batches_in_any_order_lead_to_the_same_books(
    desk: Desk, history: list[Movement], data: st.DataObject
) -> None:
    name, books = opened_account(desk)
    account = desk.account_id(name)
    entries = [happen(books, movement) for movement in history]
    batches = data.draw(
        st.lists(st.lists(st.sampled_from(entries), max_size=6, unique_by=lambda e: e.ledger_id), max_size=5)
    )
    brought = {entry.ledger_id for batch in batches for entry in batch}
    for batch in batches:
        bring(desk.engine, {account: batch})
    for batch in data.draw(st.permutations(batches)):
        assert bring(desk.engine, {account: batch}) == 0
    entry_ids = {
        row["ledger_id"]
        for row in desk.rows("select ledger_id from trading.ledger_entries where account_id = :a", a=account)
    }
    assert brought <= entry_ids
    desk.sync(name)
    assert desk.run(name)["status"] == "succeeded"
    assert desk.positions(name) == desk.event_totals(name) == at_exchange(books)
    moved = desk.rows(
        "select count(*) as events, count(distinct ledger_id) as ids from trading.position_events"
        " where account_id = :a and cause = 'ledger'",
        a=account,
    )[0]
    assert moved["events"] == moved["ids"] == len(books.entries)
    assert unconnected_events(desk, name) == adjustments(desk, name) == []


@on_database
@given(st.lists(movements, min_size=1, max_size=6), st.integers(0, 6))
def test_entries_brought_before_the_opening_are_counted_once(
    desk: Desk, history: list[Movement], early: int
) -> None:
    name, books = fresh_account(desk)
    for key in HOLDINGS[:2]:
        books.openings[key] = Decimal(500)
    entries = [happen(books, movement) for movement in history]
    bring(desk.engine, {desk.account_id(name): entries[:early]})
    desk.sync(name)
    assert desk.run(name)["status"] == "succeeded"
    assert desk.positions(name) == desk.event_totals(name) == at_exchange(books)
    assert unconnected_events(desk, name) == adjustments(desk, name) == []

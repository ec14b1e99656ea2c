"""Invariant 9: runs as of the past leave the same rows, however often and in whatever order they come."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from desks.fake_exchange import Desk, bring, minutes
from desks.fakes import START
from desks.histories import (
    HOLDINGS,
    Movement,
    at_exchange,
    fresh_account,
    happen,
    movements,
    on_database,
    unconnected_events,
)
from desks.past_intervals import SETTLED, backfill, drifts, history, past_desk, recorded_at
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.values.intervals import Interval

if TYPE_CHECKING:
    from datetime import datetime

    from desks.fakes import FakeBooks
    from kraken_recon.ledger.entries import HoldingKey

TICKS_MAX = 5
ZERO = Decimal(0)


class Tick(NamedTuple):
    """A quarter of an hour: what happens, which of it a fill brings at once, and whether a sync runs."""

    movements: list[Movement]
    brought: int
    synced: bool


ticks = st.lists(
    st.builds(Tick, st.lists(movements, max_size=3), st.integers(0, 2), st.booleans()),
    min_size=1,
    max_size=TICKS_MAX,
)
cuts = st.sets(st.integers(-20, 15 * TICKS_MAX), min_size=2, max_size=7).map(sorted)


class Told(NamedTuple):
    """An account with a past, and the positions that its database showed at each moment that changed them."""

    name: str
    books: FakeBooks
    believed: list[tuple[datetime, dict[HoldingKey, Decimal]]]


def tell(desk: Desk, past: list[Tick]) -> Told:
    """Let a past happen to a new account: the first sync opens it at START."""
    name, books = fresh_account(desk)
    books.openings[HOLDINGS[2]] = Decimal(7)
    books.now = START - minutes(40)
    for key in HOLDINGS[:2]:
        books.add(key.asset, "1000", wallet=key.wallet, entry_type="deposit")
    desk.now = START
    believed: list[tuple[datetime, dict[HoldingKey, Decimal]]] = []

    def record(moment: datetime) -> None:
        recorded_at(desk, name, moment)
        believed.append((moment, desk.positions(name)))

    desk.sync_again(name)
    record(desk.now)
    for number, tick in enumerate(past):
        books.now = START + minutes(15 * number + 3)
        # A line that shares its time with the one before cannot turn up a quarter of an hour after it.
        entries = [
            happen(books, movement._replace(together=movement.together and place > 0))
            for place, movement in enumerate(tick.movements)
        ]
        if tick.brought and entries:
            bring(desk.engine, {desk.account_id(name): entries[-tick.brought :]})
            record(START + minutes(15 * number + 9))
        desk.now = START + minutes(15 * (number + 1))
        if tick.synced:
            desk.sync_again(name)
            record(desk.now)
    desk.now = START + minutes(15 * TICKS_MAX) + SETTLED
    return Told(name, books, believed)


def windows_of(bounds: list[int]) -> list[Interval]:
    return [Interval(START + minutes(a), START + minutes(b)) for a, b in pairwise(bounds)]


def expected_drifts(
    told: Told, windows: list[Interval]
) -> dict[datetime, dict[HoldingKey, tuple[Decimal, Decimal]]]:
    """Say what differed at each window's end, from the books' own running balances and the snapshots."""
    found = {}
    for window in windows:
        seen = [positions for moment, positions in told.believed if moment < window.end]
        if not seen:
            continue
        reported = dict(told.books.openings)
        for entry in told.books.entries:
            if entry.entry_time < window.end:
                reported[entry.key] = entry.balance
        differing = {
            key: (seen[-1].get(key, ZERO), reported.get(key, ZERO))
            for key in HOLDINGS
            if seen[-1].get(key, ZERO) != reported.get(key, ZERO)
        }
        if differing:
            found[window.end] = differing
    return found


def answered(desk: Desk, name: str, windows: list[Interval]) -> list[Interval]:
    """Keep the windows that no sync has answered for at the time."""
    taken = {
        (row["interval_start"], row["interval_end"])
        for row in desk.rows(
            "select interval_start, interval_end from trading.reconciliation_runs"
            " where account_id = :account and trigger <> 'backfill'",
            account=desk.account_id(name),
        )
    }
    return [window for window in windows if (window.start, window.end) not in taken]


@on_database
@given(ticks, cuts, cuts, st.data())
def test_any_order_of_backfills_leaves_the_rows_of_one_straight_pass(
    desk: Desk, past: list[Tick], bounds: list[int], other_bounds: list[int], data: st.DataObject
) -> None:
    desk = past_desk(desk)
    windows = windows_of(bounds) + [w for w in windows_of(other_bounds) if w not in windows_of(bounds)]
    straight, shuffled = tell(desk, past), tell(desk, past)
    for window in windows:
        backfill(desk, window, straight.name)
    repeated = data.draw(st.permutations(windows + data.draw(st.lists(st.sampled_from(windows), max_size=4))))
    for window in repeated:
        backfill(desk, window, shuffled.name)

    for told in (straight, shuffled):
        rows = history(desk, told.name)
        own = answered(desk, told.name, windows)
        assert {row["status"] for row in rows["runs"]} <= {"succeeded"}
        assert len(rows["runs"]) == len(own)
        assert drifts(rows["findings"]) == expected_drifts(told, own)
        assert {(row["residual"], row["database_drift"], row["action"]) for row in rows["findings"]} <= {
            (ZERO, ZERO, "applied")
        }
        assert desk.positions(told.name) == desk.event_totals(told.name)
        assert unconnected_events(desk, told.name) == []
    assert history(desk, straight.name) == history(desk, shuffled.name)
    assert desk.positions(straight.name) == desk.positions(shuffled.name)
    assert recorded_entries(desk, straight.name) == recorded_entries(desk, shuffled.name)


@on_database
@given(ticks, cuts)
def test_a_backfill_moves_today_s_positions_by_missed_entries_alone(
    desk: Desk, past: list[Tick], bounds: list[int]
) -> None:
    desk = past_desk(desk)
    told = tell(desk, past)
    before, known = desk.positions(told.name), set(recorded_entries(desk, told.name))
    windows = windows_of(bounds)
    for window in windows:
        backfill(desk, window, told.name, mode=Mode.DRY_RUN)
    assert (desk.positions(told.name), set(recorded_entries(desk, told.name))) == (before, known)
    for window in reversed(windows):
        backfill(desk, window, told.name)
    planned, done = history(desk, told.name, mode="dry_run"), history(desk, told.name)
    own = {(w.start, w.end) for w in answered(desk, told.name, windows)}
    assert [f for f in planned["findings"] if (f["interval_start"], f["interval_end"]) in own] == done[
        "findings"
    ]

    after, now_known = desk.positions(told.name), set(recorded_entries(desk, told.name))
    moved = dict(before)
    for entry in told.books.entries:
        if entry.ledger_id in now_known - known:
            moved[entry.key] = moved.get(entry.key, ZERO) + entry.change
    assert after == {key: quantity for key, quantity in moved.items() if quantity}

    desk.now += minutes(15)
    desk.sync_again(told.name)
    assert desk.positions(told.name) == desk.event_totals(told.name) == at_exchange(told.books)


def recorded_entries(desk: Desk, name: str) -> list[str]:
    return [
        row["ledger_id"]
        for row in desk.rows(
            "select ledger_id from trading.ledger_entries where account_id = :account order by 1",
            account=desk.account_id(name),
        )
    ]

"""Ledgers too long for one run are read stretch by stretch, and nothing that was read is read again."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from desks.fake_exchange import Desk, bring, minutes
from desks.fakes import START
from desks.histories import adjustments, at_exchange, unconnected_events
from desks.past_intervals import backfill, drifts, history, recorded_at
from kraken_recon.costs.recomputing import recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ExchangeUnavailableError
from kraken_recon.reconciliation import reading
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

LENGTH = 1_000
OPENED = START + RUN_INTERVAL


@pytest.fixture
def desk(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An opened account, of which 1,000 entries were missed where a run reads 300."""
    monkeypatch.setattr(reading, "STRETCH_ENTRIES_MAX", 300)
    desk = Desk(database_url)
    books = desk.account()
    books.add("USD", "10000", entry_type="deposit")
    desk.sync()
    recorded_at(desk, "desk", desk.now)
    books.now = OPENED
    for number in range(LENGTH // 2):
        books.now += minutes(30)
        books.add("BTC", "0.01", fee="0.0001")
        books.add("USD", "-4", at=books.now if number % 3 else None)
    desk.now = books.now + timedelta(hours=1)
    return desk


def entries_on_record(desk: Desk) -> int:
    return int(desk.rows("select count(*) as n from trading.ledger_entries")[0]["n"])


def is_sound(desk: Desk) -> bool:
    with UnitOfWork(desk.engine) as unit:
        costs_are_right = not recompute_account(CostStore(unit), "desk").anything
    return (
        costs_are_right
        and desk.positions() == desk.event_totals()
        and not unconnected_events(desk, "desk")
        and not adjustments(desk, "desk")
    )


def test_sync_gets_done_over_several_runs_and_says_how_far_it_is(desk: Desk) -> None:
    made = desk.exchanges["desk"].made
    made.clear()
    on_record = [entries_on_record(desk)]
    while desk.run()["status"] != "succeeded" or desk.run()["reported_as_of"] < desk.now:
        desk.sync()
        on_record.append(entries_on_record(desk))
        assert len(on_record) < 8
        assert desk.run()["entries_ingested"] == on_record[-1] - on_record[-2]
        assert is_sound(desk)
        if desk.run()["status"] == "moving":
            assert "the next run goes on from there" in desk.run()["note"]
    assert on_record[-1] == LENGTH + 1
    assert min(later - earlier for earlier, later in pairwise(on_record)) > 100
    assert desk.positions() == at_exchange(desk.books["desk"])
    # Each page about once: what was read is kept.
    assert made.count("Ledgers") <= LENGTH // 49 + 6 * len(on_record)
    desk.sync()
    assert desk.run()["api_calls"] == 1


def test_a_stretch_that_was_booked_survives_a_run_that_dies_after_it(desk: Desk) -> None:
    desk.sync()
    first = entries_on_record(desk)
    calls = 0

    def fail(endpoint: str) -> None:
        nonlocal calls
        calls += endpoint == "Ledgers"
        if calls > 5:
            raise ExchangeUnavailableError("Kraken is down")

    desk.exchanges["desk"].before_call = fail
    desk.sync()
    assert (desk.run()["status"], entries_on_record(desk)) == ("failed", first)
    desk.exchanges["desk"].before_call = lambda _: None
    desk.sync_again()
    assert entries_on_record(desk) > first
    assert is_sound(desk)


def test_fills_that_arrive_meanwhile_do_not_hide_the_stretch_before_them(desk: Desk) -> None:
    bring(desk.engine, {desk.account_id(): desk.books["desk"].entries[-4:]})
    for _ in range(6):
        desk.sync()
    assert desk.run()["status"] == "succeeded", desk.run()
    assert entries_on_record(desk) == LENGTH + 1
    assert desk.positions() == at_exchange(desk.books["desk"])
    assert is_sound(desk)


def test_dry_run_says_that_it_cannot_catch_up(desk: Desk) -> None:
    desk.sync(mode=Mode.DRY_RUN)
    assert desk.run()["status"] == "moving"
    assert "a dry run keeps nothing" in desk.run()["note"]
    assert entries_on_record(desk) == 1


def test_backfill_reads_as_many_stretches_as_its_interval_needs(desk: Desk) -> None:
    books = desk.books["desk"]
    early = Interval(OPENED + timedelta(days=2), OPENED + timedelta(days=2) + RUN_INTERVAL)
    late = Interval(OPENED + timedelta(days=9), OPENED + timedelta(days=9) + RUN_INTERVAL)
    backfill(desk, early)
    assert 200 < entries_on_record(desk) < 400
    backfill(desk, late)
    assert [row["status"] for row in history(desk)["runs"]] == ["succeeded"] * 2
    for interval in (early, late):
        reported = {e.key: e.balance for e in books.entries if e.entry_time < interval.end}
        found = drifts(history(desk)["findings"])[interval.end]
        assert {key: now for key, (_, now) in found.items()} == reported
    assert is_sound(desk)


def test_a_gap_in_a_stretch_is_named_and_nothing_of_it_is_booked(desk: Desk) -> None:
    gone = desk.books["desk"].entries.pop(200)
    desk.sync()
    assert desk.run()["status"] == "failed"
    assert "is not accounted for" in desk.run()["error"]
    assert entries_on_record(desk) == 1
    desk.books["desk"].entries.insert(200, gone)
    desk.sync_again()
    assert entries_on_record(desk) > 200

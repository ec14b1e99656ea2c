"""Reconciling as of a past interval, on a real database, as an operator would see it."""

from __future__ import annotations

import multiprocessing
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desks.fake_exchange import Desk, minutes
from desks.fakes import START, FakeExchange
from desks.past_intervals import SETTLED, backfill, drifts, history, recorded_at
from kraken_recon.errors import ExchangeUnavailableError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.backfill import BOOKS_BEGIN_LATER, NOT_SETTLED
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from desks.fakes import FakeBooks

BTC, USD, ETH = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot"), HoldingKey("ETH", "spot")
OPENED = START + RUN_INTERVAL
NEXT = Interval(OPENED, OPENED + RUN_INTERVAL)


@pytest.fixture
def desk(database_url: str) -> Desk:
    """An account that was opened at OPENED and whose syncs have been failing since."""
    desk = Desk(database_url)
    books = desk.account()
    books.add("USD", "10000", entry_type="deposit")
    books.add("BTC", "0.05")
    desk.sync()
    recorded_at(desk, "desk", desk.now)
    books.now = OPENED
    desk.now = OPENED + timedelta(days=1)
    return desk


def quarter(number: int) -> Interval:
    """Name an interval by its place after the opening."""
    return Interval(OPENED + number * RUN_INTERVAL, OPENED + (number + 1) * RUN_INTERVAL)


def spread(books: FakeBooks, count: int, *, apart: timedelta) -> None:
    """Let trades happen one after the other."""
    for number in range(count):
        books.now = OPENED + number * apart
        books.add("BTC", "0.01", fee="0.0001")
        books.add("USD", "-400", fee="1.04")


def test_missed_entries_are_the_drift_of_their_interval_and_of_those_after_it(desk: Desk) -> None:
    lost = desk.books["desk"].add("BTC", "0.5")
    backfill(desk, quarter(1))
    backfill(desk, quarter(0))
    for interval in (quarter(0), quarter(1)):
        found = [row for row in history(desk)["findings"] if row["interval_end"] == interval.end]
        assert [(f["asset"], f["db_quantity"], f["exchange_quantity"], f["explained"]) for f in found] == [
            ("BTC", Decimal("0.05"), Decimal("0.55"), Decimal("0.5"))
        ]
        assert (found[0]["ledger_ids"], found[0]["action"]) == ([lost.ledger_id], "applied")
    assert desk.positions()[BTC] == Decimal("0.55")
    assert desk.positions() == desk.event_totals()


def test_missed_entries_that_cancel_out_are_found_behind_a_balance_that_agrees(desk: Desk) -> None:
    """Balances that agree prove no ledger: the past in between differed all the same."""
    books = desk.books["desk"]
    books.add("USD", "250", entry_type="deposit")
    books.now = quarter(2).start
    books.add("USD", "-250", entry_type="withdrawal")
    desk.now = OPENED + timedelta(hours=4)
    desk.sync()
    assert desk.run()["api_calls"] == 1
    for number in (3, 0):
        backfill(desk, quarter(number))
    assert drifts(history(desk)["findings"]) == {quarter(0).end: {USD: (Decimal(10000), Decimal(10250))}}
    assert desk.rows("select count(*) as n from trading.ledger_entries") == [{"n": 4}]
    assert desk.positions()[USD] == 10000


def test_a_month_of_intervals_costs_a_single_reading(desk: Desk) -> None:
    spread(desk.books["desk"], 60, apart=timedelta(hours=12))
    desk.now = OPENED + timedelta(days=31)
    desk.exchanges["desk"].made.clear()
    for number in range(0, 2_900, 100):
        backfill(desk, quarter(number))
    assert desk.exchanges["desk"].made == ["Ledgers"] * 3
    assert {row["status"] for row in history(desk)["runs"]} == {"succeeded"}
    assert sum(row["entries_ingested"] for row in desk.rows(
        "select entries_ingested from trading.reconciliation_runs where trigger = 'backfill'"
    )) == 120  # fmt: skip


def test_a_later_reading_of_a_sync_spares_the_backfill_every_call(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "0.5")
    desk.sync()
    desk.exchanges["desk"].made.clear()
    backfill(desk, quarter(0))
    assert desk.exchanges["desk"].made == []
    assert drifts(history(desk)["findings"]) == {quarter(0).end: {BTC: (Decimal("0.05"), Decimal("0.55"))}}


def test_intervals_before_the_books_began_say_so_and_ask_nobody(desk: Desk) -> None:
    desk.account("never opened")
    desk.exchanges["desk"].made.clear()
    before = Interval(START - RUN_INTERVAL, START)
    backfill(desk, before, "desk", "never opened")
    backfill(desk, NEXT, "never opened")
    for name in ("desk", "never opened"):
        rows = history(desk, name)
        assert {(row["status"], row["note"], row["checked"]) for row in rows["runs"]} == {
            ("succeeded", BOOKS_BEGIN_LATER, 0)
        }
        assert rows["findings"] == []
        assert desk.exchanges[name].made == []
    assert desk.rows("select opened_at from trading.accounts where name = 'never opened'") == [
        {"opened_at": None}
    ]


def test_an_interval_that_has_not_settled_is_left_to_a_later_run(desk: Desk) -> None:
    desk.now = NEXT.end + minutes(4)
    desk.books["desk"].add("BTC", "0.5")
    backfill(desk, NEXT)
    assert [(row["status"], row["note"]) for row in history(desk)["runs"]] == [("moving", NOT_SETTLED)]
    assert desk.positions()[BTC] == Decimal("0.05")
    desk.now = NEXT.end + SETTLED
    backfill(desk, NEXT)
    assert [(row["status"], row["note"]) for row in history(desk)["runs"]] == [("succeeded", None)]
    assert len(history(desk)["findings"]) == 1


def test_a_failed_try_is_recorded_and_the_next_one_replaces_it(desk: Desk) -> None:
    desk.account("other")
    desk.books["desk"].add("BTC", "0.5")

    def fail(_: str) -> None:
        raise ExchangeUnavailableError("Kraken is down")

    desk.exchanges["desk"].before_call = fail
    backfill(desk, NEXT)
    assert [row["status"] for row in history(desk)["runs"]] == ["failed"]
    assert "Kraken is down" in history(desk)["runs"][0]["error"]
    assert [row["status"] for row in history(desk, "other")["runs"]] == ["succeeded"]
    assert desk.positions()[BTC] == Decimal("0.05")
    desk.exchanges["desk"].before_call = lambda _: None
    backfill(desk, NEXT)
    assert [(row["status"], row["error"]) for row in history(desk)["runs"]] == [("succeeded", None)]
    assert drifts(history(desk)["findings"]) == {NEXT.end: {BTC: (Decimal("0.05"), Decimal("0.55"))}}


def test_a_gap_in_the_ledger_fails_the_run_and_changes_nothing(desk: Desk) -> None:
    books = desk.books["desk"]
    books.add("BTC", "0.5")
    books.add("BTC", "0.25")
    del books.entries[-2]
    backfill(desk, NEXT)
    run = history(desk)["runs"][0]
    assert run["status"] == "failed"
    assert "0.5 is not accounted for" in run["error"]
    assert desk.positions()[BTC] == Decimal("0.05")


def test_a_silent_change_of_today_is_neither_undone_nor_hidden(desk: Desk) -> None:
    """A run as of the past adds what was missed; putting today right is the next sync's work."""
    desk.execute("update trading.positions set quantity = 9 where asset = 'BTC'")
    desk.books["desk"].add("BTC", "0.5")
    backfill(desk, NEXT)
    assert desk.positions()[BTC] == Decimal("9.5")
    assert desk.positions() == desk.event_totals()
    desk.sync()
    assert desk.positions()[BTC] == Decimal("0.55")
    assert desk.findings()["BTC"]["database_drift"] == Decimal("-8.95")


def test_what_a_repair_had_added_is_told_apart_from_missed_entries(desk: Desk) -> None:
    desk.exchanges["desk"].price_list = {"USD": Decimal(1), "BTC": Decimal(40000)}
    desk.books["desk"].residuals[USD] = Decimal(-5)
    desk.now = OPENED
    for _ in range(2):
        desk.sync()
        recorded_at(desk, "desk", desk.now)
    desk.books["desk"].now = desk.now
    lost = desk.books["desk"].add("USD", "-1", entry_type="withdrawal")
    desk.now += timedelta(days=1)
    backfill(desk, quarter(3))
    found = history(desk)["findings"]
    assert [(f["db_quantity"], f["exchange_quantity"], f["explained"], f["residual"]) for f in found] == [
        (Decimal(9995), Decimal(9999), Decimal(-1), Decimal(5))
    ]
    assert (found[0]["ledger_ids"], found[0]["action"]) == ([lost.ledger_id], "recorded")
    assert desk.positions()[USD] == 9994


def test_the_newest_run_of_an_account_stays_the_newest(desk: Desk) -> None:
    desk.sync()
    newest = desk.run()["run_id"]
    backfill(desk, NEXT)
    assert desk.run()["run_id"] == newest
    assert history(desk)["runs"][0]["recorded_as_of"] == NEXT.end


def work_through(url: str, books: FakeBooks, intervals: list[Interval]) -> None:
    """Backfill in a process of its own."""
    desk = Desk(url, {"desk": books}, {"desk": FakeExchange(books)}, OPENED + timedelta(days=2))
    for interval in intervals:
        backfill(desk, interval)


def test_backfills_in_parallel_leave_the_rows_of_one(desk: Desk) -> None:
    spread(desk.books["desk"], 40, apart=timedelta(minutes=8))
    intervals = [quarter(number) for number in range(24)]
    orders = [intervals, intervals[::-1], intervals[::2] + intervals[1::2], intervals[12:] + intervals[:12]]
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=work_through, args=(desk.url, desk.books["desk"], order)) for order in orders
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4

    rows = history(desk)
    assert [row["status"] for row in rows["runs"]] == ["succeeded"] * 24
    assert desk.positions() == desk.event_totals()
    assert desk.positions() == {key: b.balance for key, b in desk.books["desk"].balances().items()}
    expected = {}
    for interval in intervals:
        reported = {e.key: e.balance for e in desk.books["desk"].entries if e.entry_time < interval.end}
        expected[interval.end] = {BTC: (Decimal("0.05"), reported[BTC]), USD: (Decimal(10000), reported[USD])}
    assert drifts(rows["findings"]) == expected
    assert desk.rows("select 1 from trading.reconciliation_runs where status <> 'succeeded'") == []


def test_a_dry_run_says_the_same_and_writes_no_entry(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "0.5")
    before = desk.rows("select ledger_read_until from trading.accounts")
    backfill(desk, NEXT, mode=Mode.DRY_RUN)
    assert desk.rows("select count(*) as n from trading.ledger_entries") == [{"n": 2}]
    assert desk.positions()[BTC] == Decimal("0.05")
    assert desk.rows("select ledger_read_until from trading.accounts") == before
    backfill(desk, NEXT)
    assert history(desk, mode="dry_run") == history(desk)


def test_a_missed_entry_of_an_unknown_kind_raises_an_alert(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "0.5", entry_type="moonshot")
    backfill(desk, quarter(0))
    backfill(desk, quarter(1))
    alerts = desk.rows("select kind, asset, occurrences from trading.alerts")
    assert alerts == [{"kind": "unknown_entry_kind", "asset": "BTC", "occurrences": 1}]

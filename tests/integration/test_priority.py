"""Ledgers are read before their proof is too old, whatever the balances say; pressing accounts come first."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from desks.cost_books import happen
from desks.fake_exchange import Desk
from desks.histories import at_exchange
from kraken_recon.accounts.store import AccountStore
from kraken_recon.costs.recomputing import recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import accounts_in_turn, sync_accounts
from kraken_recon.reports.report import report
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from datetime import datetime

    from desks.fakes import FakeBooks

HOURS = timedelta(hours=1)


@pytest.fixture
def desk(database_url: str) -> Desk:
    return Desk(database_url)


@pytest.fixture
def books(desk: Desk) -> FakeBooks:
    books = desk.account()
    happen(books, ("USD", "1000"), kind="deposit")
    happen(books, ("BTC", "2"), ("USD", "-100", "1"))
    desk.sync()
    return books


def test_round_trip_that_was_missed_is_found_and_costed_although_the_balances_agree(
    desk: Desk, books: FakeBooks
) -> None:
    """Bought and sold again at a loss that a deposit makes up for: no balance shows any of it."""
    bought = happen(books, ("ETH", "3"), ("USD", "-30"))
    sold = happen(books, ("ETH", "-3"), ("USD", "20"))
    topped_up = happen(books, ("USD", "10"), kind="deposit")
    desk.now += 11 * HOURS
    desk.sync()
    assert (desk.run()["api_calls"], desk.run()["entries_ingested"]) == (1, 0)
    desk.now += 2 * HOURS
    desk.sync()
    assert (desk.run()["status"], desk.run()["entries_ingested"]) == ("succeeded", 5)
    found = desk.findings()
    assert {name: (row["drift"], row["explained"], row["action"]) for name, row in found.items()} == {
        "ETH": (0, 0, "applied"),
        "USD": (0, 0, "applied"),
    }
    assert set(found["ETH"]["ledger_ids"]) == {bought[0].ledger_id, sold[0].ledger_id}
    assert topped_up[0].ledger_id in found["USD"]["ledger_ids"]
    assert desk.positions() == desk.event_totals()
    assert desk.rows("select result from trading.realised_results where asset = 'ETH'") == [
        {"result": Decimal(-10)}
    ]
    with UnitOfWork(desk.engine) as unit:
        assert not recompute_account(CostStore(unit), "desk").anything
    desk.sync()
    assert desk.run()["api_calls"] == 1


def sync_one_by_one(desk: Desk, *, sweep_age: timedelta = 24 * HOURS) -> None:
    """Run one sync of all accounts with a single thread."""
    with UnitOfWork(desk.engine) as unit:
        accounts = AccountStore(unit).find_accounts(None)
    interval = Interval(desk.now - RUN_INTERVAL, desk.now)
    sync_accounts(
        accounts, SyncRequest(interval, Mode.REPAIR, Policy(), concurrency=1, sweep_age=sweep_age), desk.ports
    )


def test_every_ledger_is_read_within_the_age_and_quiet_runs_cost_one_call(desk: Desk) -> None:
    names = [f"account {number}" for number in range(4)]
    for name in names:
        desk.account(name).add("BTC", "1")
    desk.sync()
    swept: dict[str, list[datetime]] = {name: [] for name in names}
    for _ in range(3 * 24):
        desk.now += RUN_INTERVAL
        sync_one_by_one(desk, sweep_age=6 * HOURS)
        rows = desk.rows(
            "select name, api_calls from trading.reconciliation_runs join trading.accounts using (account_id)"
            " where interval_end = :now",
            now=desk.now,
        )
        assert len(rows) == 4
        assert {row["api_calls"] for row in rows} <= {1, 3}
        read = [row["name"] for row in rows if row["api_calls"] == 3]
        assert len(read) <= 1
        for name in read:
            swept[name].append(desk.now)
    for times in swept.values():
        assert len(times) >= 3
        assert all(3 * HOURS < later - earlier <= 6 * HOURS for earlier, later in pairwise(times))
    ages = desk.rows("select ledger_read_until from trading.accounts")
    assert all(desk.now - row["ledger_read_until"] <= 6 * HOURS for row in ages)


def test_the_age_of_the_proof_is_what_the_request_says(desk: Desk, books: FakeBooks) -> None:
    assert books.entries
    desk.now += 3 * HOURS
    sync_one_by_one(desk)
    assert desk.run()["api_calls"] == 1
    desk.now += RUN_INTERVAL
    sync_one_by_one(desk, sweep_age=2 * HOURS)
    assert desk.run()["api_calls"] == 3


def test_the_report_says_how_old_each_proof_is(desk: Desk, books: FakeBooks) -> None:
    assert books.entries
    desk.account("never opened")
    desk.execute("update trading.accounts set ledger_read_until = now() - interval '3 h' where name = 'desk'")
    with UnitOfWork(desk.engine) as unit:
        by_name = {a["account"]: a for a in report(ReportStore(unit), None)["accounts"]}
    assert 3 * 3600 <= by_name["desk"]["ledger_proof_age_seconds"] < 3 * 3600 + 600
    assert by_name["desk"]["ledger_proven_at"]
    assert by_name["never opened"]["ledger_proof_age_seconds"] is None


def test_accounts_with_activity_are_asked_first(desk: Desk) -> None:
    for name in ("a quiet", "b quiet", "c active", "d open"):
        books = desk.account(name)
        books.now -= 40 * 24 * HOURS
        books.add("BTC", "1")
    desk.sync()
    desk.now += HOURS
    desk.books["c active"].now = desk.now - HOURS / 2
    desk.books["c active"].add("BTC", "1")
    desk.books["d open"].residuals[next(iter(desk.books["d open"].balances()))] = Decimal(1)
    desk.sync("c active", "d open")
    desk.execute("update trading.reconciliation_runs set recorded_as_of = :now", now=desk.now)
    with UnitOfWork(desk.engine) as unit:
        turn = [account.name for account in accounts_in_turn(unit, None, desk.now)]
    assert turn == ["d open", "c active", "a quiet", "b quiet"]
    asked: list[str] = []
    for name, exchange in desk.exchanges.items():
        exchange.before_call = lambda _, name=name: asked.append(name)
    desk.now += RUN_INTERVAL
    sync_one_by_one(desk)
    assert list(dict.fromkeys(asked)) == turn


def test_a_run_that_is_cut_short_has_booked_the_most_pressing(desk: Desk) -> None:
    names = [f"account {number:02d}" for number in range(20)]
    for name in names:
        desk.account(name).add("BTC", "1")
    desk.sync()
    for name in names:
        desk.books[name].add("BTC", "1")
    exchange = desk.exchanges[names[-1]]

    def cut(endpoint: str) -> None:
        if endpoint == "Ledgers":
            raise KeyboardInterrupt

    exchange.before_call = cut
    desk.now += RUN_INTERVAL
    with pytest.raises(KeyboardInterrupt):
        sync_one_by_one(desk)
    booked = [name for name in names if desk.positions(name) == at_exchange(desk.books[name])]
    assert booked == names[:16]
    exchange.before_call = lambda _: None
    desk.sync_again()
    assert all(desk.run(name)["status"] == "succeeded" for name in names)

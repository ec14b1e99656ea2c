"""Entries that are counted and not shown, adjustments that wait for their entry, and what a proof is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest

from desks.fake_exchange import Desk
from kraken_airflow.dag_parts.proven_assets import proven_accounts
from kraken_recon.accounts.store import AccountStore
from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.ledger.entries import HoldingKey, LedgerPage
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.reports.report import report
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from datetime import datetime

    from desks.fakes import FakeExchange

BTC, ETH, USD = HoldingKey("BTC", "spot"), HoldingKey("ETH", "spot"), HoldingKey("USD", "spot")


@pytest.fixture
def desk(database_url: str) -> Desk:
    """An account with so many positions that a small repair of one is allowed."""
    desk = Desk(database_url)
    books = desk.account()
    books.add("USD", "100000", entry_type="deposit")
    for asset in ("BTC", "ETH", "SOL", "ADA", "DOT"):
        books.add(asset, "1")
    prices = {"USD": "1", "BTC": "50000", "ETH": "2500", "SOL": "100", "ADA": "1", "DOT": "5"}
    desk.exchanges["desk"].price_list = {asset: Decimal(price) for asset, price in prices.items()}
    desk.sync()
    return desk


def hide(exchange: FakeExchange, ledger_id: str, *, from_count: bool) -> None:
    """Leave one entry out of what is shown, and perhaps out of what is counted."""
    shown = type(exchange).ledger_page

    def page(*, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        whole = shown(exchange, after=after, until=until, offset=offset)
        rows = tuple(entry for entry in whole.entries if entry.ledger_id != ledger_id)
        count = (whole.count or 0) - (len(whole.entries) - len(rows) if from_count else 0)
        return replace(whole, entries=rows, count=count)

    exchange.ledger_page = page  # type: ignore[method-assign]


def show_all(exchange: FakeExchange) -> None:
    del exchange.ledger_page


def sync(desk: Desk, *, trusts_chain: bool = False) -> None:
    desk.now += RUN_INTERVAL
    with UnitOfWork(desk.engine) as unit:
        accounts = AccountStore(unit).find_accounts(None)
    interval = Interval(desk.now - RUN_INTERVAL, desk.now)
    sync_accounts(
        accounts, SyncRequest(interval, Mode.REPAIR, Policy(), trusts_chain=trusts_chain), desk.ports
    )


def read_until(desk: Desk) -> datetime:
    [row] = desk.rows("select ledger_read_until from trading.accounts")
    at: datetime = row["ledger_read_until"]
    return at


def open_alerts(desk: Desk) -> list[str]:
    rows = desk.rows("select kind from trading.alerts where status <> 'resolved' order by kind")
    return [row["kind"] for row in rows]


def proven_at(desk: Desk) -> datetime:
    with UnitOfWork(desk.engine) as unit:
        at: datetime = AlertStore(unit).freshness(desk.now)[0]["proven_at"]
    return at


def deposit(desk: Desk, asset: str, amount: str) -> str:
    books = desk.books["desk"]
    books.now = desk.now
    return books.add(asset, amount, entry_type="deposit").ledger_id


def test_nothing_is_repaired_or_proved_while_kraken_counts_more_than_it_shows(desk: Desk) -> None:
    covered, proven = read_until(desk), proven_at(desk)
    withheld = deposit(desk, "ETH", "0.02")
    deposit(desk, "BTC", "0.01")
    hide(desk.exchanges["desk"], withheld, from_count=False)
    for _ in range(3):
        sync(desk)
        assert desk.run()["status"] == "moving"
        assert desk.run()["note"] == "Kraken counted 8 entries and showed 7"
    assert desk.positions()[ETH] == 1
    assert desk.positions()[BTC] == Decimal("1.01"), "what is shown is true"
    assert (read_until(desk), proven_at(desk)) == (covered, proven)
    assert open_alerts(desk) == ["ledger_incomplete"]
    show_all(desk.exchanges["desk"])
    sync(desk)
    assert desk.findings()["ETH"]["ledger_ids"] == [withheld]
    assert desk.positions()[ETH] == Decimal("1.02")
    assert open_alerts(desk) == []
    assert read_until(desk) > covered
    assert proven_at(desk) > proven


def test_person_may_trust_what_is_shown_so_that_no_account_is_stuck(desk: Desk) -> None:
    covered = read_until(desk)
    withheld = deposit(desk, "ETH", "0.02")
    hide(desk.exchanges["desk"], withheld, from_count=False)
    sync(desk)
    for _ in range(2):
        sync(desk, trusts_chain=True)
    assert desk.findings()["ETH"]["action"] == "update"
    assert desk.positions()[ETH] == Decimal("1.02")
    assert read_until(desk) > covered
    assert open_alerts(desk) == ["unexplained_discrepancy"]


def test_account_that_is_counted_longer_than_shown_is_opened_once_somebody_trusts_it(desk: Desk) -> None:
    books = desk.account("other")
    books.add("BTC", "1")
    withheld = books.add("ETH", "1")
    hide(desk.exchanges["other"], withheld.ledger_id, from_count=False)
    sync(desk)
    assert desk.run("other")["status"] == "moving"
    assert "sync --trust-chain" in desk.run("other")["note"]
    sync(desk, trusts_chain=True)
    assert desk.run("other")["status"] == "succeeded"


def test_ledger_is_read_in_each_run_until_an_adjustment_is_explained_and_its_alert_ends(desk: Desk) -> None:
    withheld = deposit(desk, "ETH", "0.02")
    hide(desk.exchanges["desk"], withheld, from_count=True)
    sync(desk)
    sync(desk)
    assert desk.findings()["ETH"]["action"] == "update"
    assert open_alerts(desk) == ["unexplained_discrepancy"]
    for _ in range(3):
        desk.now += timedelta(days=1)
        deposit(desk, "BTC", "0.01")
        sync(desk)
        sync(desk)
        assert "Ledgers" in desk.exchanges["desk"].made[-2:]
    show_all(desk.exchanges["desk"])
    sync(desk)
    assert desk.findings()["ETH"]["ledger_ids"] == [withheld]
    assert desk.positions()[ETH] == Decimal("1.02")
    assert open_alerts(desk) == []
    sync(desk)
    assert desk.run()["api_calls"] == 1


def test_run_that_awaits_or_holds_something_is_no_proof_wherever_it_is_asked_for(desk: Desk) -> None:
    proven = proven_at(desk)
    desk.books["desk"].residuals[BTC] = Decimal("0.9")
    for action in ("awaiting_confirmation", "held"):
        sync(desk)
        assert desk.findings()["BTC"]["action"] == action
        assert proven_at(desk) == proven
        with UnitOfWork(desk.engine) as unit:
            told = report(ReportStore(unit), None)
        assert told["accounts"][0]["proven_at"] == proven.isoformat()
        assert proven_accounts(told) == []
    desk.books["desk"].residuals.clear()
    sync(desk)
    assert proven_at(desk) > proven


@pytest.mark.parametrize(
    ("change", "is_proof"),
    [
        ("updated = 3", True),
        ("status = 'moving'", False),
        ("status = 'failed', error = 'refused'", False),
        ("mode = 'dry_run'", False),
        ("held = 1", False),
        ("awaiting = 1", False),
        ("reported_as_of = null", False),
    ],
)
def test_what_a_run_must_be_to_be_a_proof(desk: Desk, change: str, *, is_proof: bool) -> None:
    desk.execute(f"update trading.reconciliation_runs set {change}")
    assert desk.run()["is_proof"] is is_proof
    assert bool(proven_at(desk)) is is_proof


def test_first_openings_at_once_all_end_well(database_url: str) -> None:
    desk = Desk(database_url)
    books = desk.account()
    for _ in range(30):
        books.add("BTC", "0.1", entry_type="deposit")
    runs = 3
    together = Barrier(runs)
    read: list[str] = []

    def wait(endpoint: str) -> None:
        read.append(endpoint)
        if endpoint == "Ledgers" and read.count("Ledgers") <= runs:
            together.wait(10)

    desk.exchanges["desk"].before_call = wait
    desk.now += RUN_INTERVAL
    with UnitOfWork(desk.engine) as unit:
        accounts = AccountStore(unit).find_accounts(None)

    def run(number: int) -> None:
        start = desk.now - RUN_INTERVAL - timedelta(seconds=number)
        request = SyncRequest(Interval(start, desk.now), Mode.REPAIR, Policy())
        sync_accounts(accounts, request, desk.ports)

    threads = [Thread(target=run, args=(number,)) for number in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = desk.rows("select status, note from trading.reconciliation_runs")
    assert [row["status"] for row in rows] == ["succeeded"] * runs
    assert [row["note"] for row in rows if row["note"]] == ["opened from its whole ledger"]
    assert desk.rows("select count(*) as n from trading.ledger_entries") == [{"n": 30}]
    assert desk.positions() == desk.event_totals() == {BTC: Decimal(3)}
    assert open_alerts(desk) == []


def test_change_by_hand_of_any_size_is_put_back_at_once_and_told_apart_from_missed_entries(
    desk: Desk,
) -> None:
    deposit(desk, "USD", "73889.11")
    desk.execute("update trading.positions set quantity = quantity - 50000.0004 where asset = 'USD'")
    desk.sync()
    assert desk.positions()[USD] == Decimal("173889.11")
    [alert] = desk.rows("select kind, message, evidence from trading.alerts")
    assert alert["kind"] == "database_drift"
    assert (
        "was changed in the database by -50000.0004 without a reason on record, which was put back; "
        "missed entries explain 73889.11" in alert["message"]
    )
    assert "worth 50,000.00 USD" in alert["message"]
    assert alert["evidence"]["changed_by_hand"] == "-50000.0004"

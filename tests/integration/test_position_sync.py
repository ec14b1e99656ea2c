"""position_sync on a real database, as an operator would see it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desks.fake_exchange import Desk, bring
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ExchangeUnavailableError, PayloadInvalidError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.values.intervals import RUN_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from desks.fakes import FakeExchange
    from kraken_recon.accounts.account import Account

BTC, USD, ETH = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot"), HoldingKey("ETH", "spot")


@pytest.fixture
def desk(database_url: str) -> Desk:
    """An account with a small history, opened by a first sync."""
    desk = Desk(database_url)
    books = desk.account()
    books.add("USD", "10000", entry_type="deposit")
    books.add("USD", "-3000", fee="7.8")
    books.add("BTC", "0.05")
    books.add("ETH", "2", entry_type="deposit")
    desk.sync()
    return desk


def balances(desk: Desk) -> dict[HoldingKey, Decimal]:
    return {key: b.balance for key, b in desk.books["desk"].balances().items() if b.balance}


def test_first_sync_opens_the_account_from_its_whole_ledger(desk: Desk) -> None:
    assert desk.positions() == balances(desk) == desk.event_totals()
    assert desk.rows("select opening_source from trading.accounts") == [{"opening_source": "ledger"}]
    assert desk.run()["status"] == "succeeded"
    assert desk.run()["entries_ingested"] == 4
    assert desk.findings() == {}


def test_unchanged_account_costs_one_call_and_writes_no_position(desk: Desk) -> None:
    before = desk.rows("select *, xmin::text from trading.positions order by 1, 2, 3")
    desk.sync()
    assert desk.run()["api_calls"] == 1
    assert (desk.run()["checked"], desk.run()["matched"]) == (3, 3)
    assert desk.rows("select *, xmin::text from trading.positions order by 1, 2, 3") == before


def test_proof_of_a_day_to_come_gives_way_to_the_next_one_by_a_right_clock(desk: Desk) -> None:
    # Else a desk's books were not judged, and a stale account was not told of, until that day.
    newest = "select proven_at from trading.newest_proofs"
    desk.now += timedelta(days=1)
    desk.sync()
    assert desk.rows(newest) == [{"proven_at": desk.now}]
    desk.now -= timedelta(days=1)
    desk.sync()
    assert desk.rows(newest) == [{"proven_at": desk.now}]


def test_what_is_booked_while_kraken_is_asked_does_not_stand_for_what_was_missed(desk: Desk) -> None:
    # A bot buys twice the same for the same: one is missed, the other booked after the balance was told.
    books = desk.books["desk"]
    books.add("USD", "-50", fee="0.2")
    books.add("BTC", "0.001")
    is_booked = False

    @contextmanager
    def open_exchange(account: Account) -> Iterator[FakeExchange]:
        nonlocal is_booked
        with desk.open_exchange(account) as exchange:
            yield exchange
        if not is_booked:
            is_booked = True
            again = [books.add("USD", "-50", fee="0.2"), books.add("BTC", "0.001")]
            bring(desk.engine, {account.account_id: again})

    desk.now += RUN_INTERVAL
    desk.sync_again(ports=replace(desk.ports, open_exchange=open_exchange))
    assert is_booked
    assert desk.run()["status"] == "succeeded"
    assert desk.positions() == balances(desk) == desk.event_totals()
    recorded = desk.rows("select ledger_id from trading.ledger_entries")
    assert {row["ledger_id"] for row in recorded} == {entry.ledger_id for entry in books.entries}


def test_missed_entries_are_explained_to_the_last_unit(desk: Desk) -> None:
    books = desk.books["desk"]
    lost = [books.add("USD", "-500", fee="1.3"), books.add("BTC", "0.0081234567")]
    desk.sync()
    assert desk.positions() == balances(desk) == desk.event_totals()
    found = desk.findings()
    assert found["BTC"]["drift"] == found["BTC"]["explained"] == Decimal("0.0081234567")
    assert found["USD"]["explained"] == Decimal("-501.3")
    assert {f["unexplained"] for f in found.values()} == {Decimal(0)}
    assert found["BTC"]["ledger_ids"] == [lost[1].ledger_id]
    assert {f["action"] for f in found.values()} == {"applied"}
    assert desk.run()["api_calls"] == 3


@pytest.mark.parametrize(
    ("tampering", "action"),
    [
        ("update trading.positions set quantity = quantity + 1 where asset = 'BTC'", "update"),
        ("delete from trading.positions where asset = 'BTC'", "add"),
        ("update trading.positions set quantity = 0 where asset = 'BTC'", "add"),
    ],
)
def test_database_drift_is_put_right_at_once_with_a_reason(desk: Desk, tampering: str, action: str) -> None:
    desk.execute(tampering)
    desk.sync()
    assert desk.positions() == balances(desk) == desk.event_totals()
    finding = desk.findings()["BTC"]
    assert finding["action"] == action
    assert finding["database_drift"] == finding["drift"] == finding["unexplained"]
    assert finding["residual"] == 0
    assert [a["kind"] for a in desk.rows("select kind from trading.alerts")] == ["database_drift"]
    desk.sync()
    assert desk.findings() == {}


def test_position_that_only_the_database_has_is_set_to_zero_not_deleted(desk: Desk) -> None:
    desk.execute(
        "insert into trading.positions (account_id, asset, quantity)"
        " select account_id, 'DOGE', 5 from trading.accounts"
    )
    desk.sync()
    assert desk.findings()["DOGE"]["action"] == "remove"
    assert desk.rows("select quantity from trading.positions where asset = 'DOGE'") == [
        {"quantity": Decimal(0)}
    ]
    assert desk.positions() == desk.event_totals()


def test_dry_run_says_what_repair_would_do_and_writes_no_position(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "1")
    desk.execute("update trading.positions set quantity = 7 where asset = 'ETH'")
    before = desk.positions()
    desk.sync(mode=Mode.DRY_RUN)
    planned = desk.findings()
    assert desk.positions() == before
    assert desk.rows("select count(*) as n from trading.ledger_entries") == [{"n": 4}]
    desk.sync_again()
    done = desk.findings()
    columns = ("drift", "explained", "database_drift", "residual", "action", "ledger_ids")
    assert {k: [v[c] for c in columns] for k, v in planned.items()} == {
        k: [v[c] for c in columns] for k, v in done.items()
    }


def test_residual_is_repaired_only_after_it_stayed_for_an_interval(desk: Desk) -> None:
    desk.exchanges["desk"].price_list = {"USD": Decimal(1), "BTC": Decimal(40000), "ETH": Decimal(3000)}
    desk.books["desk"].residuals[ETH] = Decimal("-0.1")
    desk.sync()
    assert desk.findings()["ETH"]["action"] == "awaiting_confirmation"
    assert desk.positions()[ETH] == 2
    desk.sync()
    assert desk.findings()["ETH"]["action"] == "update"
    assert desk.positions()[ETH] == Decimal("1.9")
    assert desk.positions() == desk.event_totals()
    desk.sync()
    assert desk.findings() == {}
    assert desk.run()["api_calls"] == 3, "the ledger is read until an entry explains the repair"


def test_failure_after_the_ledger_was_read_says_as_of_when_it_was_read(desk: Desk) -> None:
    desk.books["desk"].residuals[ETH] = Decimal("-0.1")
    desk.sync()
    exchange = desk.exchanges["desk"]

    def pass_time(endpoint: str) -> None:
        if endpoint == "BalanceEx":
            desk.now += timedelta(seconds=1)

    exchange.before_call = pass_time
    exchange.prices = lambda _: {}["a defect"]  # type: ignore[method-assign]
    asked_at = desk.now + RUN_INTERVAL
    desk.sync()
    run = desk.run()
    assert (run["status"], run["checked"]) == ("failed", 0)
    assert (run["reported_as_of"], run["reported_head"]) == (asked_at + timedelta(seconds=1), "L00004")


def test_repair_is_taken_back_when_its_ledger_line_turns_up(desk: Desk) -> None:
    desk.exchanges["desk"].price_list = {"USD": Decimal(1), "BTC": Decimal(40000), "ETH": Decimal(3000)}
    books = desk.books["desk"]
    books.residuals[ETH] = Decimal("-0.1")
    desk.sync()
    desk.sync()
    del books.residuals[ETH]
    books.add("ETH", "-0.1", entry_type="withdrawal")
    books.add("BTC", "0.5")
    desk.sync()
    assert desk.positions() == balances(desk) == desk.event_totals()
    reasons = [
        r["reason"]
        for r in desk.rows("select reason from trading.position_events where cause = 'adjustment'")
    ]
    assert reasons == ["residual_repaired", "residual_reversed"]
    assert desk.findings()["ETH"]["unexplained"] == 0


def test_small_residual_is_recorded_and_left_alone_at_one_call(desk: Desk) -> None:
    desk.books["desk"].residuals[ETH] = Decimal("0.0005")
    desk.sync()
    desk.sync()
    assert desk.findings()["ETH"]["action"] == "within_tolerance"
    desk.sync()
    assert desk.run()["api_calls"] == 1
    assert desk.findings()["ETH"]["action"] == "within_tolerance"
    assert desk.run()["within_tolerance"] == 1
    assert desk.positions()[ETH] == 2


def test_large_residual_is_held_and_never_written(desk: Desk) -> None:
    desk.exchanges["desk"].price_list = {"USD": Decimal(1), "BTC": Decimal(40000), "ETH": Decimal(3000)}
    desk.books["desk"].residuals[USD] = Decimal(-5000)
    for _ in range(4):
        desk.sync()
    assert desk.findings()["USD"]["action"] == "held"
    assert desk.positions()[USD] == Decimal("6992.2")
    assert [
        a["occurrences"] for a in desk.rows("select * from trading.alerts where kind = 'held_repair'")
    ] == [3]


def test_move_between_wallets_without_a_ledger_line_is_neutral(desk: Desk) -> None:
    before = desk.positions()
    desk.books["desk"].residuals |= {BTC: Decimal("-0.05"), HoldingKey("BTC", "F"): Decimal("0.05")}
    desk.sync()
    desk.sync()
    assert desk.positions() == before
    assert desk.findings() == {}


def test_lagging_ledger_is_waited_for_and_then_explains(desk: Desk) -> None:
    books = desk.books["desk"]
    books.residuals[BTC] = Decimal("0.2")
    desk.sync()
    assert desk.findings()["BTC"]["action"] == "awaiting_confirmation"
    del books.residuals[BTC]
    books.add("BTC", "0.2")
    desk.sync()
    assert desk.findings()["BTC"]["action"] == "applied"
    assert desk.findings()["BTC"]["unexplained"] == 0
    assert desk.rows("select * from trading.residuals") == []


def test_unusable_replies_change_nothing_and_are_reported_as_failed(desk: Desk) -> None:
    before = desk.positions()

    def unavailable(_: str) -> None:
        raise ExchangeUnavailableError("no answer", endpoint="BalanceEx")

    def cut_off(endpoint: str) -> None:
        if endpoint == "Ledgers":
            raise PayloadInvalidError("not JSON", endpoint=endpoint)

    desk.books["desk"].add("BTC", "1")
    for fault in (unavailable, cut_off):
        desk.exchanges["desk"].before_call = fault
        desk.sync()
        assert desk.run()["status"] == "failed"
        assert desk.positions() == before
    assert desk.rows("select kind, occurrences from trading.alerts") == [
        {"kind": "sync_failure", "occurrences": 2}
    ]
    desk.exchanges["desk"].before_call = lambda _: None
    desk.sync()
    assert desk.run()["status"] == "succeeded"
    assert desk.rows("select status from trading.alerts") == [{"status": "resolved"}]


@pytest.mark.parametrize("left", [set(), {USD}])
def test_empty_or_partial_balance_reply_is_a_failure_not_a_loss(desk: Desk, left: set[HoldingKey]) -> None:
    exchange = desk.exchanges["desk"]
    full = desk.books["desk"].balances
    desk.books["desk"].balances = lambda: {k: b for k, b in full().items() if k in left}  # type: ignore[method-assign]
    before = desk.positions()
    for _ in range(3):
        desk.sync()
        assert desk.run()["status"] == "failed"
        assert "leaves out" in desk.run()["error"]
    assert desk.positions() == before
    assert exchange.made


def test_one_failing_account_does_not_stop_another(desk: Desk) -> None:
    other = desk.account("other")
    other.add("SOL", "3", entry_type="deposit")

    def broken(_: str) -> None:
        raise RuntimeError("a defect")

    desk.exchanges["desk"].before_call = broken
    desk.sync()
    assert desk.run("desk")["status"] == "failed"
    assert desk.run("other")["status"] == "succeeded"
    assert desk.positions("other") == {HoldingKey("SOL", "spot"): Decimal(3)}


def test_missing_entry_is_named_by_its_neighbours(desk: Desk) -> None:
    books = desk.books["desk"]
    first = books.add("BTC", "1")
    books.now += (gap := desk.now - desk.now.replace(hour=0))
    books.add("BTC", "2")
    books.add("BTC", "3")
    del books.entries[-2]
    books.residuals[BTC] = Decimal(2)
    books.now += gap
    books.add("USD", "1")
    desk.sync()
    assert desk.run()["status"] == "failed"
    assert first.ledger_id in desk.run()["error"]
    assert "L00007" in desk.run()["error"]
    assert desk.positions()[BTC] == Decimal("0.05")


def test_running_the_same_interval_again_leaves_the_same_rows(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "1")
    desk.sync()
    tables = (
        "positions",
        "position_events",
        "ledger_entries",
        "reconciliation_runs",
        "discrepancies",
        "alerts",
    )
    before = {t: desk.rows(f"select * from trading.{t} order by 1, 2, 3") for t in tables}
    desk.books["desk"].add("BTC", "1")
    desk.sync_again()
    assert {t: desk.rows(f"select * from trading.{t} order by 1, 2, 3") for t in tables} == before


def test_failed_interval_is_tried_again_under_the_same_run(desk: Desk) -> None:
    desk.exchanges["desk"].before_call = lambda _: (_ for _ in ()).throw(ExchangeUnavailableError("down"))
    failed = desk.sync()
    desk.exchanges["desk"].before_call = lambda _: None
    assert desk.sync_again() == failed
    assert desk.run()["status"] == "succeeded"


def test_account_with_truncated_history_opens_on_derived_balances_and_says_so(database_url: str) -> None:
    desk = Desk(database_url)
    books = desk.account()
    books.openings = {BTC: Decimal("1.5"), ETH: Decimal(4)}
    books.add("BTC", "-0.5")
    desk.sync()
    assert desk.positions() == {BTC: Decimal(1), ETH: Decimal(4)} == desk.event_totals()
    assert "derived" in desk.run()["note"]


def test_large_account_opens_from_its_newest_page(database_url: str) -> None:
    desk = Desk(database_url)
    books = desk.account()
    for _ in range(1100):
        books.add("BTC", "0.01")
    desk.sync()
    assert desk.positions() == {BTC: Decimal(11)} == desk.event_totals()
    assert desk.exchanges["desk"].made == ["BalanceEx", "Ledgers", "BalanceEx", "OpenPositions"]
    books.add("BTC", "0.01")
    desk.sync()
    assert desk.positions() == {BTC: Decimal("11.01")} == desk.event_totals()
    assert desk.findings()["BTC"]["explained"] == Decimal("0.01")


def test_available_follows_holds_without_a_discrepancy(desk: Desk) -> None:
    desk.books["desk"].holds[USD] = Decimal(992)
    desk.sync()
    assert desk.run()["api_calls"] == 1
    assert desk.findings() == {}
    row = desk.rows("select quantity, available_quantity from trading.positions where asset = 'USD'")[0]
    assert row == {"quantity": Decimal("6992.2"), "available_quantity": Decimal("6000.2")}


def test_books_that_never_stand_still_are_left_to_the_next_run(desk: Desk) -> None:
    books = desk.books["desk"]

    def trade(endpoint: str) -> None:
        if endpoint == "Ledgers":
            books.add("BTC", "0.001")

    desk.exchanges["desk"].before_call = trade
    books.add("BTC", "1")
    desk.sync()
    desk.exchanges["desk"].before_call = lambda _: None
    assert desk.run()["status"] in {"moving", "succeeded"}
    assert desk.positions() == desk.event_totals()
    desk.sync()
    assert desk.run()["status"] == "succeeded"
    assert desk.positions() == balances(desk)


def test_dry_run_proves_nothing(desk: Desk) -> None:
    def proven_at() -> object:
        with UnitOfWork(desk.engine) as unit:
            return ReportStore(unit).latest_runs(None)[0]["proven_at"]

    proven = proven_at()
    desk.books["desk"].add("BTC", "1")
    desk.sync(mode=Mode.DRY_RUN)
    assert proven_at() == proven

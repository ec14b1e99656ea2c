"""Importing Kraken's exports on a real database, as an operator would see it."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa

from desks.exports import ledgers_csv
from desks.fake_exchange import Desk, bring
from desks.fakes import START
from desks.histories import TABLES
from desks.imports import books_on_record, bring_exports, bring_file, is_sound
from kraken_recon.errors import ImportRefusedError
from kraken_recon.kraken.export_files import parse_export, read_exports
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
from kraken_recon.reconciliation import reading

if TYPE_CHECKING:
    from pathlib import Path

    from desks.fakes import FakeBooks

BTC, USD, ETH = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot"), HoldingKey("ETH", "spot")


@pytest.fixture
def desk(database_url: str) -> Desk:
    """An account that nobody has opened, with a history of 40 days at the exchange."""
    desk = Desk(database_url)
    books = desk.account()
    books.now = START - timedelta(days=40)
    grow(books, 40)
    return desk


def grow(books: FakeBooks, days: int) -> None:
    """Let something happen every day, several things within a second."""
    for day in range(days):
        books.now += timedelta(days=1, microseconds=137_001)
        books.add("USD", "1000.5", entry_type="deposit")
        books.add("USD", "-300.25", fee="0.78", at=books.now)
        books.add("BTC", "0.0123", at=books.now + timedelta(microseconds=5_000))
        books.entries[-1] = replace(books.entries[-1], refid=books.entries[-2].refid)
        if day % 3 == 0:
            books.add("ETH", "1.5", entry_type="deposit", at=books.now + timedelta(microseconds=6_000))
            books.add("ETH", "-1", wallet="spot", at=books.now + timedelta(microseconds=6_001))
            books.add("ETH", "1", wallet="F", at=books.now + timedelta(microseconds=6_002))


def balances(desk: Desk) -> dict[HoldingKey, Decimal]:
    return {key: b.balance for key, b in desk.books["desk"].balances().items() if b.balance}


def every_row(desk: Desk) -> dict[str, list[dict[str, Any]]]:
    return {table: desk.rows(f"select t::text as line from trading.{table} t order by 1") for table in TABLES}


def test_file_opens_an_account_and_the_next_sync_finds_it_right_in_one_call(desk: Desk) -> None:
    done = bring_file(desk, desk.books["desk"].entries)
    assert (done.opened, done.opening_source, done.ledger_floor) == (True, "ledger", None)
    assert desk.positions() == balances(desk)
    assert is_sound(desk)
    desk.sync()
    assert (desk.run()["status"], desk.run()["api_calls"]) == ("succeeded", 1)


def test_sync_goes_on_from_an_imported_head(desk: Desk) -> None:
    books = desk.books["desk"]
    bring_file(desk, books.entries)
    desk.exchanges["desk"].made.clear()
    grow(books, 1)
    desk.sync()
    assert desk.run()["status"] == "succeeded", desk.run()["error"]
    assert desk.exchanges["desk"].made == ["BalanceEx", "Ledgers", "BalanceEx", "OpenPositions"]
    assert desk.positions() == balances(desk)
    assert is_sound(desk)


@pytest.mark.parametrize("columns", [9, 10, 12, 16])
@pytest.mark.parametrize("first", ["sync", "import"])
def test_sync_and_import_in_either_order_give_the_same_rows(desk: Desk, first: str, columns: int) -> None:
    entries = desk.books["desk"].entries
    desk.account("straight").entries = list(entries)
    desk.sync("straight")
    if first == "sync":
        desk.sync("desk")
        assert bring_file(desk, entries, columns).imported == 0
    else:
        bring_file(desk, entries, columns)
        desk.sync("desk")
    assert desk.run()["status"] == "succeeded"
    assert books_on_record(desk) == books_on_record(desk, "straight")
    assert is_sound(desk)


def opened_on_the_last_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open the account as a sync opens one whose ledger is too long to read: from its newest page."""
    monkeypatch.setattr(reading, "OPENING_ENTRIES_MAX", 60)
    desk.sync()
    assert desk.run()["status"] == "succeeded", desk.run()["error"]
    assert desk.rows("select opening_source from trading.accounts") == [{"opening_source": "derived"}]


def test_history_before_the_opening_moves_it_back_and_leaves_positions_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_on_the_last_page(desk, monkeypatch)
    before = desk.positions()
    entries = desk.books["desk"].entries
    half = bring_file(desk, entries[60:])
    assert half.before_opening == half.imported > 0
    assert (half.moved, half.opening_source) == ({}, "derived")
    assert half.ledger_floor is not None
    assert half.ledger_floor < entries[-50].entry_time
    assert desk.positions() == before
    assert is_sound(desk)
    whole = bring_file(desk, entries)
    assert (whole.moved, whole.opening_source, whole.ledger_floor) == ({}, "ledger", None)
    assert desk.positions() == before == balances(desk)
    assert is_sound(desk)
    desk.account("straight").entries = list(entries)
    monkeypatch.undo()
    desk.sync("straight")
    assert books_on_record(desk) == books_on_record(desk, "straight")
    grow(desk.books["desk"], 1)
    desk.sync("desk")
    assert desk.positions() == balances(desk)


@pytest.mark.parametrize("seed", range(6))
def test_pieces_in_any_order_behind_a_sync_lead_to_the_rows_of_one_straight_sync(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    opened_on_the_last_page(desk, monkeypatch)
    entries = desk.books["desk"].entries
    days = [list(g) for _, g in groupby(entries, key=lambda e: e.entry_time.replace(microsecond=0))]
    chance = random.Random(seed)  # noqa: S311 - chooses test data
    cuts = sorted({0, len(days), *chance.sample(range(len(days)), 4)})
    pieces = [
        [entry for day in days[max(0, start - chance.randrange(3)) : end] for entry in day]
        for start, end in pairwise(cuts)
    ]
    waiting = [*pieces, chance.choice(pieces)]
    chance.shuffle(waiting)
    before = desk.positions()
    while waiting:
        refused = [piece for piece in waiting if not is_taken(desk, piece)]
        assert desk.positions() == before
        assert len(refused) < len(waiting)
        waiting = refused
    desk.account("straight").entries = list(entries)
    monkeypatch.undo()
    desk.sync("straight")
    assert books_on_record(desk) == books_on_record(desk, "straight")
    assert is_sound(desk)


def is_taken(desk: Desk, piece: list[LedgerEntry]) -> bool:
    try:
        bring_file(desk, piece)
    except ImportRefusedError:
        return False
    return True


def test_statement_is_right_at_any_time_after_the_opening_moved(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_on_the_last_page(desk, monkeypatch)
    entries = desk.books["desk"].entries
    bring_file(desk, entries[60:])
    for entry in entries[60::7]:
        at = entry.entry_time + timedelta(seconds=1)
        newest = [e for e in entries if e.key == entry.key and e.entry_time <= at][-1]
        total = desk.rows(
            "select sum(change) as total from ("
            " select quantity_after - quantity_before as change from trading.position_events"
            "  where cause = 'opening' and (asset, wallet) = (:asset, :wallet) and effective_at <= :at"
            " union all select amount - fee from trading.ledger_entries"
            "  where (asset, wallet) = (:asset, :wallet) and entry_time <= :at) as parts",
            asset=entry.asset,
            wallet=entry.wallet,
            at=at,
        )[0]["total"]
        assert total == newest.balance


def test_missed_entries_newer_than_the_opening_are_applied_like_a_sync_does(desk: Desk) -> None:
    desk.sync()
    books = desk.books["desk"]
    grow(books, 3)
    done = bring_file(desk, books.entries[-20:])
    assert done.before_opening == 0
    assert desk.positions() == balances(desk)
    assert set(done.moved) == {BTC, USD, ETH, HoldingKey("ETH", "F")}
    causes = desk.rows("select distinct cause from trading.position_events")
    assert causes == [{"cause": "ledger"}]
    desk.sync()
    assert desk.run()["api_calls"] == 1


def test_recorded_entries_keep_their_finer_time(desk: Desk) -> None:
    desk.sync()
    before = every_row(desk)
    assert bring_file(desk, desk.books["desk"].entries).imported == 0
    assert every_row(desk)["ledger_entries"] == before["ledger_entries"]
    assert every_row(desk)["position_events"] == before["position_events"]
    assert every_row(desk)["positions"] == before["positions"]


def test_importing_again_changes_no_row(desk: Desk) -> None:
    bring_file(desk, desk.books["desk"].entries)
    before = every_row(desk)
    assert bring_file(desk, desk.books["desk"].entries).imported == 0
    assert every_row(desk) == before


def test_sync_reads_imported_entries_again_at_the_edge_of_its_overlap(desk: Desk) -> None:
    """Entries of the second at which a reading starts are on one side of it, by either of their times."""
    books = desk.books["desk"]
    head = books.entries[-1].entry_time.replace(microsecond=0) + timedelta(hours=1)
    for at in (
        head,
        head + timedelta(microseconds=700_000),
        head + timedelta(minutes=15, microseconds=300_000),
    ):
        books.add("BTC", "1", at=at)
    books.now = books.entries[-1].entry_time
    bring_file(desk, books.entries)
    books.add("BTC", "2")
    desk.sync()
    assert desk.run()["status"] == "succeeded", desk.run()["error"]
    assert desk.exchanges["desk"].made.count("Ledgers") == 1, "the first stretch must connect at once"
    assert desk.positions() == balances(desk)


def test_hole_between_file_and_record_is_refused_with_both_neighbours(desk: Desk) -> None:
    entries = desk.books["desk"].entries
    bring_file(desk, entries[:60])
    before = every_row(desk)
    last = next(e for e in reversed(entries[:60]) if e.key == USD)
    first = next(e for e in entries[80:] if e.key == USD)
    with pytest.raises(ImportRefusedError) as refused:
        bring_file(desk, entries[80:])
    assert (
        f"between entry {last.ledger_id} (on record) and entry {first.ledger_id} (ledgers.csv, line"
        in str(refused.value)
    )
    assert every_row(desk) == before


def test_hole_between_file_and_opening_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    opened_on_the_last_page(desk, monkeypatch)
    old = LedgerEntry(
        "LOLD",
        "R",
        START - timedelta(days=90),
        "deposit",
        "",
        "SOL",
        "spot",
        Decimal(3),
        Decimal(0),
        Decimal(3),
    )
    before = every_row(desk)
    with pytest.raises(
        ImportRefusedError, match=r"SOL: -3 .* entry LOLD \(ledgers.csv, line 2\) and the opening"
    ):
        bring_file(desk, [old])
    assert every_row(desk) == before


def test_contradiction_with_a_recorded_entry_is_refused(desk: Desk) -> None:
    desk.sync()
    before = every_row(desk)
    entries = list(desk.books["desk"].entries)
    entries[0] = replace(entries[0], refid="ANOTHER")
    with pytest.raises(
        ImportRefusedError,
        match=r"line 2: entry L00001 is recorded with refid T00001, but the file says ANOTHER",
    ):
        bring_file(desk, entries)
    assert every_row(desk) == before


def test_file_that_does_not_connect_is_refused_whole_naming_every_gap(desk: Desk) -> None:
    entries = list(desk.books["desk"].entries)
    lost = [entries.pop(60), entries.pop(20)]
    with pytest.raises(ImportRefusedError) as refused:
        bring_file(desk, entries)
    assert str(refused.value).count("is not accounted for between entry") == len(lost)
    assert desk.rows("select * from trading.ledger_entries") == []
    assert desk.rows("select opened_at from trading.accounts") == [{"opened_at": None}]


def test_several_files_count_as_one(desk: Desk) -> None:
    entries = desk.books["desk"].entries
    exports = [
        parse_export("new.csv", ledgers_csv(entries[70:], 16)),
        parse_export("old.csv", ledgers_csv(entries[:80], 10)),
    ]
    assert bring_exports(desk, exports).imported == len(entries)
    assert desk.positions() == balances(desk)


def test_fills_brought_before_the_account_was_opened_are_counted_once(desk: Desk) -> None:
    entries = desk.books["desk"].entries
    bring(desk.engine, {desk.account_id(): entries[:7]})
    bring_file(desk, entries)
    assert desk.positions() == balances(desk)
    assert is_sound(desk)


def test_filtered_file_does_not_move_the_watermark(desk: Desk) -> None:
    desk.sync()
    books = desk.books["desk"]
    mark = desk.rows("select ledger_watermark from trading.accounts")
    grow(books, 3)
    bring_file(desk, [e for e in books.entries if e.key == BTC])
    assert desk.rows("select ledger_watermark from trading.accounts") == mark
    desk.sync()
    assert desk.run()["status"] == "succeeded"
    assert desk.positions() == balances(desk)
    assert {f["unexplained"] for f in desk.findings().values()} <= {Decimal(0)}


def test_file_of_one_asset_opens_an_account_and_leaves_the_proof_to_the_sync(desk: Desk) -> None:
    books = desk.books["desk"]
    bring_file(desk, [e for e in books.entries if e.key == BTC])
    assert desk.rows("select ledger_watermark from trading.accounts") == [{"ledger_watermark": 0}]
    desk.sync()
    assert desk.run()["status"] == "succeeded", desk.run()["error"]
    assert desk.positions() == balances(desk)
    assert {f["unexplained"] for f in desk.findings().values()} <= {Decimal(0)}
    assert is_sound(desk)


def test_position_that_somebody_changed_stays_visible(desk: Desk) -> None:
    desk.sync()
    books = desk.books["desk"]
    desk.execute("update trading.positions set quantity = quantity + 1 where asset = 'BTC'")
    grow(books, 1)
    bring_file(desk, books.entries)
    assert desk.positions()[BTC] == balances(desk)[BTC] + 1
    assert is_sound(desk)
    desk.sync()
    assert desk.findings()["BTC"]["database_drift"] == -1
    assert desk.positions() == balances(desk)


def test_import_is_one_transaction(desk: Desk) -> None:
    """What a killed import leaves behind is what others see before it commits: nothing."""
    seen: list[int] = []

    @sa.event.listens_for(desk.engine, "commit")
    def count(_: sa.Connection) -> None:
        with psycopg.connect(desk.url) as other:
            row = other.execute("select count(*) from trading.ledger_entries").fetchone()
            seen.append(row[0] if row else -1)

    bring_file(desk, desk.books["desk"].entries)
    assert seen == [0]
    transactions = desk.rows(
        "select xmin::text from trading.ledger_entries union select xmin::text from trading.positions"
        " union select xmin::text from trading.position_events union select xmin::text from trading.accounts"
    )
    assert len(transactions) == 1


def test_two_imports_at_the_same_time_lose_nothing(desk: Desk) -> None:
    entries = desk.books["desk"].entries
    failures: list[BaseException] = []

    def run() -> None:
        try:
            bring_file(desk, entries)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert desk.positions() == balances(desk)
    assert is_sound(desk)


# One recording was moved to the year 2031 by whoever published it.
SYNTHETIC_NOW = datetime(2032, 1, 1, tzinfo=UTC)
RECORDED = {
    "AlexanderLill__PP-Crypto-Parser/kraken_withdrawal.csv": 3,
    "Donearm__ledger/readme_ledgers.csv": 4,
    "guillevc__satfolio/overlap_a_subset.csv": 4,
    "zhaow-de__zcrypto-kraken/window-1-ledgers.csv": 31,
}


@pytest.mark.parametrize("file", RECORDED)
def test_recorded_exports_are_imported(desk: Desk, kraken_data_dir: Path, file: str) -> None:
    exports = read_exports(kraken_data_dir / file, SYNTHETIC_NOW)
    assert bring_exports(desk, exports).imported == RECORDED[file]
    assert is_sound(desk)
    assert bring_exports(desk, exports).imported == 0


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("guillevc__satfolio/overlap_a.csv", r"EUR: 572.9731 .*entry LENUN5-\S+ \(.*line 4.* entry L8MTZX-"),
        ("guillevc__satfolio/overlap_b.csv", r"is not accounted for between entry"),
        ("AlexanderLill__PP-Crypto-Parser/ledger_rows_from_process_ledger_test.csv", r"is not accounted for"),
        ("cclark25__kraken-taxes/test.csv", r"line 5: the id transaction2 stands on line 4"),
        ("OSadovy__uabean/ledgers.csv", r"line 3: time 2000-01-01T\S+ is before Kraken began"),
    ],
)  # fmt: skip
def test_recorded_exports_that_do_not_connect_are_refused(
    desk: Desk, kraken_data_dir: Path, file: str, reason: str
) -> None:
    with pytest.raises(ImportRefusedError, match=reason):
        bring_exports(desk, read_exports(kraken_data_dir / file))
    assert desk.rows("select * from trading.ledger_entries") == []


def test_recorded_trades_join_their_entries(desk: Desk, kraken_data_dir: Path) -> None:
    directory = kraken_data_dir / "zhaow-de__zcrypto-kraken"
    files = [directory / "window-1-ledgers.csv", directory / "window-1-trades.csv"]
    done = bring_exports(desk, [e for file in files for e in read_exports(file, SYNTHETIC_NOW)])
    assert done.trades == 12
    assert [(f.kind, f.txid, f.ledger_id) for f in done.findings] == [
        ("entry_missing", "TFX012-SYNTH-TRADES", "LFX101-SYNTH-LEDGER")
    ]


def test_recorded_trades_of_an_excerpt_say_which_entries_it_lacks(desk: Desk, kraken_data_dir: Path) -> None:
    directory = kraken_data_dir / "Donearm__ledger"
    files = [directory / "readme_ledgers.csv", directory / "readme_trades.csv"]
    done = bring_exports(desk, [export for file in files for export in read_exports(file)])
    assert [(f.kind, f.ledger_id) for f in done.findings] == [
        ("entry_missing", "LXEQNM-EZERP-JWXZBJ"),
        ("entry_missing", "L4PCMC-XQP4O-M7YKAT"),
        ("entry_missing", "LYOKCB-SNR2F-4VRKPU"),
    ]


def test_trades_of_which_no_entry_is_on_record_are_refused_alone(desk: Desk, kraken_data_dir: Path) -> None:
    with pytest.raises(ImportRefusedError, match=r"few-lines.csv is a trades export: .* Export Ledgers"):
        bring_exports(desk, read_exports(kraken_data_dir / "mihneasim__CryptoTaxation/few-lines.csv"))


def test_entries_of_an_unknown_kind_raise_an_alert(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "1", entry_type="moonshot")
    bring_file(desk, desk.books["desk"].entries)
    (alert,) = desk.rows("select kind, asset, message from trading.alerts")
    assert (alert["kind"], alert["asset"]) == ("unknown_entry_kind", "BTC")
    assert "moonshot" in alert["message"]
    bring_file(desk, desk.books["desk"].entries)
    assert desk.rows("select occurrences from trading.alerts") == [{"occurrences": 1}]

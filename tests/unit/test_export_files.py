"""Kraken's exports: every generation of the header is read, and nothing broken comes through."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desks.exports import LEDGER_HEADERS, ROW, TRADE_HEADERS, ledgers, trades, write_csv
from kraken_recon.errors import ConfigurationError, ImportRefusedError
from kraken_recon.history.rules.export_rows import LedgerExport, TradesExport
from kraken_recon.history.rules.match_trades import join_trade
from kraken_recon.kraken.export_files import parse_export, read_exports
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry

if TYPE_CHECKING:
    from pathlib import Path


def ledger(content: bytes) -> LedgerExport:
    export = parse_export("ledgers.csv", content)
    assert isinstance(export, LedgerExport)
    return export


def trade_list(content: bytes) -> TradesExport:
    export = parse_export("trades.csv", content)
    assert isinstance(export, TradesExport)
    return export


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("columns", LEDGER_HEADERS)
def test_every_generation_of_ledgers_is_read(columns: int, quoted: bool) -> None:  # noqa: FBT001
    export = ledger(ledgers({}, columns=columns, quoted=quoted))
    assert export.lines == (2,)
    assert export.entries == (
        LedgerEntry(
            "L1",
            "T1",
            datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC),
            "trade",
            "" if columns == 9 else "tradespot",
            "BTC",
            "spot",
            Decimal("-0.5"),
            Decimal("0.0001"),
            Decimal("1.4999"),
        ),
    )


@pytest.mark.parametrize("columns", TRADE_HEADERS)
def test_every_generation_of_trades_is_read(columns: int) -> None:
    export = trade_list(trades({}, columns=columns))
    assert export.trades[0].ledger_ids == ("L1", "L2")
    assert export.trades[0].time == datetime(2026, 1, 31, 12, 0, 5, 123400, tzinfo=UTC)
    assert (export.trades[0].volume, export.trades[0].cost) == (Decimal("0.5"), Decimal(20000))


@pytest.mark.parametrize(
    ("asset", "wallet", "holding"),
    [
        ("XXBT", "", HoldingKey("BTC", "spot")),
        ("ZEUR", "spot / main", HoldingKey("EUR", "spot")),
        ("ETH", "earn / flexible", HoldingKey("ETH", "flexible")),
        ("ETH", "earn / liquid", HoldingKey("ETH", "liquid")),
        ("DOT", "earn / bonded", HoldingKey("DOT", "bonded")),
        ("DOT", "earn / locked", HoldingKey("DOT", "locked")),
        ("DOT.S", "spot / main", HoldingKey("DOT", "S")),
        ("DOT28.S", "earn / bonded", HoldingKey("DOT", "28.S")),
    ],
)
def test_assets_and_wallets_are_named_as_they_are_known_here(
    asset: str, wallet: str, holding: HoldingKey
) -> None:
    assert ledger(ledgers({"asset": asset, "wallet": wallet})).entries[0].key == holding


def test_unknown_columns_a_byte_order_mark_and_another_column_order_are_tolerated() -> None:
    header = [*reversed(LEDGER_HEADERS[12].split()), "novelty"]
    content = write_csv(header, [[ROW.get(c, "?") for c in header]])
    assert ledger(b"\xef\xbb\xbf" + content).entries == ledger(ledgers({})).entries


def test_dash_is_zero_and_pending_rows_are_skipped() -> None:
    export = ledger(
        ledgers({"txid": "", "balance": "", "amount": "1", "type": "deposit"}, {"fee": "-", "balance": "1.5"})
    )
    assert (export.pending, export.lines) == (1, (3,))
    assert export.entries[0].fee == 0


def test_what_a_spreadsheet_or_a_joined_file_adds_is_no_row_and_no_column() -> None:
    content = ledgers({}).decode().strip().replace("\n", ",,\n") + ",\n"
    header = content.split("\n", 1)[0]
    export = ledger(f"\ufeff\ufeff\n{header.upper()}\n{content}{header}\n".encode())
    assert (export.pending, export.other_class, len(export.entries)) == (0, 0, 1)


@pytest.mark.parametrize("blank", ["", " ", "-", "N/A"])
@pytest.mark.parametrize("changes", [{"balance": "1"}, {"balance": "", "type": "trade"}])
def test_a_row_whose_id_was_blanked_is_refused(blank: str, changes: dict[str, str]) -> None:
    with pytest.raises(ImportRefusedError, match="line 2: no txid"):
        ledger(ledgers({"txid": blank, **changes}))


def test_rows_of_another_asset_class_are_counted_and_left_out() -> None:
    export = ledger(ledgers({"aclass": "tokenized_asset"}))
    assert (export.entries, export.other_class) == ((), 1)


@pytest.mark.parametrize(
    "empty", [b"\n", b",,,,,,,,,,,\n", b'"","","","","","","","","","","",""\n', b" , ,,,,,,,,,,\n"]
)
def test_rows_that_hold_nothing_are_no_rows(empty: bytes) -> None:
    export = ledger(ledgers({}) + empty + empty)
    assert (export.pending, export.lines) == (0, (2,))


@pytest.mark.parametrize(
    ("content", "was"),
    [
        ("txid,refid".encode("utf-16"), "UTF-16"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"\xd0\xcf\x11\xe0 ...", "an Excel workbook"),
    ],
)
def test_another_format_is_called_by_its_name(content: bytes, was: str) -> None:
    with pytest.raises(ImportRefusedError, match=f"^ledgers.csv: expected CSV, was {was}"):
        parse_export("ledgers.csv", content)


@pytest.mark.parametrize(
    ("content", "packed"),
    # The time that gzip notes would name the test otherwise in each worker that collects it.
    [
        (gzip.compress(b"txid", mtime=0), "gzip"),
        (lzma.compress(b"txid"), "xz"),
        (bz2.compress(b"txid"), "bzip2"),
    ],
)
def test_what_is_packed_otherwise_is_to_be_unpacked(content: bytes, packed: str) -> None:
    with pytest.raises(ImportRefusedError, match=f"^ledgers.csv: .*packed by {packed}: unpack it"):
        parse_export("ledgers.csv", content)


@pytest.mark.parametrize(
    ("columns", "row", "is_unplaced"),
    [
        (10, {"type": "earn"}, True),
        (12, {"type": "earn", "wallet": ""}, True),
        (12, {"type": "earn"}, False),
        (10, {"type": "earn", "asset": "DOT.S"}, False),
        (10, {}, False),
    ],
)
def test_earning_rows_that_do_not_say_their_wallet_are_named(
    columns: int,
    row: dict[str, str],
    is_unplaced: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert bool(ledger(ledgers(row, columns=columns)).unplaced) == is_unplaced


def test_a_file_named_after_its_period_is_found_in_the_zip(tmp_path: Path) -> None:
    file = tmp_path / "export.zip"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("kraken_spot_ledgers_2025-01-01-2025-12-31.csv", ledgers({}))
        archive.writestr("__MACOSX/._kraken_spot_ledgers.csv", b"junk")
    file.write_bytes(out.getvalue())
    assert [type(e) for e in read_exports(file)] == [LedgerExport]


def test_a_workbook_is_called_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "export.xlsx"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", b"")
    file.write_bytes(out.getvalue())
    with pytest.raises(ImportRefusedError, match="was an Excel workbook"):
        read_exports(file)


def test_same_row_twice_counts_once() -> None:
    assert len(ledger(ledgers({}, {})).entries) == 1


def test_header_alone_is_an_empty_export() -> None:
    assert ledger(ledgers()).entries == ()


def test_row_that_spans_lines_is_named_by_its_last_line() -> None:
    broken = ledgers({"subtype": "a\nb"}, {"amount": "x", "txid": "L2"})
    with pytest.raises(ImportRefusedError, match=r"^ledgers.csv, line 4: expected amount"):
        ledger(broken)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"amount": "1,5"}, "line 2: expected amount to be a decimal number, was '1,5'"),
        ({"amount": "1e5"}, "line 2: expected amount to be a decimal number"),
        ({"amount": "NaN"}, "line 2: expected amount to be a decimal number"),
        ({"amount": "\u0661"}, "line 2: expected amount to be a decimal number"),
        ({"fee": ""}, "line 2: expected fee to be a decimal number, was ''"),
        ({"balance": "0." + "1" * 19}, r"line 2: expected balance to be an amount of at most 20\+18 digits"),
        ({"time": "2026-01-31"}, "line 2: expected time to be a time such as"),
        ({"time": "2026-02-30 12:00:00"}, "line 2: expected time to be a time that exists"),
        ({"time": "2026-01-31 12:00:00+01:00"}, "line 2: expected time to be a time such as"),
        ({"amount": "1.2E-5"}, "line 2: .*a spreadsheet program may have rewritten the file"),
        ({"amount": "1,234.50"}, "line 2: .*a spreadsheet program may have rewritten the file"),
        ({"time": "31.01.2026 12:00"}, "line 2: .*a spreadsheet program may have rewritten the file"),
        ({"time": "2026-01-31 12:00"}, "line 2: .*a spreadsheet program may have rewritten the file"),
        ({"time": "2010-01-31 12:00:00"}, "line 2: time 2010-01-31T12:00:00.00:00 is before Kraken began"),
        ({"time": "2999-01-31 12:00:00"}, "line 2: time 2999-01-31T12:00:00.00:00 is after now"),
        ({"amount": "1" + "0" * 18}, "line 2: amount 10+ is more than there is of any asset"),
        ({"wallet": "futures"}, "line 2: expected wallet to be one of spot / main"),
        ({"asset": ""}, "line 2: expected asset to be a name"),
        ({"type": ""}, "line 2: expected type to be a name"),
        ({"aclass": ""}, "line 2: expected aclass to be a name"),
    ],
)
def test_broken_row_refuses_the_whole_file(row: dict[str, str], reason: str) -> None:
    with pytest.raises(ImportRefusedError, match=f"^ledgers.csv, {reason}"):
        ledger(ledgers(row, {"txid": "L2"}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "line 1: expected the header of Kraken's ledgers or trades export, was ''"),
        (b"a,b\n1,2\n", "line 1: expected the header of Kraken's ledgers or trades export, was 'a,b'"),
        (ledgers({}).replace(b"balance", b"remainder"), "line 1: the header lacks balance"),
        (ledgers({}).replace(b"wallet", b"asset"), "line 1: the header names a column twice"),
        (ledgers({}) + b'"L2","T2"\n', "line 3: expected 12 columns, was 2"),
        (ledgers({}).replace(b",", b";"), "line 1: its columns are separated by semicolons"),
        (ledgers({}, quoted=False).replace(b",", b"\t"), "line 1: its columns are separated by tabs"),
        (ledgers({"txid": "", "balance": "1"}, {}), "line 2: no txid, although Kraken gives every row"),
        (
            ledgers(*({"txid": "", "balance": "1"} for _ in range(3)), {}, {"txid": ""}),
            "lines 2-4, 6: no txid",
        ),
        (ledgers({}) + b'"L2"x,"', "line 3: expected CSV"),
        (ledgers({}) + b'"L\xff2"', "line 3: expected UTF-8, was the byte 0xff; a spreadsheet"),
        (ledgers({}, {"balance": "7"}), "line 3: the id L1 stands on line 2 with other content"),
    ],
)
def test_broken_file_is_refused_with_line_and_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ImportRefusedError, match=f"^ledgers.csv, {reason}"):
        parse_export("ledgers.csv", content)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"vol": "x"}, "line 3: expected vol to be a decimal number"),
        ({"type": "hold"}, "line 3: expected type to be buy or sell"),
        ({"txid": "T1", "vol": "2"}, "line 3: the id T1 stands on an earlier line with other content"),
    ],
)
def test_broken_trade_refuses_the_whole_file(row: dict[str, str], reason: str) -> None:
    with pytest.raises(ImportRefusedError, match=f"^trades.csv, {reason}"):
        trade_list(trades({}, {"txid": "T2"} | row))


def test_refusal_asks_for_a_person() -> None:
    assert issubclass(ImportRefusedError, ConfigurationError)
    assert not ImportRefusedError.retryable


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", ".").replace("__", "/"), content)
    return out.getvalue()


def test_zip_with_both_reports_is_read(tmp_path: Path) -> None:
    file = tmp_path / "export.zip"
    file.write_bytes(zipped(ledgers_csv=ledgers({}), trades_csv=trades({}), readme_txt=b"hello"))
    assert [type(e) for e in read_exports(file)] == [LedgerExport, TradesExport]
    assert [e.name for e in read_exports(file)] == ["export.zip:ledgers.csv", "export.zip:trades.csv"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped(readme_txt=b"hello"), "export.zip: expected ledgers.csv or trades.csv in the zip"),
        (zipped(ledgers_csv=ledgers({}))[:-30], "export.zip: the zip cannot be opened"),
        (zipped(ledgers_csv=ledgers({"fee": "?"})), "export.zip:ledgers.csv, line 2: expected fee"),
    ],
)
def test_broken_zip_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "export.zip"
    file.write_bytes(content)
    with pytest.raises(ImportRefusedError, match=f"^{reason}"):
        read_exports(file)


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefusedError, match="cannot be read"):
        read_exports(tmp_path / "nothing.csv")


def legs(**changes: dict[str, str]) -> dict[str, LedgerEntry]:
    rows = (
        {"txid": "L1"} | changes.get("base", {}),
        {"txid": "L2", "asset": "EUR", "amount": "20000.0000"} | changes.get("quote", {}),
    )
    return {entry.ledger_id: entry for entry in ledger(ledgers(*rows)).entries}


def test_trade_joins_its_entries() -> None:
    assert join_trade(trade_list(trades({})).trades[0], legs()) == []


@pytest.mark.parametrize(
    ("entries", "kind", "ledger_id"),
    [
        ({k: v for k, v in legs().items() if k == "L1"}, "entry_missing", "L2"),
        (legs(base={"refid": "T9"}), "entry_of_another_trade", "L1"),
        (legs(base={"amount": "-0.4999"}), "amount_differs", "L1"),
        (legs(quote={"amount": "19999.9999"}), "amount_differs", "L2"),
    ],
)
def test_what_does_not_join_is_a_finding(entries: dict[str, LedgerEntry], kind: str, ledger_id: str) -> None:
    found = join_trade(trade_list(trades({})).trades[0], entries)
    assert [(f.kind, f.txid, f.ledger_id) for f in found] == [(kind, "T1", ledger_id)]


def test_small_amounts_that_differ_are_told_in_plain_digits() -> None:
    trade = trade_list(trades({"vol": "0.00000003"})).trades[0]
    [found] = join_trade(trade, legs(base={"amount": "-0.0000000100"}))
    assert found.detail.startswith("volume 0.00000003 became 0.00000001 ")


def test_rounding_of_a_leg_is_no_finding() -> None:
    trade = trade_list(trades({"cost": "19999.99996"})).trades[0]
    assert join_trade(trade, legs()) == []


def test_trade_without_entries_is_a_finding() -> None:
    found = join_trade(trade_list(trades({"ledgers": ""})).trades[0], {})
    assert [f.kind for f in found] == ["names_no_entry"]

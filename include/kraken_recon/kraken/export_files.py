"""Kraken's own exports (``ledgers.csv``, ``trades.csv``, or a zip of them) into domain values, strictly.

Invariants:
1. Columns are found by name, so every generation of the header reads alike; columns that are not known here
   are ignored, columns that are needed and missing are named.
2. Anything that is not what Kraken writes raises ``ImportRefusedError`` with file, line and reason; a file
   never comes back smaller than it is.
3. Deposits and withdrawals with neither id nor balance are announced and never moved anything: they are
   skipped and counted. Rows and columns without anything are what spreadsheets add, and a header that comes
   again is where files were joined: they are no rows.
"""

from __future__ import annotations

import csv
import io
import lzma
import re
import struct
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kraken_recon.errors import ImportRefusedError
from kraken_recon.history.rules.export_rows import ExportedTrade, LedgerExport, TradesExport
from kraken_recon.ledger.asset_names import parse_kraken_code
from kraken_recon.ledger.entries import (
    NO_OPERATION,
    SPOT,
    WALLET_NAMES,
    HoldingKey,
    LedgerEntry,
    differences,
)
from kraken_recon.ledger.entry_kinds import ANNOUNCED_TYPES
from kraken_recon.ledger.plausible import implausible
from kraken_recon.plain_text import can_be_kept, visible
from kraken_recon.values.cycle_search import no_cycle_search
from kraken_recon.values.money import ZERO, parse_plain_amount

if TYPE_CHECKING:
    from _csv import Reader as CsvReader
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal
    from typing import NoReturn

LEDGER_COLUMNS: Final = ("txid", "refid", "time", "type", "aclass", "asset", "amount", "fee", "balance")
TRADE_COLUMNS: Final = (
    "txid", "ordertxid", "pair", "time", "type", "ordertype",
    "price", "cost", "fee", "vol", "margin", "ledgers",
)  # fmt: skip
TRADE_AMOUNTS: Final = ("price", "cost", "fee", "vol", "margin")
WALLETS: Final[Mapping[str, str]] = {
    "": SPOT,
    "spot / main": SPOT,
    **{f"earn / {name}": name for name in WALLET_NAMES},
}
SPREADSHEET: Final = (
    "; a spreadsheet program may have rewritten the file: export it again, and import it unopened"
)

DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
FORMATS: Final = {
    b"\xff\xfe": "UTF-16 text, as spreadsheet programs write it",
    b"\xfe\xff": "UTF-16 text, as spreadsheet programs write it",
    b"t\x00": "UTF-16 text, as spreadsheet programs write it",
    b'"\x00': "UTF-16 text, as spreadsheet programs write it",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
}
ARCHIVES: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?")
_SHOWN_CHARACTERS_MAX: Final = 40
_TEXT_CHARACTERS_MAX: Final = 500
_LIST_CHARACTERS_MAX: Final = 100_000
_UNPACKED_BYTES_MAX: Final = 2**30
# Whatever a damaged zip makes the library stumble over.
_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    RuntimeError,
    NotImplementedError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,
)
_RANGES_SHOWN_MAX: Final = 10
_MEMBERS: Final = ("ledgers.csv", "trades.csv")


class _Row:
    """One line of a file, with checked access to its cells."""

    def __init__(self, name: str, line: int, cells: Mapping[str, str]) -> None:
        self.name = name
        self.line = line
        self._cells = cells

    def refuse(self, column: str, expected: str, advice: str = "") -> NoReturn:
        was = repr(self._cells[column])[:_SHOWN_CHARACTERS_MAX]
        raise ImportRefusedError(
            f"{self.name}, line {self.line}: expected {column} to be {expected}, was {was}{advice}"
        )

    def text(self, column: str, characters_max: int = _TEXT_CHARACTERS_MAX) -> str:
        """Read a cell; a column that this generation lacks is empty."""
        text = self._cells.get(column, "")
        if not can_be_kept(text):
            self.refuse(column, "text that can be kept")
        if len(text) > characters_max:
            self.refuse(column, f"at most {characters_max} characters")
        return text

    def word(self, column: str) -> str:
        text = self.text(column)
        if not text or not text.isprintable():
            self.refuse(column, "a name")
        return text

    def amount(self, column: str) -> Decimal:
        text = self._cells[column]
        if text == "-":
            return ZERO
        try:
            amount = parse_plain_amount(text)
        except ValueError:
            self.refuse(column, "an amount of at most 20+18 digits")
        if amount is None:
            self.refuse(column, "a decimal number", SPREADSHEET if text else "")
        return amount

    def time(self) -> datetime:
        text = self._cells["time"]
        if not _TIME.fullmatch(text):
            self.refuse("time", "a time such as 2026-01-31 12:00:00", SPREADSHEET)
        try:
            return datetime.fromisoformat(f"{text}+00:00")
        except ValueError:
            self.refuse("time", "a time that exists")

    def holding(self) -> HoldingKey:
        """Read asset and wallet; a suffix of the asset's own name (``DOT.S``) says more than the column."""
        key = parse_kraken_code(self.word("asset"), self.text("aclass"))
        wallet = WALLETS.get(self.text("wallet").strip().lower())
        if wallet is None:
            self.refuse("wallet", f"one of {', '.join(w for w in WALLETS if w)}")
        return key if key.wallet != SPOT else HoldingKey(key.asset, wallet)


def read_exports(path: Path, now: datetime | None = None) -> list[LedgerExport | TradesExport]:
    """Read one file: a ledgers or trades export, or a zip that holds them; nothing in it is later than now.

    Raises:
        ImportRefusedError: with file, line and reason.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImportRefusedError(f"{path}: cannot be read ({reason})") from error
    # The name is kept with what was imported.
    name = visible(path.name)
    if not content.startswith(b"PK"):
        return [parse_export(name, content, now)]
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            listed = archive.infolist()
            if any(member.filename == "[Content_Types].xml" for member in listed):
                raise ImportRefusedError(
                    f"{name}: expected CSV, was an Excel workbook: choose CSV when you export"
                )
            members = [m for m in listed if Path(m.filename).name in _MEMBERS]
            # Newer exports name their files after report and period.
            members = members or [m for m in listed if _is_csv(Path(m.filename))]
            if sum(member.file_size for member in members) > _UNPACKED_BYTES_MAX:
                raise ImportRefusedError(f"{name}: holds more than a gibibyte; export a shorter time each")
            found = [(visible(f"{name}:{m.filename}"), archive.read(m)) for m in members]
    except _ZIP_ERRORS as error:
        raise ImportRefusedError(f"{name}: the zip cannot be opened ({error})") from error
    if not found:
        raise ImportRefusedError(f"{name}: expected ledgers.csv or trades.csv in the zip, found neither")
    return [parse_export(member, unpacked, now) for member, unpacked in found]


def _is_csv(member: Path) -> bool:
    is_hidden = any(part.startswith((".", "__")) for part in member.parts)
    return member.suffix.lower() == ".csv" and not is_hidden


@no_cycle_search()
def parse_export(name: str, content: bytes, now: datetime | None = None) -> LedgerExport | TradesExport:
    """Read one CSV; its header says which export it is.

    Raises:
        ImportRefusedError: with file, line and reason.
    """
    _refuse_other_formats(name, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ImportRefusedError(
            f"{name}, line {line}: expected UTF-8, was the byte 0x{content[error.start]:02x}{SPREADSHEET}"
        ) from error
    text = text.lstrip("\ufeff")
    _refuse_other_delimiters(name, text)
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = _rows(name, lines)
    try:
        header = next(rows, (0, []))[1]
        if "ordertxid" in header:
            _check_header(name, header, TRADE_COLUMNS)
            return _trades(name, header, rows)
        if "refid" in header or "balance" in header:
            _check_header(name, header, LEDGER_COLUMNS)
            return _ledger(name, header, rows, now or datetime.now(UTC))
    except csv.Error as error:
        raise ImportRefusedError(f"{name}, line {lines.line_num}: expected CSV ({error})") from error
    shown = text.strip().split("\n", 1)[0].strip()[:_SHOWN_CHARACTERS_MAX]
    raise ImportRefusedError(
        f"{name}, line 1: expected the header of Kraken's ledgers or trades export, was {shown!r}"
    )


def _refuse_other_delimiters(name: str, text: str) -> None:
    header = text.split("\n", 1)[0]
    if "txid" not in header or "," in header:
        return
    for delimiter, words in DELIMITERS.items():
        if delimiter in header:
            raise ImportRefusedError(
                f"{name}, line 1: its columns are separated by {words}, and Kraken's by commas{SPREADSHEET}"
            )


def _refuse_other_formats(name: str, content: bytes) -> None:
    for start, words in FORMATS.items():
        if content.startswith(start):
            raise ImportRefusedError(f"{name}: expected CSV, was {words}: choose CSV when you export")
    for start, packed in ARCHIVES.items():
        if content.startswith(start):
            raise ImportRefusedError(
                f"{name}: expected CSV or Kraken's zip, was a file packed by {packed}: unpack it first"
            )


def _rows(name: str, lines: CsvReader) -> Iterator[tuple[int, list[str]]]:
    """Yield the header and every row with its line number; all have as many cells as the header has names."""
    header: list[str] = []
    for cells in lines:
        line = lines.line_num
        if header and len(cells) == len(header) and cells[0].strip().lower() not in {"", header[0]}:
            # Neither blank nor the header again, as nearly every row.
            yield line, cells
            continue
        if not any(cell.strip() for cell in cells):
            continue
        named = [cell.strip().lower() for cell in cells]
        while not named[-1]:
            named.pop()
        if not header:
            header = named
            yield line, header
            continue
        width = len(header)
        if len(named) > width or len(cells) < width:
            raise ImportRefusedError(f"{name}, line {line}: expected {width} columns, was {len(cells)}")
        if named != header:
            yield line, cells[:width]


def _check_header(name: str, header: Sequence[str], needed: Sequence[str]) -> None:
    missing = [column for column in needed if column not in header]
    if missing:
        raise ImportRefusedError(f"{name}, line 1: the header lacks {', '.join(missing)}")
    if len(set(header)) != len(header):
        raise ImportRefusedError(f"{name}, line 1: the header names a column twice")


def _ledger(
    name: str, header: Sequence[str], rows: Iterator[tuple[int, list[str]]], now: datetime
) -> LedgerExport:
    entries: dict[str, LedgerEntry] = {}
    lines: list[int] = []
    pending = other_class = 0
    nameless: list[int] = []
    unplaced: set[str] = set()
    for line, cells in rows:
        row = _Row(name, line, dict(zip(header, cells, strict=True)))
        if row.text("txid").strip().lower() in NO_OPERATION:
            if row.text("balance") or row.text("type") not in ANNOUNCED_TYPES:
                nameless.append(line)
            pending += 1
        elif row.word("aclass") != "currency":
            other_class += 1
        else:
            entry = _entry(row, now)
            seen = entries.setdefault(entry.ledger_id, entry)
            if seen is entry:
                lines.append(line)
                if entry.entry_type == "earn" and entry.wallet == SPOT and not row.text("wallet"):
                    unplaced.add(entry.ledger_id)
            elif differing := differences(seen, entry):
                earlier = lines[list(entries).index(entry.ledger_id)]
                raise ImportRefusedError(
                    f"{name}, line {line}: the id {entry.ledger_id} stands on line {earlier} with other "
                    f"content: {differing[0][0]} {differing[0][1]} there, {differing[0][2]} here"
                )
    if nameless:
        raise ImportRefusedError(
            f"{name}, {_lines(nameless)}: no txid, although Kraken gives every row one but announced "
            "deposits and withdrawals, which have no balance either. Export the file again, unedited"
        )
    return LedgerExport(
        name, tuple(entries.values()), tuple(lines), pending, other_class, frozenset(unplaced)
    )


def _lines(numbers: Sequence[int]) -> str:
    """Write line numbers, those that follow each other as a range."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges[:_RANGES_SHOWN_MAX])
    more = ", and more" if len(ranges) > _RANGES_SHOWN_MAX else ""
    return f"line{'' if len(numbers) == 1 else 's'} {shown}{more}"


def _entry(row: _Row, now: datetime) -> LedgerEntry:
    key = row.holding()
    entry = LedgerEntry(
        ledger_id=row.word("txid"),
        refid=row.text("refid"),
        entry_time=row.time(),
        entry_type=row.word("type"),
        subtype=row.text("subtype"),
        asset=key.asset,
        wallet=key.wallet,
        amount=row.amount("amount"),
        fee=row.amount("fee"),
        balance=row.amount("balance"),
    )
    if wrong := implausible(entry, now):
        raise ImportRefusedError(f"{row.name}, line {row.line}: {wrong}")
    return entry


def _trades(name: str, header: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> TradesExport:
    trades: dict[str, ExportedTrade] = {}
    lines: list[int] = []
    for line, cells in rows:
        row = _Row(name, line, dict(zip(header, cells, strict=True)))
        trade = _trade(row)
        seen = trades.setdefault(trade.txid, trade)
        if seen is trade:
            lines.append(line)
        elif seen != trade:
            raise ImportRefusedError(
                f"{name}, line {line}: the id {trade.txid} stands on an earlier line with other content"
            )
    return TradesExport(name, tuple(trades.values()), tuple(lines))


def _trade(row: _Row) -> ExportedTrade:
    amounts = {column: row.amount(column) for column in TRADE_AMOUNTS}
    parts = row.text("ledgers", _LIST_CHARACTERS_MAX)
    side = row.word("type")
    if side not in {"buy", "sell"}:
        row.refuse("type", "buy or sell")
    return ExportedTrade(
        txid=row.word("txid"),
        pair=row.word("pair"),
        time=row.time(),
        side=side,
        volume=amounts["vol"],
        cost=amounts["cost"],
        margin=amounts["margin"],
        ledger_ids=tuple(i for part in parts.split(",") if (i := part.strip())),
    )

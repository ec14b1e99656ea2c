"""Kraken's own exports (``ledgers.csv``, ``trades.csv``, or a zip of them) into domain values, strictly.

Invariants:
1. Columns are found by name, so every generation of the header reads alike; columns that are not known here
   are ignored, columns that are needed and missing are named.
2. Anything that is not what Kraken writes raises ``ImportRefusedError`` with file, line and reason; a file
   never comes back smaller than it is.
3. Rows without an id announce a deposit or withdrawal and never moved anything: they are skipped and counted.
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

from kraken_recon.domain.assets import parse_kraken_code
from kraken_recon.domain.exports import ExportedTrade, LedgerExport, TradesExport
from kraken_recon.domain.ledger import SPOT, HoldingKey, LedgerEntry, is_same_line
from kraken_recon.domain.money import ZERO, parse_amount
from kraken_recon.errors import ImportRefusedError
from kraken_recon.plain_text import can_be_kept, visible

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
    "earn / flexible": "F",
    "earn / liquid": "F",
    "earn / bonded": "B",
    "earn / locked": "B",
}
"""The ``wallet`` column by the suffix that the API writes for the same wallet."""

_AMOUNT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
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
_MEMBERS: Final = ("ledgers.csv", "trades.csv")


class _Row:
    """One line of a file, with checked access to its cells."""

    def __init__(self, name: str, line: int, cells: Mapping[str, str]) -> None:
        self.name = name
        self.line = line
        self._cells = cells

    def refuse(self, column: str, expected: str) -> NoReturn:
        was = repr(self._cells[column])[:_SHOWN_CHARACTERS_MAX]
        raise ImportRefusedError(
            f"{self.name}, line {self.line}: expected {column} to be {expected}, was {was}"
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
        if not _AMOUNT.fullmatch(text):
            self.refuse(column, "a decimal number")
        try:
            return parse_amount(text)
        except ValueError:
            self.refuse(column, "an amount of at most 20+18 digits")

    def time(self) -> datetime:
        text = self._cells["time"]
        if not _TIME.fullmatch(text):
            self.refuse("time", "a time such as 2026-01-31 12:00:00")
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            self.refuse("time", "a time that exists")

    def holding(self) -> HoldingKey:
        """Read asset and wallet; a suffix of the asset's own name (``DOT.S``) says more than the column."""
        key = parse_kraken_code(self.word("asset"))
        wallet = WALLETS.get(self.text("wallet").strip().lower())
        if wallet is None:
            self.refuse("wallet", f"one of {', '.join(w for w in WALLETS if w)}")
        return key if key.wallet != SPOT else HoldingKey(key.asset, wallet)


def read_exports(path: Path) -> list[LedgerExport | TradesExport]:
    """Read one file: a ledgers or trades export, or a zip that holds them.

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
        return [parse_export(name, content)]
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [m for m in archive.infolist() if Path(m.filename).name in _MEMBERS]
            if sum(member.file_size for member in members) > _UNPACKED_BYTES_MAX:
                raise ImportRefusedError(f"{name}: holds more than a gibibyte; export a shorter time each")
            found = [(visible(f"{name}:{m.filename}"), archive.read(m)) for m in members]
    except _ZIP_ERRORS as error:
        raise ImportRefusedError(f"{name}: the zip cannot be opened ({error})") from error
    if not found:
        raise ImportRefusedError(f"{name}: expected ledgers.csv or trades.csv in the zip, found neither")
    return [parse_export(member, unpacked) for member, unpacked in found]


def parse_export(name: str, content: bytes) -> LedgerExport | TradesExport:
    """Read one CSV; its header says which export it is.

    Raises:
        ImportRefusedError: with file, line and reason.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ImportRefusedError(f"{name}, line {line}: expected UTF-8, was byte {error.start}") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = _rows(name, lines)
    try:
        header = next(rows, (0, []))[1]
        if "ordertxid" in header:
            _check_header(name, header, TRADE_COLUMNS)
            return _trades(name, header, rows)
        if "refid" in header or "balance" in header:
            _check_header(name, header, LEDGER_COLUMNS)
            return _ledger(name, header, rows)
    except csv.Error as error:
        raise ImportRefusedError(f"{name}, line {lines.line_num}: expected CSV ({error})") from error
    shown = ",".join(header)[:_SHOWN_CHARACTERS_MAX]
    raise ImportRefusedError(
        f"{name}, line 1: expected the header of Kraken's ledgers or trades export, was {shown!r}"
    )


def _rows(name: str, lines: CsvReader) -> Iterator[tuple[int, list[str]]]:
    """Yield every row with its line number; all have as many cells as the first."""
    width = 0
    for cells in lines:
        line = lines.line_num
        width = width or len(cells)
        if len(cells) != width:
            raise ImportRefusedError(f"{name}, line {line}: expected {width} columns, was {len(cells)}")
        yield line, cells


def _check_header(name: str, header: Sequence[str], needed: Sequence[str]) -> None:
    missing = [column for column in needed if column not in header]
    if missing:
        raise ImportRefusedError(f"{name}, line 1: the header lacks {', '.join(missing)}")
    if len(set(header)) != len(header):
        raise ImportRefusedError(f"{name}, line 1: the header names a column twice")


def _ledger(name: str, header: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> LedgerExport:
    entries: dict[str, LedgerEntry] = {}
    lines: list[int] = []
    pending = other_class = 0
    for line, cells in rows:
        row = _Row(name, line, dict(zip(header, cells, strict=True)))
        if not row.text("txid"):
            pending += 1
        elif row.word("aclass") != "currency":
            other_class += 1
        else:
            entry = _entry(row)
            seen = entries.setdefault(entry.ledger_id, entry)
            if seen is entry:
                lines.append(line)
            elif not is_same_line(seen, entry):
                earlier = lines[list(entries).index(entry.ledger_id)]
                raise ImportRefusedError(
                    f"{name}, line {line}: the id {entry.ledger_id} stands on line {earlier} with other "
                    "content"
                )
    return LedgerExport(name, tuple(entries.values()), tuple(lines), pending, other_class)


def _entry(row: _Row) -> LedgerEntry:
    key = row.holding()
    return LedgerEntry(
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

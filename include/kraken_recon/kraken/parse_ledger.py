"""Kraken's ledger as entries: the answers of ``Ledgers`` and ``QueryLedgers``.

An account's history is hundreds of thousands of rows, nearly all of them plain: a page of such rows is read
column by column. A page with any other row is read row by row, and only so is anything refused.

Invariant: where a page is read by columns, reading it row by row gives the same entries.
"""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.kraken.parse_account import (
    ABSENT,
    TEXT_CHARACTERS_MAX,
    UNIX_SECONDS_MAX,
    Reader,
    from_unix_seconds,
)
from kraken_recon.ledger.asset_names import parse_kraken_code
from kraken_recon.ledger.entries import LedgerEntry, LedgerPage, entries_of
from kraken_recon.values.money import INTEGER_DIGITS_MAX, SCALE_MAX, ZERO

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_COUNT_DIGITS_MAX: Final = 18
_COUNT_MAX: Final = 10**_COUNT_DIGITS_MAX
_NAMES_AND_TEXTS: Final = ("refid", "type", "subtype", "aclass", "asset")
_AMOUNTS: Final = ("amount", "fee", "balance")
_COLUMNS: Final = itemgetter("time", *_NAMES_AND_TEXTS, *_AMOUNTS)
# Lines that `Reader.text` accepts, and amounts that NUMERIC(38,18) holds just as they are written.
# No possessive groups: Python 3.11.2 takes "5." for an amount with them.
_PLAIN_LINES: Final = re.compile(rf"(?:[ -~]{{0,{TEXT_CHARACTERS_MAX}}}\n)*")
_PLAIN_AMOUNTS: Final = re.compile(rf"(?:-?[0-9]{{1,{INTEGER_DIGITS_MAX}}}(?:\.[0-9]{{1,{SCALE_MAX}}})?\n)*")


def parse_ledger_page(result: object, *, account: str = "") -> LedgerPage:
    """Read the result of ``Ledgers``."""
    read = Reader(account, "Ledgers")
    page = read.mapping(result, "result")
    return LedgerPage(
        entries=parse_ledger_entries(
            page.get("ledger", ABSENT), account=account, endpoint="Ledgers", field="result.ledger"
        ),
        count=_parse_count(read, page.get("count")),
    )


def parse_ledger_entries(
    result: object, *, account: str = "", endpoint: str = "QueryLedgers", field: str = "result"
) -> tuple[LedgerEntry, ...]:
    """Read a map of ledger ids to entries, in the order of the reply."""
    read = Reader(account, endpoint)
    rows = read.mapping(result, field)
    together = _read_columns(rows)
    if together is not None:
        return together
    return tuple(_parse_entry(read, name, row, f"{field}.{name}") for name, row in rows.items())


def _read_columns(rows: dict[str, Any]) -> tuple[LedgerEntry, ...] | None:
    """Read rows that are plain and have every field; None where any is anything else."""
    try:
        times, *others = zip(*map(_COLUMNS, rows.values()), strict=True)
        named, figures = (rows.keys(), *others[: len(_NAMES_AND_TEXTS)]), others[-len(_AMOUNTS) :]
        is_plain = _are_lines(named, _PLAIN_LINES) and _are_lines(figures, _PLAIN_AMOUNTS)
        is_timed = set(map(type, times)) == {Decimal} and ZERO < min(times) <= max(times) < UNIX_SECONDS_MAX
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return None
    ledger_ids, refids, types, subtypes, classes, codes = named
    if not (is_plain and is_timed and all(ledger_ids) and all(types) and all(codes)):
        return None
    assets, wallets = zip(*map(parse_kraken_code, codes, classes), strict=True)
    amounts = [map(Decimal, column) for column in figures]
    # The legs of a trade share their time.
    moments = {seconds: from_unix_seconds(seconds) for seconds in set(times)}
    known = [moments[seconds] for seconds in times]
    return entries_of(ledger_ids, refids, known, types, subtypes, assets, wallets, *amounts)


def _are_lines(columns: Sequence[Collection[str]], lines: re.Pattern[str]) -> bool:
    """Say whether each text is one of these lines; that none holds a line break is counted."""
    text = "\n".join((*chain.from_iterable(columns), ""))
    is_one_each = text.count("\n") == sum(map(len, columns))
    return is_one_each and lines.fullmatch(text) is not None


def _parse_entry(read: Reader, ledger_id: str, value: object, field: str) -> LedgerEntry:
    row = read.mapping(value, field)
    code = read.name(row.get("asset", ABSENT), (field, "asset"))
    key = parse_kraken_code(code, read.text(row.get("aclass", ""), (field, "aclass")))
    return LedgerEntry(
        ledger_id=read.name(ledger_id, "a ledger id"),
        refid=read.text(row.get("refid", ABSENT), (field, "refid")),
        entry_time=read.time(row.get("time", ABSENT), (field, "time")),
        entry_type=read.name(row.get("type", ABSENT), (field, "type")),
        # Replies of before 2019 have no subtype.
        subtype=read.text(row.get("subtype", ""), (field, "subtype")),
        asset=key.asset,
        wallet=key.wallet,
        amount=read.amount(row.get("amount", ABSENT), (field, "amount")),
        fee=read.amount(row.get("fee", ABSENT), (field, "fee")),
        balance=read.amount(row.get("balance", ABSENT), (field, "balance")),
    )


def _parse_count(read: Reader, value: object) -> int | None:
    """Read Kraken's count, which an old sample quotes; nothing is decided by it."""
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _COUNT_DIGITS_MAX:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _COUNT_MAX:
        read.refuse("result.count", "a whole number", value)
    return value

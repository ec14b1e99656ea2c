"""Kraken's books as values: holdings, ledger entries, and the chain that proves them complete.

Invariants:
1. An entry changes exactly one holding, by ``amount - fee``.
2. Within one holding every entry's ``balance`` is the previous balance plus its change
   (Kraken support 360001169383; exact on every real recording).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from kraken_recon.values.money import EXACT, format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable

SPOT: Final = "spot"
TOKENIZED: Final = "T"
"""The wallet of tokenized assets (``AAPLx.T``): a class of their own, with a ledger of their own."""
TRADED: Final = frozenset({SPOT, TOKENIZED})
"""The wallets from which is traded; all others earn."""
WITHDRAWN: Final = "withdrawn"
"""Our type of an entry that Kraken took back, as a person accepted."""
GAP: Final = "gap"
"""Our type of an entry that stands for what Kraken's ledger does not show, as a person accepted."""
AT_END: Final = "end"
"""Our subtype of such an entry after the last one: what Kraken's balance does not show any more."""
OURS: Final = frozenset({WITHDRAWN, GAP})
"""Types of entries that no reply of Kraken's has."""
WALLET_NAMES: Final = ("liquid", "bonded", "flexible", "locked")
"""Earning wallets as exports name them; their suffixes at the API are told by the API alone."""
_EARNING: Final = re.compile(rf"F|B|M|S|[0-9]{{2}}\.[SB]|{'|'.join(WALLET_NAMES)}")
NO_OPERATION: Final = frozenset(
    {
        *("", "-", "--", "---", "?", "??", "???", "0", "00", "000", "0.0"),
        *("<na>", "#n/a", "n/a", "n.a.", "na", "nan", "nat", "nil", "not available", "tbd", "false"),
        *("unknown", "(unknown)", "<unknown>", "none", "(none)", "<none>", "null", "(null)", "<null>"),
        *("undefined", "missing", "empty", "(empty)"),
    }
)
"""What stands for "no operation" in place of a ``refid``, in lower case: equality of these joins nothing.

Kraken wrote ``Unknown`` into the rows of its earn migration of 2023 and 2024."""


class HoldingKey(NamedTuple):
    """One asset in one wallet of an account, both by our normalised names."""

    asset: str
    wallet: str

    def __str__(self) -> str:
        return self.asset if self.wallet == SPOT else f"{self.asset}.{self.wallet}"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of Kraken's ledger; amounts in units of the asset, time in UTC."""

    ledger_id: str
    refid: str
    entry_time: datetime
    entry_type: str
    subtype: str
    asset: str
    wallet: str
    amount: Decimal
    fee: Decimal
    balance: Decimal

    @property
    def key(self) -> HoldingKey:
        """The holding that this entry changes."""
        return HoldingKey(self.asset, self.wallet)

    @property
    def kind(self) -> tuple[str, str]:
        """Its type and subtype, as `ledger.entry_kinds` knows them."""
        return self.entry_type, self.subtype

    @property
    def operation(self) -> str | None:
        """What Kraken calls the operation that the entry is a leg of; None where it names none."""
        return None if self.refid.strip().lower() in NO_OPERATION else self.refid

    @property
    def change(self) -> Decimal:
        """What the entry moves the holding by."""
        return EXACT.subtract(self.amount, self.fee)

    @property
    def balance_before(self) -> Decimal:
        """The running balance just before this entry."""
        return EXACT.subtract(self.balance, self.change)


_PLACES: Final = tuple(getattr(LedgerEntry, field.name) for field in fields(LedgerEntry))


def entries_of(*columns: Iterable[object]) -> tuple[LedgerEntry, ...]:
    """Make many entries of one column for each field, in half of the time that one by one would take.

    A frozen value is filled by a call for each of its fields; here one call fills a column.
    """
    ledger_ids = tuple(columns[0])
    made = tuple(map(LedgerEntry.__new__, repeat(LedgerEntry, len(ledger_ids))))
    for place, column in zip(_PLACES, (ledger_ids, *columns[1:]), strict=True):
        for _ in map(place.__set__, made, column):
            pass
    return made


def withdrawn(entry: LedgerEntry) -> LedgerEntry:
    """Write an entry as one that Kraken no longer shows: it stays on record, and moves nothing."""
    nothing = Decimal(0)
    return replace(entry, entry_type=WITHDRAWN, amount=nothing, fee=nothing, balance=entry.balance_before)


def filling(key: HoldingKey, before: LedgerEntry, missing: Decimal) -> LedgerEntry:
    """Write the entry that lets a chain connect just before one that does not."""
    return LedgerEntry(
        f"{GAP}-before-{before.ledger_id}", "", before.entry_time, GAP, "", key.asset, key.wallet,
        missing, Decimal(0), before.balance_before,
    )  # fmt: skip


def ending(key: HoldingKey, last: str, at: datetime, quantity: Decimal) -> LedgerEntry:
    """Write the entry that takes what Kraken does not show any more from the end of a chain."""
    return LedgerEntry(
        f"{GAP}-after-{last}-{key}", "", at, GAP, AT_END, key.asset, key.wallet,
        EXACT.minus(quantity), Decimal(0), Decimal(0),
    )  # fmt: skip


def differences(one: LedgerEntry, other: LedgerEntry) -> list[tuple[str, str, str]]:
    """Name the fields in which two tellings of an entry contradict each other, with both values.

    One of them may come from an export: exports cut times to whole seconds, the oldest have no subtype, and
    they name earning wallets by words where the API has a suffix.
    """
    told: list[tuple[str, object, object]] = [
        ("id", one.ledger_id, other.ledger_id),
        ("refid", one.refid, other.refid),
        ("type", one.entry_type, other.entry_type),
        ("asset", one.asset, other.asset),
        *((name, getattr(one, name), getattr(other, name)) for name in ("amount", "fee", "balance")),
    ]
    if one.subtype and other.subtype:
        told.append(("subtype", one.subtype, other.subtype))
    if not is_same_wallet(one.wallet, other.wallet):
        told.append(("wallet", one.wallet, other.wallet))
    if not _is_same_time(one.entry_time, other.entry_time):
        told.append(("time", one.entry_time, other.entry_time))
    return [(name, _written(mine), _written(theirs)) for name, mine, theirs in told if mine != theirs]


def is_same_line(one: LedgerEntry, other: LedgerEntry) -> bool:
    """Say whether two tellings of an entry agree, where one may come from an export."""
    return not differences(one, other)


def is_same_wallet(one: str, other: str) -> bool:
    """Say whether two names may be of one wallet: all that earn are spelled in several ways."""
    return one == other or (_EARNING.fullmatch(one) is not None and _EARNING.fullmatch(other) is not None)


def _written(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return format_amount(value) if isinstance(value, Decimal) else str(value)


def _is_same_time(one: datetime, other: datetime) -> bool:
    is_cut = not (one.microsecond and other.microsecond)
    return one == other or (is_cut and one.replace(microsecond=0) == other.replace(microsecond=0))


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """One answer of ``Ledgers``: entries in no promised order, and Kraken's own count if it gave one."""

    entries: tuple[LedgerEntry, ...]
    count: int | None


@dataclass(frozen=True, slots=True)
class Balance:
    """What ``BalanceEx`` says of one holding, in units of the asset."""

    balance: Decimal
    hold_trade: Decimal
    credit: Decimal
    credit_used: Decimal

    @property
    def available(self) -> Decimal:
        """Kraken's rule: balance + credit - credit_used - hold_trade; signed, never clamped."""
        if not (self.hold_trade or self.credit or self.credit_used):
            # So it is of nearly every holding, of which a run reads tens of thousands.
            return self.balance
        granted = EXACT.add(self.balance, self.credit)
        return EXACT.subtract(granted, EXACT.add(self.credit_used, self.hold_trade))

"""Kraken's books as values: holdings, ledger entries, and the chain that proves them complete.

Invariants:
1. An entry changes exactly one holding, by ``amount - fee``.
2. Within one holding every entry's ``balance`` is the previous balance plus its change
   (Kraken support 360001169383; exact on every real recording).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from kraken_recon.domain.money import EXACT

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

SPOT: Final = "spot"
NO_OPERATION: Final = frozenset(
    {"", "-", "0", "unknown", "none", "null", "nil", "nan", "n/a", "na", "undefined"}
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


def is_same_line(one: LedgerEntry, other: LedgerEntry) -> bool:
    """Say whether two tellings of an entry agree, where one may come from an export.

    Exports cut times to whole seconds, and the oldest ones have no subtype.
    """
    return (
        one.ledger_id == other.ledger_id
        and one.refid == other.refid
        and one.entry_type == other.entry_type
        and one.key == other.key
        and (one.amount, one.fee, one.balance) == (other.amount, other.fee, other.balance)
        and (one.subtype == other.subtype or not (one.subtype and other.subtype))
        and _is_same_time(one.entry_time, other.entry_time)
    )


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
        granted = EXACT.add(self.balance, self.credit)
        return EXACT.subtract(granted, EXACT.add(self.credit_used, self.hold_trade))

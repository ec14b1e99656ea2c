"""Prove that a stretch of one holding's ledger is complete.

Invariants:
1. Every entry appears once in the proved order, and times never fall along it.
2. Each entry starts from the balance that the entry before it left behind; a break is named by its
   neighbours and never skipped.

Entries that share a timestamp carry no order of their own (Kraken's replies are unordered maps), so the
balances decide: the entries of one instant are edges between balances, and the order is a walk that uses
every edge once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from kraken_recon.values.cycle_search import no_cycle_search
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry

_ENTRY_TIME: Final = attrgetter("entry_time")
_LEDGER_ID: Final = attrgetter("ledger_id")


@dataclass(frozen=True, slots=True)
class Gap:
    """A place where the books do not connect.

    ``missing`` is the change that would connect them, in units of the asset. ``after`` is None where the
    stretch does not connect to what was known before it, ``before`` where it does not lead to what was.
    """

    key: HoldingKey
    after: LedgerEntry | None
    before: LedgerEntry | None
    missing: Decimal

    def __str__(self) -> str:
        previous = f"entry {self.after.ledger_id}" if self.after else "the entries already known"
        following = f"entry {self.before.ledger_id}" if self.before else "the opening on record"
        return (
            f"{self.key}: {format_amount(self.missing)} is not accounted for between {previous} "
            f"and {following}"
        )

    @property
    def noticed_at(self) -> datetime:
        """When the books stopped connecting."""
        return max(entry.entry_time for entry in (self.after, self.before) if entry)


@dataclass(frozen=True, slots=True)
class Chain:
    """One holding's entries in proved order, and where they do not connect."""

    key: HoldingKey
    entries: tuple[LedgerEntry, ...]
    opening: Decimal
    gaps: tuple[Gap, ...]


def _walk(entries: Sequence[LedgerEntry], start: Decimal) -> list[LedgerEntry] | None:
    """Order entries of one instant so that each starts where the last one ended, using all (Hierholzer)."""
    leaving: dict[Decimal, list[LedgerEntry]] = defaultdict(list)
    for entry in reversed(entries):
        leaving[entry.balance_before].append(entry)
    path: list[LedgerEntry] = []
    stack: list[tuple[Decimal, LedgerEntry | None]] = [(start, None)]
    while stack:
        balance, arrived_by = stack[-1]
        if leaving[balance]:
            chosen = leaving[balance].pop()
            stack.append((chosen.balance, chosen))
        else:
            stack.pop()
            if arrived_by is not None:
                path.append(arrived_by)
    path.reverse()
    connected = all(a.balance == b.balance_before for a, b in pairwise(path))
    return path if len(path) == len(entries) and connected and path[0].balance_before == start else None


def _possible_starts(entries: Sequence[LedgerEntry]) -> set[Decimal]:
    """Find where a walk over these entries may begin: the balance that is left more often than reached.

    Entries that lead back to where they began may begin at any of their balances.
    """
    surplus: dict[Decimal, int] = defaultdict(int)
    for entry in entries:
        surplus[entry.balance_before] += 1
        surplus[entry.balance] -= 1
    return {b for b, n in surplus.items() if n > 0} or set(surplus)


def _opening(instants: Sequence[Sequence[LedgerEntry]]) -> Decimal:
    """Choose the balance before the first entry so that the entries after its instant connect, if any can.

    Where several do, an account that begins at zero is the likeliest.
    """
    starts = _possible_starts(instants[0])
    for earlier, later in pairwise(instants):
        leads_back = sum(entry.change for entry in earlier) == ZERO
        still_possible = starts & _possible_starts(later)
        if not leads_back or not still_possible:
            break
        starts = still_possible
    return ZERO if ZERO in starts else min(starts)


def _continue(current: Decimal, instant: Sequence[LedgerEntry]) -> Sequence[LedgerEntry]:
    """Order one instant's entries from ``current`` on, as far as they connect; the rest in a stable order."""
    if len(instant) == 1:
        return instant
    whole = _walk(instant, current)
    if whole is None:
        whole = _walk(instant, min(_possible_starts(instant)))
    return whole if whole is not None else sorted(instant, key=lambda entry: entry.ledger_id)


@exact_arithmetic()
@no_cycle_search()
def prove_chain(key: HoldingKey, entries: Iterable[LedgerEntry], *, known_balance: Decimal | None) -> Chain:
    """Order one holding's entries by time and balance, and name every gap.

    Args:
        key: the holding.
        entries: distinct entries of that holding, in any order.
        known_balance: the balance just before the first of them, or None where nothing is known: then the
            first entry itself says it.
    """
    in_time = groupby(sorted(entries, key=_ENTRY_TIME), key=_ENTRY_TIME)
    instants = [sorted(group, key=_LEDGER_ID) for _, group in in_time]
    if not instants:
        raise ValueError(f"expected entries of {key}, was none")
    opening = known_balance if known_balance is not None else _opening(instants)
    current, last = opening, None
    ordered: list[LedgerEntry] = []
    gaps: list[Gap] = []
    for instant in instants:
        for entry in _continue(current, instant):
            if entry.balance_before != current:
                gaps.append(Gap(key, last, entry, entry.balance_before - current))
            ordered.append(entry)
            current, last = entry.balance, entry
    return Chain(key, tuple(ordered), opening, tuple(gaps))


def in_chain_order(entries: Iterable[LedgerEntry]) -> dict[HoldingKey, tuple[LedgerEntry, ...]]:
    """Group entries by the holding they change, each group in the order that the balances prove."""
    return {
        key: prove_chain(key, of, known_balance=None).entries if len(of) > 1 else tuple(of)
        for key, of in by_holding(entries).items()
    }


def by_holding(entries: Iterable[LedgerEntry]) -> dict[HoldingKey, list[LedgerEntry]]:
    """Group entries by the holding they change, in the order of the holdings' names."""
    groups: dict[HoldingKey, list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        groups[entry.key].append(entry)
    return dict(sorted(groups.items()))

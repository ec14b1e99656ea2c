"""Which entries are legs of one operation, and what lies in a product of Kraken's that has books of its own.

Entries belong together under one ``refid``, as the legs of one conversion, or, where Kraken names no
operation (the earn migration of 2023 and 2024), at one time with amounts that cancel.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.conversions import Conversion, conversions
from kraken_recon.ledger.entry_kinds import LONE_TYPES, PLACES, kind_of
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import LedgerEntry


IN_THE_APP: Final = frozenset({"spend", "receive"})


@dataclass(frozen=True, slots=True)
class EntryGroup:
    """Entries of one operation: the legs of a trade, or a withdrawal and its reversal.

    ``conversion`` names a conversion of which these are one side, where the other is at another time.
    """

    refid: str
    effective_at: datetime
    entries: tuple[LedgerEntry, ...]
    conversion: str | None = None


def place_of(entry: LedgerEntry) -> str | None:
    """Say where an entry carries money to or from, outside of what is reconciled here."""
    return PLACES.get(entry.entry_type) or (PLACES.get(kind_of(entry)) if entry.subtype else None)


def moved_elsewhere(entries: Sequence[LedgerEntry]) -> tuple[str, dict[str, Decimal]] | None:
    """Say what one operation brings to (positive) or from a place elsewhere, by asset, before fees.

    None where it does not, or brings an asset from one wallet of the account to another.
    """
    place = place_of(entries[0])
    if place is None or any(place_of(entry) != place for entry in entries):
        return None
    amounts: dict[str, Decimal] = defaultdict(lambda: ZERO)
    with exact_arithmetic():
        for entry in entries:
            amounts[entry.asset] -= entry.amount
    return (place, dict(amounts)) if any(amounts.values()) else None


@exact_arithmetic()
def lying_elsewhere(entries: Iterable[LedgerEntry]) -> dict[tuple[str, str], Decimal]:
    """Sum, by place and asset, what went there and did not come back; more than went never comes from it."""
    lying: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
    for group in in_time(entry for entry in entries if place_of(entry)):
        moved = moved_elsewhere(group.entries)
        if moved is not None:
            place, amounts = moved
            for asset, amount in amounts.items():
                lying[place, asset] = max(ZERO, lying[place, asset] + amount)
    return {where: quantity for where, quantity in sorted(lying.items()) if quantity}


@exact_arithmetic()
def lacks_a_leg(entries: Iterable[LedgerEntry]) -> bool:
    """Say whether something was bought or sold in the app for nothing that these entries show.

    So it looks where the other leg is in the ledger of tokenized assets; legs that settle between two others
    cancel. A trade on a market may really have one leg, where Kraken rounded the other to nothing.
    """
    changes: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(lambda: ZERO))
    for entry in entries:
        if entry.entry_type in IN_THE_APP and entry.operation:
            changes[entry.operation][entry.asset] += entry.amount
    signs = ({amount > ZERO for amount in of.values() if amount} for of in changes.values())
    return any(len(found) == 1 for found in signs)


@exact_arithmetic()
def in_time(entries: Iterable[LedgerEntry]) -> list[EntryGroup]:
    """Group entries that belong together, each group at the time of its first entry."""
    listed = list(entries)
    found = conversions(listed)
    named = {leg.ledger_id: one.name for one in found for leg in one.legs} | _unnamed_pairs(listed)
    by_name: dict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in listed:
        own = None if entry.entry_type in LONE_TYPES else named.get(entry.ledger_id, entry.operation)
        by_name[own or entry.ledger_id].append(entry)
    apart = {one.name: one for one in found if one.comes_later}
    groups = [
        EntryGroup(name, min([entry.entry_time for entry in legs]), tuple(legs))
        for name, legs in by_name.items()
        if name not in apart
    ]
    groups += [side for one in apart.values() for side in _sides(one)]
    return sorted(groups, key=lambda group: (group.effective_at, group.refid))


def _sides(conversion: Conversion) -> list[EntryGroup]:
    """Part a conversion into groups of one entry each: what comes later is not held before it comes."""
    return [
        EntryGroup(leg.operation or leg.ledger_id, leg.entry_time, (leg,), conversion.name)
        for leg in conversion.legs
    ]


def _unnamed_pairs(entries: Iterable[LedgerEntry]) -> dict[str, str]:
    """Name the operations that Kraken left without a name: one second, one asset, amounts that cancel."""
    together: dict[tuple[datetime, str, str], list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        if entry.operation is None and entry.amount:
            second = entry.entry_time.replace(microsecond=0)
            together[second, entry.entry_type, entry.asset].append(entry)
    named: dict[str, str] = {}
    for legs in together.values():
        legs.sort(key=lambda entry: entry.ledger_id)
        if not sum(leg.amount for leg in legs):
            named |= {leg.ledger_id: legs[0].ledger_id for leg in legs}
            continue
        waiting: dict[Decimal, list[LedgerEntry]] = defaultdict(list)
        for leg in legs:
            if waiting[-leg.amount]:
                other = waiting[-leg.amount].pop(0)
                named |= {leg.ledger_id: other.ledger_id, other.ledger_id: other.ledger_id}
            else:
                waiting[leg.amount].append(leg)
    return named

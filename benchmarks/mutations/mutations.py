"""Every way to damage one row of a sound ledger, and whether the damage leaves a trace in the books."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.ledger.entries import SPOT, HoldingKey, LedgerEntry
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from benchmarks.mutations.sound_ledgers import SoundLedger


@dataclass(frozen=True, slots=True)
class Mutant:
    """A ledger with one damage.

    ``places`` are the ids of the damaged rows and of their direct neighbours in the true chain; ``holdings``
    are those that the damage touches.
    """

    kind: str
    entries: tuple[LedgerEntry, ...]
    places: frozenset[str]
    holdings: frozenset[HoldingKey]


@dataclass(frozen=True, slots=True)
class _Site:
    """One row in its place: its chain, and the row after it there, if any."""

    ledger: SoundLedger
    chain: Sequence[LedgerEntry]
    place: int

    @property
    def row(self) -> LedgerEntry:
        return self.chain[self.place]

    @property
    def follower(self) -> LedgerEntry | None:
        return self.chain[self.place + 1] if self.place + 1 < len(self.chain) else None

    def around(self, rows: int) -> frozenset[str]:
        """Name so many rows from here on, and their direct neighbours."""
        return frozenset(e.ledger_id for e in self.chain[max(0, self.place - 1) : self.place + rows + 1])


Replacements = dict[str, tuple[LedgerEntry, ...]]


def _last_digit(value: Decimal) -> Decimal:
    text = format(value, "f")
    return type(value)(text[:-1] + str((int(text[-1]) + 1) % 10))


def _changed(**attributes: Callable[[_Site], Any]) -> Callable[[_Site], Replacements]:
    def change(site: _Site) -> Replacements:
        values = {name: make(site) for name, make in attributes.items()}
        return {site.row.ledger_id: (replace(site.row, **values),)}

    return change


def _deleted(site: _Site) -> Replacements:
    return {site.row.ledger_id: ()}


def _duplicated(site: _Site) -> Replacements:
    return {site.row.ledger_id: (site.row, replace(site.row, ledger_id=f"{site.row.ledger_id}-COPY"))}


def _swapped(*names: str) -> Callable[[_Site], Replacements]:
    def change(site: _Site) -> Replacements:
        row, other = site.row, site.follower
        if other is None:
            return {}
        there: dict[str, Any] = {name: getattr(other, name) for name in names}
        here: dict[str, Any] = {name: getattr(row, name) for name in names}
        return {row.ledger_id: (replace(row, **there),), other.ledger_id: (replace(other, **here),)}

    return change


def _other_asset(site: _Site) -> str:
    assets = sorted({entry.asset for entry in site.ledger.entries})
    return assets[(assets.index(site.row.asset) + 1) % len(assets)]


def _other_wallet(site: _Site) -> str:
    return "F" if site.row.wallet == SPOT else SPOT


KINDS: Final[dict[str, Callable[[_Site], Replacements]]] = {
    "row deleted": _deleted,
    "row duplicated under a new id": _duplicated,
    "sign of the amount turned": _changed(amount=lambda site: -site.row.amount),
    "last digit of the amount altered": _changed(amount=lambda site: _last_digit(site.row.amount)),
    "last digit of the fee altered": _changed(fee=lambda site: _last_digit(site.row.fee)),
    "last digit of the balance altered": _changed(balance=lambda site: _last_digit(site.row.balance)),
    "row moved to another asset": _changed(asset=_other_asset),
    "row moved to another wallet": _changed(wallet=_other_wallet),
    "amounts and fees of neighbours swapped": _swapped("amount", "fee"),
    "balances of neighbours swapped": _swapped("balance"),
    "times of neighbours swapped": _swapped("entry_time"),
}
TWO_ROWS: Final = 2


def mutants(ledger: SoundLedger, kind: str) -> Iterator[Mutant | None]:
    """Damage every row in turn; None where nothing changes (the sign of zero, equal neighbours)."""
    for chain in ledger.chains.values():
        for place in range(len(chain)):
            site = _Site(ledger, chain, place)
            with exact_arithmetic():
                replacements = KINDS[kind](site)
            if not replacements and site.follower is None:
                continue  # the newest row has no neighbour after it to swap with
            yield _mutant(kind, site, replacements)


def _mutant(kind: str, site: _Site, replacements: Replacements) -> Mutant | None:
    entries = tuple(
        new for entry in site.ledger.entries for new in replacements.get(entry.ledger_id, (entry,))
    )
    if entries == site.ledger.entries:
        return None
    copies = {new.ledger_id for rows in replacements.values() for new in rows}
    return Mutant(
        kind,
        entries,
        site.around(TWO_ROWS if len(replacements) == TWO_ROWS else 1) | copies,
        frozenset({site.row.key, *(new.key for rows in replacements.values() for new in rows)}),
    )


# --- does the damage leave a trace? -----------------------------------------------------------------------


def _endings(entries: Sequence[LedgerEntry], start: Decimal) -> bool:
    """Say whether entries of one instant can follow each other from ``start`` on, by trying every order."""
    if not entries:
        return True
    return any(
        entry.balance_before == start and _endings([*entries[:place], *entries[place + 1 :]], entry.balance)
        for place, entry in enumerate(entries)
    )


def _connects(entries: Sequence[LedgerEntry], opening: Decimal, balance: Decimal) -> bool:
    current = opening
    for _, group in groupby(sorted(entries, key=lambda e: e.entry_time), key=lambda e: e.entry_time):
        instant = list(group)
        if not _endings(instant, current):
            return False
        current += sum((entry.change for entry in instant), ZERO)
    return current == balance


@exact_arithmetic()
def leaves_no_trace(ledger: SoundLedger, mutant: Mutant, *, openings_are_known: bool) -> bool:
    """Say whether the damaged books are as consistent as sound ones, so that nothing could tell them apart.

    Decided by trying every order of every instant, without any of the product's chain logic. Where the
    openings are not known, any opening will do.
    """
    by_key: dict[HoldingKey, list[LedgerEntry]] = defaultdict(list)
    for entry in mutant.entries:
        if entry.key in mutant.holdings:
            by_key[entry.key].append(entry)
    for key in mutant.holdings:
        balance = ledger.balances.get(key, ZERO)
        entries = by_key[key]
        openings = [ledger.openings.get(key, ZERO)]
        if not openings_are_known:
            first = min((e.entry_time for e in entries), default=None)
            openings = [e.balance_before for e in entries if e.entry_time == first] or [balance]
        if not any(_connects(entries, opening, balance) for opening in openings):
            return False
    return True

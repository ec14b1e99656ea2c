"""Find the legs of a conversion that Kraken wrote under a ``refid`` each.

Renames and delistings (``adjustment``, ``delistingconversion``), the staking of before 2023 (ether became
``ETH2``) and the earn migration after it give one asset and bring another, and nothing in the entries joins
them. Legs are taken for one conversion only where their quantities, a known succession of assets, or, close
together, the lack of any other candidate says so: a cost is never guessed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.entry_kinds import CONVERSIONS, RENAMES, SWAPS
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kraken_recon.ledger.entries import LedgerEntry

CONVERSION_GAP: Final = timedelta(minutes=1)
"""How far apart two legs may be that nothing but their time joins; recorded ones were 7 seconds apart."""
RENAME_GAP: Final = timedelta(days=30)
"""How far apart the legs of a rename may be where quantity or succession joins them."""
SUCCESSORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AGIX": "FET",
        "EOS": "A",
        "ETH2": "ETH",
        "FTM": "S",
        "GAL": "G",
        "KLAY": "KAIA",
        "LUNA": "LUNC",
        "MATIC": "POL",
        "MC": "BEAM",
        "MKR": "SKY",
        "OCEAN": "FET",
        "REP": "REPV2",
        "RNDR": "RENDER",
        "TOMO": "VIC",
        "UST": "USTC",
    }
)
"""What an asset was turned into by its own project; at whatever rate."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """Legs that are one conversion under ``name``; ``ids`` are the ledger ids of all of them."""

    name: str
    legs: tuple[LedgerEntry, ...]

    @property
    def received(self) -> tuple[LedgerEntry, ...]:
        """The legs that came in."""
        return tuple(leg for leg in self.legs if leg.amount > ZERO)

    @property
    def comes_later(self) -> bool:
        """Say whether what was received came alone, and well after the last that was given."""
        if len(self.received) != 1:
            return False
        (received,) = self.received
        last = max(leg.entry_time for leg in self.legs if leg is not received)
        return received.entry_time - last > CONVERSION_GAP


@exact_arithmetic()
def conversions(entries: Iterable[LedgerEntry]) -> list[Conversion]:
    """Join the legs that have no other leg under their own ``refid``."""
    legs = _lone_legs(entries, CONVERSIONS)
    return _Pairing(legs).run() if legs else []


def unpaired_legs(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Pick the legs of renames whose other leg is not on record, or not certain; their cost is unknown."""
    listed = list(entries)
    paired = {leg.ledger_id for found in conversions(listed) for leg in found.legs}
    return [leg for leg in _lone_legs(listed, RENAMES) if leg.ledger_id not in paired]


def _lone_legs(entries: Iterable[LedgerEntry], kinds: frozenset[tuple[str, str]]) -> list[LedgerEntry]:
    listed = list(entries)
    converted = [entry for entry in listed if entry.kind in kinds and entry.amount]
    if not converted:
        return []
    under = Counter(entry.operation for entry in listed)
    legs = [entry for entry in converted if entry.operation is None or under[entry.operation] == 1]
    return sorted(legs, key=lambda entry: (entry.entry_time, entry.ledger_id))


class _Pairing:
    """The legs of conversions while they are joined, the most certain first."""

    def __init__(self, legs: Sequence[LedgerEntry]) -> None:
        self._legs = legs
        self._open = {leg.ledger_id for leg in legs}
        self._found: list[Conversion] = []

    def run(self) -> list[Conversion]:
        """Join by equal quantity, near and then far; by being alone, near; and by succession, far."""
        near, far = self._partners(CONVERSION_GAP), self._partners(RENAME_GAP, RENAMES)
        for partners in (near, far):
            self._join_equal(partners)
        for leg in self._legs:
            others = near[leg.ledger_id]
            if len(others) == 1 and near[others[0].ledger_id] == [leg] and not _is_swap(leg):
                self._join(leg, others[0])
        self._join_successions()
        return self._found

    def _partners(
        self, gap: timedelta, kinds: frozenset[tuple[str, str]] = CONVERSIONS
    ) -> dict[str, list[LedgerEntry]]:
        """List, by leg, the others that may belong to it; nearest first."""
        partners: dict[str, list[LedgerEntry]] = defaultdict(list)
        legs = [leg for leg in self._legs if leg.kind in kinds]
        for place, leg in enumerate(legs):
            for other in legs[place + 1 :]:
                if other.entry_time - leg.entry_time > gap:
                    break
                if _may_belong_together(leg, other):
                    partners[leg.ledger_id].append(other)
                    partners[other.ledger_id].append(leg)
        for leg in legs:
            partners[leg.ledger_id].sort(key=lambda other, leg=leg: abs(other.entry_time - leg.entry_time))  # type: ignore[misc]
        return partners

    def _join_equal(self, partners: Mapping[str, Sequence[LedgerEntry]]) -> None:
        """Join legs of equal quantity; several are told apart only if they are of several assets."""

        def equal(leg: LedgerEntry) -> list[LedgerEntry]:
            others = partners[leg.ledger_id]
            return [o for o in others if o.ledger_id in self._open and o.amount == -leg.amount]

        for leg in self._legs:
            others = equal(leg) if leg.ledger_id in self._open else []
            if len({o.asset for o in others}) == 1 and len({o.asset for o in equal(others[0])}) == 1:
                self._join(leg, others[0])

    def _join_successions(self) -> None:
        """Join all that is left of an asset with all that is left of its successor, if nothing is over."""
        for old, new in SUCCESSORS.items():
            rivals = {other for other, into in SUCCESSORS.items() if into == new and other != old}
            if any(leg.asset in rivals and leg.ledger_id in self._open for leg in self._legs):
                continue
            for legs in self._stretches(lambda leg, pair=(old, new): leg.asset in pair):  # type: ignore[misc]
                given = [leg for leg in legs if leg.asset == old and leg.amount < ZERO]
                received = [leg for leg in legs if leg.asset == new and leg.amount > ZERO]
                is_certain = 1 in {len(given), len(received)} or not sum(leg.amount for leg in legs)
                if given and received and len(given) + len(received) == len(legs) and is_certain:
                    self._join(*legs)

    def _stretches(self, wanted: Callable[[LedgerEntry], bool]) -> Iterator[list[LedgerEntry]]:
        """Yield the open legs of renames that are wanted, apart where they are too far from the first."""
        stretch: list[LedgerEntry] = []
        for leg in self._legs:
            if leg.ledger_id not in self._open or _is_swap(leg) or not wanted(leg):
                continue
            if stretch and leg.entry_time - stretch[0].entry_time > RENAME_GAP:
                yield stretch
                stretch = []
            stretch.append(leg)
        if stretch:
            yield stretch

    def _join(self, *legs: LedgerEntry) -> None:
        if any(leg.ledger_id not in self._open for leg in legs):
            return
        self._open -= {leg.ledger_id for leg in legs}
        ordered = sorted(legs, key=lambda leg: (leg.amount > ZERO, leg.entry_time, leg.ledger_id))
        name = ordered[0].operation or ordered[0].ledger_id
        self._found.append(Conversion(name, tuple(ordered)))


def _is_swap(leg: LedgerEntry) -> bool:
    return leg.kind in SWAPS


def _may_belong_together(one: LedgerEntry, other: LedgerEntry) -> bool:
    if one.asset == other.asset or one.amount * other.amount >= ZERO:
        return False
    if _is_swap(one) or _is_swap(other):
        return _is_swap(one) and _is_swap(other) and one.amount == -other.amount
    # A delisted asset may leave an earning wallet and come to the plain one.
    return one.subtype == other.subtype and (one.subtype != "" or one.entry_type == other.entry_type)

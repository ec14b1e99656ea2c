"""Which mistakes of a bot lead exactly to what its book says: a search in whole numbers.

A *world* is one way of adding up: what each entry changes, and by how much the desk's quantity may lie off
the sum of all of them to be what the desk shows. All numbers are whole smallest units.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate, chain, combinations
from typing import TYPE_CHECKING, Final

from kraken_recon.desk_books.rules.records import Answer, Explanation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kraken_recon.ledger.entries import LedgerEntry

TRIPLES_OF_MAX: Final = 100
"""Up to how many operations any three of them may be what is missing."""


@dataclass(frozen=True, slots=True)
class World:
    """Entries in the order in which they happened, with what each changes and its fee.

    The desk's quantity is the proven one plus something from ``low`` to ``high``, both included.
    """

    entries: Sequence[LedgerEntry]
    changes: Sequence[int]
    fees: Sequence[int]
    low: int
    high: int

    def holds(self, offset: int) -> bool:
        """Say whether a mistake of this size leads to what the desk shows; one of no size is none."""
        return offset != 0 and self.low <= offset <= self.high


@dataclass(frozen=True, slots=True)
class Operation:
    """All entries of the asset with one refid, by their places in the world."""

    places: tuple[int, ...]
    change: int
    fee: int


def operations_in(world: World) -> list[Operation]:
    """Group the entries of a world into operations, in the order in which they began."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(world.entries):
        places[entry.operation or entry.ledger_id].append(place)
    return [_together(world, own) for own in places.values()]


def _together(world: World, places: Iterable[int]) -> Operation:
    ordered = tuple(sorted(places))
    return Operation(ordered, sum(world.changes[p] for p in ordered), sum(world.fees[p] for p in ordered))


def answer(world: World, explanation: Explanation, places: Iterable[int]) -> Answer:
    """Write an answer that rests on entries at these places."""
    return Answer(explanation, tuple(world.entries[place].ledger_id for place in sorted(places)))


def behind(world: World) -> Iterator[Answer]:
    """Find the newest earlier moment at which the account held what the desk shows."""
    later = 0
    for place in range(len(world.entries) - 1, -1, -1):
        later += world.changes[place]
        if world.holds(-later):
            yield answer(world, Explanation.BEHIND, range(place, len(world.entries)))
            return


def missed_one(world: World, operations: Sequence[Operation]) -> Iterator[Answer]:
    """Find single operations that are missing, the newest first."""
    for operation in reversed(operations):
        if world.holds(-operation.change):
            yield answer(world, Explanation.MISSED, operation.places)


def missed_several(world: World, operations: Sequence[Operation]) -> Iterator[Answer]:
    """Find contiguous runs, then any two, then any three operations that are missing."""
    for chosen in chain(*(search(world, operations) for search in (_runs, _pairs, _triples))):
        yield answer(world, Explanation.MISSED, [p for one in chosen for p in operations[one].places])


def _runs(world: World, operations: Sequence[Operation]) -> Iterator[Sequence[int]]:
    """Find runs of at least two operations, the shortest and then the newest first."""
    sums = [0, *accumulate(operation.change for operation in operations)]
    ordered = sorted(sums)
    if not any(_within(ordered, total + world.low, total + world.high) for total in sums):
        return
    for length in range(2, len(operations) + 1):
        for start in range(len(operations) - length, -1, -1):
            if world.low <= sums[start] - sums[start + length] <= world.high:
                yield range(start, start + length)


def _pairs(world: World, operations: Sequence[Operation]) -> Iterator[Sequence[int]]:
    """Find two operations that do not follow each other."""
    by_change = sorted((operation.change, place) for place, operation in enumerate(operations))
    changes = [change for change, _ in by_change]
    for place in range(len(operations) - 1, -1, -1):
        own = operations[place].change
        first, last = bisect_left(changes, -world.high - own), bisect_right(changes, -world.low - own)
        for _, other in by_change[first:last]:
            if other < place - 1:
                yield (other, place)


def _triples(world: World, operations: Sequence[Operation]) -> Iterator[Sequence[int]]:
    """Find three operations that do not all follow each other, while there are few enough to look."""
    if len(operations) > TRIPLES_OF_MAX:
        return
    by_change = sorted((operation.change, place) for place, operation in enumerate(operations))
    changes = [change for change, _ in by_change]
    for later, latest in combinations(range(len(operations)), 2):
        own = operations[later].change + operations[latest].change
        first, last = bisect_left(changes, -world.high - own), bisect_right(changes, -world.low - own)
        for _, earliest in by_change[first:last]:
            if earliest < later and latest - earliest > 2:  # noqa: PLR2004 - else they follow each other
                yield (earliest, later, latest)


def _within(ordered: Sequence[int], low: int, high: int) -> bool:
    place = bisect_left(ordered, low)
    return place < len(ordered) and ordered[place] <= high


def by_order(world: World, operations: Sequence[Operation], orders: Mapping[str, str]) -> list[Operation]:
    """Join operations of one order; an operation of no known order stands for itself.

    Args:
        world: whose entries they are.
        operations: of the world.
        orders: the order of each trade, by the refid of its entries.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for number, operation in enumerate(operations):
        order = orders.get(world.entries[operation.places[0]].refid)
        places[f"order {order}" if order else f"operation {number}"] += operation.places
    return [_together(world, own) for own in places.values()]


def doubled(world: World, operations: Sequence[Operation]) -> Iterator[Answer]:
    """Find operations (or orders) that were counted twice, the newest first."""
    for operation in reversed(operations):
        if world.holds(operation.change):
            yield answer(world, Explanation.DOUBLED, operation.places)


def fees_left_out(world: World, operations: Sequence[Operation], *, of_all: bool) -> Iterator[Answer]:
    """Find fees that were not subtracted: of everything, or of one order."""
    charged = [place for place, fee in enumerate(world.fees) if fee]
    if of_all and world.holds(sum(world.fees)):
        yield answer(world, Explanation.FEE_LEFT_OUT, charged)
    for operation in reversed(operations):
        if world.holds(operation.fee):
            places = [place for place in operation.places if world.fees[place]]
            yield answer(world, Explanation.FEE_LEFT_OUT, places)


def wrong_way(world: World) -> Iterator[Answer]:
    """Find entries that were booked with the opposite sign, the newest first."""
    for place in range(len(world.entries) - 1, -1, -1):
        if world.holds(-2 * world.changes[place]):
            yield answer(world, Explanation.WRONG_WAY, (place,))

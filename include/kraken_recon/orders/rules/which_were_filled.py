"""Which of several orders of unknown outcome explain a change of balances, exactly.

The books may lag or lose what tells one order from another. Then only sums are known: an account's balances
moved by so much, and each order would have moved them by so much. This is subset sum, over whole numbers of
each asset's smallest unit; where a price or a fee is not known to the unit, an order's effect is an
interval.

Invariants:
1. The answer is exact: one set, all sets, none, or that there are too many to say. Never the likeliest.
2. It is evidence for a person; nothing is booked from it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kraken_recon.values.money import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

CANDIDATES_MAX: Final = 32
SETS_MAX: Final = 100

Vector = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An order that may have been filled, and what it would move each asset by, from ``low`` to ``high``."""

    name: str
    low: Vector
    high: Vector


@dataclass(frozen=True, slots=True)
class Unique:
    """Exactly one set of orders explains the change; it may be empty."""

    filled: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Each of these sets explains it."""

    sets: tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class Impossible:
    """No set explains it: this change is left over, whatever was filled."""

    residual: Vector


@dataclass(frozen=True, slots=True)
class TooMany:
    """There are too many orders to compare, or too many sets to list."""

    reason: str


Inference = Unique | Ambiguous | Impossible | TooMany


@dataclass(frozen=True, slots=True)
class _Sum:
    low: Vector
    high: Vector
    members: frozenset[str]


def infer(change: Vector, candidates: Sequence[Candidate]) -> Inference:
    """Find every set of candidates that explains a change, one number per asset in its smallest units.

    The candidates are halved, the sums of one half sorted, and each sum of the other meets those that leave
    it within the change (meet in the middle): 2^(n/2) sums instead of 2^n.
    """
    if len(candidates) > CANDIDATES_MAX:
        return TooMany(f"expected at most {CANDIDATES_MAX} orders, were {len(candidates)}")
    middle = len(candidates) // 2
    left = _sums(candidates[:middle], len(change))
    right = _sums(candidates[middle:], len(change))
    right.sort(key=lambda one: one.low)
    found: list[frozenset[str]] = []
    for explained in _meetings(change, left, right):
        found.append(explained)
        if len(found) > SETS_MAX:
            return TooMany(f"more than {SETS_MAX} sets explain the change")
    if not found:
        return Impossible(change)
    if len(found) == 1:
        return Unique(found[0])
    return Ambiguous(tuple(sorted(found, key=lambda names: (len(names), sorted(names)))))


def _sums(candidates: Sequence[Candidate], assets: int) -> list[_Sum]:
    nothing = (0,) * assets
    sums = [_Sum(nothing, nothing, frozenset())]
    for candidate in candidates:
        sums += [
            _Sum(_plus(s.low, candidate.low), _plus(s.high, candidate.high), s.members | {candidate.name})
            for s in sums
        ]
    return sums


def _meetings(change: Vector, left: Sequence[_Sum], right: Sequence[_Sum]) -> Iterator[frozenset[str]]:
    lows = [one.low[0] for one in right] if change else [0] * len(right)
    width = max((one.high[0] - one.low[0] for one in right), default=0) if change else 0
    for one in left:
        first, last = 0, len(right)
        if change:
            # A partner's interval must reach what is missing: it begins at most that high, and at least a
            # whole interval's width below it.
            first = bisect_left(lows, change[0] - one.high[0] - width)
            last = bisect_right(lows, change[0] - one.low[0])
        for other in right[first:last]:
            if all(
                a + b <= wanted <= c + d
                for a, b, wanted, c, d in zip(one.low, other.low, change, one.high, other.high, strict=True)
            ):
                yield one.members | other.members


def _plus(one: Vector, other: Vector) -> Vector:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def smallest_units(amount: Decimal, decimals: int) -> int:
    """Count the smallest units of an amount.

    Raises:
        ValueError: it is finer than one unit.
    """
    units = amount.scaleb(decimals, context=EXACT)
    if units != units.to_integral_value():
        raise ValueError(f"expected at most {decimals} decimals, was {amount}")
    return int(units)

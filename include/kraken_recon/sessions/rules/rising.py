"""Tell a rising number of sessions from one that merely swings.

A session count is correlated with itself, so an ordinary trend test cries wolf on start-up ramps and
bursts. The Mann-Kendall test is therefore corrected after Hamed and Rao (1998), and a rise must also lift
the floor: the minima of consecutive stretches of time must rise. Rejected by measurement: least squares, the
plain test, EWMA.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES_MIN: Final = 24
STRETCHES: Final = 4
SIGNIFICANCE: Final = 0.01


def is_rising(counts: Sequence[int]) -> bool:
    """Tell whether the counts, oldest first, rise; False while there are too few to tell."""
    if len(counts) < SAMPLES_MIN:
        return False
    return _floor_rises(counts) and _rise_probability(counts) < SIGNIFICANCE


def _floor_rises(counts: Sequence[int]) -> bool:
    """Tell whether every stretch's minimum is at least the one before, and the last above the first."""
    length = len(counts) // STRETCHES
    recent = counts[-length * STRETCHES :]
    floors = [min(recent[start : start + length]) for start in range(0, len(recent), length)]
    return floors == sorted(floors) and floors[-1] > floors[0]


def _rise_probability(counts: Sequence[int]) -> float:
    """Return the one-sided probability of as large a rise by chance (modified Mann-Kendall)."""
    n = len(counts)
    score = sum(
        (counts[later] > counts[earlier]) - (counts[later] < counts[earlier])
        for earlier in range(n)
        for later in range(earlier + 1, n)
    )
    if score <= 0:
        return 1.0
    ties = [counts.count(value) for value in set(counts)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    if variance <= 0:
        return 1.0
    z = (score - 1) / math.sqrt(variance * _correction(counts))
    return 1 - NormalDist().cdf(z)


def _correction(counts: Sequence[int]) -> float:
    """Inflate the variance by the autocorrelation of the ranks around their trend (Hamed and Rao)."""
    n = len(counts)
    slopes = sorted(
        (counts[later] - counts[earlier]) / (later - earlier)
        for earlier in range(n)
        for later in range(earlier + 1, n)
    )
    slope = slopes[len(slopes) // 2]
    rest = [count - slope * place for place, count in enumerate(counts)]
    order = sorted(range(n), key=lambda place: (rest[place], place))
    ranks = [0.0] * n
    for rank, place in enumerate(order):
        ranks[place] = rank - (n - 1) / 2
    power = sum(rank * rank for rank in ranks)
    bound = NormalDist().inv_cdf(0.975) / math.sqrt(n)
    total = 0.0
    for lag in range(1, n - 1):
        correlation = sum(ranks[i] * ranks[i + lag] for i in range(n - lag)) / power
        if abs(correlation) > bound:
            total += (n - lag) * (n - lag - 1) * (n - lag - 2) * correlation
    return max(1.0, 1 + 2 / (n * (n - 1) * (n - 2)) * total)

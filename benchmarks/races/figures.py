"""What comes of a pair's schedules, and of a lock that was taken away."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a pair is explored: what comes first cuts it short, so that all of them take some minutes.

    Attributes:
        preemptions: how often a schedule stops somebody who could go on.
        samples: how many schedules are run beyond that, each with ``sampled_preemptions`` at random places.
    """

    preemptions: int = 2
    schedules_max: int = 400
    seconds_max: float = 35.0
    samples: int = 20
    sampled_preemptions: int = 5


@dataclass
class PairFigures:
    """What came of one pair.

    Attributes:
        by_preemptions: how many schedules were run with how many preemptions.
        left: beginnings of schedules within the bound that there was no time for.
        sampled: schedules with more preemptions, at random places.
        same: how many of them turned out to be the same as another one.
        orders: how many differ in the order of steps that depend on each other.
        wrongs: what was wrong, with the codes of the schedules after which it was.
    """

    name: str
    steps: tuple[int, ...] = ()
    serial: int = 0
    by_preemptions: dict[int, int] = field(default_factory=dict)
    left: int = 0
    sampled: int = 0
    same: int = 0
    orders: int = 0
    states: int = 0
    waits: int = 0
    seconds: float = 0.0
    wrongs: dict[str, list[str]] = field(default_factory=dict)

    @property
    def schedules(self) -> int:
        """How many schedules were run."""
        return sum(self.by_preemptions.values()) + self.sampled


@dataclass
class HuntFigures:
    """What came of taking one lock away: after how many schedules it was noticed, by which, and how."""

    per: str
    pair: str
    statement: str
    schedules: int = 0
    code: str = ""
    wrong: str = ""

"""Enumerate schedules: few preemptions first, without those that come to the same as one that was run.

A schedule is who goes on at each step. Without a preemption an actor goes on until it ends or waits for a
lock. With ``n`` preemptions it is stopped ``n`` times although it could go on (iterative context bounding:
most races need one or two). Where an actor is preempted, its next step sleeps until somebody does a step
that depends on it; a schedule that would wake it without one is the same as another, and leads nowhere new
(sleep sets). With two actors that other one has no more preemptions.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final

from benchmarks.races.steps import depend

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.races.steps import Step
    from benchmarks.races.turns import Turns

STEPS_MAX: Final = 2_000
_CODE: Final = re.compile(r"([A-Z])(\d+)")


@dataclass(frozen=True, slots=True)
class Prefix:
    """How a schedule begins: who goes on at each step, and what sleeps where it leaves another schedule."""

    choices: tuple[str, ...] = ()
    sleeping: Mapping[str, Step] = field(default_factory=dict)
    preemptions: int = 0


@dataclass(slots=True)
class Schedule:
    """One schedule that was run.

    Attributes:
        choices: who went on at each step.
        steps: what each of them did.
        states: how far everybody had come after each step, by a name that is the same for the same.
        branches: beginnings of other schedules that leave this one somewhere.
        skipped: the same of those that nothing known so far makes differ, with the step that was preempted
            and who would go on instead.
        is_redundant: it turned out to be the same as another one.
    """

    choices: list[str] = field(default_factory=list)
    steps: list[tuple[str, Step]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    branches: list[Prefix] = field(default_factory=list)
    skipped: list[tuple[Prefix, Step, str]] = field(default_factory=list)
    preemptions: int = 0
    is_redundant: bool = False

    @property
    def code(self) -> str:
        """Write the schedule so that it can be run again, such as A12B3A4."""
        return "".join(f"{letter}{len(list(of))}" for letter, of in groupby(self.choices))

    @property
    def order(self) -> str:
        """Name the order of all steps of which the order matters."""
        return self.states[-1] if self.states else ""


def choices_of(code: str) -> tuple[str, ...]:
    """Read the code of a schedule.

    Raises:
        ValueError: it is none.
    """
    runs = _CODE.findall(code)
    if not runs or "".join(f"{letter}{count}" for letter, count in runs) != code:
        raise ValueError(f"expected a schedule such as A12B3A4, was {code}")
    return tuple(letter for letter, count in runs for _ in range(int(count)))


class Order:
    """Names how far each actor has come, and after which steps of others: the same name, the same state."""

    def __init__(self) -> None:
        self._done: dict[str, list[Step]] = {}
        self._names: dict[str, str] = {}

    def add(self, letter: str, step: Step) -> str:
        """Name the state after a step."""
        after = {
            other: max(n for n, one in enumerate(of, start=1) if depend(one, step))
            for other, of in sorted(self._done.items())
            if other != letter and any(depend(one, step) for one in of)
        }
        told = f"{self._names.get(letter, '')} {step.label} {after}"
        self._names[letter] = hashlib.sha256(told.encode()).hexdigest()[:16]
        self._done.setdefault(letter, []).append(step)
        return " ".join(name for _, name in sorted(self._names.items()))


@dataclass(slots=True)
class Explorer:
    """The schedules of some actors.

    Attributes:
        begin: brings all actors to their first steps, from the same state.
        preemptions_max: how often a schedule may stop an actor that could go on.
        dice: chooses which schedule comes next among those with as many preemptions.
        seen: the steps that each actor was ever seen to do.
        left: how many beginnings of other schedules are known, and not run.
    """

    begin: Callable[[], Turns]
    preemptions_max: int
    dice: random.Random
    seen: dict[str, set[Step]] = field(default_factory=dict)
    left: int = 0

    def schedules(self) -> Iterator[Schedule]:
        """Run schedules, those with fewer preemptions first; whoever takes one may look at what it left."""
        waiting: dict[int, list[Prefix]] = {0: [Prefix()]}
        skipped: list[tuple[Prefix, Step, str]] = []
        for preemptions in range(self.preemptions_max + 1):
            while waiting.get(preemptions):
                # At random: whoever stops early has seen some of everything.
                place = self.dice.randrange(len(waiting[preemptions]))
                schedule = self.run(waiting[preemptions].pop(place))
                for branch in schedule.branches:
                    waiting.setdefault(branch.preemptions, []).append(branch)
                skipped += schedule.skipped
                self.left = sum(map(len, waiting.values()))
                yield schedule
                if not waiting.get(preemptions):
                    # Steps that were not known when something was skipped may make it differ.
                    for prefix, step, letter in skipped:
                        if self._may_differ(step, letter):
                            waiting.setdefault(prefix.preemptions, []).append(prefix)
                    skipped = [one for one in skipped if not self._may_differ(*one[1:])]

    def sampled(self, preemptions: int) -> Iterator[Schedule]:
        """Run schedules that are preempted at so many random places, without an end."""
        length = preemptions + 1
        while True:
            places = {*self.dice.sample(range(length), preemptions)}
            begins = self.dice.choice("AB")
            schedule = self._run((begins,), {}, lambda place, _, of=places: place in of)
            length = max(length, len(schedule.choices))
            yield schedule

    def run(self, prefix: Prefix) -> Schedule:
        """Run one schedule from its beginning on, and note where others leave it."""
        return self._run(prefix.choices, prefix.sleeping, None)

    def replay(self, choices: Sequence[str]) -> Schedule:
        """Run a schedule by its code; where that does not fit, or is used up, without preemptions."""
        return self._run(tuple(choices), {}, lambda *_: False)

    def stopped_before(self, label: str) -> Schedule:
        """Run a schedule in which the first actor is stopped once, before the step of this name."""
        stopped: list[Step] = []

        def is_here(_: int, step: Step) -> bool:
            if stopped or not step.label.startswith(label):
                return False
            stopped.append(step)
            return True

        return self._run((), {}, is_here)

    def _run(
        self,
        choices: tuple[str, ...],
        sleeping: Mapping[str, Step],
        preempts: Callable[[int, Step], bool] | None,
    ) -> Schedule:
        """Run what is given and go on by default; ``preempts`` says where not, or nothing branches off."""
        turns, schedule, order = self.begin(), Schedule(), Order()
        asleep: dict[str, Step] = {}
        current = ""
        while enabled := turns.enabled():
            place = len(schedule.choices)
            assert place < STEPS_MAX, f"no end after {place} steps"
            pending = {letter: _pending(turns, letter) for letter in enabled}
            if place < len(choices) and (preempts is None or choices[place] in enabled):
                chosen = choices[place]
                assert chosen in enabled, f"step {place}: {chosen} cannot go on, only {enabled}"
                if place == len(choices) - 1:
                    asleep = dict(sleeping)
            else:
                chosen = current if current in enabled else enabled[0]
                others = [letter for letter in enabled if letter != chosen]
                if preempts is not None:
                    chosen = others[0] if others and preempts(place, pending[chosen]) else chosen
                else:
                    # What sleeps would lead to what another schedule has led to; the rest is run to its end.
                    schedule.is_redundant |= chosen in asleep
                    if not schedule.is_redundant:
                        self._branch(schedule, current, chosen, others, pending, asleep)
            schedule.preemptions += bool(current) and current in enabled and chosen != current
            step = pending[chosen]
            schedule.choices.append(chosen)
            schedule.steps.append((chosen, step))
            schedule.states.append(order.add(chosen, step))
            self.seen.setdefault(chosen, set()).add(step)
            turns.let_go(chosen)
            asleep = {
                letter: other
                for letter, other in asleep.items()
                if letter != chosen and not depend(other, step)
            }
            current = chosen
        return schedule

    def _branch(  # noqa: PLR0913, PLR0917 - where it is, and who could go on there
        self,
        schedule: Schedule,
        current: str,
        chosen: str,
        others: Sequence[str],
        pending: Mapping[str, Step],
        asleep: Mapping[str, Step],
    ) -> None:
        cost = schedule.preemptions + bool(current)
        if cost > self.preemptions_max:
            return
        for other in others:
            if other in asleep:
                continue
            # Who begins costs nothing: to do one step of the other before it would cost a preemption.
            sleeping = {**asleep, chosen: pending[chosen]} if current else {}
            branch = Prefix((*schedule.choices, other), sleeping, cost)
            if not current or self._may_differ(pending[chosen], other):
                schedule.branches.append(branch)
            else:
                schedule.skipped.append((branch, pending[chosen], other))

    def _may_differ(self, step: Step, letter: str) -> bool:
        """Say whether any step that an actor was ever seen to do depends on this one."""
        return any(depend(step, other) for other in self.seen.get(letter, ()))


def _pending(turns: Turns, letter: str) -> Step:
    step = turns.actors[letter].pending
    assert step is not None, letter
    return step

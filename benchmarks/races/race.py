"""Run a pair through schedules, and hold what each of them left against the serial orders."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks.races.exploring import Explorer
from benchmarks.races.pairs import StoodAsideError
from benchmarks.races.stage import Stage
from benchmarks.races.turns import Actor, Turns
from kraken_recon.errors import KrakenReconError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from benchmarks.races.pairs import Pair, Unit

LETTERS: Final = "ABC"
DONE: Final = "done"
STOOD_ASIDE: Final = "stood aside"


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a schedule: the books, and what each actor came to."""

    books: Mapping[str, Sequence[Any]]
    outcomes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Write it so that what is equal is the same text."""
        return json.dumps([self.books, self.outcomes], sort_keys=True)


@dataclass
class Race:
    """One pair on its stage."""

    pair: Pair
    stage: Stage
    serial: dict[str, tuple[str, Left]] = field(default_factory=dict)
    progress: list[tuple[str, ...]] = field(default_factory=list)

    @classmethod
    @contextmanager
    def prepared(cls, pair: Pair, url: str) -> Iterator[Race]:
        """Prepare the desk, and find out what the serial orders come to."""
        stage = Stage(url, LETTERS[: len(pair.roles)])
        try:
            pair.prepare(stage)
            stage.keep()
            race = cls(pair, stage)
            race.find_serial_orders()
            yield race
        finally:
            stage.close()

    def find_serial_orders(self) -> None:
        """Do the units of all roles one after the other, in every order that keeps each role's own."""
        lengths = [len(role.units) for role in self.pair.roles]
        self._keep_serial(_merged(lengths))
        if self.pair.may_stand_aside:
            for n in range(len(lengths)):
                self._keep_serial(
                    _merged([0 if n == role else length for role, length in enumerate(lengths)])
                )

    def _keep_serial(self, orders: Iterable[Sequence[int]]) -> None:
        for order in orders:
            self.stage.restore()
            outcomes = {role: STOOD_ASIDE for role in range(len(self.pair.roles)) if role not in order}
            for role, unit in _units(self.pair, order):
                if outcomes.get(role, DONE) == DONE:
                    outcomes[role] = _outcome(partial(unit, self.stage, LETTERS[role]))
            self.pair.afterwards(self.stage, LETTERS[0])
            left = Left(self.stage.books(), tuple(outcomes[role] for role in sorted(outcomes)))
            self.progress.append(self.stage.progress())
            wrongs = self.stage.wrongs()
            assert not wrongs, f"{self.pair.name}, one after the other: {wrongs}"
            self.serial.setdefault(left.digest, ("".join(LETTERS[role] for role in order), left))

    def begin(self) -> Turns:
        """Bring everybody to the first step."""
        self.stage.restore()
        self.stage.turns.start(
            [
                Actor(LETTERS[n], role.name, self._work(LETTERS[n], role.units))
                for n, role in enumerate(self.pair.roles)
            ]
        )
        return self.stage.turns

    def _work(self, letter: str, units: Sequence[Unit]) -> Callable[[], None]:
        def work() -> None:
            for unit in units:
                unit(self.stage, letter)

        return work

    def explorer(self, preemptions_max: int, seed: int) -> Explorer:
        """Make what enumerates the schedules of this pair."""
        return Explorer(self.begin, preemptions_max, random.Random(f"{seed} {self.pair.name}"))  # noqa: S311 - repeatable

    def look(self) -> list[str]:
        """Say what is wrong after a schedule that was just run."""
        turns = self.stage.turns
        actors = list(turns.actors.values())
        wrongs = [f"{actor.name} met a deadlock" for actor in actors if actor.deadlocks]
        turns.finish()
        outcomes = tuple(DONE if actor.error is None else _told(actor.error) for actor in actors)
        self.pair.afterwards(self.stage, LETTERS[0])
        left = Left(self.stage.books(), outcomes)
        wrongs += self.stage.wrongs()
        for mark, *serial in zip(self.stage.progress(), *self.progress, strict=True):
            if not min(serial) <= mark <= max(serial):
                wrongs.append(
                    f"read or proved up to {mark or 'nothing'}, where serial orders come to {serial}"
                )
        if left.digest not in self.serial:
            wrongs.append(self._unlike(left))
        return wrongs

    def _unlike(self, left: Left) -> str:
        """Name what no serial order leaves, beside the nearest one."""
        told = []
        for name, serial in self.serial.values():
            differing = [
                f"{table}: {_beside(left.books.get(table, ()), serial.books.get(table, ()))}"
                for table in sorted({*left.books, *serial.books})
                if left.books.get(table) != serial.books.get(table)
            ]
            if left.outcomes != serial.outcomes:
                differing.append(f"outcomes {left.outcomes}, not {serial.outcomes}")
            told.append(
                (len(differing), f"as no order of one after the other; unlike {name}: {'; '.join(differing)}")
            )
        return min(told)[1]


def _beside(ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    mine, other = (Counter(json.dumps(row, sort_keys=True) for row in rows) for rows in (ours, theirs))
    return f"{list((mine - other).elements())} instead of {list((other - mine).elements())}"


def _outcome(work: Callable[[], object]) -> str:
    try:
        work()
    except KrakenReconError as error:
        return _told(error)
    return DONE


def _told(error: Exception) -> str:
    if isinstance(error, StoodAsideError):
        return STOOD_ASIDE
    return type(error).__name__ if isinstance(error, KrakenReconError) else f"{type(error).__name__}: {error}"


def _units(pair: Pair, order: Sequence[int]) -> Iterator[tuple[int, Unit]]:
    given: Counter[int] = Counter()
    for role in order:
        yield role, pair.roles[role].units[given[role]]
        given[role] += 1


def _merged(lengths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """List the orders of so many things of each role, in which each role's own stay in order."""
    if not any(lengths):
        yield ()
    for role, length in enumerate(lengths):
        if length:
            rest = [count - (n == role) for n, count in enumerate(lengths)]
            for others in _merged(rest):
                yield (role, *others)

"""Schedules are enumerated without losing an order that could matter, whatever the steps touch."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from benchmarks.races.exploring import Explorer, Order, choices_of
from benchmarks.races.steps import ADVISORY, ANYTHING, Step, depend, step_of
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass
class ScriptedActor:
    """An actor whose steps are known."""

    left: list[Step]

    @property
    def pending(self) -> Step:
        return self.left[0]


@dataclass
class ScriptedTurns:
    """Turns of actors that never wait for each other."""

    actors: dict[str, ScriptedActor] = field(default_factory=dict)

    def enabled(self) -> list[str]:
        return [letter for letter, actor in self.actors.items() if actor.left]

    def let_go(self, letter: str) -> None:
        self.actors[letter].left.pop(0)


def turns(*scripts: Sequence[Step]) -> ScriptedTurns:
    return ScriptedTurns({"AB"[n]: ScriptedActor(list(script)) for n, script in enumerate(scripts)})


def interleavings(lengths: Sequence[int], current: int = -1) -> Iterator[tuple[tuple[int, ...], int]]:
    """List every order, and how often somebody is stopped in it who could go on."""
    if not any(lengths):
        yield (), 0
    for actor, left in enumerate(lengths):
        if left:
            cost = int(current >= 0 and actor != current and lengths[current] > 0)
            for rest, more in interleavings([n - (i == actor) for i, n in enumerate(lengths)], actor):
                yield (actor, *rest), cost + more


def name_of(order: Sequence[int], scripts: Sequence[Sequence[Step]]) -> str:
    names, made = Order(), ""
    left = [list(script) for script in scripts]
    for actor in order:
        made = names.add("AB"[actor], left[actor].pop(0))
    return made


TABLES = st.frozensets(st.sampled_from("xyz"), max_size=2)
STEPS = st.builds(Step, label=st.just("step"), read=TABLES, written=TABLES, let_go=TABLES)
SCRIPT = st.lists(STEPS, min_size=1, max_size=3)


@given(SCRIPT, SCRIPT, st.integers(0, 3))
def test_no_order_within_the_bound_is_lost_and_few_are_run_twice(
    one: list[Step], other: list[Step], bound: int
) -> None:
    scripts = (one, other)
    dice = random.Random(0)  # noqa: S311 - repeatable
    explorer = Explorer(lambda: turns(*scripts), bound, dice)  # type: ignore[arg-type, return-value]
    run = list(explorer.schedules())
    found = {schedule.order for schedule in run if not schedule.is_redundant}
    within = [order for order, cost in interleavings([len(one), len(other)]) if cost <= bound]
    assert found == {name_of(order, scripts) for order in within}
    assert len({schedule.code for schedule in run}) == len(run) <= len(within)
    assert max(schedule.preemptions for schedule in run) <= bound


def test_what_a_statement_touches_is_read_from_its_text() -> None:
    locking = step_of(
        "select p.account_id from trading.positions p join unnest(:a) k using (a) for no key update of p", "l"
    )
    assert locking is not None
    assert (locking.read, locking.written) == ({"positions"}, {"positions"})
    writing = step_of("insert into trading.alerts select * from trading.accounts -- from trading.orders", "w")
    assert writing is not None
    assert (writing.read, writing.written) == ({"accounts"}, {"alerts"})
    reading = step_of("with of as (select 1 from trading.residuals) select * from of", "r")
    assert reading is not None
    assert (reading.read, reading.written) == ({"residuals"}, frozenset())
    assert step_of("begin; set local jit = off", "b") is None
    unknown = step_of("select trading.something(1)", "f")
    assert unknown is not None
    assert unknown.written == {ANYTHING}
    advisory = step_of("select pg_advisory_xact_lock(1)", "a")
    assert advisory is not None
    assert advisory.written == {ADVISORY}


def test_what_is_not_committed_is_seen_by_nobody() -> None:
    read, write = Step("r", read=frozenset("x")), Step("w", written=frozenset("x"))
    commit = Step("c", let_go=frozenset("x"))
    assert not depend(read, write)
    assert depend(read, commit)
    assert depend(commit, write)
    assert depend(write, write)
    assert not depend(commit, commit)
    assert depend(Step("f", written=frozenset({ANYTHING})), write)


def test_a_code_is_a_schedule() -> None:
    assert choices_of("A2B1A1") == ("A", "A", "B", "A")
    for wrong in ("", "A", "2A", "A2 B1"):
        with pytest.raises(ValueError, match="expected a schedule"):
            choices_of(wrong)

"""Two sessions in the middle of their work: a few schedules of each pair, and each lock taken away once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.races.figures import Bounds
from benchmarks.races.measure import PAIRS, SEED, explore, hunt
from benchmarks.races.race import Race
from benchmarks.races.sabotage import TAKEN_AWAY

if TYPE_CHECKING:
    from conftest import NewDatabase

A_FEW = Bounds(preemptions=1, schedules_max=3, seconds_max=60, samples=1)


@pytest.mark.parametrize("name", PAIRS)
def test_whoever_goes_on_the_books_are_those_of_one_after_the_other(
    name: str, new_database: NewDatabase
) -> None:
    with new_database() as url, Race.prepared(PAIRS[name], url) as race:
        explored = explore(race, SEED, A_FEW)
        assert explored.wrongs == {}
        assert explored.schedules == A_FEW.schedules_max + A_FEW.samples
        for taken in (one for one in TAKEN_AWAY if one.pair == name):
            found = hunt(race, taken, SEED)
            assert found.code, f"nobody noticed that there is no lock per {taken.per} any more"
            race.stage.listener.altered = lambda _, text: text

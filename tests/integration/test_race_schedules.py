"""Two sessions in the middle of their work: a few schedules of each pair, and each lock taken away once.

All schedules are run by `python -m benchmarks races`, which looks for these by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.races.figures import Bounds
from benchmarks.races.measure import PAIRS, SEED, explore
from benchmarks.races.race import Race
from benchmarks.races.sabotage import TAKEN_AWAY

if TYPE_CHECKING:
    from benchmarks.races.sabotage import TakenAway

    from conftest import NewDatabase

A_FEW = Bounds(preemptions=1, schedules_max=3, seconds_max=60, samples=0)
OF_ONE_ANOTHER = ("sync-sync", "sync-backfill", "fill-undo", "approval-sync", "import-sync")


@pytest.mark.parametrize("name", OF_ONE_ANOTHER)
def test_whoever_goes_on_the_books_are_those_of_one_after_the_other(
    name: str, new_database: NewDatabase
) -> None:
    with new_database() as url, Race.prepared(PAIRS[name], url) as race:
        explored = explore(race, SEED, A_FEW)
    assert explored.wrongs == {}
    assert explored.by_preemptions == {0: 2, 1: 1}


@pytest.mark.parametrize("taken", TAKEN_AWAY, ids=lambda taken: taken.per)
def test_a_lock_that_is_taken_away_is_noticed(taken: TakenAway, new_database: NewDatabase) -> None:
    with new_database() as url, Race.prepared(PAIRS[taken.pair], url) as race:
        explorer = race.explorer(0, SEED)
        schedule = explorer.stopped_before(taken.stopped_before)
        assert race.look() == []
        assert taken.stopped_before in {step.label[: len(taken.stopped_before)] for _, step in schedule.steps}
        race.stage.listener.altered = taken.alter
        explorer.stopped_before(taken.stopped_before)
        assert race.look(), f"nobody noticed that there is no lock per {taken.per} any more"

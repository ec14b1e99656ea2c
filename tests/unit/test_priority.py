"""Who comes first in a run, and whose ledger is read although nothing shows a difference."""

from __future__ import annotations

import math
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from desks.fakes import START
from kraken_recon.reconciliation.rules.priority import Need, due_for_sweep, in_order_of_need
from kraken_recon.values.intervals import RUN_INTERVAL

DAY = timedelta(hours=24)


def need(account_id: int, **known: object) -> Need:
    """Make a quiet, proved account that was looked at by the last run."""
    quiet = {
        "has_open_findings": False,
        "moved_at": START - 30 * DAY,
        "differed_at": None,
        "waits_since": START - RUN_INTERVAL,
        "read_until": START - timedelta(hours=2),
    }
    return Need(account_id, **{**quiet, **known})


def test_what_is_open_comes_before_what_moves_before_what_nobody_proved() -> None:
    needs = [
        need(1),
        need(2, read_until=None),
        need(3, moved_at=START - timedelta(hours=1)),
        need(4, differed_at=START - timedelta(hours=3)),
        need(5, has_open_findings=True),
        need(6, read_until=START - timedelta(hours=20)),
    ]
    assert in_order_of_need(needs, START) == [5, 3, 4, 2, 6, 1]


@given(st.sets(st.integers(0, 19)), st.integers(1, 20))
def test_nobody_waits_for_ever_however_few_a_run_gets_to(active: set[int], reached: int) -> None:
    now, waits_since = START, dict.fromkeys(range(20), START)
    longest = timedelta(0)
    for _ in range(200):
        now += RUN_INTERVAL
        needs = [
            need(
                n, waits_since=since, moved_at=now if n in active else None, has_open_findings=n % 7 in active
            )
            for n, since in waits_since.items()
        ]
        for number in in_order_of_need(needs, now)[:reached]:
            longest = max(longest, now - waits_since[number])
            waits_since[number] = now
    longest = max(longest, *(now - since for since in waits_since.values()))
    assert longest <= RUN_INTERVAL * (math.ceil(20 / reached) + 14)


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=300),
    st.sampled_from((2, 6, 24, 100)),
)
def test_every_ledger_is_read_before_it_is_too_old_and_few_in_each_run(
    ages_minutes: list[int], hours: int
) -> None:
    age_max, now = timedelta(hours=hours), START
    read_until = {n: START - timedelta(minutes=age) for n, age in enumerate(ages_minutes)}
    share = math.ceil(len(read_until) / (age_max / 2 // RUN_INTERVAL))
    for number in range(2 * (age_max // RUN_INTERVAL)):
        chosen = due_for_sweep(read_until, now, age_max)
        late = {n for n, until in read_until.items() if now + RUN_INTERVAL - until > age_max}
        assert late <= chosen
        assert len(chosen) <= share + len(late)
        assert all(now - read_until[n] > age_max / 2 for n in chosen)
        if number:
            assert all(now - until <= age_max for until in read_until.values())
        read_until |= dict.fromkeys(chosen, now)
        now += RUN_INTERVAL


def test_a_desk_that_was_opened_all_at_once_is_spread_over_the_runs() -> None:
    """A thousand accounts of one age: no run reads many more than its share, and none is ever overdue."""
    read_until = dict.fromkeys(range(1000), START)
    now, busiest = START, 0
    for _ in range(4 * 96):
        now += RUN_INTERVAL
        chosen = due_for_sweep(read_until, now, DAY)
        busiest = max(busiest, len(chosen))
        read_until |= dict.fromkeys(chosen, now)
    assert busiest == math.ceil(1000 / 48)


def test_a_ledger_that_was_never_read_is_always_due() -> None:
    assert due_for_sweep({1: None, 2: START}, START, DAY) == {1}

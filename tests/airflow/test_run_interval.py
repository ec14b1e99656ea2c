"""Which stretch of time each kind of DAG run answers for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest

from kraken_airflow.dag_parts.run_interval import Window, window_of
from kraken_recon.values.intervals import Interval

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
END = START + timedelta(minutes=15)


@dataclass
class Run:
    """The fields of a DAG run that decide."""

    run_type: str
    run_after: datetime
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    run_id: str = "the_run"


def context(run: Run) -> Any:
    return {"dag_run": run}


def test_a_scheduled_run_answers_for_its_data_interval() -> None:
    run = Run("scheduled", END, START, END)
    assert window_of(context(run), END + timedelta(seconds=3)) == Window(Interval(START, END), is_past=False)


def test_pendulum_moments_become_plain_ones_to_the_microsecond() -> None:
    end = pendulum.instance(END).add(microseconds=123457)
    run = Run("manual", end)
    window = window_of(context(run), END + timedelta(seconds=1))
    assert type(window.interval.end) is datetime
    assert window.interval.end.isoformat() == "2026-11-22T10:15:00.123457+00:00"


@pytest.mark.parametrize("run_type", ["manual", "operator_triggered", "asset_triggered"])
def test_a_run_by_hand_gets_a_stretch_of_its_own_that_a_retry_shares(run_type: str) -> None:
    started = END + timedelta(minutes=4)
    run = Run(run_type, started)
    first = window_of(context(run), started + timedelta(seconds=1))
    assert first == window_of(context(run), started + timedelta(minutes=9))
    assert first == Window(Interval(END, started), is_past=False)


def test_a_run_by_hand_with_the_form_s_logical_date_looks_again() -> None:
    """The form fills in now, whose data interval a scheduled run has answered for already."""
    started = END + timedelta(minutes=4)
    run = Run("manual", started, START, END)
    assert window_of(context(run), started) == Window(Interval(END, started), is_past=False)


@pytest.mark.parametrize("age", [timedelta(seconds=1), timedelta(minutes=20), timedelta(days=30)], ids=str)
def test_a_backfill_is_of_the_past_however_recent(age: timedelta) -> None:
    run = Run("backfill", END, START, END)
    assert window_of(context(run), END + age) == Window(Interval(START, END), is_past=True)


@pytest.mark.parametrize(
    ("age", "is_past"), [(timedelta(minutes=30), False), (timedelta(minutes=30, seconds=1), True)], ids=str
)
def test_a_scheduled_run_that_was_cleared_or_caught_up_late_is_of_the_past(
    age: timedelta, *, is_past: bool
) -> None:
    run = Run("scheduled", END, START, END)
    assert window_of(context(run), END + age) == Window(Interval(START, END), is_past)


def test_a_cleared_run_by_hand_keeps_its_interval_and_is_of_the_past() -> None:
    started = END + timedelta(minutes=4)
    for run in (Run("manual", started), Run("manual", started, START, END)):
        first = window_of(context(run), started)
        later = window_of(context(run), started + timedelta(days=1))
        assert later == Window(first.interval, is_past=True)


@pytest.mark.parametrize("run_after", [END, END + timedelta(days=3)], ids=str)
def test_a_run_by_hand_with_a_logical_date_in_the_past_answers_for_its_data_interval(
    run_after: datetime,
) -> None:
    run = Run("manual", run_after, START, END)
    assert window_of(context(run), END + timedelta(days=3)) == Window(Interval(START, END), is_past=True)

"""Which stretch of time each kind of DAG run answers for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest

from kraken_airflow.windows import window_of
from kraken_recon.domain.intervals import Interval
from kraken_recon.errors import ConfigurationError

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
    assert window_of(context(run), END + timedelta(seconds=3)) == Interval(START, END)


def test_pendulum_moments_become_plain_ones_to_the_microsecond() -> None:
    end = pendulum.instance(END).add(microseconds=123457)
    run = Run("manual", end)
    window = window_of(context(run), END + timedelta(seconds=1))
    assert type(window.end) is datetime
    assert window.end.isoformat() == "2026-11-22T10:15:00.123457+00:00"


@pytest.mark.parametrize("run_type", ["manual", "operator_triggered", "asset_triggered"])
def test_a_run_by_hand_gets_a_stretch_of_its_own_that_a_retry_shares(run_type: str) -> None:
    started = END + timedelta(minutes=4)
    run = Run(run_type, started)
    first = window_of(context(run), started + timedelta(seconds=1))
    assert first == window_of(context(run), started + timedelta(minutes=9)) == Interval(END, started)


def test_a_run_by_hand_with_the_form_s_logical_date_looks_again() -> None:
    """The form fills in now, whose data interval a scheduled run has answered for already."""
    started = END + timedelta(minutes=4)
    run = Run("manual", started, START, END)
    assert window_of(context(run), started) == Interval(END, started)


@pytest.mark.parametrize("run_type", ["scheduled", "manual"])
def test_an_old_interval_is_refused(run_type: str) -> None:
    run = Run(run_type, END, START, END)
    with pytest.raises(ConfigurationError, match="the_run is for the time up to 2026-11-22T10:15"):
        window_of(context(run), END + timedelta(minutes=30, seconds=1))


def test_a_cleared_run_by_hand_is_refused() -> None:
    run = Run("manual", END)
    with pytest.raises(ConfigurationError, match="nothing was changed"):
        window_of(context(run), END + timedelta(days=1))


def test_a_backfill_is_refused_even_for_the_newest_interval() -> None:
    run = Run("backfill", END, START, END)
    with pytest.raises(ConfigurationError, match="backfill"):
        window_of(context(run), END + timedelta(seconds=1))

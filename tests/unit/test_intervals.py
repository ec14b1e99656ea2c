"""The stretch of time that a run answers for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken_recon.values.intervals import RUN_INTERVAL, Interval, interval_ending_now

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
moments = st.datetimes(datetime(2015, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zone follows


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (NOON, NOON),
        (NOON, NOON - timedelta(microseconds=1)),
        (NOON.replace(tzinfo=None), NOON),
        (NOON, NOON.replace(tzinfo=None)),
        (NOON, datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))),
    ],
)
def test_empty_backward_and_zoneless_intervals_are_refused(start: datetime, end: datetime) -> None:
    with pytest.raises(ValueError, match="expected"):
        Interval(start, end)


@given(moments)
def test_run_by_hand_answers_for_the_time_up_to_now(now: datetime) -> None:
    interval = interval_ending_now(now)
    assert interval.end == now
    assert timedelta(0) < interval.end - interval.start <= RUN_INTERVAL
    assert interval.start.timestamp() % RUN_INTERVAL.total_seconds() == 0


@given(moments, moments)
def test_two_runs_by_hand_never_share_an_interval(one: datetime, other: datetime) -> None:
    assert (interval_ending_now(one) == interval_ending_now(other)) == (one == other)


def test_interval_is_shown_half_open() -> None:
    assert (
        str(Interval(NOON, NOON + RUN_INTERVAL)) == "[2026-03-01T12:00:00+00:00, 2026-03-01T12:15:00+00:00)"
    )

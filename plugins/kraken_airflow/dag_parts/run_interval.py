"""Decide which stretch of time a DAG run answers for, and whether it is for now or as of the past.

A run for now compares positions with what Kraken holds at this moment. A run as of the past never does: it
rebuilds how both sides stood at the end of its interval. Retries of a task get the same interval as its
first try.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.alerts.run_coverage import BACKFILL
from kraken_recon.values.intervals import RUN_INTERVAL, Interval, interval_ending_now

if TYPE_CHECKING:
    from airflow.sdk import Context

AGE_MAX: Final = 2 * RUN_INTERVAL
SCHEDULED: Final = "scheduled"


@dataclass(frozen=True, slots=True)
class Window:
    """The interval of a run; ``is_past`` says that it is answered as of its end, and not from the present.

    ``told`` says where the interval comes from, for people.
    """

    interval: Interval
    is_past: bool
    told: str = field(default="", compare=False)


def window_of(context: Context, now: datetime | None = None) -> Window:
    """Take the interval that a run was made for, or for a run started by hand the time up to its start.

    | run | answers for | as of |
    |---|---|---|
    | backfill | its data interval | its end, however recent |
    | scheduled; cleared or caught up within two intervals | its data interval | now |
    | scheduled; cleared or caught up later | its data interval | its end |
    | by hand | the time up to its start: its data interval is one that a scheduled run answers for | now |
    | by hand, cleared later | the same | its end |
    | by hand, with a logical date in the past | the data interval of that date | its end |

    Args:
        context: of the running task.
        now: the present moment, in UTC; read from the clock when left out.
    """
    run = context["dag_run"]
    started = _plain(run.run_after)
    asked_until = _asked_until(run)
    is_past = is_for_the_past(context, now)
    has_own_interval = run.run_type in {BACKFILL, SCHEDULED} or asked_until < started - AGE_MAX
    if has_own_interval and run.data_interval_start and run.data_interval_end:
        interval = Interval(_plain(run.data_interval_start), asked_until)
        told = f"Reconciling for {interval}, the data interval of {run.run_id}"
    else:
        interval = interval_ending_now(started)
        told = f"Reconciling for {interval}, up to when {run.run_id} was started"
    if is_past:
        told += "; it is over, so both sides are rebuilt as of its end"
    return Window(interval, is_past, told)


def is_for_the_past(context: Context, now: datetime | None = None) -> bool:
    """Say whether a run is answered as of the past; once it is, it stays so."""
    run = context["dag_run"]
    return run.run_type == BACKFILL or _asked_until(run) < (now or datetime.now(UTC)) - AGE_MAX


def _asked_until(run: Any) -> datetime:  # noqa: ANN401 - Airflow has several types of it
    return _plain(run.data_interval_end or run.run_after)


def _plain(moment: datetime) -> datetime:
    """Leave pendulum's own type behind; the core and psycopg speak plain datetimes."""
    return datetime.fromisoformat(moment.isoformat()).astimezone(UTC)

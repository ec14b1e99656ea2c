"""Decide which stretch of time a DAG run answers for.

A reconciliation compares positions with what the exchange holds *now*, so only a run for now is let
through. Retries of a task get the same interval as its first try.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kraken_recon.domain.intervals import RUN_INTERVAL, Interval, interval_ending_now
from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

AGE_MAX: Final = 2 * RUN_INTERVAL
SCHEDULED: Final = "scheduled"
BACKFILL: Final = "backfill"


def window_of(context: Context, now: datetime | None = None) -> Interval:
    """Take a scheduled run's data interval, or the time up to when a run was started by hand.

    The data interval of a run by hand is the one that a scheduled run has already answered for, so it says
    only whether somebody asked for the past.

    Args:
        context: of the running task.
        now: the present moment, in UTC; read from the clock when left out.

    Raises:
        ConfigurationError: the run is for the past.
    """
    run = context["dag_run"]
    now = now or datetime.now(UTC)
    if run.run_type == BACKFILL:
        raise _past(f"{run.run_id} is a backfill run")
    asked_until = run.data_interval_end or run.run_after
    if asked_until < now - AGE_MAX:
        raise _past(f"{run.run_id} is for the time up to {asked_until.isoformat()}")
    if run.run_type == SCHEDULED and run.data_interval_start and run.data_interval_end:
        interval = Interval(_plain(run.data_interval_start), _plain(run.data_interval_end))
        log.info("Reconciling for %s, the data interval of %s", interval, run.run_id)
    else:
        interval = interval_ending_now(_plain(run.run_after))
        log.info("Reconciling for %s, up to when %s was started", interval, run.run_id)
    return interval


def _past(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what}, and reconciling as of the past is not available yet; nothing was changed. To reconcile "
        "now, trigger the DAG without a logical date"
    )


def _plain(moment: datetime) -> datetime:
    """Leave pendulum's own type behind; the core and psycopg speak plain datetimes."""
    return datetime.fromisoformat(moment.isoformat()).astimezone(UTC)

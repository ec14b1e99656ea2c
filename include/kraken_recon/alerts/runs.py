"""Tell of DAG runs that are late or failed, each cause once, and of their end.

Invariants:
1. A run that ended by its deadline is not late, however it ended; one that failed is told of as what it is.
2. What one DAG misses is one alert that counts, however many of its runs miss it.
3. A failure whose alerts were raised where it was met raises none here.
4. Only a run that did the missing work ends an alert (`run_coverage.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.run_coverage import BACKFILL, makes_up_for

if TYPE_CHECKING:
    from datetime import datetime

    from kraken_recon.alerts.run_coverage import RunOfDag, Work
    from kraken_recon.alerts.store import AlertStore

SUCCESS: Final = "success"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Missed:
    """A deadline that passed, and how the run stood then; ``ended_at`` is None while it goes on."""

    due: datetime
    limit_minutes: int
    state: str
    ended_at: datetime | None


def tell_late(store: AlertStore, run: RunOfDag, missed: Missed) -> bool:
    """Raise the alert of a run that missed its deadline; return whether it did.

    A run that ended in time, or well in the end, did not. One that failed after its deadline did, unless
    people are told of its failure already.
    """
    ended_at = missed.ended_at
    if ended_at and (ended_at <= missed.due or missed.state == SUCCESS or store.has_failed(run)):
        return False
    what = "its backfill as a whole" if run.run_type == BACKFILL else f"run {run.run_id}"
    now = f"it ended {missed.state} at {_moment(ended_at)}" if ended_at else f"it is {missed.state}"
    store.raise_run_alert(
        AlertKind.DEADLINE_MISSED,
        run,
        f"{run.dag_id}: {what} had not ended by {_moment(missed.due)}; {now}",
        {
            "run_type": run.run_type,
            "state": missed.state,
            "due": missed.due.isoformat(),
            "limit_minutes": missed.limit_minutes,
        },
    )
    return True


def tell_failed(store: AlertStore, run: RunOfDag, cause: str, *, is_told: bool = False) -> None:
    """Say that a run failed, and why: in the alert that it is late, else in one of its own.

    Args:
        store: in an open transaction.
        run: of a DAG.
        cause: for people, without secrets.
        is_told: people hear of the cause by other alerts, such as those of the accounts that it met.
    """
    message = f"{run.dag_id}: run {run.run_id} failed: {cause}"
    if store.amend_late(run, message) or is_told:
        return
    store.raise_run_alert(AlertKind.RUN_FAILURE, run, message, {"run_type": run.run_type, "state": FAILED})


def tell_succeeded(store: AlertStore, run: RunOfDag, work: Work) -> int:
    """Resolve the alerts of the runs for which this one makes up; return how many."""
    waiting = store.open_run_alerts(run.dag_id)
    over = [alert_id for alert_id, missing in waiting if makes_up_for(run, missing, work)]
    if over:
        store.resolve(over, ended_by=f"run {run.run_id} of {run.dag_id} succeeded")
    return len(over)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"

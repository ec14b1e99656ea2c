"""Leave a heartbeat after work, and raise an alert about a job whose newest one is too old.

Invariants:
1. Only what has worked once is watched: a DAG that nobody ever unpaused raises nothing.
2. The watch looks after the DAGs, and a DAG after the watch; neither needs the other to be alive.
3. The next heartbeat resolves the alert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from kraken_recon.alerts.heartbeat_store import HeartbeatStore
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.silence_rules import SILENCE_MAX, Heartbeat, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.database.unit_of_work import UnitOfWork


OpenUnit: TypeAlias = "Callable[[], AbstractContextManager[UnitOfWork]]"


def beat(open_unit: OpenUnit, job: Job, now: datetime) -> None:
    """Keep that a job works."""
    with open_unit() as unit:
        HeartbeatStore(unit).beat(job, now, SILENCE_MAX[job])
        unit.commit()


def look_after_jobs(open_unit: OpenUnit, now: datetime) -> list[Heartbeat]:
    """Raise an alert for each DAG whose newest work is too old, though no run of it may exist."""
    return _look(open_unit, AlertKind.WORK_OVERDUE, now, is_ours=lambda job: job != Job.WATCH)


def look_after_watch(open_unit: OpenUnit, now: datetime) -> list[Heartbeat]:
    """Raise an alert if the watch, which ran once, is silent; return its heartbeat then."""
    return _look(open_unit, AlertKind.WATCH_SILENT, now, is_ours=lambda job: job == Job.WATCH)


def _look(
    open_unit: OpenUnit, kind: AlertKind, now: datetime, *, is_ours: Callable[[str], bool]
) -> list[Heartbeat]:
    with open_unit() as unit:
        beats = HeartbeatStore(unit).heartbeats(now)
        silent = [beat for beat in beats if beat.is_silent and is_ours(beat.job)]
        HeartbeatStore(unit).raise_silent(kind, silent, now)
        unit.commit()
    return silent

"""Leave a heartbeat after work, and raise an alert about a job whose newest one is too old.

Invariants:
1. Only what has worked once is watched: a DAG that nobody ever unpaused raises nothing.
2. The watch looks after the DAGs, and a DAG after the watch; neither needs the other to be alive.
3. The next heartbeat resolves the alert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from kraken_recon.domain.alert_kinds import AlertKind
from kraken_recon.domain.heartbeats import SILENCE_MAX, Heartbeat, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta


class HeartbeatStore(Protocol):
    """What heartbeats need of the database."""

    def beat(self, job: Job, now: datetime, limit: timedelta) -> None:
        """Keep that a job works; the limit is that of its first heartbeat."""
        ...

    def heartbeats(self, now: datetime) -> list[Heartbeat]:
        """Read the newest heartbeat of each job."""
        ...

    def raise_silent(self, kind: AlertKind, silent: Sequence[Heartbeat], now: datetime) -> None:
        """Keep one alert open for each of these jobs, and resolve the others of the kind."""
        ...


class HeartbeatUnit(Protocol):
    """A unit of work with heartbeats."""

    @property
    def heartbeats(self) -> HeartbeatStore:
        """Heartbeats."""
        ...

    def commit(self) -> None:
        """Make the work permanent."""
        ...


OpenUnit: TypeAlias = "Callable[[], AbstractContextManager[HeartbeatUnit]]"


def beat(open_unit: OpenUnit, job: Job, now: datetime) -> None:
    """Keep that a job works."""
    with open_unit() as unit:
        unit.heartbeats.beat(job, now, SILENCE_MAX[job])
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
        beats = unit.heartbeats.heartbeats(now)
        silent = [beat for beat in beats if beat.is_silent and is_ours(beat.job)]
        unit.heartbeats.raise_silent(kind, silent, now)
        unit.commit()
    return silent

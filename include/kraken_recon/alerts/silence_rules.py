"""What works on a schedule and for how long it may leave no sign of work: the dead man's switch.

A deadline belongs to a run; where no run is made at all (a paused DAG, a broken file, a scheduler that is
down) there is none to miss. So whatever works leaves a heartbeat, and something else looks at its age.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime


class Job(StrEnum):
    """What leaves heartbeats: each DAG with a schedule, under its own id, and the watch."""

    POSITION_SYNC = "position_sync"
    ORDER_EXECUTION = "order_execution"
    ORDER_VERIFICATION = "order_verification"
    SESSION_LEAK_AUDIT = "session_leak_audit"
    MAINTENANCE = "maintenance"
    WATCH = "watch"


# At least two turns, and the time that a turn may take; a job may be given another limit in the database.
SILENCE_MAX: Final = {
    Job.POSITION_SYNC: timedelta(minutes=45),
    Job.ORDER_EXECUTION: timedelta(minutes=15),
    Job.ORDER_VERIFICATION: timedelta(minutes=20),
    Job.SESSION_LEAK_AUDIT: timedelta(minutes=15),
    Job.MAINTENANCE: timedelta(minutes=150),
    Job.WATCH: timedelta(minutes=5),
}


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The newest sign of work of a job, and whether it is older than it may be."""

    job: str
    beat_at: datetime
    limit_minutes: int
    is_silent: bool

    @property
    def message(self) -> str:
        """Say what is wrong, for people."""
        moment = f"{self.beat_at:%Y-%m-%d %H:%M:%S}Z"
        return f"{self.job}: its newest work is of {moment}, longer ago than {self.limit_minutes} minutes"

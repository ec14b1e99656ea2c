"""Let a task say that its DAG works, for the watch to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon.bootstrap import utc_now
from kraken_recon.service.heartbeats import beat

if TYPE_CHECKING:
    from kraken_airflow.hooks.trading_db import TradingDbHook
    from kraken_recon.domain.heartbeats import Job


def leave_heartbeat(hook: TradingDbHook, job: Job) -> None:
    """Keep that a job has just worked."""
    beat(hook.unit_of_work, job, utc_now())

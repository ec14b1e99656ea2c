"""Let a task say that its DAG works, for the watch to see."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kraken_recon.alerts.heartbeats import beat
from kraken_recon.errors import StoreError
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from kraken_airflow.hooks.trading_db import TradingDbHook
    from kraken_recon.alerts.silence_rules import Job


log = logging.getLogger(__name__)


def leave_heartbeat(hook: TradingDbHook, job: Job) -> None:
    """Keep that a job has just worked; work that is done does not fail for want of a sign of it."""
    try:
        beat(hook.unit_of_work, job, utc_now())
    except StoreError as error:
        log.warning("no heartbeat of %s could be left: %s", job, error)

"""Heartbeats in Postgres; every statement is a named query of ``heartbeats.sql``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.silence_rules import Heartbeat
from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.store import Store, named_queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from kraken_recon.alerts.kinds import AlertKind
    from kraken_recon.alerts.silence_rules import Job


class HeartbeatStore(Store):
    """When each job last worked."""

    queries = named_queries(__file__, "heartbeats")

    def beat(self, job: Job, now: datetime, limit: timedelta) -> None:
        """Keep that a job works; the limit is that of its first heartbeat."""
        self._execute("beat", job=str(job), now=now, limit_minutes=limit // timedelta(minutes=1))

    def heartbeats(self, now: datetime) -> list[Heartbeat]:
        """Read the newest heartbeat of each job."""
        return [Heartbeat(**row) for row in self._rows("heartbeats", now=now)]

    def raise_silent(self, kind: AlertKind, silent: Sequence[Heartbeat], now: datetime) -> None:
        """Keep one alert open for each of these jobs, and resolve the others of the kind."""
        alerts = [
            Alert(kind, None, beat.job, None, beat.message, evidence={"beat_at": beat.beat_at.isoformat()})
            for beat in silent
        ]
        AlertStore(self._unit).keep_open(kind, alerts, now)

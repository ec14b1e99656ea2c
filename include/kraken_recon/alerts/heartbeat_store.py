"""Heartbeats in Postgres; every statement is a named query of ``heartbeats.sql``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.raising_store import keep_open
from kraken_recon.alerts.silence_rules import Heartbeat
from kraken_recon.database.named_sql import load
from kraken_recon.database.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from kraken_recon.alerts.kinds import AlertKind
    from kraken_recon.alerts.silence_rules import Job

QUERIES: Final = {name: sa.text(query) for name, query in load(__file__, "heartbeats").items()}


class HeartbeatStore(Store):
    """When each job last worked."""

    def beat(self, job: Job, now: datetime, limit: timedelta) -> None:
        """Keep that a job works; the limit is that of its first heartbeat."""
        values = {"job": str(job), "now": now, "limit_minutes": limit // timedelta(minutes=1)}
        self._connection.execute(QUERIES["beat"], values)

    def heartbeats(self, now: datetime) -> list[Heartbeat]:
        """Read the newest heartbeat of each job."""
        rows = self._connection.execute(QUERIES["heartbeats"], {"now": now}).mappings()
        return [Heartbeat(**row) for row in rows]

    def raise_silent(self, kind: AlertKind, silent: Sequence[Heartbeat], now: datetime) -> None:
        """Keep one alert open for each of these jobs, and resolve the others of the kind."""
        keep_open(
            self._connection,
            kind,
            [
                Alert(
                    kind,
                    None,
                    beat.job,
                    None,
                    beat.message,
                    evidence={"beat_at": beat.beat_at.isoformat()},
                )
                for beat in silent
            ],
            now,
        )

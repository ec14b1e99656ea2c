"""Alerts after they were raised, in Postgres; every statement is a named query of ``sql/alerts.sql``."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from kraken_recon.adapters.postgres.named_sql import load
from kraken_recon.domain.alert_kinds import AlertKind
from kraken_recon.domain.alerts import (
    Notification,
    Reason,
    Standing,
    Told,
)
from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection, CursorResult

    from kraken_recon.domain.alerts import Judgement, Notice

QUERIES: Final = {name: sa.text(query) for name, query in load("alerts").items()}
# Older digests hold nothing back any more.
DIGEST_AGE_MAX: Final = timedelta(days=1)


class PostgresAlertStore:
    """Satisfies ``service.alerting.AlertStore`` and ``AlertDesk`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _execute(self, query: str, **values: object) -> CursorResult[Any]:
        return self._connection.execute(QUERIES[query], values)

    def _raise(self, query: str, kind: AlertKind, **values: object) -> None:
        self._execute(query, kind=str(kind), **values)

    def _rows(self, query: str, **values: object) -> list[Mapping[str, Any]]:
        return [dict(row) for row in self._execute(query, **values).mappings()]

    def lock_telling(self) -> None:
        """Wait until no other process decides what to tell."""
        self._execute("lock_telling")

    def standings(self) -> list[Standing]:
        """Read every alert that is not resolved, and every resolved one that people still believe open."""
        self._execute("follow_alerts")
        found = []
        for row in self._rows("standings"):
            values = dict(row)
            is_active, at, amount = (values.pop(name) for name in ("is_active", "told_at", "told_amount"))
            told = None if at is None else Told(is_active, at, amount)
            found.append(Standing(**values, told=told))
        return found

    def newest_digest_at(self, now: datetime) -> datetime | None:
        """Say when the newest digest was written."""
        newest: datetime | None = self._rows("newest_digest_at", since=now - DIGEST_AGE_MAX)[0]["newest"]
        return newest

    def remember_told(self, judgements: Sequence[Judgement], now: datetime) -> None:
        """Keep what people were told of."""
        if judgements:
            self._execute(
                "remember_told",
                alert_ids=[judgement.standing.alert_id for judgement in judgements],
                active=[judgement.reason is not Reason.RECOVERED for judgement in judgements],
                amounts=[judgement.standing.amount for judgement in judgements],
                now=now,
            )

    def add_notifications(self, notices: Sequence[Notice], channels: Sequence[str], now: datetime) -> None:
        """Write each notice once for each channel."""
        for notice in notices:
            self._execute(
                "add_notification",
                channels=list(channels),
                reason=str(notice.reason),
                subject=notice.subject,
                body=notice.body,
                alert_ids=list(notice.alert_ids),
                now=now,
            )

    def claim(self, channel: str, now: datetime, until: datetime, *, most: int) -> list[Notification]:
        """Take notifications that are due, oldest first, for as long as the lease lasts."""
        rows = self._rows("claim", channel=channel, now=now, until=until, most=most)
        return [Notification(**{**row, "alert_ids": tuple(row["alert_ids"])}) for row in rows]

    def mark_sent(self, notification_id: int, now: datetime) -> None:
        """Keep that a notification arrived."""
        self._execute("mark_sent", notification_id=notification_id, now=now)

    def put_off(self, notification_ids: Collection[int], until: datetime, error: str) -> None:
        """Give claimed notifications back, to be sent later."""
        self._execute("put_off", notification_ids=sorted(notification_ids), until=until, error=error)

    def raise_stale(self, now: datetime) -> None:
        """Raise an alert for each account without a fresh proof, and resolve those of fresh ones."""
        stale = [row for row in self.freshness(now) if row["is_stale"]]
        self._execute(
            "resolve_stale",
            kind=str(AlertKind.STALE_POSITIONS),
            account_ids=[row["account_id"] for row in stale],
            now=now,
        )
        self._raise(
            "raise_stale",
            AlertKind.STALE_POSITIONS,
            account_ids=[row["account_id"] for row in stale],
            messages=[
                f"{row['account']}: its positions were last proven "
                f"{row['proven_at'].isoformat(timespec='seconds') if row['proven_at'] else 'never'}, "
                f"longer ago than {row['limit_minutes']} minutes"
                for row in stale
            ],
            evidence=[
                json.dumps({"proven_at": row["proven_at"].isoformat() if row["proven_at"] else None})
                for row in stale
            ],
        )

    def raise_deadline(self, dag_id: str, run: str, message: str, evidence: Mapping[str, object]) -> None:
        """Raise the alert of a run, or of a backfill as a whole, that is late."""
        self._raise(
            "raise_deadline",
            AlertKind.DEADLINE_MISSED,
            dag_id=dag_id,
            run=run,
            message=message,
            evidence=json.dumps(dict(evidence)),
        )

    def resolve_deadlines(self, dag_id: str) -> None:
        """Resolve the alerts of a DAG's late runs."""
        self._execute("resolve_deadlines", kind=str(AlertKind.DEADLINE_MISSED), dag_id=dag_id)

    def find_alerts(self, *, with_resolved: bool, most: int) -> list[Mapping[str, Any]]:
        """Read alerts, newest first."""
        return self._rows("find_alerts", with_resolved=with_resolved, most=most)

    def answer(self, alert_id: int, status: str, by: str, note: str | None) -> None:
        """Keep who acknowledged or resolved an alert.

        Raises:
            ConfigurationError: no such alert is open.
        """
        query = "acknowledge" if status == "acknowledged" else "resolve"
        if self._execute(query, alert_id=alert_id, by=by, note=note).rowcount != 1:
            raise ConfigurationError(f"no open alert has the number {alert_id}")

    def freshness(self, now: datetime) -> list[Mapping[str, Any]]:
        """Read how old each active account's newest proof is."""
        return self._rows("freshness", now=now)

    def unsent(self) -> list[Mapping[str, Any]]:
        """Count what waits to be sent, by channel."""
        return self._rows("unsent")

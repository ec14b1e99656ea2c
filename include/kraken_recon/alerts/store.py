"""Alerts after they were raised, in Postgres; every statement is a named query of ``alerts.sql``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import OF_ACTIVE_ACCOUNTS, AlertKind
from kraken_recon.alerts.raising_store import QUERIES, keep_open, raise_alerts
from kraken_recon.alerts.rules import (
    Lately,
    Notification,
    Standing,
    TellingReason,
    Told,
)
from kraken_recon.alerts.run_coverage import BACKFILL, Missing
from kraken_recon.database.store import Store
from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.engine import CursorResult

    from kraken_recon.alerts.rules import Judgement, Notice
    from kraken_recon.alerts.run_coverage import RunOfDag


class AlertStore(Store):
    """Alerts, who was told of them, and how old the newest proof of each account is."""

    def _execute(self, query: str, **values: object) -> CursorResult[Any]:
        return self._connection.execute(QUERIES[query], values)

    def _rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        return self._rows(query, **values)

    def lock_telling(self) -> None:
        """Wait until no other process decides what to tell."""
        self._execute("lock_telling")

    def standings(self, openings_since: datetime) -> list[Standing]:
        """Read every alert that is not resolved, and every resolved one that people still believe open."""
        self._execute("follow_alerts")
        found = []
        for row in self._rows("standings", since=openings_since):
            values = dict(row)
            is_active, at, amount = (values.pop(name) for name in ("is_active", "told_at", "told_amount"))
            told = None if at is None else Told(is_active, at, amount)
            found.append(Standing(**values, told=told))
        return found

    def told_since(self, since: datetime) -> Lately:
        """Read what was written to people since then."""
        rows = self._rows("told_since", since=since)
        return Lately(
            {row["kind"]: row["notices"] for row in rows if row["notices"]},
            frozenset(row["kind"] for row in rows if row["is_digested"]),
        )

    def remember_told(self, judgements: Sequence[Judgement], now: datetime) -> None:
        """Keep what people were told of."""
        if judgements:
            self._execute(
                "remember_told",
                alert_ids=[judgement.standing.alert_id for judgement in judgements],
                active=[judgement.reason is not TellingReason.RECOVERED for judgement in judgements],
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
                details=json.dumps(dict(notice.details)),
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
        keep_open(
            self._connection,
            AlertKind.STALE_POSITIONS,
            [
                Alert(
                    AlertKind.STALE_POSITIONS,
                    row["account_id"],
                    None,
                    None,
                    f"{row['account']}: its positions were last proven {_moment(row['proven_at'])}, "
                    f"longer ago than {row['limit_minutes']} minutes",
                    evidence={"proven_at": row["proven_at"] and _moment(row["proven_at"])},
                )
                for row in self.freshness(now)
                if row["is_stale"]
            ],
            now,
        )

    def tellable(self, alert_ids: Collection[int]) -> set[int]:
        """Name those of these alerts whose row nobody else holds."""
        return {row["alert_id"] for row in self._rows("tellable", alert_ids=sorted(alert_ids))}

    def close_paused(self, now: datetime) -> None:
        """Resolve what only an active account can have of those that are paused."""
        self._execute("close_paused", kinds=sorted(OF_ACTIVE_ACCOUNTS), now=now)

    def raise_run_alert(
        self, kind: AlertKind, run: RunOfDag, message: str, evidence: Mapping[str, object]
    ) -> None:
        """Open the alert of a run's thread, or count it again where the run is a new one."""
        missing = {
            "dag_run_id": run.run_id,
            "reaches": run.reaches.isoformat(),
            "scope": dict(run.scope),
            "is_alone": run.is_alone,
        }
        self._execute(
            "raise_run_alert",
            kind=str(kind),
            account=run.account,
            dag_id=run.dag_id,
            thread=run.thread,
            message=message,
            evidence=json.dumps({**missing, **evidence}),
        )

    def amend_late(self, run: RunOfDag, message: str) -> bool:
        """Say of a run that was told of as late how it ended; False where it was not told of."""
        return bool(
            self._rows(
                "amend_late",
                kind=str(AlertKind.DEADLINE_MISSED),
                dag_id=run.dag_id,
                thread=run.thread,
                run_id=run.run_id,
                reaches=run.reaches,
                message=message,
            )
        )

    def has_failed(self, run: RunOfDag) -> bool:
        """Say whether people are told already that this very run failed."""
        kind = str(AlertKind.RUN_FAILURE)
        return bool(self._rows("told_of_run", kind=kind, dag_id=run.dag_id, run_id=run.run_id))

    def open_run_alerts(self, dag_id: str) -> list[tuple[int, Missing]]:
        """Lock and read a DAG's open alerts: their numbers, and what each waits for."""
        kinds = [str(AlertKind.DEADLINE_MISSED), str(AlertKind.RUN_FAILURE)]
        rows = self._rows("open_run_alerts", kinds=kinds, dag_id=dag_id)
        return [(row["alert_id"], _missing(row["evidence"], row["opened_at"])) for row in rows]

    def resolve_run_alerts(self, alert_ids: Collection[int], resolution: str) -> None:
        """Resolve alerts, and keep what ended them."""
        self._execute("resolve_run_alerts", alert_ids=sorted(alert_ids), resolution=resolution)

    def find_alerts(self, *, with_resolved: bool, most: int) -> list[dict[str, Any]]:
        """Read alerts, newest first."""
        return self._rows("find_alerts", with_resolved=with_resolved, most=most)

    def answer(self, which: int | str, status: str, by: str, note: str | None) -> int:
        """Keep who acknowledged or resolved an alert, or all open ones of a kind; return how many.

        Raises:
            ConfigurationError: no such alert is open.
        """
        query = "acknowledge" if status == "acknowledged" else "resolve"
        alert_id, kind = (which, None) if isinstance(which, int) else (None, which)
        count = self._execute(query, alert_id=alert_id, kind=kind, by=by, note=note).rowcount
        if not count:
            named = f"has the number {alert_id}" if kind is None else f"is of the kind {kind}"
            raise ConfigurationError(f"no open alert {named}")
        return count

    def freshness(self, now: datetime) -> list[dict[str, Any]]:
        """Read how old each active account's newest proof is."""
        return self._rows("freshness", now=now)

    def unsent(self) -> list[dict[str, Any]]:
        """Count what waits to be sent, by channel."""
        return self._rows("unsent")

    def open_by_kind(self) -> dict[str, int]:
        """Count what is not resolved by kind; zero for kinds that people were told of and that are over."""
        return {row["kind"]: row["alerts"] for row in self._rows("open_by_kind")}

    def approvals_waiting(self) -> int:
        """Count the held repairs that nobody decided yet."""
        return int(self._rows("approvals_waiting")[0]["plans"])

    def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        """Open alerts, or count them again where the same one is open, with what was put off before."""
        raise_alerts(self._connection, alerts)

    def resolve_alerts(
        self, account_ids: Collection[int], kind: AlertKind, *, ended_by: str | None = None
    ) -> None:
        """Resolve the open alerts of a kind for these accounts, and keep what ended them."""
        ids = sorted(account_ids)
        self._execute("resolve_alerts", account_ids=ids, kind=str(kind), resolution=ended_by)


def _missing(evidence: Mapping[str, Any], opened_at: datetime) -> Missing:
    """Read what an alert waits for; one of an older release names less."""
    reaches = evidence.get("reaches")
    return Missing(
        evidence.get("dag_run_id") or evidence.get("run_id", ""),
        datetime.fromisoformat(reaches) if reaches else opened_at,
        evidence.get("scope", {}),
        evidence.get("is_alone", evidence.get("run_type") == BACKFILL),
    )


def _moment(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else "never"

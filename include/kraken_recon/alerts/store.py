"""Alerts in Postgres, from raising to resolving; every statement is a named query of ``alerts.sql``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import OF_ACTIVE_ACCOUNTS, AlertKind
from kraken_recon.alerts.rules import (
    Lately,
    Notification,
    Standing,
    TellingReason,
    Told,
)
from kraken_recon.alerts.run_coverage import BACKFILL, Missing
from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import NotOnRecordError
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.engine import Row

    from kraken_recon.alerts.rules import Judgement, Notice
    from kraken_recon.alerts.run_coverage import RunOfDag


class AlertStore(Store):
    """Alerts, who was told of them, and how old the newest proof of each account is."""

    queries = named_queries(__file__, "alerts")

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
        self.keep_open(
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
        paused = self._run("find_paused", kinds=sorted(OF_ACTIVE_ACCOUNTS))
        self._resolve({row.alert_id: "its account, which was paused" for row in paused}, now=now)

    def raise_run_alert(
        self, kind: AlertKind, run: RunOfDag, message: str, evidence: Mapping[str, object]
    ) -> None:
        """Open the alert of a run's thread, or count it again where the run is a new one."""
        found = self._run("account_id", name=run.account)
        missing = {
            "dag_run_id": run.run_id,
            "reaches": run.reaches.isoformat(),
            "scope": dict(run.scope),
            "is_alone": run.is_alone,
        }
        account_id = found[0].account_id if found else None
        told = {**missing, **evidence}
        self.raise_alerts([Alert(kind, account_id, run.dag_id, run.thread, message, evidence=told)])

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

    def find_alerts(
        self, names: Collection[str] | None = None, *, with_resolved: bool, most: int
    ) -> list[dict[str, Any]]:
        """Read alerts, of all accounts or of those named, newest first."""
        listed = None if names is None else sorted(names)
        return self._rows("find_alerts", names=listed, with_resolved=with_resolved, most=most)

    def answer(self, which: int | str, status: str, by: str, note: str | None) -> int:
        """Keep who acknowledged or resolved an alert, or all open ones of a kind; return how many.

        Raises:
            NotOnRecordError: no such alert is open.
        """
        if isinstance(which, int):
            alert_ids, named = self._find_open(alert_id=which), f"has the number {which}"
        else:
            alert_ids, named = self._find_open(kinds=[which]), f"is of the kind {which}"
        if not alert_ids:
            raise NotOnRecordError(f"no open alert {named}")
        if status == "acknowledged":
            self._execute("acknowledge", alert_ids=alert_ids, by=by, note=note)
        else:
            self._resolve(dict.fromkeys(alert_ids), by=by, note=note)
        return len(alert_ids)

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

    def raise_alerts(self, alerts: Sequence[Alert], *, is_counted: bool = True) -> None:
        """Open alerts, or see those again that are open, and count them; with them what was put off before.

        It waits for nobody. A person who looks at an alert in an open transaction must not hold up the books
        that it is about; what cannot be written now is put off, and whoever raises alerts next writes it.
        """
        told = [json.dumps({**alert.evidence, **_amount(alert)}) for alert in alerts]
        messages = [alert.message for alert in alerts]
        self._execute(
            "raise_alerts", **_subjects(alerts), messages=messages, evidence=told, is_counted=is_counted
        )

    def keep_open(self, kind: AlertKind, alerts: Sequence[Alert], now: datetime) -> None:
        """Keep exactly these alerts of a kind open, without counting how often they were looked at."""
        over = self._find_over([kind], None, still=alerts)
        runs = {
            row.account_id: row.run
            for row in self._run("proved_by", account_ids=[r.account_id for r in over])
        }
        self._resolve({row.alert_id: _ended_by(row, runs) for row in over}, now=now)
        self.raise_alerts(alerts, is_counted=False)

    def resolve_alerts(
        self,
        account_ids: Collection[int | None] | None,
        *kinds: AlertKind,
        still: Sequence[Alert] = (),
        ended_by: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Resolve the open alerts of these kinds that are over, and keep what ended them.

        What somebody holds is left open: whoever looks next asks for the same.

        Args:
            account_ids: of these, among them None for what is about none; None for whatever they are about.
            kinds: all of which the caller has just looked for.
            still: what it found, and what stays.
            ended_by: in words; None where nobody can say.
            subject: the one thing that they are about, where others look for the same kinds elsewhere.
        """
        over = self._find_over(kinds, account_ids, still=still, subject=subject)
        self.resolve([row.alert_id for row in over], ended_by=ended_by)

    def resolve_about(self, account_id: int, subject: str, kinds: Collection[AlertKind]) -> None:
        """Resolve the open alerts of some kinds about one thing of an account; wait for whoever holds one."""
        self.resolve(self._find_open(kinds=kinds, account_id=account_id, wallet=subject), ended_by=None)

    def resolve(self, alert_ids: Collection[int], *, ended_by: str | None) -> None:
        """Resolve locked alerts, and keep what ended them."""
        self._resolve(dict.fromkeys(alert_ids, ended_by))

    def _find_over(
        self,
        kinds: Collection[AlertKind],
        account_ids: Collection[int | None] | None,
        *,
        still: Sequence[Alert],
        subject: str | None = None,
    ) -> Sequence[Row[Any]]:
        return self._run(
            "find_over",
            over_kinds=sorted(kinds),
            over_account_ids=None if account_ids is None else list(account_ids),
            over_subject=subject,
            **_subjects(still),
        )

    def _find_open(
        self,
        *,
        alert_id: int | None = None,
        kinds: Collection[str] = (),
        account_id: int | None = None,
        wallet: str | None = None,
    ) -> list[int]:
        rows = self._run(
            "find_open", alert_id=alert_id, kinds=sorted(kinds), account_id=account_id, wallet=wallet
        )
        return [row.alert_id for row in rows]

    def _resolve(
        self,
        endings: Mapping[int, str | None],
        *,
        now: datetime | None = None,
        by: str | None = None,
        note: str | None = None,
    ) -> None:
        if endings:
            ids, resolutions = list(endings), list(endings.values())
            self._execute("resolve", alert_ids=ids, resolutions=resolutions, now=now, by=by, note=note)


def _subjects(alerts: Sequence[Alert]) -> dict[str, list[Any]]:
    """Write what alerts are about as the parallel arrays that statements take."""
    return {
        "kinds": [alert.kind for alert in alerts],
        "account_ids": [alert.account_id for alert in alerts],
        "assets": [alert.asset for alert in alerts],
        "wallets": [alert.wallet for alert in alerts],
    }


def _ended_by(over: Row[Any], runs: Mapping[int, str]) -> str | None:
    """Say what ended an alert: the work of the job that it is about, or the run that proved its account."""
    if over.account_id is None:
        return f"{over.asset} left a sign of work again"
    return f"{runs[over.account_id]} proved it" if over.account_id in runs else None


def _amount(alert: Alert) -> dict[str, str]:
    return {} if alert.amount is None else {"amount": format_amount(alert.amount)}


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

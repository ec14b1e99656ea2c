"""Tell people of alerts: decide, write it down, and send it.

Invariants:
1. An alert is a row first. What is told is derived from the rows, so nothing that raises one needs to know of
   channels, and a channel that is down holds nothing up and loses nothing.
2. What was decided and what must be sent are written in one transaction; sending happens outside of any.
3. A notification is sent at least once; its idempotency key lets a receiver drop the second.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from kraken_recon.domain.alerts import TellingPolicy, backoff, compose, judge_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.domain.alerts import Judgement, Notice, Notification, Standing
    from kraken_recon.domain.heartbeats import Heartbeat

CLAIM_MOST: Final = 20
# Longer than the slowest send: a process that died with a claim loses it after this time.
CLAIM_LEASE: Final = timedelta(minutes=5)


class AlertStore(Protocol):
    """What telling people needs of the database."""

    def lock_telling(self) -> None:
        """Wait until no other process decides what to tell."""
        ...

    def standings(self) -> list[Standing]:
        """Read every alert that is not resolved, and every resolved one that people still believe open."""
        ...

    def newest_digest_at(self, now: datetime) -> datetime | None:
        """Say when the newest digest was written."""
        ...

    def remember_told(self, judgements: Sequence[Judgement], now: datetime) -> None:
        """Keep what people were told of."""
        ...

    def add_notifications(self, notices: Sequence[Notice], channels: Sequence[str], now: datetime) -> None:
        """Write each notice once for each channel."""
        ...

    def claim(self, channel: str, now: datetime, until: datetime, *, most: int) -> list[Notification]:
        """Take notifications that are due, oldest first, for as long as the lease lasts."""
        ...

    def mark_sent(self, notification_id: int, now: datetime) -> None:
        """Keep that a notification arrived."""
        ...

    def put_off(self, notification_ids: Collection[int], until: datetime, error: str) -> None:
        """Give claimed notifications back, to be sent later."""
        ...

    def raise_stale(self, now: datetime) -> None:
        """Raise an alert for each account without a fresh proof, and resolve those of fresh ones."""
        ...


class AlertingUnit(Protocol):
    """A unit of work with alerts."""

    @property
    def alerts(self) -> AlertStore:
        """Alerts and notifications."""
        ...

    def commit(self) -> None:
        """Make the work permanent."""
        ...


def watch_freshness(open_unit: Callable[[], AbstractContextManager[AlertingUnit]], now: datetime) -> None:
    """Look at the age of each account's newest proof, without asking the scheduler."""
    with open_unit() as unit:
        unit.alerts.raise_stale(now)
        unit.commit()


def prepare_notifications(
    open_unit: Callable[[], AbstractContextManager[AlertingUnit]],
    channels: Sequence[str],
    now: datetime,
    policy: TellingPolicy | None = None,
) -> int:
    """Decide what people must be told and write it down for every channel; return how many notices.

    Without a channel nobody is told and nothing is remembered as told.
    """
    if not channels:
        return 0
    policy = policy or TellingPolicy()
    with open_unit() as unit:
        store = unit.alerts
        store.lock_telling()
        judgements = judge_all(store.standings(), now, store.newest_digest_at(now), policy)
        notices = compose(judgements, policy)
        store.remember_told(judgements, now)
        store.add_notifications(notices, channels, now)
        unit.commit()
    return len(notices)


def deliver(
    open_unit: Callable[[], AbstractContextManager[AlertingUnit]],
    channel: str,
    send: Callable[[Notification], None],
    clock: Callable[[], datetime],
) -> int:
    """Send what is due on one channel; return how many arrived.

    The first failure ends the round and puts the rest off: a channel that is down costs one attempt a round.
    """
    with open_unit() as unit:
        now = clock()
        claimed = unit.alerts.claim(channel, now, now + CLAIM_LEASE, most=CLAIM_MOST)
        unit.commit()
    for place, notification in enumerate(claimed):
        try:
            send(notification)
        except Exception as error:  # noqa: BLE001 - whatever a channel raises must not stop the others
            left = [later.notification_id for later in claimed[place:]]
            with open_unit() as unit:
                # Only the name: a message may quote an address that holds a token.
                unit.alerts.put_off(left, clock() + backoff(notification.attempts), type(error).__name__)
                unit.commit()
            return place
        with open_unit() as unit:
            unit.alerts.mark_sent(notification.notification_id, clock())
            unit.commit()
    return len(claimed)


class AlertDesk(Protocol):
    """What people may ask of alerts, and how they answer them."""

    def find_alerts(self, *, with_resolved: bool, most: int) -> list[Mapping[str, Any]]:
        """Read alerts, newest first."""
        ...

    def answer(self, alert_id: int, status: str, by: str, note: str | None) -> None:
        """Keep who acknowledged or resolved an alert."""
        ...

    def freshness(self, now: datetime) -> list[Mapping[str, Any]]:
        """Read how old each active account's newest proof is."""
        ...

    def unsent(self) -> list[Mapping[str, Any]]:
        """Count what waits to be sent, by channel."""
        ...


def alerts_view(
    desk: AlertDesk, jobs: Collection[Heartbeat], now: datetime, *, with_resolved: bool = False
) -> dict[str, Any]:
    """Collect alerts, the age of each account's newest proof and each job's work, and what is unsent."""
    return {
        "jobs": [_plain(asdict(job)) for job in jobs],
        "alerts": [_plain(row) for row in desk.find_alerts(with_resolved=with_resolved, most=500)],
        "freshness": [_plain(row) for row in desk.freshness(now)],
        "unsent": [_plain(row) for row in desk.unsent()],
    }


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}


def render_alerts(view: Mapping[str, Any]) -> list[str]:
    """Write the alerts for a terminal."""
    lines = [
        f"{alert['alert_id']:>6} {alert['status']:<12} {alert['kind'].replace('_', ' ')}: {alert['message']}"
        + (f" ({alert['acknowledged_by']})" if alert["acknowledged_by"] else "")
        for alert in view["alerts"]
    ] or ["no open alerts"]
    lines += [
        f"{row['account']}: proven {row['proven_at'] or 'never'}, "
        + ("STALE" if row["is_stale"] else "fresh")
        + f" (limit {row['limit_minutes']} min)"
        for row in view["freshness"]
    ]
    lines += [
        f"{job['job']}: worked {job['beat_at']}, "
        + ("SILENT" if job["is_silent"] else "alive")
        + f" (limit {job['limit_minutes']} min)"
        for job in view["jobs"]
    ]
    return lines + [
        f"{row['channel']}: {row['waiting']} not sent yet, last error {row['last_error'] or 'none'}"
        for row in view["unsent"]
    ]

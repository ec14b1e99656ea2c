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

from kraken_recon.domain.alerts import Context, TellingPolicy, backoff, compose, judge_all
from kraken_recon.service.pricing import price_list, worth_words

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.domain.alerts import Judgement, Lately, Notice, Notification, Standing
    from kraken_recon.domain.heartbeats import Heartbeat
    from kraken_recon.service.pricing import PriceStore, Worth

    LinksOf = Callable[[Standing | None], Mapping[str, str]]

CLAIM_MOST: Final = 20
# Longer than the slowest send: a process that died with a claim loses it after this time.
CLAIM_LEASE: Final = timedelta(minutes=5)


class AlertStore(Protocol):
    """What telling people needs of the database."""

    def lock_telling(self) -> None:
        """Wait until no other process decides what to tell."""
        ...

    def standings(self, openings_since: datetime) -> list[Standing]:
        """Read every alert that is not resolved, and every resolved one that people still believe open."""
        ...

    def told_since(self, since: datetime) -> Lately:
        """Read what was written to people since then."""
        ...

    def tellable(self, alert_ids: Collection[int]) -> Collection[int]:
        """Name those of these alerts whose row nobody else holds; the others are told of in a later round."""
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

    def close_paused(self, now: datetime) -> None:
        """Resolve what only an active account can have of those that are paused."""
        ...

    def raise_stale(self, now: datetime) -> None:
        """Raise an alert for each account without a fresh proof, and resolve those of fresh ones."""
        ...


class Holdings(Protocol):
    """What accounts hold."""

    def quantities(self, account_ids: Collection[int]) -> Mapping[int, Mapping[str, Decimal]]:
        """Read what accounts hold, by asset."""
        ...


class AlertingUnit(Protocol):
    """A unit of work with alerts, and with what they are worth."""

    @property
    def alerts(self) -> AlertStore:
        """Alerts and notifications."""
        ...

    @property
    def prices(self) -> PriceStore:
        """The newest price of every asset, by currency."""
        ...

    @property
    def maintenance(self) -> Holdings:
        """What accounts hold."""
        ...

    def commit(self) -> None:
        """Make the work permanent."""
        ...


def watch_freshness(open_unit: Callable[[], AbstractContextManager[AlertingUnit]], now: datetime) -> None:
    """Look at the age of each account's newest proof, without asking the scheduler.

    However an account was paused, and whatever was under way then: its alerts end here too.
    """
    with open_unit() as unit:
        unit.alerts.close_paused(now)
        unit.alerts.raise_stale(now)
        unit.commit()


def prepare_notifications(
    open_unit: Callable[[], AbstractContextManager[AlertingUnit]],
    channels: Sequence[str],
    now: datetime,
    policy: TellingPolicy | None = None,
    links_of: LinksOf = lambda _: {},
) -> int:
    """Decide what people must be told and write it down for every channel; return how many notices.

    Without a channel nobody is told and nothing is remembered as told. ``links_of`` says where an alert, or
    with None all of them, are seen and answered.
    """
    if not channels:
        return 0
    policy = policy or TellingPolicy()
    with open_unit() as unit:
        store = unit.alerts
        store.lock_telling()
        lately = store.told_since(now - policy.digest_pause)
        judged = judge_all(store.standings(now - policy.openings_within), now, lately, policy)
        tellable = store.tellable([one.standing.alert_id for one in judged]) if judged else ()
        judgements = [one for one in judged if one.standing.alert_id in tellable]
        notices = compose(judgements, lately, policy, lambda one: _context(unit, one, now, links_of(one)))
        store.remember_told(judgements, now)
        store.add_notifications(notices, channels, now)
        unit.commit()
    return len(notices)


def _context(
    unit: AlertingUnit, standing: Standing | None, now: datetime, links: Mapping[str, str]
) -> Context:
    """Find out what an alert is about in money: the difference itself, else the books of the account."""
    if standing is None or standing.account_id is None or standing.quote_currency is None:
        return Context(links=links)
    currency = standing.quote_currency
    if standing.amount is not None and standing.asset:
        worth = _worth(unit, currency, {standing.asset: abs(standing.amount)}, now)
        # Whoever raised it may have said so already, at the prices of then.
        words = None if "; worth " in standing.message else worth_words(worth)
        return Context(words, worth.as_view(), links)
    held = unit.maintenance.quantities([standing.account_id]).get(standing.account_id, {})
    books = worth_words(_worth(unit, currency, held, now)) if held else "nothing"
    return Context(f"not known; the account's books: {books}", {}, links)


def _worth(unit: AlertingUnit, currency: str, quantities: Mapping[str, Decimal], now: datetime) -> Worth:
    prices = price_list(unit.prices, [(currency, asset) for asset in quantities], now)
    return prices.worth(currency, quantities)


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

    def answer(self, which: int | str, status: str, by: str, note: str | None) -> int:
        """Keep who acknowledged or resolved an alert, or all open ones of a kind; return how many."""
        ...

    def freshness(self, now: datetime) -> list[Mapping[str, Any]]:
        """Read how old each active account's newest proof is."""
        ...

    def unsent(self) -> list[Mapping[str, Any]]:
        """Count what waits to be sent, by channel."""
        ...

    def open_by_kind(self) -> Mapping[str, int]:
        """Count what is not resolved by kind; zero for kinds that people were told of and that are over."""
        ...

    def approvals_waiting(self) -> int:
        """Count the held repairs that nobody decided yet."""
        ...


def desk_state(desk: AlertDesk, now: datetime) -> dict[str, Any]:
    """Sum up what is open, unsent and stale, in numbers."""
    freshness = desk.freshness(now)
    ages = [(now - (row["proven_at"] or row["created_at"])).total_seconds() for row in freshness]
    return {
        "open": desk.open_by_kind(),
        "unsent": {row["channel"]: row["waiting"] for row in desk.unsent()},
        "approvals": desk.approvals_waiting(),
        "stale": sum(1 for row in freshness if row["is_stale"]),
        "oldest_proof_seconds": max(ages, default=0.0),
    }


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

"""Tell people of alerts: decide, write it down, and send it.

Invariants:
1. An alert is a row first. What is told is derived from the rows, so nothing that raises one needs to know of
   channels, and a channel that is down holds nothing up and loses nothing.
2. What was decided and what must be sent are written in one transaction; sending happens outside of any.
3. A notification is sent at least once; its idempotency key lets a receiver drop the second.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.alerts.rules import Context, TellingPolicy, backoff, compose, judge_all
from kraken_recon.alerts.store import AlertStore
from kraken_recon.holdings.pricing import price_list, worth_words
from kraken_recon.holdings.store import PriceStore
from kraken_recon.maintenance.store import MaintenanceStore
from kraken_recon.values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.alerts.rules import Notification, Standing
    from kraken_recon.alerts.silence_rules import Heartbeat
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.holdings.pricing import PriceList

    LinksOf = Callable[[Standing | None], Mapping[str, str]]

CLAIM_MOST: Final = 20
# Longer than the slowest send: a process that died with a claim loses it after this time.
CLAIM_LEASE: Final = timedelta(minutes=5)


def watch_freshness(open_unit: Callable[[], AbstractContextManager[UnitOfWork]], now: datetime) -> None:
    """Look at the age of each account's newest proof, without asking the scheduler.

    However an account was paused, and whatever was under way then: its alerts end here too.
    """
    with open_unit() as unit:
        AlertStore(unit).close_paused(now)
        AlertStore(unit).raise_stale(now)
        unit.commit()


def prepare_notifications(
    open_unit: Callable[[], AbstractContextManager[UnitOfWork]],
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
        store = AlertStore(unit)
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


def _context(unit: UnitOfWork, standing: Standing | None, now: datetime, links: Mapping[str, str]) -> Context:
    """Find out what an alert is about in money: the difference itself, else the books of the account."""
    if standing is None or standing.account_id is None or standing.quote_currency is None:
        return Context(links=links)
    currency = standing.quote_currency
    if standing.amount is not None and standing.asset:
        worth = _prices(unit, currency, [standing.asset], now).worth_of_changes(
            currency, {standing.asset: standing.amount}
        )
        # Whoever raised it may have said so already, at the prices of then.
        words = None if "; worth " in standing.message else worth_words(worth)
        return Context(words, worth.as_view(), links)
    held = MaintenanceStore(unit).quantities([standing.account_id]).get(standing.account_id, {})
    books = worth_words(_prices(unit, currency, held, now).worth(currency, held)) if held else "nothing"
    return Context(f"not known; the account's books: {books}", {}, links)


def _prices(unit: UnitOfWork, currency: str, assets: Iterable[str], now: datetime) -> PriceList:
    return price_list(PriceStore(unit), [(currency, asset) for asset in assets], now)


def deliver(
    open_unit: Callable[[], AbstractContextManager[UnitOfWork]],
    channel: str,
    send: Callable[[Notification], None],
    clock: Callable[[], datetime],
) -> int:
    """Send what is due on one channel; return how many arrived.

    The first failure ends the round and puts the rest off: a channel that is down costs one attempt a round.
    """
    with open_unit() as unit:
        now = clock()
        claimed = AlertStore(unit).claim(channel, now, now + CLAIM_LEASE, most=CLAIM_MOST)
        unit.commit()
    for place, notification in enumerate(claimed):
        try:
            send(notification)
        except Exception as error:  # noqa: BLE001 - whatever a channel raises must not stop the others
            left = [later.notification_id for later in claimed[place:]]
            with open_unit() as unit:
                # Only the name: a message may quote an address that holds a token.
                AlertStore(unit).put_off(left, clock() + backoff(notification.attempts), type(error).__name__)
                unit.commit()
            return place
        with open_unit() as unit:
            AlertStore(unit).mark_sent(notification.notification_id, clock())
            unit.commit()
    return len(claimed)


def desk_state(desk: AlertStore, now: datetime) -> dict[str, Any]:
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
    desk: AlertStore, jobs: Collection[Heartbeat], now: datetime, *, with_resolved: bool = False
) -> dict[str, Any]:
    """Collect alerts, the age of each account's newest proof and each job's work, and what is unsent."""
    return {
        "jobs": plain(jobs),
        "alerts": plain(desk.find_alerts(with_resolved=with_resolved, most=500)),
        "freshness": plain(desk.freshness(now)),
        "unsent": plain(desk.unsent()),
    }


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

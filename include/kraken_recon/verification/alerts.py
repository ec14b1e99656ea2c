"""Say what verdicts mean for people: alerts, and failure rates over windows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.errors import StoreError, StoreUnreachableError
from kraken_recon.orders.alerts import order_alert, subject_of
from kraken_recon.verification.rules.judge import Overall
from kraken_recon.verification.rules.records import Judged
from kraken_recon.verification.store import VerificationStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.verification.rules.judge import Verification
    from kraken_recon.verification.rules.records import ClaimedOrder, WindowCount
    from kraken_recon.verification.run import Case, VerifyingPorts, VerifyingRules

WINDOW_SECONDS: Final = (3_600, 86_400)


@dataclass(frozen=True, slots=True)
class RateRules:
    """When a failure rate is worth an alert: above a percentage, once enough orders were judged."""

    percent_max: float = 5.0
    judged_min: int = 10


def write_verdicts(
    settled: Sequence[Case], ports: VerifyingPorts, rules: VerifyingRules, token: str, now: datetime
) -> tuple[list[Case], dict[str, str]]:
    """Write verdicts and alerts at once, or account by account where something of one is in the way.

    Return what was written, and by account why its verdicts could not be.
    """
    done: list[Case] = []
    failures: dict[str, str] = {}
    batches = deque([settled] if settled else [])
    while batches:
        batch = batches.popleft()
        judged = [Judged(case.order_id, case.verification, _due_at(case, rules, now)) for case in batch]
        try:
            with ports.open_unit_of_work() as unit:
                written = VerificationStore(unit).record(token, judged, now=now)
                ours = [case for case in batch if case.order_id in written]
                _raise_alerts(unit, ours, now)
                unit.commit()
        except StoreUnreachableError:
            raise
        except StoreError as error:
            by_account: dict[str, list[Case]] = {}
            for case in batch:
                by_account.setdefault(case.claimed.account.name, []).append(case)
            if len(by_account) > 1:
                batches.extend(by_account.values())
            else:
                failures[batch[0].claimed.account.name] = f"{type(error).__name__}: {error}"
        else:
            done += ours
    return done, failures


def _due_at(case: Case, rules: VerifyingRules, now: datetime) -> datetime | None:
    if case.verification.verdict is not Overall.INCONCLUSIVE:
        return None
    return now + rules.due_after(case.claimed.attempts)


def _raise_alerts(unit: UnitOfWork, done: Sequence[Case], now: datetime) -> None:
    if not done:
        return
    account_ids = {case.claimed.account.account_id for case in done}
    overdue = VerificationStore(unit).overdue(account_ids, now=now)
    names = {case.claimed.account.account_id: case.claimed.account.name for case in done}
    AlertStore(unit).raise_alerts(
        sorted(
            [
                *alerts_of_failures([(c.claimed, c.verification) for c in done]),
                *alerts_of_overdue(overdue, names),
            ],
            key=lambda alert: (alert.kind, alert.account_id, alert.asset or ""),
        )
    )
    for case in done:
        # A person, or a bot, put the desk's row right, and the order was verified again.
        if case.evidence.desk_rows and case.verification.verdict is Overall.VERIFIED:
            subject = subject_of(case.order_id)
            account_id = case.claimed.account.account_id
            AlertStore(unit).resolve_about(account_id, subject, [AlertKind.VERIFICATION_FAILURE])
    settled = account_ids - {account_id for account_id, _ in overdue}
    if settled:
        AlertStore(unit).resolve_alerts(settled, AlertKind.VERIFICATION_INCONCLUSIVE, ended_by="verdicts")


def alerts_of_failures(judged: Iterable[tuple[ClaimedOrder, Verification]]) -> list[Alert]:
    """Name the orders that do not agree: each is a person's to look at, so each has an alert of its own."""
    return [
        order_alert(
            AlertKind.VERIFICATION_FAILURE,
            claimed.order,
            f"failed its verification ({claimed.account.name}, {claimed.order.source}); "
            f"{verification.message}",
        )
        for claimed, verification in judged
        if verification.failed_levels
    ]


def alerts_of_overdue(
    overdue: Mapping[tuple[int, str], tuple[int, int]], names: Mapping[int, str]
) -> list[Alert]:
    """Name the accounts and assets with orders that could not be verified by their deadline."""
    return [
        Alert(
            AlertKind.VERIFICATION_INCONCLUSIVE,
            account_id,
            asset,
            None,
            f"{names[account_id]}: {count} {asset} orders are overdue for their verification, first {first}",
        )
        for (account_id, asset), (count, first) in sorted(overdue.items())
    ]


def publish_rates(ports: VerifyingPorts, rules: RateRules) -> list[WindowCount]:
    """Count the verdicts of the current windows and of those before them, and raise or resolve alerts."""
    now = ports.clock()
    with ports.open_unit_of_work() as unit:
        VerificationStore(unit).compute_rates(WINDOW_SECONDS, now=now)
        counts = VerificationStore(unit).rates(now=now)
        alerts = rate_alerts(counts, rules)
        if alerts:
            AlertStore(unit).raise_alerts(alerts)
        calm = {count.account_id for count in counts} - {alert.account_id for alert in alerts}
        if calm:
            AlertStore(unit).resolve_alerts(calm, AlertKind.VERIFICATION_RATE, ended_by="calm windows")
        unit.commit()
    return counts


def rate_alerts(counts: Sequence[WindowCount], rules: RateRules) -> list[Alert]:
    """Name the accounts whose failure rate is too high, with the sources and windows where it is."""
    found: dict[int, list[WindowCount]] = {}
    for count in counts:
        percent = count.failure_percent
        if percent is not None and percent > rules.percent_max and count.judged >= rules.judged_min:
            found.setdefault(count.account_id, []).append(count)
    return [
        Alert(AlertKind.VERIFICATION_RATE, account_id, None, None, f"{listed[0].account}: {_told(listed)}")
        for account_id, listed in sorted(found.items())
    ]


def _told(counts: Iterable[WindowCount]) -> str:
    return "; ".join(
        f"{count.mismatched} of {count.judged} verified {count.source} orders failed "
        f"in the {count.window_seconds // 3_600} h from {count.window_start:%Y-%m-%d %H:%M}Z"
        for count in counts
    )

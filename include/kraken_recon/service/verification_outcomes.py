"""Say what verdicts mean for people: alerts, and failure rates over windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kraken_recon.domain.alert_kinds import AlertKind
from kraken_recon.domain.records import Alert
from kraken_recon.service.order_alerts import order_alert

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kraken_recon.domain.verification import Verification
    from kraken_recon.domain.verification_records import ClaimedOrder, WindowCount
    from kraken_recon.service.verifying import VerifyingPorts

WINDOW_SECONDS: Final = (3_600, 86_400)


@dataclass(frozen=True, slots=True)
class RateRules:
    """When a failure rate is worth an alert: above a percentage, once enough orders were judged."""

    percent_max: float = 5.0
    judged_min: int = 10


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
        unit.verifications.compute_rates(WINDOW_SECONDS, now=now)
        counts = unit.verifications.rates(now=now)
        alerts = rate_alerts(counts, rules)
        if alerts:
            unit.sync.raise_alerts(alerts)
        calm = {count.account_id for count in counts} - {alert.account_id for alert in alerts}
        if calm:
            unit.sync.resolve_alerts(calm, AlertKind.VERIFICATION_RATE, ended_by="calm windows")
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

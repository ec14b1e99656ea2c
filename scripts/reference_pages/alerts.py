"""The page about every kind of alert, from the registry of kinds and the rules about telling people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.rules import KIND_RULES, KindRule, TellingPolicy, TellingReason
from kraken_recon.alerts.silence_rules import SILENCE_MAX
from reference_pages.markdown import code, page, table, wrapped

if TYPE_CHECKING:
    from datetime import timedelta

MINUTES_PER_HOUR = 60


def alerts() -> str:
    """Write the page."""
    policy = TellingPolicy()
    return page(
        "Alerts",
        "Every kind of alert there is, and when people are told of it. What to do about each is in the "
        "[runbook](../runbooks/alerts.md). An alert is a row of [`trading.alerts`](tables.md#alerts), "
        "whether anybody is "
        "told or not.",
        table(("kind", "told when seen", "in a storm"), (_kind(kind) for kind in AlertKind)),
        wrapped(
            f"Reasons for a message: {', '.join(map(code, TellingReason))}. Told again when the amount is "
            f"{policy.growth_factor} times what was told, or changes its sign; reminded after "
            f"{_time(policy.reminder_after)}; more than {policy.digest_above} within "
            f"{_time(policy.digest_pause)} become one digest."
        ),
        "## Silent jobs",
        "`work_overdue` and `watch_silent` are raised when a job has left no sign of work for this long.",
        table(("job", "longest silence"), ((code(job), _time(limit)) for job, limit in SILENCE_MAX.items())),
    )


def _kind(kind: AlertKind) -> tuple[str, str, str]:
    rule = KIND_RULES.get(kind, KindRule())
    times = {1: "once", 2: "twice"}.get(rule.confirmations, f"{rule.confirmations} times")
    storm = "told at once" if rule.is_urgent else "waits for the digest"
    return f"[`{kind}`](../runbooks/alerts.md#{kind})", times, storm


def _time(limit: timedelta) -> str:
    minutes = int(limit.total_seconds()) // 60
    return f"{minutes} min" if minutes % MINUTES_PER_HOUR else f"{minutes // MINUTES_PER_HOUR} h"

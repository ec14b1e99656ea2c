"""Every metric that the tasks of this project send, named once; Airflow carries them to a server.

``python -m kraken_airflow.metrics`` prints ``docs/reference/metrics.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "kraken_recon."
GAUGE: Final = "gauge"
COUNTER: Final = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``name`` is without the project's prefix, ``tags`` are those that every value carries."""

    name: str
    kind: str
    unit: str
    meaning: str
    tags: tuple[str, ...] = ()


def _of_sessions(name: str, meaning: str) -> Metric:
    return Metric(f"sessions.{name}", GAUGE, "sessions", meaning, ("source",))


METRICS: Final = {
    metric.name: metric
    for metric in (
        Metric("sync.seconds", GAUGE, "seconds", "how long an account's newest run took", ("account",)),
        Metric(
            "sync.proof_age_seconds",
            GAUGE,
            "seconds",
            "how long ago the account's ledger was last read and proved",
            ("account",),
        ),
        Metric("sync.api_calls", COUNTER, "calls", "calls to Kraken by a run", ("account",)),
        Metric("sync.failures", COUNTER, "runs", "runs of an account that failed", ("account",)),
        Metric(
            "sync.differences",
            COUNTER,
            "positions",
            "positions that differed, by what became of it: "
            "`explained`, `within_tolerance`, `updated`, `added`, `removed`, `held`, `awaiting`",
            ("account", "kind"),
        ),
        Metric("verification.verified", COUNTER, "orders", "orders whose every level agrees"),
        Metric("verification.mismatch", COUNTER, "orders", "orders whose books contradict each other"),
        Metric("verification.inconclusive", COUNTER, "looks", "looks at orders whose books were not there"),
        Metric(
            "verification.failure_percent",
            GAUGE,
            "percent",
            "mismatches among the final verdicts of the newest window of `seconds`",
            ("account", "source", "seconds"),
        ),
        _of_sessions("connections", "connections in use, of whomever"),
        _of_sessions("connections_limit", "connections that the server allows"),
        _of_sessions("sessions", "sessions of the database"),
        _of_sessions("active", "sessions that run a statement"),
        _of_sessions("idle", "sessions that idle outside a transaction"),
        _of_sessions("idle_in_transaction", "sessions that idle inside a transaction"),
        _of_sessions("waiting", "sessions that wait for a lock"),
        _of_sessions("unattributed", "sessions of the project that name no running task"),
        _of_sessions("excess", "sessions of tasks beyond what running tasks declared"),
        Metric("sessions.findings", GAUGE, "findings", "findings of the newest audit", ("source",)),
    )
}
DIFFERENCES: Final = ("explained", "within_tolerance", "updated", "added", "removed", "held", "awaiting")


def set_gauge(name: str, value: float, **tags: str) -> None:
    """Send the value of a gauge."""
    _check(name, GAUGE, tags)
    stats.gauge(PREFIX + name, value, tags=tags)


def add(name: str, count: int, **tags: str) -> None:
    """Add to a counter."""
    _check(name, COUNTER, tags)
    stats.incr(PREFIX + name, count, tags=tags)


def _check(name: str, kind: str, tags: Mapping[str, str]) -> None:
    metric = METRICS[name]
    if metric.kind != kind or set(metric.tags) != set(tags):
        raise ValueError(f"expected {name} as {metric.kind} with {metric.tags}, was {kind} with {list(tags)}")


def publish_sync(report: Mapping[str, Any]) -> None:
    """Send what the runs of a report took and found."""
    for account in report["accounts"]:
        name = account["account"]
        if account["seconds"] is not None:
            set_gauge("sync.seconds", float(account["seconds"]), account=name)
        if account["ledger_proof_age_seconds"] is not None:
            set_gauge("sync.proof_age_seconds", account["ledger_proof_age_seconds"], account=name)
        if account["api_calls"]:
            add("sync.api_calls", account["api_calls"], account=name)
        if account["status"] == "failed":
            add("sync.failures", 1, account=name)
        for kind in DIFFERENCES:
            if account[kind]:
                add("sync.differences", account[kind], account=name, kind=kind)


def reference() -> str:
    """Write the page about all metrics."""
    lines = [
        "# Metrics",
        "",
        "Sent by tasks through Airflow's own metrics, as `[metrics]` of `airflow.cfg` says. With StatsD,",
        "tags need `statsd_influxdb_enabled` or `statsd_datadog_enabled`: without them StatsD drops them,",
        "and each account's gauge overwrites the last one's. This page is printed by",
        "`python -m kraken_airflow.metrics`; a test compares.",
        "",
        "| Metric | Kind | Unit | Means | Tags |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{PREFIX}{m.name}` | {m.kind} | {m.unit} | {m.meaning} | {', '.join(m.tags) or '-'} |"
        for m in METRICS.values()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - it is what this is for

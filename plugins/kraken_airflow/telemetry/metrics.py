"""Every metric that the tasks of this project send, named once; Airflow carries them to a server."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.observability.metrics import stats_utils
from airflow.sdk.observability.stats import Stats

from kraken_recon.reconciliation.rules.counts import TOLD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kraken_recon.values.usage_meter import Use
    from kraken_recon.verification.rules.records import WindowCount
    from kraken_recon.wiring import Wiring

PREFIX: Final = "kraken_recon."
GAUGE: Final = "gauge"
COUNTER: Final = "counter"
TIMER: Final = "timer"
DIFFERENCES: Final = tuple(count.name for count in TOLD if not count.is_agreement)


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


def _of_books(name: str, unit: str, meaning: str) -> Metric:
    return Metric(f"desk_books.{name}", GAUGE, unit, meaning, ("book",))


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
            + ", ".join(f"`{name}`" for name in DIFFERENCES),
            ("account", "kind"),
        ),
        Metric("calls.sent", COUNTER, "calls", "private calls to Kraken, by whichever DAG", ("account",)),
        Metric(
            "calls.budget_percent",
            GAUGE,
            "percent",
            "highest level of the key's call counter during a task; at 100 Kraken refuses",
            ("account",),
        ),
        Metric(
            "calls.wait",
            TIMER,
            "milliseconds",
            "how long a task's calls waited, by what for: `room` in the key's call counter, or their `turn` "
            "among all workers that use the key; one value for each task",
            ("account", "cause"),
        ),
        Metric(
            "locks.refused",
            COUNTER,
            "statements",
            "statements that waited too long for a lock or gave way in a deadlock; most are repeated",
        ),
        Metric("verification.verified", COUNTER, "orders", "orders whose every level agrees"),
        Metric("verification.mismatch", COUNTER, "orders", "orders whose books contradict each other"),
        Metric("verification.inconclusive", COUNTER, "looks", "looks at orders whose books were not there"),
        Metric("verification.latency", TIMER, "milliseconds", "from an order's end to its final verdict"),
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
        Metric(
            "sessions.longest_wait_seconds",
            GAUGE,
            "seconds",
            "how long the one that waits longest for a lock has waited",
            ("source",),
        ),
        _of_sessions("unattributed", "sessions of the project that name no running task"),
        _of_sessions("excess", "sessions of tasks beyond what running tasks declared"),
        Metric("sessions.findings", GAUGE, "findings", "findings of the newest audit", ("source",)),
        Metric("alerts.open", GAUGE, "alerts", "alerts that nobody resolved yet", ("kind",)),
        Metric(
            "alerts.unsent", GAUGE, "messages", "messages about alerts that did not arrive yet", ("channel",)
        ),
        Metric("approvals.waiting", GAUGE, "plans", "held repairs that wait for a person's decision"),
        Metric("accounts.stale", GAUGE, "accounts", "accounts whose newest proof is older than their limit"),
        Metric(
            "accounts.oldest_proof_seconds",
            GAUGE,
            "seconds",
            "age of the oldest among the newest proofs of all active accounts",
        ),
        _of_books("agreed", "assets", "assets that agreed when the book's accounts were judged last"),
        _of_books("differing", "assets", "differences that were told, or that are to be written"),
        _of_books("held", "assets", "differences that wait for a person's decision"),
        _of_books("unjudged", "accounts", "accounts that could not be judged, or by no fresh proof"),
        _of_books(
            "judged_age_seconds", "seconds", "how long ago the account whose rows were read longest ago was"
        ),
    )
}


def set_gauge(name: str, value: float, **tags: str) -> None:
    """Send the value of a gauge."""
    _check(name, GAUGE, tags)
    Stats.gauge(PREFIX + name, value, tags=tags)


def add(name: str, count: int, **tags: str) -> None:
    """Add to a counter."""
    _check(name, COUNTER, tags)
    Stats.incr(PREFIX + name, count, tags=tags)


def observe(name: str, length: timedelta, **tags: str) -> None:
    """Add a length of time to a timer."""
    _check(name, TIMER, tags)
    Stats.timing(PREFIX + name, length, tags=tags)


def _check(name: str, kind: str, tags: Mapping[str, str]) -> None:
    metric = METRICS[name]
    if metric.kind != kind or set(metric.tags) != set(tags):
        raise ValueError(f"expected {name} as {metric.kind} with {metric.tags}, was {kind} with {list(tags)}")


def start_sending() -> None:
    """Connect a process that is no task of Airflow to the server that ``[metrics]`` names, if any."""
    try:
        Stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
    except TypeError:  # Airflow 3.2 has one set of names only, and asks for the class that sends them
        Stats.initialize(factory=stats_utils.get_stats_factory(Stats))  # type: ignore[call-arg]


@contextmanager
def metered(wiring: Wiring) -> Iterator[Wiring]:
    """Send, at the end of a block, what the work in it took of calls and locks, however it ended."""
    try:
        yield wiring
    finally:
        publish_use(wiring.meter.drain())


def publish_use(use: Use) -> None:
    """Send what was taken of calls and locks."""
    for account, key in use.keys.items():
        if key.calls:
            add("calls.sent", key.calls, account=account)
            observe("calls.wait", timedelta(seconds=key.room_seconds), account=account, cause="room")
            observe("calls.wait", timedelta(seconds=key.turn_seconds), account=account, cause="turn")
        if key.level_percent is not None:
            set_gauge("calls.budget_percent", key.level_percent, account=account)
    if use.locks_refused:
        add("locks.refused", use.locks_refused)


def publish_desk(state: Mapping[str, Any], channels: Iterable[str]) -> None:
    """Send what is open, unsent and stale; nothing open is a zero, or the last value would stay."""
    for kind, count in state["open"].items():
        set_gauge("alerts.open", count, kind=kind)
    for channel in channels:
        set_gauge("alerts.unsent", state["unsent"].get(channel, 0), channel=channel)
    set_gauge("approvals.waiting", state["approvals"])
    set_gauge("accounts.stale", state["stale"])
    set_gauge("accounts.oldest_proof_seconds", state["oldest_proof_seconds"])


def publish_desk_books(books: Iterable[Mapping[str, Any]]) -> None:
    """Send how each desk book stands."""
    for book in books:
        for name in ("agreed", "differing", "held", "unjudged"):
            set_gauge(f"desk_books.{name}", book[name], book=book["book"])
        if book["judged_age_seconds"] is not None:
            set_gauge("desk_books.judged_age_seconds", float(book["judged_age_seconds"]), book=book["book"])


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


def publish_verification_rates(counts: Sequence[WindowCount]) -> None:
    """Set one gauge for each account, source and length of window, from its newest window."""
    newest = {(count.window_seconds, count.account, count.source): count for count in reversed(counts)}
    for count in newest.values():
        if count.failure_percent is not None:
            set_gauge(
                "verification.failure_percent",
                float(count.failure_percent),
                account=count.account,
                source=count.source,
                seconds=str(count.window_seconds),
            )

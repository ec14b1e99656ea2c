"""Is the database healthy? Connections, pools and lock waits over time, and what leaked, by its task."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from kraken_airflow.dashboard.access import Choice, Cursor, Render, may_read, open_unit
from kraken_airflow.dashboard.charts import Chart, chart
from kraken_airflow.dashboard.downloads import add_downloads, every_row, filters_of
from kraken_airflow.dashboard.pages import Link, airflow_run
from kraken_airflow.dashboard.paging import read_page
from kraken_airflow.dashboard.tables import JSON_ONLY, Column
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.reports.page_store import PageStore
from kraken_recon.sessions.rules.records import AuditRule

SESSIONS_DAG: Final = "session_leak_audit"
FINDINGS_SHOWN: Final = 50
FINDINGS_PER_READ: Final = 1_000
SAMPLES_PER_READ: Final = 2_000
# How long ago the charts begin, in hours, and of how long a stretch each of their points is the largest.
STRETCH_SECONDS: Final = {"24": 300, "168": 3_600, "336": 7_200}
HOURS: Final = (("24", "24 hours"), ("168", "7 days"), ("336", "14 days"))
STATES: Final = (
    ("open", "not returned"),
    ("returned", "returned"),
    ("acted", "acted on"),
    ("all", "any"),
)
RULES: Final = (("", "any rule"), *((rule.value, rule.value.replace("_", " ")) for rule in AuditRule))
SAMPLE_FIELDS: Final = (
    *("taken_at", "source", "connections", "connections_limit", "sessions", "ours", "active", "idle"),
    *("idle_in_transaction", "waiting", "longest_wait_seconds", "pool_sessions", "pool_limit"),
    *("unattributed", "excess", "oldest_transaction_seconds", "findings", "dag_id", "dag_run_id"),
)
SAMPLE_KEY: Final = {"taken_at": datetime, "sample_id": int}
FINDING_KEY: Final = {"last_seen_at": datetime, "finding_id": int}
LINK: Final = Link(5, "database", "Is the database healthy?")
DRAWN: Final = (
    (
        "Connections",
        "sessions",
        (
            ("connections", "of the server"),
            ("ours", "of the project"),
            ("idle_in_transaction", "idle in a transaction"),
        ),
    ),
    ("Pools", "sessions", (("pool_sessions", "in use"), ("pool_limit", "allowed by their processes"))),
    (
        "Lock waits",
        "sessions and seconds",
        (("waiting", "sessions waiting"), ("longest_wait_seconds", "longest wait, in seconds")),
    ),
)

Hours = Literal["24", "168", "336"]
State = Literal["open", "returned", "acted", "all"]
RuleName = AuditRule | Literal[""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A session that leaked, by its task, and what was done about it."""

    finding_id: int
    last_seen_at: Annotated[datetime, Column("Last seen", "age wide")]
    first_seen_at: datetime
    returned_at: datetime | None
    source: Annotated[str, Column("Database")]
    rule: Annotated[str, Column("Finding")]
    severity: str
    message: Annotated[str, Column("Message", "remark wide")]
    application_name: str | None
    dag_id: str | None
    run_id: str | None
    task_id: Annotated[str | None, Column("Task", "long")]
    map_index: int | None
    try_number: int | None
    evidence: dict[str, Any]
    occurrences: Annotated[int, Column("Seen", "number")]
    actions: Annotated[list[dict[str, Any]], Column("Done", "long wide")]
    audit_dag_id: str | None
    audit_dag_run_id: str | None
    auditor: Annotated[dict[str, str | None], JSON_ONLY]


@dataclass(frozen=True, slots=True)
class Filters(Choice):
    """How long ago the charts begin, and which findings are shown."""

    hours: Hours = "24"
    state: State = "open"
    rule: RuleName = ""

    def since(self, now: datetime) -> datetime:
        """Say when the charts begin."""
        return now - timedelta(hours=int(self.hours))


Chosen = Annotated[Filters, Depends()]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""
    shown = [may_read(SESSIONS_DAG)]

    @router.get("/database", response_class=HTMLResponse, dependencies=shown)
    def database(chosen: Chosen, before: Cursor = "") -> str:
        """Answer: is the database healthy?"""
        now = datetime.now(UTC)
        with open_unit() as unit:
            found, cursor = _findings(unit, chosen, before, FINDINGS_SHOWN)
            page = {
                **_summary(unit, chosen, now),
                "findings": found,
                "next": cursor,
                "filters": chosen.as_query(),
                "since": dict(HOURS)[chosen.hours],
                "hours": HOURS,
                "states": STATES,
                "rules": RULES,
                "chosen": chosen,
            }
            charts = _charts(unit, chosen, now)
        return render("database.html", page=page, charts=charts, before=before, dag_id=SESSIONS_DAG)

    add_downloads(router, "database", _all_findings, Finding, head=_head, name="findings", dependencies=shown)
    add_downloads(
        router, "samples", _all_samples, SAMPLE_FIELDS, head=filters_of(Filters), dependencies=shown
    )


def _charts(unit: UnitOfWork, chosen: Filters, now: datetime) -> list[Chart | None]:
    """Draw connections, pools and lock waits of each source: the largest of each stretch of time."""
    stretch = STRETCH_SECONDS[chosen.hours]
    since = chosen.since(now)
    stretches: list[dict[str, Any]] = PageStore(unit).rows(
        "database.samples_over_time", dict, since=since, stretch_seconds=stretch
    )
    return [
        chart(
            f"{title} of {source}",
            unit_of_values,
            [row["begins_at"] for row in rows],
            [(label, [row[name] for row in rows]) for name, label in lines],
        )
        for source, grouped in groupby(stretches, lambda row: row["source"])
        for rows in [list(grouped)]
        for title, unit_of_values, lines in DRAWN
    ]


def _summary(unit: UnitOfWork, chosen: Filters, now: datetime) -> dict[str, Any]:
    store = PageStore(unit)
    sources = store.rows("database.newest_samples", _audited, since=chosen.since(now))
    open_findings = dict(
        store.rows("database.count_findings", lambda severity, findings: (severity, findings))
    )
    is_critical = bool(open_findings.get("critical"))
    return {
        "sources": sources,
        "open_findings": open_findings,
        "level": "bad" if is_critical else "watch" if open_findings or not sources else "good",
    }


def _audited(*, audited_by: str | None, **row: Any) -> dict[str, Any]:  # noqa: ANN401 - columns
    return {**row, "audited_by": audited_by, **auditor_of(audited_by)}


def _findings(unit: UnitOfWork, chosen: Filters, before: str, most: int) -> tuple[list[Finding], str | None]:
    return read_page(
        unit,
        "database.findings",
        _finding,
        key=FINDING_KEY,
        cursor=before,
        most=most,
        state=None if chosen.state == "all" else chosen.state,
        rule=chosen.rule,
    )


def _finding(
    *,
    last_seen_by: str | None,
    actions: list[dict[str, Any]] | None,
    **row: Any,  # noqa: ANN401 - columns
) -> Finding:
    auditor = auditor_of(last_seen_by)
    return Finding(
        **row,
        actions=[{**action, **auditor_of(action["acted_by"])} for action in actions or ()],
        audit_dag_id=auditor["dag_id"],
        audit_dag_run_id=auditor["dag_run_id"],
        auditor=auditor,
    )


def _samples(unit: UnitOfWork, since: datetime, before: str) -> tuple[list[dict[str, Any]], str | None]:
    query, most = "database.samples", SAMPLES_PER_READ
    return read_page(unit, query, _audited, key=SAMPLE_KEY, cursor=before, most=most, since=since)


def _all_findings(chosen: Chosen) -> Iterator[Finding]:
    return every_row(lambda unit, cursor: _findings(unit, chosen, cursor, FINDINGS_PER_READ))


def _all_samples(chosen: Chosen) -> Iterator[dict[str, Any]]:
    since = chosen.since(datetime.now(UTC))
    return every_row(lambda unit, cursor: _samples(unit, since, cursor))


def _head(chosen: Chosen) -> dict[str, object]:
    with open_unit() as unit:
        return {"filters": chosen.as_query(), **_summary(unit, chosen, datetime.now(UTC))}


def auditor_of(by: str | None) -> dict[str, str | None]:
    """Name the Airflow run that audited: a task says its DAG and run, the command line its process."""
    dag_id, _, run_id = (by or "").partition(" ")
    return airflow_run(by, dag_id, run_id)

"""Is the database healthy? Connections, pools and lock waits over time, and what leaked, by its task.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, StreamingResponse

from kraken_airflow.dashboard.access import Cursor, Render, may_read, open_unit
from kraken_airflow.dashboard.charts import Chart, chart
from kraken_airflow.dashboard.downloads import csv_response, json_response, plain
from kraken_airflow.dashboard.paging import key_of, page_of, rows_of_all_pages
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.reports.order_and_session_pages_store import OrderAndSessionPagesStore
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
FINDING_FIELDS: Final = (
    *("finding_id", "last_seen_at", "first_seen_at", "returned_at", "source", "rule", "severity", "message"),
    *("application_name", "dag_id", "run_id", "task_id", "map_index", "try_number", "evidence"),
    *("occurrences", "actions", "audit_dag_id", "audit_dag_run_id"),
)
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


@dataclass(frozen=True, slots=True)
class Filters:
    """How long ago the charts begin, and which findings are shown."""

    hours: str
    state: str
    rule: str

    def since(self, now: datetime) -> datetime:
        """Say when the charts begin."""
        return now - timedelta(hours=int(self.hours))

    def as_query(self) -> dict[str, object]:
        """Name what is chosen, for links."""
        return {
            "hours": "" if self.hours == "24" else self.hours,
            "state": "" if self.state == "open" else self.state,
            "rule": self.rule,
        }


def filters_of(hours: Hours = "24", state: State = "open", rule: RuleName = "") -> Filters:
    """Read the filters of a request."""
    return Filters(hours, state, rule)


Chosen = Annotated[Filters, Depends(filters_of)]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""
    shown = [may_read(SESSIONS_DAG)]

    @router.get("/database", response_class=HTMLResponse, dependencies=shown)
    def database(chosen: Chosen, before: Cursor = "") -> str:
        """Answer: is the database healthy?"""
        now = datetime.now(UTC)
        with open_unit() as unit:
            found, cursor = _findings(unit, chosen, before, FINDINGS_SHOWN)
            stretches = OrderAndSessionPagesStore(unit).samples_over_time(
                chosen.since(now), stretch_seconds=STRETCH_SECONDS[chosen.hours]
            )
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
        return render(
            "database.html", page=page, charts=database_charts(stretches), before=before, dag_id=SESSIONS_DAG
        )

    @router.get("/api/database", dependencies=shown)
    def database_data(chosen: Chosen) -> StreamingResponse:
        """Give the newest sample of each source and every finding that was chosen as JSON."""
        with open_unit() as unit:
            head = _summary(unit, chosen, datetime.now(UTC))
        return json_response({"filters": chosen.as_query(), **head}, "findings", _all_findings(chosen))

    @router.get("/api/database.csv", dependencies=shown)
    def database_rows(chosen: Chosen) -> StreamingResponse:
        """Give every finding that was chosen as CSV."""
        return csv_response("findings.csv", _all_findings(chosen), FINDING_FIELDS)

    @router.get("/api/samples", dependencies=shown)
    def samples_data(chosen: Chosen) -> StreamingResponse:
        """Give every sample since the charts begin as JSON."""
        return json_response({"filters": chosen.as_query()}, "samples", _all_samples(chosen))

    @router.get("/api/samples.csv", dependencies=shown)
    def samples_rows(chosen: Chosen) -> StreamingResponse:
        """Give every sample since the charts begin as CSV."""
        return csv_response("samples.csv", _all_samples(chosen), SAMPLE_FIELDS)


def database_charts(stretches: Sequence[Mapping[str, Any]]) -> list[Chart | None]:
    """Draw connections, pools and lock waits of each source."""
    return [
        chart(
            f"{title} of {source}",
            unit,
            [row["begins_at"] for row in rows],
            [(label, [row[name] for row in rows]) for name, label in lines],
        )
        for source, grouped in groupby(stretches, lambda row: row["source"])
        for rows in [list(grouped)]
        for title, unit, lines in DRAWN
    ]


def _summary(unit: UnitOfWork, chosen: Filters, now: datetime) -> dict[str, Any]:
    sources = [
        plain({**row, **auditor_of(row["audited_by"])})
        for row in OrderAndSessionPagesStore(unit).newest_samples(chosen.since(now))
    ]
    open_findings = OrderAndSessionPagesStore(unit).count_findings()
    is_critical = bool(open_findings.get("critical"))
    return {
        "sources": sources,
        "open_findings": open_findings,
        "level": "bad" if is_critical else "watch" if open_findings or not sources else "good",
    }


def _findings(
    unit: UnitOfWork, chosen: Filters, before: str, most: int
) -> tuple[list[dict[str, Any]], str | None]:
    rows = OrderAndSessionPagesStore(unit).findings(
        state=None if chosen.state == "all" else chosen.state,
        rule=chosen.rule or None,
        before=key_of(before, datetime, int),
        most=most + 1,
    )
    found, cursor = page_of(rows, most, lambda row: (row["last_seen_at"], row["finding_id"]))
    return [_finding_view(row) for row in found], cursor


def _finding_view(row: Mapping[str, Any]) -> dict[str, Any]:
    auditor = auditor_of(row["last_seen_by"])
    return {
        **plain({name: row[name] for name in FINDING_FIELDS if name in row}),
        "actions": [{**action, **auditor_of(action["acted_by"])} for action in row["actions"] or ()],
        "audit_dag_id": auditor["dag_id"],
        "audit_dag_run_id": auditor["dag_run_id"],
        "auditor": auditor,
    }


def _all_findings(chosen: Filters) -> Iterator[Mapping[str, Any]]:
    def read(cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        with open_unit() as unit:
            return _findings(unit, chosen, cursor or "", FINDINGS_PER_READ)

    return rows_of_all_pages(read)


def _all_samples(chosen: Filters) -> Iterator[Mapping[str, Any]]:
    since = chosen.since(datetime.now(UTC))

    def read(cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        with open_unit() as unit:
            rows = OrderAndSessionPagesStore(unit).samples(
                since, before=key_of(cursor, datetime, int), most=SAMPLES_PER_READ + 1
            )
        found, following = page_of(rows, SAMPLES_PER_READ, lambda row: (row["taken_at"], row["sample_id"]))
        return [{**row, **auditor_of(row["audited_by"])} for row in found], following

    return rows_of_all_pages(read)


def auditor_of(by: str | None) -> dict[str, str | None]:
    """Name the Airflow run that audited: a task says its DAG and run, the command line its process."""
    dag_id, _, run_id = (by or "").partition(" ")
    if not run_id:
        return {"dag_id": None, "dag_run_id": None, "trigger": "command line" if by else None}
    return {"dag_id": dag_id, "dag_run_id": run_id, "trigger": dag_id}

"""Is everything accounted for? The standing of all accounts, however many, and a page of them.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse, StreamingResponse

from kraken_airflow.dag_parts.approval_runs import PLANS_MAX, open_approvals
from kraken_airflow.dashboard.access import DAG_ID, Cursor, Render, Text, open_unit
from kraken_airflow.dashboard.downloads import csv_response, json_response, plain
from kraken_airflow.dashboard.pages.differences import difference_views
from kraken_airflow.dashboard.paging import key_of, page_of, rows_of_all_pages
from kraken_airflow.dashboard.verdicts import (
    AGE_WORDS,
    AGES_SECONDS,
    RANKS,
    UNPROVEN_RANKS,
    VERDICTS,
    account_view,
    answer_of,
    nothing_differed,
)
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.rules.counts import columns_of, figure_names, titles
from kraken_recon.reports.page_store import AccountsPage, PageStore
from kraken_recon.reports.report import report
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.value_at_risk import drift_view, put_right_view, unproven_view

ACCOUNTS_SHOWN: Final = 50
# Every read looks at all accounts, so a few large ones.
ACCOUNTS_PER_READ: Final = 2_500
ALERTS_MOST: Final = 200
DIFFERENCES_SHOWN: Final = 10
FIELDS: Final = (
    *("account", "verdict", "level", "status", "mode", "trigger", "proven_at", "ledger_proven_at"),
    *(*figure_names(is_agreement=True), "differed", *figure_names(is_agreement=False)),
    *("entries_ingested", "api_calls", "seconds", "recorded_as_of", "run_id", "dag_id", "dag_run_id"),
    *("note", "error"),
)
TITLES: Final = (*titles(is_agreement=True), "Differed", *titles(is_agreement=False))
State = Literal["", "failed", "old", "held", "new", "dry", "awaiting", "moving", "good"]
OrderBy = Literal["worst", "stalest", "name"]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which accounts a page shows, and in what order."""

    state: str = ""
    age: int | None = None
    name: str = ""
    order: str = "worst"

    def as_query(self) -> dict[str, object]:
        """Name what differs from a page without filters, for links."""
        return {
            "state": self.state,
            "age": self.age,
            "name": self.name,
            "order": "" if self.order == "worst" else self.order,
        }


def filters_of(
    state: State = "",
    age: Annotated[str, Query(pattern="^(-1|[0-5])?$")] = "",
    name: Text = "",
    order: OrderBy = "worst",
) -> Filters:
    """Read the filters of a request."""
    return Filters(state, int(age) if age else None, name, order)


Chosen = Annotated[Filters, Depends(filters_of)]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""

    @router.get("/", response_class=HTMLResponse)
    def accounts(chosen: Chosen, before: Cursor = "") -> str:
        """Answer: is everything accounted for?"""
        now = datetime.now(UTC)
        with open_unit() as unit:
            page = overview(unit, chosen, before, now)
        return render(
            "accounts.html", page=page, before=before, dag_id=DAG_ID, titles=TITLES, columns_of=_columns_of
        )

    @router.get("/api/latest")
    def accounts_data(chosen: Chosen) -> StreamingResponse:
        """Give every account with its newest run and what differed, and the newest open alerts, as JSON."""
        now = datetime.now(UTC)
        with open_unit() as unit:
            alerts = [plain(alert) for alert in PageStore(unit).alerts(most=ALERTS_MOST)]
            standing = PageStore(unit).standing(now, RANKS, AGES_SECONDS, unproven=UNPROVEN_RANKS, most=0)
            risk = _risk(unit, standing, now)
        head = {"generated_at": now.isoformat(), "alerts": alerts, **risk}
        return json_response(head, "accounts", _all(chosen, now))

    @router.get("/api/latest.csv")
    def accounts_rows(chosen: Chosen) -> StreamingResponse:
        """Give every account with its newest run as CSV."""
        return csv_response("accounts.csv", _all(chosen, datetime.now(UTC)), FIELDS)


def _columns_of(account: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Give the counts of an account's line, in the order of their columns."""
    counts = {**columns_of(account), "Differed": account["differed"]}
    return [(title, counts[title]) for title in TITLES]


def overview(unit: UnitOfWork, chosen: Filters, before: str, now: datetime) -> dict[str, Any]:
    """Collect what the page shows."""
    standing, accounts, cursor = _read(unit, chosen, before, now, ACCOUNTS_SHOWN)
    counts = standing.counts
    by_verdict = {
        verdict.name: sum(count["accounts"] for count in counts if count["rank"] == rank)
        for rank, verdict in enumerate(VERDICTS)
    }
    is_plain = chosen == Filters() and not before
    troubled = [account["account"] for account in accounts if account["level"] != "good"] if is_plain else []
    differences = PageStore(unit).differences(most=DIFFERENCES_SHOWN)
    alerts = PageStore(unit).alerts_waiting()
    held = open_approvals(unit, now)
    return {
        "answer": answer_of(by_verdict, troubled),
        "total": sum(by_verdict.values()),
        "verdicts": [(verdict, by_verdict[verdict.name]) for verdict in VERDICTS if by_verdict[verdict.name]],
        "ages": [
            (group, words, total)
            for group, words in sorted(AGE_WORDS.items(), reverse=True)
            if (total := sum(count["accounts"] for count in counts if count["age_group"] == group))
        ],
        **_risk(unit, standing, now),
        "repairs_waiting": sum(plan["is_waiting"] for plan in held),
        "has_more_repairs": len(held) == PLANS_MAX,
        "alerts_waiting": sum(alerts.values()),
        "accounts": accounts,
        "filters": chosen.as_query(),
        "states": [("", "any state"), *((verdict.name, verdict.words) for verdict in VERDICTS)],
        "next": cursor,
        "differences": difference_views(unit, differences, now),
        "nothing_differed": nothing_differed(by_verdict),
    }


def _risk(unit: UnitOfWork, standing: AccountsPage, now: datetime) -> dict[str, Any]:
    """Value what is not known to be right, and what was put right."""
    return {
        "unexplained_drift": drift_view(PageStore(unit), PriceStore(unit), standing.differing_run_ids, now),
        "unproven": unproven_view(PageStore(unit), PriceStore(unit), standing.unproven_ids, now),
        "put_right": put_right_view(PageStore(unit), PriceStore(unit), now),
    }


def _read(
    unit: UnitOfWork, chosen: Filters, before: str, now: datetime, most: int
) -> tuple[AccountsPage, list[dict[str, Any]], str | None]:
    """Read the standing of all accounts, and a page of those that were chosen with its next cursor."""
    rank = next((rank for rank, verdict in enumerate(VERDICTS) if verdict.name == chosen.state), None)
    standing = PageStore(unit).standing(
        now,
        RANKS,
        AGES_SECONDS,
        order_by=chosen.order,
        rank=rank,
        age_group=chosen.age,
        part=chosen.name or None,
        after=key_of(before, int, str),
        unproven=UNPROVEN_RANKS,
        most=most + 1,
    )
    shown, cursor = page_of(standing.accounts, most, lambda row: (row["place"], row["name"]))
    by_name = {
        account["account"]: account
        for account in report(ReportStore(unit), [row["name"] for row in shown])["accounts"]
    }
    views = [
        {**account_view(by_name[row["name"]], row["rank"], now), "findings": by_name[row["name"]]["findings"]}
        for row in shown
        if row["name"] in by_name
    ]
    return standing, views, cursor


def _all(chosen: Filters, now: datetime) -> Iterator[Mapping[str, Any]]:
    # By name, because a verdict may change between two reads, and move its account to another place.
    chosen = replace(chosen, order="name")

    def read(cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        with open_unit() as unit:
            _, accounts, following = _read(unit, chosen, cursor or "", now, ACCOUNTS_PER_READ)
        return accounts, following

    return rows_of_all_pages(read)

"""Is everything accounted for? The standing of all accounts, however many, and a page of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse

from kraken_airflow.dag_parts.approval_runs import PLANS_MAX, open_approvals
from kraken_airflow.dashboard.access import Choice, Cursor, Render, Text, open_unit
from kraken_airflow.dashboard.difference_filters import Filters as DifferenceFilters
from kraken_airflow.dashboard.downloads import add_downloads, every_row
from kraken_airflow.dashboard.pages import Link, differences, needs_you
from kraken_airflow.dashboard.paging import key_of, page_of
from kraken_airflow.dashboard.tables import COUNT, Column
from kraken_airflow.dashboard.verdicts import (
    AGE_WORDS,
    AGES_SECONDS,
    RANKS,
    UNPROVEN_RANKS,
    VERDICTS,
    account_view,
    answer_of,
    desk_books_level,
    nothing_differed,
)
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.declared_here import declared_here
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.rules.counts import columns_of, figure_names, titles
from kraken_recon.reports.desk_books import standing_words, with_desk_books
from kraken_recon.reports.page_store import AccountsPage, PageStore
from kraken_recon.reports.report import report
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.value_at_risk import drift_view, put_right_view, unproven_view

LINK: Final = Link(1, "./", "Is everything accounted for?")
ACCOUNTS_SHOWN: Final = 50
# Every read looks at all accounts, so a few large ones.
ACCOUNTS_PER_READ: Final = 2_500
ALERTS_MOST: Final = 200
DIFFERENCES_SHOWN: Final = 10
NO_BOOK: Final = "no book"
FIELDS: Final = (
    *("account", "verdict", "level", "status", "mode", "trigger", "proven_at", "ledger_proven_at"),
    *(*figure_names(is_agreement=True), "differed", *figure_names(is_agreement=False)),
    *("desk", "desk_differing", "desk_held"),
    *("entries_ingested", "api_calls", "seconds", "recorded_as_of", "run_id", "dag_id", "dag_run_id"),
    *("note", "error"),
)
DIFFERING: Final = ("Differed", *titles(is_agreement=False))
COLUMNS: Final = {
    "account": Column("Account"),
    "verdict": Column("Verdict", "wide", label=""),
    "desk": Column("Desk", "age breaks"),
    "proof": Column("Last proof", "age"),
    **{title: Column(title, COUNT) for title in (*titles(is_agreement=True), *DIFFERING)},
    "api_calls": Column("API calls", "number"),
    "trigger": Column("Run", "age"),
}
State = Literal[
    "",
    "failed",
    "old",
    "held",
    "desk_unreadable",
    "desk_held",
    "desk_differs",
    "new",
    "dry",
    "awaiting",
    "moving",
    "desk_new",
    "good",
]
OrderBy = Literal["worst", "stalest", "name"]


class Note(NamedTuple):
    """What stands below the answer, and where more of it is."""

    words: str
    link: str
    href: str


@dataclass(frozen=True, slots=True)
class Filters(Choice):
    """Which accounts a page shows, and in what order."""

    state: State = ""
    age: Annotated[str, Query(pattern="^(-1|[0-5])?$")] = ""
    name: Text = ""
    order: OrderBy = "worst"


Chosen = Annotated[Filters, Depends()]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""

    @router.get("/", response_class=HTMLResponse)
    def accounts(chosen: Chosen, before: Cursor = "") -> str:
        """Answer: is everything accounted for?"""
        with open_unit() as unit:
            page = overview(unit, chosen, before, datetime.now(UTC))
        return render("accounts.html", page=page, before=before)

    add_downloads(router, "latest", _all, FIELDS, head=_alerts_and_risk, name="accounts")


def _alerts_and_risk() -> dict[str, Any]:
    """Collect the newest open alerts, and what is at risk."""
    now = datetime.now(UTC)
    with open_unit() as unit:
        alerts, _ = needs_you.alerts_page(unit, needs_you.Filters(), "", ALERTS_MOST)
        standing = PageStore(unit).standing(
            now, RANKS, AGES_SECONDS, declared_here(), unproven=UNPROVEN_RANKS, most=0
        )
        return {"generated_at": now.isoformat(), "alerts": alerts, **_risk(unit, standing, now)}


def overview(unit: UnitOfWork, chosen: Filters, before: str, now: datetime) -> dict[str, Any]:
    """Collect what the page shows."""
    standing, accounts, cursor = _read(unit, chosen, before, now, ACCOUNTS_SHOWN)
    counts = standing.counts
    by_verdict = {
        verdict.name: sum(count.accounts for count in counts if count.rank == rank)
        for rank, verdict in enumerate(VERDICTS)
    }
    is_plain = chosen == Filters() and not before
    troubled = [account["account"] for account in accounts if account["level"] != "good"] if is_plain else []
    differed, _ = differences.differences_page(unit, DifferenceFilters(), "", DIFFERENCES_SHOWN)
    alerts = PageStore(unit).alerts_waiting()
    held = open_approvals(unit, now)
    return {
        "answer": answer_of(by_verdict, troubled),
        "notes": _notes(standing, sum(by_verdict.values())),
        "total": sum(by_verdict.values()),
        "verdicts": [(verdict, by_verdict[verdict.name]) for verdict in VERDICTS if by_verdict[verdict.name]],
        "ages": [
            (group, words, total)
            for group, words in sorted(AGE_WORDS.items(), reverse=True)
            if (total := sum(count.accounts for count in counts if count.age_group == group))
        ],
        **_risk(unit, standing, now),
        "repairs_waiting": sum(plan["is_waiting"] for plan in held),
        "has_more_repairs": len(held) == PLANS_MAX,
        "alerts_waiting": sum(alerts.values()),
        "accounts": [{**row, **columns_of(row), "Differed": row["differed"]} for row in accounts],
        "columns": COLUMNS,
        "differing": DIFFERING,
        "filters": chosen.as_query(),
        "states": [("", "any state"), *((verdict.name, verdict.words) for verdict in VERDICTS)],
        "next": cursor,
        "differences": differed,
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
    declared = declared_here()
    standing = PageStore(unit).standing(
        now,
        RANKS,
        AGES_SECONDS,
        declared,
        order_by=chosen.order,
        rank=rank,
        age_group=int(chosen.age) if chosen.age else None,
        part=chosen.name or None,
        after=key_of(before, int, str),
        unproven=UNPROVEN_RANKS,
        most=most + 1,
    )
    shown, cursor = page_of(standing.accounts, most, ("place", "name"))
    reports = ReportStore(unit)
    told = with_desk_books(report(reports, [row.name for row in shown]), reports, declared)
    by_name = {account["account"]: account for account in told["accounts"]}
    views = [
        {
            **account_view(by_name[row.name], row.rank, now),
            **_desk_side(by_name[row.name]["desk_books"]),
            "findings": by_name[row.name]["findings"],
        }
        for row in shown
        if row.name in by_name
    ]
    return standing, views, cursor


def _desk_side(books: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say how an account stands in its desk books, as a column."""
    words = standing_words(books)
    return {
        "desk": words or NO_BOOK,
        "desk_level": desk_books_level(books),
        "desk_differing": sum(book["differing"] for book in books),
        "desk_held": sum(book["held"] for book in books),
    }


def _notes(standing: AccountsPage, total: int) -> list[Note]:
    """Say of desk books what does not change the answer, and whom nobody compared."""
    notes = []
    if standing.tolerated:
        many = "difference is" if standing.tolerated == 1 else "differences are"
        words = f"{standing.tolerated:,} {many} small or still on the way into the desk's books:"
        notes.append(Note(words, "which", "differences#desk"))
    if total and standing.without_desk_book:
        whose = "the account" if total == 1 else f"{standing.without_desk_book:,} of {total:,} accounts"
        words = f"No table of the desk's own is compared for {whose}:"
        notes.append(Note(words, "how to adopt a desk", "docs?page=how-to/adopt-a-desk.md"))
    return notes


def _all(chosen: Chosen) -> Iterator[Mapping[str, Any]]:
    # By name, because a verdict may change between two reads, and move its account to another place.
    by_name, now = replace(chosen, order="name"), datetime.now(UTC)
    return every_row(lambda unit, cursor: _read(unit, by_name, cursor, now, ACCOUNTS_PER_READ)[1:])

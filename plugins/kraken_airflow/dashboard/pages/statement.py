"""The statement of an asset of an account, page by page; entries that explain a difference are marked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from kraken_airflow.dashboard.access import Choice, Cursor, Name, Render, Text, open_unit
from kraken_airflow.dashboard.difference_filters import RunId
from kraken_airflow.dashboard.downloads import add_downloads
from kraken_airflow.dashboard.paging import cursor_of, key_of
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.declared_here import declared_here
from kraken_recon.reports.desk_books import desk_side_of
from kraken_recon.reports.page_store import PageStore
from kraken_recon.reports.report import holder_of
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.statement_pages import statement_entries, statement_page

ENTRIES_SHOWN: Final = 100
FIELDS: Final = (
    *("ledger_id", "refid", "time", "type", "subtype", "wallet", "amount", "fee", "balance", "running"),
)


@dataclass(frozen=True, slots=True)
class Marked(Choice):
    """What a link is about: an entry, or what explains what a run found, in a desk book if one is named."""

    entry: Text = ""
    run: RunId = None
    book: Text = ""


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""

    @router.get("/statement", response_class=HTMLResponse)
    def statement(
        account: Name, asset: Name, about: Annotated[Marked, Depends()], before: Cursor = ""
    ) -> str:
        """Show an asset of an account as a bank statement, its newest entries or those that explain a run."""
        with open_unit() as unit:
            marked = _marked(unit, account, asset, about)
            page = _read(unit, account, asset, before, marked)
        filters = {"account": account, "asset": asset, **about.as_query()}
        return render("statement.html", page=page, marked=marked, filters=filters, before=before)

    add_downloads(router, "statement", _entries, FIELDS, head=_frame, name="entries", file_name="statement")


def _frame(account: Name, asset: Name) -> dict[str, Any]:
    """Write everything of a statement but its entries."""
    with open_unit() as unit:
        view = statement_page(unit, account, asset, datetime.now(UTC), most=1).view
    return {name: value for name, value in view.items() if name != "entries"}


def _entries(account: Name, asset: Name) -> Iterator[Mapping[str, Any]]:
    """Read every entry, oldest first."""
    with open_unit() as unit:
        holder_of(ReportStore(unit), account, asset)
    return statement_entries(open_unit, account, asset, datetime.now(UTC))


def _marked(unit: UnitOfWork, account: str, asset: str, about: Marked) -> frozenset[str]:
    """Name the entries that the link is about: one by its id, or those that explain what a run found."""
    named = frozenset({about.entry} if about.entry else ())
    if about.run is None:
        return named
    reports = ReportStore(unit)
    account_id = reports.account_id(account)
    if about.book:
        of_book = {"account_id": account_id, "asset": asset, "run_id": about.run, "book": about.book}
        rows = PageStore(unit).rows("desk_books.explaining_entries", lambda ledger_id: ledger_id, **of_book)
        return named | set(rows)
    return named | reports.explaining_entries(account_id, asset, about.run)


def _read(unit: UnitOfWork, account: str, asset: str, before: str, marked: frozenset[str]) -> dict[str, Any]:
    """Read the page that begins where the link says, or with the newest of the marked entries."""
    place = key_of(before, datetime, int)
    is_newest = place is None
    if place is None and marked:
        reports = ReportStore(unit)
        newest = reports.statement_place(reports.account_id(account), asset, marked)
        if newest:
            place = (newest[0], newest[1] + 1)
    now = datetime.now(UTC)
    page = statement_page(unit, account, asset, now, before=place, most=ENTRIES_SHOWN)
    return {
        **page.view,
        "desk_books": desk_side_of(ReportStore(unit), declared_here(), account, asset),
        "next": cursor_of(*page.next_place) if page.next_place else None,
        "begins_with_marked": is_newest and place is not None,
        "marked_elsewhere": len(marked - {entry["ledger_id"] for entry in page.view["entries"]}),
    }

"""The statement of an asset of an account, page by page; entries that explain a difference are marked."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from kraken_airflow.dashboard.access import Cursor, Name, Render, Text, open_unit
from kraken_airflow.dashboard.downloads import add_downloads
from kraken_airflow.dashboard.pages.differences import RunId
from kraken_airflow.dashboard.paging import cursor_of, key_of
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.reports.report import holder_of
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.statement_pages import statement_entries, statement_page

ENTRIES_SHOWN: Final = 100
FIELDS: Final = (
    *("ledger_id", "refid", "time", "type", "subtype", "wallet", "amount", "fee", "balance", "running"),
)


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""

    @router.get("/statement", response_class=HTMLResponse)
    def statement(
        account: Name, asset: Name, before: Cursor = "", entry: Text = "", run: RunId = None
    ) -> str:
        """Show an asset of an account as a bank statement, its newest entries or those that explain a run."""
        with open_unit() as unit:
            marked = _marked(unit, account, asset, entry, run)
            page = _read(unit, account, asset, before, marked)
        filters = {"account": account, "asset": asset, "entry": entry, "run": run}
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


def _marked(unit: UnitOfWork, account: str, asset: str, entry: str, run_id: UUID | None) -> frozenset[str]:
    """Name the entries that the link is about: one by its id, or those that explain what a run found."""
    named = frozenset({entry} if entry else ())
    if run_id is None:
        return named
    reports = ReportStore(unit)
    return named | reports.explaining_entries(reports.account_id(account), asset, run_id)


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
        "next": cursor_of(*page.next_place) if page.next_place else None,
        "begins_with_marked": is_newest and place is not None,
        "marked_elsewhere": len(marked - {entry["ledger_id"] for entry in page.view["entries"]}),
    }

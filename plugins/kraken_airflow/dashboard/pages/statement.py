"""The statement of an asset of an account, page by page, with the entries marked that explain a difference.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, StreamingResponse

from kraken_airflow.dashboard.access import DAG_ID, Cursor, Name, Render, Text, known_account, open_unit
from kraken_airflow.dashboard.downloads import csv_response, json_response
from kraken_airflow.dashboard.pages.differences import run_of
from kraken_airflow.dashboard.paging import cursor_of, key_of
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.reports.page_store import PageStore
from kraken_recon.reports.report import holder_of
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.statement_pages import statement_entries, statement_page

ENTRIES_SHOWN: Final = 100
FIELDS: Final = (
    "ledger_id",
    "refid",
    "time",
    "type",
    "subtype",
    "wallet",
    "amount",
    "fee",
    "balance",
    "running",
)


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""

    @router.get("/statement", response_class=HTMLResponse)
    def statement(
        account: Name,
        asset: Name,
        before: Cursor = "",
        entry: Text = "",
        run: Annotated[str, Query(max_length=36)] = "",
    ) -> str:
        """Show an asset of an account as a bank statement, its newest entries or those that explain a run."""
        with open_unit() as unit, known_account():
            marked = _marked(unit, account, asset, entry, run)
            page = _read(unit, account, asset, before, marked)
        filters = {"account": account, "asset": asset, "entry": entry, "run": run}
        return render(
            "statement.html", page=page, marked=marked, filters=filters, before=before, dag_id=DAG_ID
        )

    @router.get("/api/statement")
    def statement_data(account: Name, asset: Name) -> StreamingResponse:
        """Give every entry of the same as JSON, oldest first."""
        now = datetime.now(UTC)
        with open_unit() as unit, known_account():
            head = statement_page(unit, account, asset, now, most=1).view
        head.pop("entries")
        return json_response(head, "entries", statement_entries(open_unit, account, asset, now))

    @router.get("/api/statement.csv")
    def statement_rows(account: Name, asset: Name) -> StreamingResponse:
        """Give every entry as CSV, oldest first."""
        with open_unit() as unit, known_account():
            holder_of(ReportStore(unit), account, asset)
        entries = statement_entries(open_unit, account, asset, datetime.now(UTC))
        return csv_response("statement.csv", entries, FIELDS)


def _marked(unit: UnitOfWork, account: str, asset: str, entry: str, run: str) -> frozenset[str]:
    """Name the entries that the link is about: one by its id, or those that explain what a run found."""
    run_id = run_of(run)
    named = frozenset({entry} if entry else ())
    if run_id is None:
        return named
    account_id = PageStore(unit).account(account)["account_id"]
    return named | PageStore(unit).explaining_entries(account_id, asset, run_id)


def _read(unit: UnitOfWork, account: str, asset: str, before: str, marked: frozenset[str]) -> dict[str, Any]:
    """Read the page that begins where the link says, or with the newest of the marked entries."""
    place = key_of(before, datetime, int)
    is_newest = place is None
    if place is None and marked:
        newest = PageStore(unit).statement_place(
            PageStore(unit).account(account)["account_id"], asset, marked
        )
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

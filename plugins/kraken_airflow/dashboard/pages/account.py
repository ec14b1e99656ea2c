"""One account: what it is worth over time, what it holds, and its runs.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, StreamingResponse

from kraken_airflow.dashboard.access import DAG_ID, Cursor, Name, Render, known_account, open_unit
from kraken_airflow.dashboard.charts import chart
from kraken_airflow.dashboard.downloads import csv_response, json_response, plain
from kraken_airflow.dashboard.paging import key_of, page_of, rows_of_all_pages
from kraken_airflow.dashboard.verdicts import RANKS, VERDICTS, account_view, ago
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.holdings.pricing import price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.maintenance.store import MaintenanceStore
from kraken_recon.reconciliation.rules.counts import columns_of, titles
from kraken_recon.reports.page_store import RUN_COLUMNS, PageStore
from kraken_recon.reports.report import report
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.value_at_risk import drift_view
from kraken_recon.values.shown_figures import covered_share, rounded_for_people

RUNS_SHOWN: Final = 30
RUNS_PER_READ: Final = 2_000
CURVE_AGE_MAX: Final = timedelta(days=30)
POSITION_FIELDS: Final = (
    *(
        "asset",
        "wallet",
        "quantity",
        "available_quantity",
        "avg_cost",
        "avg_cost_covers",
        "price",
        "value",
        "priced_at",
    ),
    "updated_at",
)
CURVE_FIELDS: Final = ("taken_at", "quote_currency", "value", "assets", "unpriced")


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""

    @router.get("/account", response_class=HTMLResponse)
    def account(name: Name, before: Cursor = "") -> str:
        """Show one account."""
        now = datetime.now(UTC)
        with open_unit() as unit, known_account():
            page = _page(unit, name, before, now)
        return render(
            "account.html",
            page=page,
            before=before,
            dag_id=DAG_ID,
            columns_of=columns_of,
            agreeing=titles(is_agreement=True),
            differing=titles(is_agreement=False),
        )

    @router.get("/api/account")
    def account_data(name: Name) -> StreamingResponse:
        """Give the same with every run as JSON."""
        now = datetime.now(UTC)
        with open_unit() as unit, known_account():
            page = _page(unit, name, "", now)
        head = {part: page[part] for part in ("account", "newest", "positions", "curve", "drift")}
        return json_response(head, "runs", _all_runs(name))

    @router.get("/api/runs")
    def runs_data(name: Name) -> StreamingResponse:
        """Give every run of an account as JSON."""
        return json_response({"account": name}, "runs", _all_runs(name))

    @router.get("/api/runs.csv")
    def runs_rows(name: Name) -> StreamingResponse:
        """Give every run of an account as CSV."""
        return csv_response("runs.csv", _all_runs(name), RUN_COLUMNS)

    @router.get("/api/positions")
    def positions_data(name: Name) -> StreamingResponse:
        """Give what an account holds as JSON."""
        return json_response({"account": name}, "positions", _positions_now(name))

    @router.get("/api/positions.csv")
    def positions_rows(name: Name) -> StreamingResponse:
        """Give what an account holds as CSV."""
        return csv_response("positions.csv", _positions_now(name), POSITION_FIELDS)

    @router.get("/api/curve")
    def curve_data(name: Name) -> StreamingResponse:
        """Give what an account was worth as JSON."""
        return json_response({"account": name}, "curve", _curve_until_now(name))

    @router.get("/api/curve.csv")
    def curve_rows(name: Name) -> StreamingResponse:
        """Give what an account was worth as CSV."""
        return csv_response("curve.csv", _curve_until_now(name), CURVE_FIELDS)


def _page(unit: UnitOfWork, name: str, before: str, now: datetime) -> dict[str, Any]:
    account = PageStore(unit).account(name)
    runs, cursor = _runs(unit, account["account_id"], before, RUNS_SHOWN)
    of_one = PageStore(unit).standing(now, RANKS, (), account=name, most=1)
    standing = of_one.accounts
    [newest] = report(ReportStore(unit), [name])["accounts"] or [None]
    positions = _positions(unit, account, now)
    curve = _curve(unit, account["account_id"], now)
    of_now = [row for row in curve if row["quote_currency"] == account["quote_currency"]]
    return {
        "account": plain(account),
        "verdict": VERDICTS[standing[0]["rank"]] if standing else None,
        "newest": account_view(newest, standing[0]["rank"], now) if newest and standing else None,
        "ledger_proof": ago(account["ledger_read_until"].isoformat(), now)
        if account["ledger_read_until"]
        else "never",
        "drift": drift_view(PageStore(unit), PriceStore(unit), of_one.differing_run_ids, now),
        "positions": positions,
        "curve": [plain(row) for row in curve],
        "gaps": sum(row["value"] is None for row in curve),
        "chart": chart(
            f"Worth of {name}",
            account["quote_currency"],
            [row["taken_at"] for row in of_now],
            [("worth", [None if row["value"] is None else float(row["value"]) for row in of_now])],
        ),
        "runs": [plain(row) for row in runs],
        "next": cursor,
    }


def _positions(unit: UnitOfWork, account: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    rows, quote = PageStore(unit).account_positions(account["account_id"]), account["quote_currency"]
    priced = price_list(PriceStore(unit), [(quote, row["asset"]) for row in rows], now)
    views = []
    for row in rows:
        price, priced_at = priced.of(quote, row["asset"])
        value = priced.worth(quote, {row["asset"]: row["quantity"]}).value if row["quantity"] else None
        shown = {"price": price, "value": value, "priced_at": priced_at, **_shown_cost(row)}
        views.append(plain({**row, **shown}))
    return views


def _shown_cost(row: Mapping[str, Any]) -> dict[str, str | None]:
    """Round an average for people, and say how much of the asset it covers."""
    if row["avg_cost"] is None:
        return {"avg_cost_shown": None, "avg_cost_covers": None}
    return {
        "avg_cost_shown": rounded_for_people(row["avg_cost"]),
        "avg_cost_covers": covered_share(row["quantity_known"], row["quantity_unknown"]),
    }


def _curve(unit: UnitOfWork, account_id: int, now: datetime) -> Sequence[Mapping[str, Any]]:
    return MaintenanceStore(unit).curve(account_id, now - CURVE_AGE_MAX)


def _runs(
    unit: UnitOfWork, account_id: int, before: str, most: int
) -> tuple[list[Mapping[str, Any]], str | None]:
    rows = PageStore(unit).account_runs(account_id, before=key_of(before, datetime, UUID), most=most + 1)
    return page_of(rows, most, lambda row: (row["recorded_as_of"], row["run_id"]))


def _positions_now(name: str) -> list[dict[str, Any]]:
    with open_unit() as unit, known_account():
        return _positions(unit, PageStore(unit).account(name), datetime.now(UTC))


def _curve_until_now(name: str) -> Sequence[Mapping[str, Any]]:
    with open_unit() as unit, known_account():
        return _curve(unit, PageStore(unit).account(name)["account_id"], datetime.now(UTC))


def _all_runs(name: str) -> Iterator[Mapping[str, Any]]:
    with open_unit() as unit, known_account():
        account_id = PageStore(unit).account(name)["account_id"]

    def read(cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        with open_unit() as unit:
            return _runs(unit, account_id, cursor or "", RUNS_PER_READ)

    return rows_of_all_pages(read)

"""One account: what it is worth over time, what it holds, and its runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, StreamingResponse

from kraken_airflow.dashboard.access import Cursor, Name, Render, open_unit
from kraken_airflow.dashboard.charts import chart
from kraken_airflow.dashboard.downloads import add_downloads, every_row, json_response
from kraken_airflow.dashboard.pages.desk_books import sides_of
from kraken_airflow.dashboard.paging import read_page
from kraken_airflow.dashboard.tables import AMOUNT, COUNT, JSON_ONLY, Column
from kraken_airflow.dashboard.verdicts import RANKS, VERDICTS, account_view, ago, desk_books_level
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.declared_here import declared_here
from kraken_recon.holdings.pricing import price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.maintenance.store import MaintenanceStore
from kraken_recon.reconciliation.rules.counts import TOLD, columns_of, titles
from kraken_recon.reports.desk_books import desk_views
from kraken_recon.reports.page_store import KnownAccount, PageStore
from kraken_recon.reports.report import report
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.value_at_risk import drift_view
from kraken_recon.values.shown_figures import covered_share, rounded_for_people

RUNS_SHOWN: Final = 30
RUNS_PER_READ: Final = 2_000
CURVE_AGE_MAX: Final = timedelta(days=30)
CURVE_FIELDS: Final = ("taken_at", "quote_currency", "value", "assets", "unpriced")
RUN_KEY: Final = {"recorded_as_of": datetime, "run_id": UUID}
# What is told of each run, in this order.
RUN_FIELDS: Final = (
    *("recorded_as_of", "reported_as_of", "interval_start", "interval_end", "mode", "status", "trigger"),
    *(count.name for count in TOLD),
    *("entries_ingested", "api_calls", "seconds", "note", "error", "run_id", "dag_id", "dag_run_id"),
)
DIFFERING: Final = titles(is_agreement=False)
RUN_COLUMNS: Final = {
    "recorded_as_of": Column("As of"),
    "status": Column("State", "wide", label=""),
    "trigger": Column("Made by", "age"),
    **{title: Column(title, COUNT) for title in (*titles(is_agreement=True), *DIFFERING)},
    "entries_ingested": Column("Entries", COUNT),
    "api_calls": Column("API calls", "number"),
    "seconds": Column("Seconds", "number"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What an account holds of an asset in a wallet, and what that is worth now."""

    asset: Annotated[str, Column("Asset")]
    wallet: Annotated[str, Column("Wallet")]
    quantity: Annotated[Decimal, Column("Quantity", AMOUNT)]
    available_quantity: Annotated[Decimal, Column("Available", AMOUNT)]
    avg_cost: Annotated[Decimal | None, Column("Average cost", AMOUNT)]
    avg_cost_covers: str | None = None
    price: Annotated[Decimal | None, Column("Price", AMOUNT)] = None
    value: Annotated[Decimal | None, Column("Worth", "number")] = None
    priced_at: datetime | None = None
    updated_at: datetime
    quantity_known: Annotated[Decimal | None, JSON_ONLY]
    quantity_unknown: Annotated[Decimal | None, JSON_ONLY]
    avg_cost_shown: Annotated[str | None, JSON_ONLY] = None


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""

    @router.get("/account", response_class=HTMLResponse)
    def account(name: Name, before: Cursor = "") -> str:
        """Show one account."""
        with open_unit() as unit:
            page = _page(unit, name, before, datetime.now(UTC))
        return render("account.html", page=page, before=before, columns=RUN_COLUMNS, differing=DIFFERING)

    @router.get("/api/account")
    def account_data(name: Name) -> StreamingResponse:
        """Give the same with every run as JSON."""
        with open_unit() as unit:
            page = _page(unit, name, "", datetime.now(UTC))
        head = {
            part: page[part] for part in ("account", "newest", "positions", "desk_books", "curve", "drift")
        }
        return json_response(head, "runs", _all_runs(name))

    add_downloads(router, "runs", _all_runs, RUN_FIELDS, head=_named)
    add_downloads(router, "positions", _positions_now, Position, head=_named)
    add_downloads(router, "curve", _curve_until_now, CURVE_FIELDS, head=_named)


def _page(unit: UnitOfWork, name: str, before: str, now: datetime) -> dict[str, Any]:
    account = PageStore(unit).account(name)
    runs, cursor = _runs(unit, account.account_id, before, RUNS_SHOWN)
    declared = declared_here()
    of_one = PageStore(unit).standing(now, RANKS, (), declared, account=name, most=1)
    standing = of_one.accounts
    books = desk_views(ReportStore(unit), declared, [name]).get(name, [])
    [newest] = report(ReportStore(unit), [name])["accounts"] or [None]
    curve = _curve(unit, account.account_id, now)
    of_now = [row for row in curve if row["quote_currency"] == account.quote_currency]
    read_until = account.ledger_read_until
    return {
        "account": account,
        "verdict": VERDICTS[standing[0].rank] if standing else None,
        "newest": account_view(newest, standing[0].rank, now) if newest and standing else None,
        "ledger_proof": ago(read_until.isoformat(), now) if read_until else "never",
        "drift": drift_view(PageStore(unit), PriceStore(unit), of_one.differing_run_ids, now),
        "positions": _positions(unit, account, now),
        "desk_books": [{**book, "level": desk_books_level([book])} for book in books],
        "sides": sides_of(unit, name, books, declared),
        "curve": curve,
        "gaps": sum(row["value"] is None for row in curve),
        "chart": chart(
            f"Worth of {name}",
            account.quote_currency,
            [row["taken_at"] for row in of_now],
            [("worth", [None if row["value"] is None else float(row["value"]) for row in of_now])],
        ),
        "runs": [{**run, **columns_of(run)} for run in runs],
        "next": cursor,
    }


def _positions(unit: UnitOfWork, account: KnownAccount, now: datetime) -> list[Position]:
    rows = PageStore(unit).rows("account.positions", Position, account_id=account.account_id)
    quote = account.quote_currency
    priced = price_list(PriceStore(unit), [(quote, row.asset) for row in rows], now)
    views = []
    for row in rows:
        price, priced_at = priced.of(quote, row.asset)
        value = priced.worth(quote, {row.asset: row.quantity}).value if row.quantity else None
        views.append(replace(_with_shown_cost(row), price=price, value=value, priced_at=priced_at))
    return views


def _with_shown_cost(row: Position) -> Position:
    """Round an average for people, and say how much of the asset it covers."""
    if row.avg_cost is None or row.quantity_known is None or row.quantity_unknown is None:
        return row
    covers = covered_share(row.quantity_known, row.quantity_unknown)
    return replace(row, avg_cost_shown=rounded_for_people(row.avg_cost), avg_cost_covers=covers)


def _curve(unit: UnitOfWork, account_id: int, now: datetime) -> Sequence[Mapping[str, Any]]:
    return MaintenanceStore(unit).curve(account_id, now - CURVE_AGE_MAX)


def _runs(
    unit: UnitOfWork, account_id: int, before: str, most: int
) -> tuple[list[dict[str, Any]], str | None]:
    return read_page(unit, "account.runs", _run, key=RUN_KEY, cursor=before, most=most, account_id=account_id)


def _run(**row: Any) -> dict[str, Any]:  # noqa: ANN401 - columns
    return {name: row[name] for name in RUN_FIELDS}


def _named(name: Name) -> dict[str, object]:
    return {"account": name}


def _positions_now(name: Name) -> list[Position]:
    with open_unit() as unit:
        return _positions(unit, PageStore(unit).account(name), datetime.now(UTC))


def _curve_until_now(name: Name) -> Sequence[Mapping[str, Any]]:
    with open_unit() as unit:
        return _curve(unit, PageStore(unit).account(name).account_id, datetime.now(UTC))


def _all_runs(name: Name) -> Iterator[dict[str, Any]]:
    with open_unit() as unit:
        account_id = PageStore(unit).account(name).account_id
    return every_row(lambda unit, cursor: _runs(unit, account_id, cursor, RUNS_PER_READ))

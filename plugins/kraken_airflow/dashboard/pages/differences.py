"""What differed? Every difference that a run found, newest first, with what explains it.

First what we record beside Kraken, then the desk's own books beside what is proven.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from kraken_airflow.dashboard.access import Cursor, Render, open_unit
from kraken_airflow.dashboard.difference_filters import ACTIONS, KINDS, DeskFilters, Filters
from kraken_airflow.dashboard.downloads import add_downloads, every_row, filters_of
from kraken_airflow.dashboard.pages import Link, desk_books
from kraken_airflow.dashboard.paging import read_page
from kraken_airflow.dashboard.tables import AMOUNT, JSON_ONLY, Column
from kraken_airflow.dashboard.verdicts import TrafficLight, action_level, ids_in_short
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.holdings.pricing import price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reports.page_store import WRITTEN, PageStore
from kraken_recon.reports.report import explanation

LINK: Final = Link(2, "differences", "What differed?")
DIFFERENCES_SHOWN: Final = 50
DIFFERENCES_PER_READ: Final = 2_000
KEY: Final = {"found_at": datetime, "run_id": UUID, "asset": str, "wallet": str}
WHAT_AND_WHY: Final = Column(
    "What was done and why, with ledger ids", "remark wide", label="What was done and why"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a run found of a holding, what was done about it, and what that is worth now."""

    found_at: Annotated[datetime, Column("Found", "age")]
    account: Annotated[str, Column("Account")]
    asset: Annotated[str, Column("Asset")]
    wallet: str
    db_quantity: Annotated[Decimal, Column("Recorded", AMOUNT)]
    exchange_quantity: Annotated[Decimal, Column("Kraken", AMOUNT)]
    drift: Annotated[Decimal, Column("Drift", AMOUNT)]
    explained: Decimal
    unexplained: Annotated[Decimal, Column("Unexplained", f"{AMOUNT} zero")]
    database_drift: Decimal
    residual: Decimal
    drift_value: Annotated[Decimal | None, Column("Drift's value now", "priced")] = None
    unexplained_value: Decimal | None = None
    quote_currency: str
    price: Decimal | None = None
    priced_at: datetime | None = None
    action: str
    explanation: Annotated[str, WHAT_AND_WHY]
    ledger_ids: list[str]
    run_id: UUID
    mode: str
    trigger: str
    interval_start: datetime
    interval_end: datetime
    recorded_as_of: datetime
    dag_id: str | None
    dag_run_id: str | None
    level: Annotated[TrafficLight, JSON_ONLY]
    ids_in_short: Annotated[str, JSON_ONLY]


Chosen = Annotated[Filters, Depends()]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""

    @router.get("/differences", response_class=HTMLResponse)
    def differences(
        chosen: Annotated[DeskFilters, Depends()], before: Cursor = "", before_desk: Cursor = ""
    ) -> str:
        """Answer: what differed?"""
        with open_unit() as unit:
            is_of_kraken = not chosen.book
            found, following = (
                differences_page(unit, chosen, before, DIFFERENCES_SHOWN) if is_of_kraken else ([], None)
            )
            of_desk, desk_following = desk_books.differences_page(
                unit, chosen, before_desk, DIFFERENCES_SHOWN
            )
            page = {
                "differences": found,
                "desk_differences": of_desk,
                "books": desk_books.books_on_record(unit),
                "filters": chosen.as_query(),
                "kinds": KINDS,
                "actions": ACTIONS,
                "next": following,
                "next_desk": desk_following,
            }
        return render("differences.html", page=page, before=before, before_desk=before_desk)

    add_downloads(router, "differences", _all, Difference, head=filters_of(Filters))


def differences_page(
    unit: UnitOfWork, chosen: Filters, before: str, most: int
) -> tuple[list[Difference], str | None]:
    """Read a page of what differed, what was found last first, with its value now."""
    store = PageStore(unit)
    is_outstanding = chosen.kind == "now"
    shown, cursor = read_page(
        unit,
        "differences.differences",
        _difference,
        key=KEY,
        cursor=before,
        most=most,
        account_id=store.account(chosen.account).account_id if chosen.account else None,
        asset=chosen.asset,
        action=chosen.action,
        is_explained={"explained": True, "unexplained": False}.get(chosen.kind),
        run_id=chosen.run,
        run_ids=store.rows("differences.outstanding_runs", lambda run_id: run_id) if is_outstanding else None,
        written=WRITTEN,
        since=chosen.since,
        until=chosen.until,
    )
    return _priced(unit, shown), cursor


def _difference(*, entry_types: list[str], **row: Any) -> Difference:  # noqa: ANN401 - columns
    in_short = ids_in_short(row["ledger_ids"])
    why = explanation({**row, "entry_types": entry_types})
    return Difference(**row, explanation=why, level=action_level(row["action"]), ids_in_short=in_short)


def _priced(unit: UnitOfWork, rows: list[Difference]) -> list[Difference]:
    pairs = [(row.quote_currency, row.asset) for row in rows]
    priced = price_list(PriceStore(unit), pairs, datetime.now(UTC))

    def valued(row: Difference) -> Difference:
        price, priced_at = priced.of(row.quote_currency, row.asset)
        drift, unexplained = (
            priced.worth_of_changes(row.quote_currency, {row.asset: amount}).value
            for amount in (row.drift, row.unexplained)
        )
        return replace(
            row, drift_value=drift, unexplained_value=unexplained, price=price, priced_at=priced_at
        )

    return [valued(row) for row in rows]


def _all(chosen: Chosen) -> Iterator[Difference]:
    return every_row(lambda unit, cursor: differences_page(unit, chosen, cursor, DIFFERENCES_PER_READ))

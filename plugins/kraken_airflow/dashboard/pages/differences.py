"""What differed? Every difference that a run found, newest first, with what explains it.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import HTMLResponse, StreamingResponse

from kraken_airflow.dashboard.access import (
    DAG_ID,
    Cursor,
    Render,
    Text,
    in_order,
    known_account,
    moment_of,
    open_unit,
)
from kraken_airflow.dashboard.downloads import csv_response, json_response, plain
from kraken_airflow.dashboard.paging import key_of, page_of, rows_of_all_pages
from kraken_airflow.dashboard.verdicts import action_level, ids_in_short
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.holdings.pricing import PriceList, price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.rules.assess import Action
from kraken_recon.reports.page_store import PageStore
from kraken_recon.reports.report import finding_view

DIFFERENCES_SHOWN: Final = 50
DIFFERENCES_PER_READ: Final = 2_000
FIELDS: Final = (
    *("found_at", "account", "asset", "wallet", "db_quantity", "exchange_quantity", "drift", "explained"),
    *("unexplained", "database_drift", "residual", "drift_value", "unexplained_value", "quote_currency"),
    *("price", "priced_at", "action", "explanation", "ledger_ids", "run_id", "mode"),
    *("trigger", "interval_start", "interval_end", "recorded_as_of", "dag_id", "dag_run_id"),
)
Kind = Literal["", "now", "explained", "unexplained"]
KINDS: Final = (
    ("", "all that was found"),
    ("now", "unexplained now"),
    ("unexplained", "not explained by the ledger"),
    ("explained", "explained by the ledger"),
)
ActionName = Literal[
    "",
    "applied",
    "update",
    "add",
    "remove",
    "within_tolerance",
    "awaiting_confirmation",
    "moving",
    "held",
    "recorded",
]
ACTIONS: Final = (("", "any action"), *((action.value, action.value.replace("_", " ")) for action in Action))


@dataclass(frozen=True, slots=True)
class Filters:
    """Which differences are shown."""

    account: str
    asset: str
    kind: str
    action: str
    run: UUID | None
    since: datetime | None
    until: datetime | None

    def as_query(self) -> dict[str, object]:
        """Name what is chosen, for links."""
        return {
            "account": self.account,
            "asset": self.asset,
            "kind": self.kind,
            "action": self.action,
            "run": self.run,
            "since": _for_form(self.since),
            "until": _for_form(self.until),
        }


def filters_of(  # noqa: PLR0913, PLR0917 - each is a filter
    account: Text = "",
    asset: Text = "",
    kind: Kind = "",
    action: ActionName = "",
    run: Annotated[str, Query(max_length=36)] = "",
    since: Annotated[str, Query(max_length=40)] = "",
    until: Annotated[str, Query(max_length=40)] = "",
) -> Filters:
    """Read the filters of a request."""
    begins, ends = moment_of(since, "since"), moment_of(until, "until")
    in_order(begins, ends)
    return Filters(account.strip(), asset.strip(), kind, action, run_of(run), begins, ends)


def run_of(text: str) -> UUID | None:
    """Read the id of a run.

    Raises:
        HTTPException: 422, it is none.
    """
    try:
        return UUID(text) if text else None
    except ValueError:
        raise HTTPException(422, "run: expected the id of a run") from None


Chosen = Annotated[Filters, Depends(filters_of)]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page and its downloads."""

    @router.get("/differences", response_class=HTMLResponse)
    def differences(chosen: Chosen, before: Cursor = "") -> str:
        """Answer: what differed?"""
        with open_unit() as unit:
            rows, cursor = _read(unit, chosen, before, DIFFERENCES_SHOWN)
            differences = difference_views(unit, rows, datetime.now(UTC))
        page = {
            "differences": differences,
            "filters": chosen.as_query(),
            "kinds": KINDS,
            "actions": ACTIONS,
            "next": cursor,
        }
        return render("differences.html", page=page, before=before, dag_id=DAG_ID)

    @router.get("/api/differences")
    def differences_data(chosen: Chosen) -> StreamingResponse:
        """Give every difference that was chosen as JSON."""
        return json_response({"filters": chosen.as_query()}, "differences", _all(chosen))

    @router.get("/api/differences.csv")
    def differences_rows(chosen: Chosen) -> StreamingResponse:
        """Give every difference that was chosen as CSV."""
        return csv_response("differences.csv", _all(chosen), FIELDS)


def difference_views(
    unit: UnitOfWork, rows: Sequence[Mapping[str, Any]], now: datetime
) -> list[dict[str, Any]]:
    """Write differences with their value now, their reasons in words, and the runs that found them."""
    priced = price_list(PriceStore(unit), [(row["quote_currency"], row["asset"]) for row in rows], now)
    return [_view(row, priced) for row in rows]


def _view(row: Mapping[str, Any], priced: PriceList) -> dict[str, Any]:
    quote, asset = row["quote_currency"], row["asset"]
    price, priced_at = priced.of(quote, asset)
    values = {
        f"{name}_value": priced.worth_of_changes(quote, {asset: row[name]}).value
        for name in ("drift", "unexplained")
    }
    return {
        **plain({name: row[name] for name in FIELDS if name in row}),
        **plain({**values, "price": price, "priced_at": priced_at}),
        **finding_view(row),
        "level": action_level(row["action"]),
        "ids_in_short": ids_in_short(row["ledger_ids"]),
    }


def _read(
    unit: UnitOfWork, chosen: Filters, before: str, most: int
) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    with known_account():
        rows = PageStore(unit).differences(
            account=chosen.account or None,
            asset=chosen.asset or None,
            action=chosen.action or None,
            is_explained={"explained": True, "unexplained": False}.get(chosen.kind),
            is_outstanding=chosen.kind == "now",
            run_id=chosen.run,
            since=chosen.since,
            until=chosen.until,
            before=key_of(before, datetime, UUID, str, str),
            most=most + 1,
        )
    return page_of(rows, most, lambda row: (row["found_at"], row["run_id"], row["asset"], row["wallet"]))


def _all(chosen: Filters) -> Iterator[Mapping[str, Any]]:
    def read(cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        with open_unit() as unit:
            rows, following = _read(unit, chosen, cursor or "", DIFFERENCES_PER_READ)
            return difference_views(unit, rows, datetime.now(UTC)), following

    return rows_of_all_pages(read)


def _for_form(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if moment else ""

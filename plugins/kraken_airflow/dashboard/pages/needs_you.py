"""What wants me? Repairs that wait for a person, and alerts that nobody resolved.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import APIRouter, Depends, Form, HTTPException, Query, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse

from kraken_airflow.dag_parts.approval_runs import APPROVAL_DAG, PLANS_MAX, open_approvals
from kraken_airflow.dashboard.access import (
    DAG_ID,
    Cursor,
    Note,
    Render,
    Text,
    User,
    known_account,
    may_edit,
    may_read,
    open_unit,
)
from kraken_airflow.dashboard.downloads import csv_response, json_response, plain
from kraken_airflow.dashboard.form_token import form_token, is_from_page
from kraken_airflow.dashboard.paging import BIGINT_MAX, key_of, page_of, rows_of_all_pages
from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ConfigurationError
from kraken_recon.reports.page_store import PageStore

ALERTS_SHOWN: Final = 50
ALERTS_PER_READ: Final = 2_000
ALERT_FIELDS: Final = (
    *("alert_id", "kind", "account", "asset", "wallet", "status", "message", "occurrences", "opened_at"),
    *("last_seen_at", "acknowledged_at", "acknowledged_by", "note", "evidence"),
)
HELD_FIELDS: Final = (
    *("plan_id", "account", "status", "meaning", "why", "row_count", "value", "quote_currency", "unpriced"),
    *("priced_at", "as_of", "created_at", "run_id", "dag_id", "dag_run_id"),
)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which alerts are shown."""

    kind: str = ""
    account: str = ""
    status: str = ""
    alert: int | None = None


def filters_of(
    kind: Text = "",
    account: Text = "",
    status: Literal["", "open", "acknowledged"] = "",
    alert: Annotated[int | None, Query(gt=0, le=BIGINT_MAX)] = None,
) -> Filters:
    """Read the filters of a request; messages lead to one alert by its number, also when it is over."""
    return Filters(kind, account.strip(), status, alert)


Chosen = Annotated[Filters, Depends(filters_of)]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page, its downloads, and the one form that changes something."""
    shown = [may_read(APPROVAL_DAG)]

    @router.get("/wants", response_class=HTMLResponse, dependencies=shown)
    def wants(user: User, chosen: Chosen, before: Cursor = "") -> str:
        """Answer: what wants me?"""
        with open_unit() as unit:
            page = _page(unit, chosen, before)
        token = form_token(user.get_id()) if may_edit(user) else None
        return render("needs_you.html", page=page, token=token, before=before)

    @router.get("/api/wants", dependencies=shown)
    def wants_data(chosen: Chosen) -> StreamingResponse:
        """Give the held repairs and the alerts that were chosen as JSON."""
        with open_unit() as unit:
            held = open_approvals(unit, datetime.now(UTC))
        return json_response({"held": held}, "alerts", _all_alerts(chosen))

    @router.get("/api/wants.csv", dependencies=shown)
    def alerts_rows(chosen: Chosen) -> StreamingResponse:
        """Give the alerts that were chosen as CSV."""
        return csv_response("alerts.csv", _all_alerts(chosen), ALERT_FIELDS)

    @router.get("/api/held", dependencies=shown)
    def held_data() -> StreamingResponse:
        """Give the held repairs as JSON."""
        return json_response({}, "held", _held())

    @router.get("/api/held.csv", dependencies=shown)
    def held_rows() -> StreamingResponse:
        """Give the held repairs as CSV."""
        return csv_response("held.csv", _held(), HELD_FIELDS)

    @router.post(
        "/acknowledge", dependencies=[Depends(requires_access_dag(method="PUT", param_dag_id=DAG_ID))]
    )
    def acknowledge(
        user: User,
        alert_id: Annotated[int, Form(gt=0, le=BIGINT_MAX)],
        token: Annotated[str, Form(max_length=1_000)],
        note: Note = "",
    ) -> Response:
        """Keep that this user looks after an alert."""
        if not is_from_page(token, user.get_id()):
            raise HTTPException(403, "this form is not from the page, or too old; open the page again")
        with open_unit() as unit:
            try:
                AlertStore(unit).answer(alert_id, "acknowledged", user.get_name(), note.strip() or None)
            except ConfigurationError as error:
                raise HTTPException(404, str(error)) from None
            unit.commit()
        return RedirectResponse("wants", status_code=303)


def _page(unit: UnitOfWork, chosen: Filters, before: str) -> dict[str, Any]:
    alerts, cursor = _alerts(unit, chosen, before, ALERTS_SHOWN)
    held = open_approvals(unit, datetime.now(UTC))
    kinds = PageStore(unit).alerts_waiting()
    waiting, unanswered = sum(plan["is_waiting"] for plan in held), sum(kinds.values())
    return {
        "held": held,
        "alerts": alerts,
        "next": cursor,
        "kinds": kinds,
        "filters": asdict(chosen),
        "waiting": waiting,
        "is_cut": len(held) == PLANS_MAX,
        "unanswered": unanswered,
        "level": "bad" if waiting or unanswered else "watch" if alerts or held else "good",
    }


def _alerts(
    unit: UnitOfWork, chosen: Filters, before: str, most: int
) -> tuple[list[dict[str, Any]], str | None]:
    with known_account():
        rows = PageStore(unit).alerts(
            kind=chosen.kind or None,
            account=chosen.account or None,
            is_unanswered={"open": True, "acknowledged": False}.get(chosen.status),
            alert_id=chosen.alert,
            before=key_of(before, datetime, int),
            most=most + 1,
        )
    shown, cursor = page_of(rows, most, lambda row: (row["last_seen_at"], row["alert_id"]))
    return [plain(row) for row in shown], cursor


def _all_alerts(chosen: Filters) -> Iterator[Mapping[str, Any]]:
    def read(cursor: str | None) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        with open_unit() as unit:
            return _alerts(unit, chosen, cursor or "", ALERTS_PER_READ)

    return rows_of_all_pages(read)


def _held() -> list[dict[str, Any]]:
    with open_unit() as unit:
        return open_approvals(unit, datetime.now(UTC))

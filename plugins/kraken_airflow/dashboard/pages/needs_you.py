"""What wants me? Repairs and write-backs that wait for a person, problems of desk books, and alerts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import APIRouter, Depends, Form, HTTPException, Query, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from kraken_airflow.dag_parts.approval_runs import APPROVAL_DAG, PLANS_MAX, open_approvals
from kraken_airflow.dashboard.access import (
    DAG_ID,
    Choice,
    Cursor,
    Note,
    Render,
    Text,
    User,
    Word,
    may_change,
    may_read,
    open_unit,
)
from kraken_airflow.dashboard.downloads import add_downloads, every_row
from kraken_airflow.dashboard.form_token import form_token, is_from_page
from kraken_airflow.dashboard.pages import Link
from kraken_airflow.dashboard.paging import BIGINT_MAX, read_page
from kraken_airflow.dashboard.tables import JSON_ONLY, Column
from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.declared_here import declared_here
from kraken_recon.reports.page_store import PageStore

ALERTS_SHOWN: Final = 50
ALERTS_PER_READ: Final = 2_000
PROBLEMS_MAX: Final = 200
LINK: Final = Link(3, "wants", "What wants me?")
KEY: Final = {"last_seen_at": datetime, "alert_id": int}
HELD_FIELDS: Final = (
    *("plan_id", "account", "book", "status", "meaning", "why", "row_count", "value", "quote_currency"),
    *("unpriced", "priced_at", "as_of", "created_at", "run_id", "dag_id", "dag_run_id"),
)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, and who looks after it."""

    alert_id: int
    kind: Annotated[str, Column("Alert")]
    account: Annotated[str | None, Column("Account", "age")]
    asset: str | None
    wallet: str | None
    status: str
    message: Annotated[str, Column("Message", "remark wide")]
    occurrences: Annotated[int, Column("Seen", "number")]
    opened_at: datetime
    last_seen_at: Annotated[datetime, Column("Last seen", "age")]
    acknowledged_at: datetime | None
    acknowledged_by: Annotated[str | None, Column("Who looks after it", "wide")]
    note: str | None
    evidence: dict[str, Any]
    resolved_at: Annotated[datetime | None, JSON_ONLY]
    resolved_by: Annotated[str | None, JSON_ONLY]
    resolution: Annotated[str | None, JSON_ONLY]


@dataclass(frozen=True, slots=True)
class BookProblem:
    """What keeps a desk book, or a part of it, from being judged, for how many accounts, and what to do."""

    book: Annotated[str, Column("Desk book")]
    accounts: Annotated[int, Column("Accounts", "number zero")]
    account: Annotated[str | None, JSON_ONLY]
    read_at: Annotated[datetime | None, Column("Read", "age")]
    where: Annotated[str, Column("Where", "long wide")]
    what: Annotated[str, Column("What is wrong", "remark wide")]
    remedy: Annotated[str, Column("What to do", "remark wide")]


@dataclass(frozen=True, slots=True)
class Filters(Choice):
    """Which alerts are shown; messages lead to one alert by its number, also when it is over."""

    kind: Text = ""
    account: Word = ""
    status: Literal["", "open", "acknowledged"] = ""
    alert: Annotated[int | None, Query(gt=0, le=BIGINT_MAX)] = None


Chosen = Annotated[Filters, Depends()]
MayEdit = Annotated[bool, may_change(DAG_ID)]


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page, its downloads, and the one form that changes something."""
    shown = [may_read(APPROVAL_DAG)]

    @router.get("/wants", response_class=HTMLResponse, dependencies=shown)
    def wants(user: User, may_edit: MayEdit, chosen: Chosen, before: Cursor = "") -> str:
        """Answer: what wants me?"""
        with open_unit() as unit:
            page = _page(unit, chosen, before)
        token = form_token(user.get_id()) if may_edit else None
        return render("needs_you.html", page=page, token=token, before=before)

    add_downloads(router, "wants", _all, Alert, head=_held_too, name="alerts", dependencies=shown)
    add_downloads(router, "held", _held, HELD_FIELDS, dependencies=shown)
    add_downloads(router, "book_problems", _every_problem, BookProblem, dependencies=shown)

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
            AlertStore(unit).answer(alert_id, "acknowledged", user.get_name(), note.strip() or None)
            unit.commit()
        return RedirectResponse("wants", status_code=303)


def _page(unit: UnitOfWork, chosen: Filters, before: str) -> dict[str, Any]:
    alerts, cursor = alerts_page(unit, chosen, before, ALERTS_SHOWN)
    held = open_approvals(unit, datetime.now(UTC))
    kinds = PageStore(unit).alerts_waiting()
    waiting, unanswered = sum(plan["is_waiting"] for plan in held), sum(kinds.values())
    return {
        "held": held,
        "book_problems": _book_problems(unit, chosen.account),
        "alerts": alerts,
        "next": cursor,
        "kinds": kinds,
        "filters": chosen.as_query(),
        "waiting": waiting,
        "is_cut": len(held) == PLANS_MAX,
        "unanswered": unanswered,
        "level": "bad" if waiting or unanswered else "watch" if alerts or held else "good",
    }


def _book_problems(unit: UnitOfWork, account: str) -> list[BookProblem]:
    """List what keeps desk books from being judged, of every active account or of one, each thing once."""
    declared = declared_here()
    rows = PageStore(unit).rows(
        "desk_books.problems", dict[str, Any], account=account, most=PROBLEMS_MAX, **declared.as_filter()
    )
    told = [
        BookProblem(name, 0, None, None, problem.where, problem.what, problem.remedy)
        for name, problems in declared.unusable.items()
        for problem in problems
    ]
    return [*told, *(BookProblem(**row) for row in rows)]


def alerts_page(unit: UnitOfWork, chosen: Filters, before: str, most: int) -> tuple[list[Alert], str | None]:
    """Read a page of the alerts that nobody resolved, what was seen last first, or one alert."""
    return read_page(
        unit,
        "needs_you.alerts",
        Alert,
        key=KEY,
        cursor=before,
        most=most,
        kind=chosen.kind,
        account_id=PageStore(unit).account(chosen.account).account_id if chosen.account else None,
        is_unanswered={"open": True, "acknowledged": False}.get(chosen.status),
        alert_id=chosen.alert,
    )


def _all(chosen: Chosen) -> Iterator[Alert]:
    return every_row(lambda unit, cursor: alerts_page(unit, chosen, cursor, ALERTS_PER_READ))


def _held() -> list[dict[str, Any]]:
    with open_unit() as unit:
        return open_approvals(unit, datetime.now(UTC))


def _every_problem() -> list[BookProblem]:
    with open_unit() as unit:
        return _book_problems(unit, "")


def _held_too() -> dict[str, object]:
    return {"held": _held()}

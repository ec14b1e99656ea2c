"""The dashboard's routes.

Invariants (each is a test):
1. No route answers anybody who is not logged in to Airflow and may not read ``position_sync``, and besides it
   every other DAG whose rows the page shows.
2. Nothing changes except by the one route that acknowledges an alert; it asks for the right to edit
   ``position_sync`` and for a token that only the page gives, so that no other site can post it.
3. No page runs a script, loads anything from elsewhere, or may be framed by another site.

This module has no postponed annotations: FastAPI must see the real ones.
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kraken_airflow.approvals import APPROVAL_DAG
from kraken_airflow.dashboard import database_page, orders_page, pages
from kraken_airflow.dashboard.forms import form_token, is_from_page
from kraken_airflow.dashboard.overview import overview_of
from kraken_airflow.dashboard.paging import query_of
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork, SessionLimits
from kraken_recon.errors import ConfigurationError, KrakenReconError
from kraken_recon.service.reporting import report, statement

DAG_ID: Final = "position_sync"
ORDERS_DAG: Final = "order_verification"
SESSIONS_DAG: Final = "session_leak_audit"
PLACE: Final = Path(__file__).parent
BIGINT_MAX: Final = 2**63 - 1
# Somebody waits in front of the page, and each waiting page holds a thread of the API server.
LIMITS: Final = SessionLimits(
    statement_timeout_seconds=10, lock_timeout_seconds=5, idle_in_transaction_timeout_seconds=15
)
Render = Callable[..., str]
User = Annotated[BaseUser, Depends(get_user)]
Name = Annotated[str, Query(min_length=1, max_length=200)]


def create_app() -> FastAPI:
    """Make the application that Airflow mounts."""
    app = FastAPI(title="Positions", docs_url=None, redoc_url=None, openapi_url=None)
    templates = _templates()
    style = (PLACE / "style.css").read_text()
    security = _security_headers(style)

    def render(template: str, **values: object) -> str:
        seen_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return templates.get_template(template).render(style=style, seen_at=seen_at, **values)

    # On the router, so that a route added later is closed too.
    router = APIRouter(dependencies=[_may_read(DAG_ID)])
    _add_overview(router, render)
    _add_wants(router, render)
    _add_orders(router, render)
    _add_database(router, render)
    _add_statement(router, render)
    app.include_router(router)

    @app.exception_handler(KrakenReconError)
    async def unavailable(request: Request, error: KrakenReconError) -> Response:
        if "/api/" in request.url.path:
            return JSONResponse({"detail": str(error)}, status_code=503)
        return HTMLResponse(render("unavailable.html", message=str(error)), status_code=503)

    @app.middleware("http")
    async def secured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(security)
        return response

    return app


def _may_read(dag_id: str) -> Any:  # noqa: ANN401 - what FastAPI calls a dependency
    return Depends(requires_access_dag(method="GET", param_dag_id=dag_id))


def _may_edit(user: BaseUser) -> bool:
    return get_auth_manager().is_authorized_dag(method="PUT", details=DagDetails(id=DAG_ID), user=user)


def _add_overview(router: APIRouter, render: Render) -> None:
    @router.get("/", response_class=HTMLResponse)
    def overview() -> str:
        """Answer: is everything accounted for?"""
        return render("overview.html", page=overview_of(_latest(), datetime.now(UTC)), dag_id=DAG_ID)

    @router.get("/api/latest")
    def latest() -> JSONResponse:
        """Give the same as JSON, amounts as text."""
        return JSONResponse({"generated_at": datetime.now(UTC).isoformat(), **_latest()})


def _add_wants(router: APIRouter, render: Render) -> None:
    shown = [_may_read(APPROVAL_DAG)]

    @router.get("/wants", response_class=HTMLResponse, dependencies=shown)
    def wants(user: User) -> str:
        """Answer: what wants me?"""
        with _unit() as unit:
            page = pages.wants(unit)
        token = form_token(user.get_id()) if _may_edit(user) else None
        return render("wants.html", page=page, token=token)

    @router.get("/api/wants", dependencies=shown)
    def wants_data() -> JSONResponse:
        """Give the same as JSON."""
        with _unit() as unit:
            return JSONResponse(pages.wants(unit))

    @router.post(
        "/acknowledge", dependencies=[Depends(requires_access_dag(method="PUT", param_dag_id=DAG_ID))]
    )
    def acknowledge(
        user: User,
        alert_id: Annotated[int, Form(gt=0, le=BIGINT_MAX)],
        token: Annotated[str, Form(max_length=1_000)],
        note: Annotated[str, Form(max_length=500)] = "",
    ) -> Response:
        """Keep that this user looks after an alert."""
        if not is_from_page(token, user.get_id()):
            raise HTTPException(403, "this form is not from the page, or too old; open the page again")
        with _unit() as unit:
            try:
                unit.alerts.answer(alert_id, "acknowledged", user.get_name(), note.strip() or None)
            except ConfigurationError as error:
                raise HTTPException(404, str(error)) from None
            unit.commit()
        return RedirectResponse("wants", status_code=303)


def _add_orders(router: APIRouter, render: Render) -> None:
    shown = [_may_read(ORDERS_DAG)]

    def read(account: str) -> dict[str, Any]:
        with _unit() as unit:
            return orders_page.orders(unit, account or None, datetime.now(UTC))

    @router.get("/orders", response_class=HTMLResponse, dependencies=shown)
    def orders(account: str = "") -> str:
        """Answer: do my orders do what they say?"""
        page = read(account)
        return render("orders.html", page=page, charts=orders_page.orders_charts(page), dag_id=ORDERS_DAG)

    @router.get("/api/orders", dependencies=shown)
    def orders_data(account: str = "") -> JSONResponse:
        """Give the same as JSON."""
        return JSONResponse(read(account))


def _add_database(router: APIRouter, render: Render) -> None:
    shown = [_may_read(SESSIONS_DAG)]

    def read() -> dict[str, Any]:
        with _unit() as unit:
            return database_page.database(unit, datetime.now(UTC))

    @router.get("/database", response_class=HTMLResponse, dependencies=shown)
    def database() -> str:
        """Answer: is the database healthy?"""
        page = read()
        return render(
            "database.html", page=page, charts=database_page.database_charts(page), dag_id=SESSIONS_DAG
        )

    @router.get("/api/database", dependencies=shown)
    def database_data() -> JSONResponse:
        """Give the same as JSON."""
        return JSONResponse(read())


def _add_statement(router: APIRouter, render: Render) -> None:
    def read(account: str, asset: str) -> dict[str, Any]:
        with _unit() as unit:
            try:
                return statement(unit.reports, account, asset, datetime.now(UTC))
            except ConfigurationError as error:
                raise HTTPException(404, str(error)) from None

    @router.get("/statement", response_class=HTMLResponse)
    def account_statement(account: Name, asset: Name) -> str:
        """Show an asset of an account as a bank statement, its newest entries."""
        return render("statement.html", page=pages.newest_of(read(account, asset)), dag_id=DAG_ID)

    @router.get("/api/statement")
    def statement_data(account: Name, asset: Name) -> JSONResponse:
        """Give every entry of the same as JSON."""
        return JSONResponse(read(account, asset))

    @router.get("/api/statement.csv")
    def statement_rows(account: Name, asset: Name) -> Response:
        """Give every entry as CSV."""
        rows = pages.csv_of(read(account, asset)["entries"])
        named = {"Content-Disposition": 'attachment; filename="statement.csv"'}
        return Response(rows, media_type="text/csv; charset=utf-8", headers=named)


def _unit() -> PostgresUnitOfWork:
    return TradingDbHook(limits=LIMITS, application_name="kraken_recon:dashboard").unit_of_work()


def _latest() -> dict[str, Any]:
    with _unit() as unit:
        return report(unit.reports, None)


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(PLACE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["moment"] = _moment
    templates.filters["query"] = query_of
    return templates


def _moment(text: str) -> str:
    """Write a time for people; where it stands, its ``datetime`` attribute has all of it."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _security_headers(style: str) -> dict[str, str]:
    """Allow the page's own style sheet, by its digest, forms that lead back here, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'self'; base-uri 'none'; "
            "form-action 'self'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }

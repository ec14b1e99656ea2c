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
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from kraken_airflow.dashboard import (
    account_page,
    accounts_page,
    differences_page,
    pages,
    statement_page,
    wants_page,
)
from kraken_airflow.dashboard.access import DAG_ID, Render, may_read, open_unit
from kraken_airflow.dashboard.paging import query_of
from kraken_recon.errors import KrakenReconError

ORDERS_DAG: Final = "order_verification"
SESSIONS_DAG: Final = "session_leak_audit"
PLACE: Final = Path(__file__).parent
# What a page says to a request that it cannot answer; whoever may not come in is told by Airflow.
REFUSED: Final = frozenset({400, 404, 422})


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
    router = APIRouter(dependencies=[may_read(DAG_ID)])
    accounts_page.add_routes(router, render)
    account_page.add_routes(router, render)
    differences_page.add_routes(router, render)
    statement_page.add_routes(router, render)
    wants_page.add_routes(router, render)
    _add_orders(router, render)
    _add_database(router, render)
    app.include_router(router)

    @app.exception_handler(KrakenReconError)
    async def unavailable(request: Request, error: KrakenReconError) -> Response:
        if "/api/" in request.url.path:
            return JSONResponse({"detail": str(error)}, status_code=503)
        return HTMLResponse(render("unavailable.html", message=str(error)), status_code=503)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if "/api/" in request.url.path or error.status_code not in REFUSED:
            return await http_exception_handler(request, error)
        return HTMLResponse(render("refused.html", message=error.detail), status_code=error.status_code)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        if "/api/" in request.url.path:
            return await request_validation_exception_handler(request, error)
        message = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return HTMLResponse(render("refused.html", message=message), status_code=422)

    @app.middleware("http")
    async def secured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(security)
        return response

    return app


def _add_orders(router: APIRouter, render: Render) -> None:
    shown = [may_read(ORDERS_DAG)]

    def read(account: str) -> dict[str, Any]:
        with open_unit() as unit:
            return pages.orders(unit, account or None, datetime.now(UTC))

    @router.get("/orders", response_class=HTMLResponse, dependencies=shown)
    def orders(account: str = "") -> str:
        """Answer: do my orders do what they say?"""
        page = read(account)
        return render("orders.html", page=page, charts=pages.orders_charts(page), dag_id=ORDERS_DAG)

    @router.get("/api/orders", dependencies=shown)
    def orders_data(account: str = "") -> JSONResponse:
        """Give the same as JSON."""
        return JSONResponse(read(account))


def _add_database(router: APIRouter, render: Render) -> None:
    shown = [may_read(SESSIONS_DAG)]

    def read() -> dict[str, Any]:
        with open_unit() as unit:
            return pages.database(unit, datetime.now(UTC))

    @router.get("/database", response_class=HTMLResponse, dependencies=shown)
    def database() -> str:
        """Answer: is the database healthy?"""
        page = read()
        return render("database.html", page=page, charts=pages.database_charts(page), dag_id=SESSIONS_DAG)

    @router.get("/api/database", dependencies=shown)
    def database_data() -> JSONResponse:
        """Give the same as JSON."""
        return JSONResponse(read())


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
    templates.filters["money"] = _money
    templates.filters["segment"] = lambda text: quote(text, safe="")
    return templates


def _moment(text: str) -> str:
    """Write a time for people; where it stands, its ``datetime`` attribute has all of it."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _money(text: str) -> str:
    """Round a value for people; the downloads have all of it."""
    return f"{Decimal(text):,.2f}"


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

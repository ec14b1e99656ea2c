"""The dashboard's routes.

Invariants (each is a test):
1. No route answers anybody who is not logged in to Airflow and may not read the DAG ``position_sync``.
2. No route changes anything.
3. No page runs a script, loads anything from elsewhere, or may be framed by another site.

This module has no postponed annotations: FastAPI must see the real ones.
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kraken_airflow.dashboard.overview import overview_of
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_recon.adapters.postgres.unit_of_work import SessionLimits
from kraken_recon.errors import KrakenReconError
from kraken_recon.service.reporting import report

DAG_ID: Final = "position_sync"
PLACE: Final = Path(__file__).parent
# Somebody waits in front of the page, and each waiting page holds a thread of the API server.
LIMITS: Final = SessionLimits(
    statement_timeout_seconds=10, lock_timeout_seconds=5, idle_in_transaction_timeout_seconds=15
)


def create_app() -> FastAPI:
    """Make the application that Airflow mounts."""
    app = FastAPI(title="Positions", docs_url=None, redoc_url=None, openapi_url=None)
    pages = _pages()
    style = (PLACE / "style.css").read_text()
    security = _security_headers(style)

    # On the router, so that a route added later is closed too.
    router = APIRouter(dependencies=[Depends(requires_access_dag(method="GET", param_dag_id=DAG_ID))])

    @router.get("/", response_class=HTMLResponse)
    def overview() -> str:
        """Answer: is everything accounted for?"""
        page = overview_of(_latest(), datetime.now(UTC))
        return pages.get_template("overview.html").render(page=page, style=style, dag_id=DAG_ID)

    @router.get("/api/latest")
    def latest() -> JSONResponse:
        """Give the same as JSON, amounts as text."""
        return JSONResponse({"generated_at": datetime.now(UTC).isoformat(), **_latest()})

    app.include_router(router)

    @app.exception_handler(KrakenReconError)
    async def unavailable(request: Request, error: KrakenReconError) -> Response:
        if request.url.path.rstrip("/").endswith("/api/latest"):
            return JSONResponse({"detail": str(error)}, status_code=503)
        page = pages.get_template("unavailable.html").render(message=str(error), style=style)
        return HTMLResponse(page, status_code=503)

    @app.middleware("http")
    async def secured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(security)
        return response

    return app


def _latest() -> dict[str, Any]:
    hook = TradingDbHook(limits=LIMITS, application_name="kraken_recon:dashboard")
    with hook.unit_of_work() as unit:
        return report(unit.reports, None)


def _pages() -> Environment:
    return Environment(
        loader=FileSystemLoader(PLACE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _security_headers(style: str) -> dict[str, str]:
    """Allow the page's own style sheet, by its digest, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'self'; base-uri 'none'; "
            "form-action 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }

"""The dashboard's routes.

Invariants (each is a test):
1. No route answers anybody who is not logged in to Airflow and may not read ``position_sync``, and besides it
   every other DAG whose rows the page shows.
2. Nothing changes except by the one route that acknowledges an alert; it asks for the right to edit
   ``position_sync`` and for a token that only the page gives, so that no other site can post it. A held
   repair is answered at Airflow's own address for it, which asks for its own right, by a script of ours.
3. No page loads anything but itself anew, may be framed by another site, or runs a script but its own, which
   are known by their digests.
4. A request says nothing that the page does not know: what is misspelt is told, never left out silently.
5. No text of somebody else's changes how a page reads: control characters of writing direction are shown.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from kraken_airflow.dag_parts.links import airflow_path
from kraken_airflow.dashboard.access import DAG_ID, Render, known_parameters, may_read
from kraken_airflow.dashboard.downloads import AsciiJSONResponse, plain
from kraken_airflow.dashboard.inline_files import (
    PLACE,
    chart_scripts,
    decision_script,
    digest,
    page_script,
    page_style,
    script_tags,
)
from kraken_airflow.dashboard.pages import all_pages, navigation
from kraken_airflow.dashboard.paging import query_of
from kraken_airflow.dashboard.tables import Column, page_columns
from kraken_airflow.dashboard.verdicts import ids_in_short
from kraken_recon.errors import KrakenReconError, NotOnRecordError, TextRefusedError
from kraken_recon.holdings.pricing import money_words
from kraken_recon.plain_text import visible

# What a page says to a request that it cannot answer; whoever may not come in is told by Airflow.
NOT_LOGGED_IN: Final = 401
REFUSED: Final = frozenset({400, 404, 422})
# Errors of ours that are whoever's who asks.
TOLD: Final = {TextRefusedError: 422, NotOnRecordError: 404}


def create_app() -> FastAPI:
    """Make the application that Airflow mounts."""
    app = FastAPI(title="Positions", docs_url=None, redoc_url=None, openapi_url=None)
    templates = _templates()
    style = page_style()
    security = _security_headers(style)

    def render(template: str, **values: object) -> str:
        seen_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return templates.get_template(template).render(style=style, seen_at=seen_at, **values)

    # On the router, so that a route added later is closed too.
    router = _Router(dependencies=[may_read(DAG_ID)], default_response_class=AsciiJSONResponse)
    for page in all_pages():
        page.add_routes(router, render)
    app.include_router(router)
    _answer_what_fails(app, render)

    @app.middleware("http")
    async def secured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(security)
        return response

    return app


def _answer_what_fails(app: FastAPI, render: Render) -> None:
    """Say on a page, or as data where data was asked for, why there is no answer."""

    @app.exception_handler(KrakenReconError)
    async def unavailable(request: Request, error: KrakenReconError) -> Response:
        for told, status in TOLD.items():
            if isinstance(error, told):
                return await refused(request, HTTPException(status, str(error)))
        if "/api/" in request.url.path:
            return AsciiJSONResponse({"detail": str(error)}, status_code=503)
        return HTMLResponse(render("unavailable.html", message=str(error)), status_code=503)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == NOT_LOGGED_IN and _is_for_people(request):
            return RedirectResponse(_login_of(request), status_code=303)
        if "/api/" in request.url.path or error.status_code not in REFUSED:
            return await http_exception_handler(request, error)
        return HTMLResponse(render("refused.html", message=error.detail), status_code=error.status_code)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        if "/api/" in request.url.path:
            return await request_validation_exception_handler(request, error)
        message = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return HTMLResponse(render("refused.html", message=message), status_code=422)


class _Router(APIRouter):
    """Routes that refuse parameters which they do not have; the rights of whoever asks come first."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 - as FastAPI
        """Add a route."""
        checks = [*(options.pop("dependencies", None) or ()), Depends(known_parameters)]
        super().add_api_route(path, endpoint, dependencies=checks, **options)


def _is_for_people(request: Request) -> bool:
    """Say whether a browser wants a page, and not a program or a page's script its data."""
    is_page = request.method == "GET" and "/api/" not in request.url.path
    wants_html = "text/html" in request.headers.get("accept", "")
    return is_page and wants_html


def _login_of(request: Request) -> str:
    """Name Airflow's login, which leads back to what was asked for."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"{airflow_path()}/api/v2/auth/login?{urlencode({'next': asked})}"


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(PLACE / "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["navigation"] = navigation()
    templates.globals["column"] = Column
    templates.globals["dag_id"] = DAG_ID
    templates.filters["columns"] = page_columns
    templates.filters["moment"] = _moment
    templates.tests["moment"] = lambda value: isinstance(value, datetime)
    templates.filters["query"] = query_of
    templates.globals["page_script"] = lambda: script_tags(page_script())
    templates.globals["chart_scripts"] = lambda: script_tags(*chart_scripts())
    templates.globals["decision_script"] = lambda: script_tags(decision_script())
    templates.filters["money"] = money_words
    templates.filters["ids_in_short"] = ids_in_short
    templates.filters["segment"] = lambda text: quote(text, safe="")
    return templates


def _shown(value: object) -> object:
    """Show what a page prints without the characters that turn or hide what stands beside them."""
    written = plain(value)
    return visible(written) if type(written) is str else value


def _moment(moment: str | datetime) -> str:
    """Write a time for people; where it stands, its ``datetime`` attribute has all of it."""
    known = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return known.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _security_headers(style: str) -> dict[str, str]:
    """Allow our own style sheet and scripts by their digests, what leads back here, and nothing else."""
    scripts = " ".join(digest(script) for script in (page_script(), *chart_scripts(), decision_script()))
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src {digest(style)}; script-src {scripts}; connect-src 'self'; "
            "frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }

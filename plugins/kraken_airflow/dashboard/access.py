"""Who may see a page, what a request may say, and the one way from a page to the trading database.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any, Final

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import Depends, Form, HTTPException, Query, Request
from fastapi.dependencies.utils import get_flat_dependant
from pydantic import AfterValidator

from kraken_airflow.dashboard.paging import CURSOR_LENGTH_MAX
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_recon.database.unit_of_work import SessionLimits, UnitOfWork
from kraken_recon.plain_text import can_be_kept, one_line

DAG_ID: Final = "position_sync"
# Somebody waits in front of the page, and each waiting page holds a thread of the API server.
LIMITS: Final = SessionLimits(
    statement_timeout_seconds=10, lock_timeout_seconds=5, idle_in_transaction_timeout_seconds=15
)


def _kept(text: str) -> str:
    if not can_be_kept(text):
        raise ValueError("holds characters that cannot be kept, such as a zero byte; leave them out")
    return text


Render = Callable[..., str]
User = Annotated[BaseUser, Depends(get_user)]
Kept = Annotated[str, AfterValidator(_kept)]
Name = Annotated[Kept, Query(min_length=1, max_length=200)]
Text = Annotated[Kept, Query(max_length=200)]
Word = Annotated[Kept, AfterValidator(str.strip), Query(max_length=200)]
Cursor = Annotated[Kept, Query(max_length=CURSOR_LENGTH_MAX)]
Note = Annotated[Kept, Form(max_length=500)]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a request asks a page for; each page has its own fields, which FastAPI reads."""

    def as_query(self) -> dict[str, object]:
        """Name what is chosen, for links; what is chosen where nothing is said is left empty."""
        presets = {field.name: field.default for field in fields(self)}
        chosen = asdict(self)
        return {
            name: "" if chosen[name] and chosen[name] == presets[name] else chosen[name] for name in chosen
        }


def may_read(dag_id: str) -> Any:  # noqa: ANN401 - what FastAPI calls a dependency
    """Let only those in who may read a DAG."""
    return Depends(requires_access_dag(method="GET", param_dag_id=dag_id))


def known_parameters(request: Request) -> None:
    """Refuse a parameter that the route does not have, or that is given twice.

    Raises:
        HTTPException: 400, with the nearest name that there is.
    """
    fields_of_route = get_flat_dependant(request.scope["route"].dependant).query_params
    known = list(dict.fromkeys(field.alias for field in fields_of_route))
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            there_are = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
            raise HTTPException(400, f"no parameter is named {one_line(name)} here; {there_are}")
    if len(given) > len(set(given)):
        twice = next(name for name in given if given.count(name) > 1)
        raise HTTPException(400, f"{twice} is given more than once; give it once")


def in_order(since: datetime | None, until: datetime | None) -> None:
    """Refuse a range that ends before it begins.

    Raises:
        HTTPException: 400.
    """
    if since and until and since >= until:
        raise HTTPException(
            400, f"since {since.isoformat()} is not before until {until.isoformat()}; exchange the two"
        )


def may_change(dag_id: str, part: DagAccessEntity | None = None) -> Any:  # noqa: ANN401 - what FastAPI calls a dependency
    """Tell a page whether somebody may edit a DAG, or a part of it: what Airflow itself would answer them."""
    demanded = requires_access_dag(method="PUT", access_entity=part, param_dag_id=dag_id)

    def may(request: Request, user: User) -> bool:
        try:
            demanded(request, user)
        except HTTPException:
            return False
        return True

    return Depends(may)


def open_unit() -> UnitOfWork:
    """Give one session and transaction, for a ``with`` block."""
    return TradingDbHook(limits=LIMITS, application_name="kraken_recon:dashboard").unit_of_work()


def moment_of(text: str, name: str) -> datetime | None:
    """Read a time of a form; without a time zone it is UTC.

    Raises:
        HTTPException: 422, it is none.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        raise HTTPException(422, f"{name}: expected a time such as 2026-11-22T10:00") from None

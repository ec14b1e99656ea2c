"""The page about every route of ours and who is let in: what is expected, said once, and held by a test."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fastapi.routing import APIRoute

from kraken_airflow.dashboard.app import create_app
from reference_pages.markdown import code, page, table


class Caller(StrEnum):
    """Who may knock."""

    NOBODY = "nobody"
    FORGED = "forged token"
    EXPIRED = "expired token"
    OTHER_KEY = "token of another Airflow"
    UNSIGNED = "token without a signature"
    NO_ROLE = "no role"
    OTHER_TEAM = "another team"
    VIEWER = "viewer"
    USER = "user"
    OP = "op"
    ADMIN = "admin"


LET_IN: Final = 200
NOT_LOGGED_IN: Final = 401
REFUSED: Final = 403
UNANSWERED: Final = frozenset({Caller.NOBODY, Caller.EXPIRED})
READERS: Final = (Caller.VIEWER, Caller.USER, Caller.OP, Caller.ADMIN)


@dataclass(frozen=True, slots=True)
class Entrance:
    """A route with one of its methods, and the DAGs that it demands."""

    method: str
    path: str
    dags: tuple[str, ...]


def entrances() -> list[Entrance]:
    """List every route of the pages, as the application itself has them."""
    return [
        Entrance(method, route.path, tuple(_dags(route)))
        for route in create_app().routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods)
    ]


def _dags(route: APIRoute) -> list[str]:
    demanded = [
        inspect.getclosurevars(part.call).nonlocals
        for part in route.dependant.dependencies
        if inspect.isfunction(part.call)
    ]
    return sorted({str(one["param_dag_id"]) for one in demanded if one.get("param_dag_id")})


def expected(entrance: Entrance, caller: Caller) -> int:
    """Say how a route answers somebody; a page of something that is not on record may answer 404 instead."""
    if caller in UNANSWERED:
        return NOT_LOGGED_IN
    readers = READERS if entrance.method == "GET" else READERS[1:]
    return LET_IN if caller in readers else REFUSED


def attack_surface() -> str:
    """Write the page."""
    rows = (
        (
            code(f"{entrance.method} {entrance.path or '/'}"),
            ", ".join(entrance.dags),
            *(_word(expected(entrance, caller)) for caller in Caller),
        )
        for entrance in entrances()
    )
    return page(
        "Who is let in where",
        "Every route of the pages in the Airflow UI, below `/kraken-recon`, from the application itself; "
        "the DAGs that somebody has to be allowed to read (to edit, for `POST`); and how it answers each "
        "kind of caller of Airflow's simple auth manager. *in*: it answers. With another auth manager "
        "the same DAGs are asked for. Any other method is answered 405, any other path 404, to "
        "everybody. `POST` changes nothing without the token of the page besides. What else can be "
        "tried: [threat model](../threat-model.md).",
        table(("route", "DAGs", *map(str, Caller)), rows),
    )


def _word(status: int) -> str:
    return "in" if status == LET_IN else str(status)

"""A module per page: its rows, its filters, and ``add_routes``; ``LINK`` puts it into the navigation.

None of them has postponed annotations: FastAPI must see the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType  # noqa: TC003 - as everywhere here


@dataclass(frozen=True, slots=True)
class Link:
    """Where the navigation leads, in which words, and in which place."""

    place: int
    href: str
    words: str


@cache
def all_pages() -> list[ModuleType]:
    """Import every page."""
    return [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]


def navigation() -> list[Link]:
    """Name the pages that are reached from everywhere, in their order."""
    links = [page.LINK for page in all_pages() if hasattr(page, "LINK")]
    return sorted(links, key=lambda link: link.place)


def airflow_run(by: str | None, dag_id: str, dag_run_id: str) -> dict[str, str | None]:
    """Name the Airflow run that did something, for a link; whoever did it without one is the command line."""
    if dag_run_id:
        return {"dag_id": dag_id, "dag_run_id": dag_run_id, "trigger": dag_id}
    return {"dag_id": None, "dag_run_id": None, "trigger": "command line" if by else None}

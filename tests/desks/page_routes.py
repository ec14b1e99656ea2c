"""Every address of the pages and their downloads, from the routes themselves."""

from __future__ import annotations

from functools import cache
from typing import Final

from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute

from kraken_airflow.dashboard.app import create_app

# What a page that is of something asks for: a value for each name of a parameter.
EXAMPLES: Final = {
    "name": "alpha",
    "account": "alpha",
    "asset": "BTC",
    "id": "1",
    "key": "bot-1",
    "plan": "00000000-0000-0000-0000-000000000007",
}


@cache
def every_route() -> dict[str, APIRoute]:
    """Name the routes that answer, by their paths below the dashboard's address."""
    return {
        route.path: route
        for route in create_app().routes
        if isinstance(route, APIRoute) and "GET" in route.methods
    }


def required(route: APIRoute) -> list[str]:
    """Name the parameters without which a route does not answer."""
    asked = get_flat_dependant(route.dependant).query_params
    return [field.alias for field in asked if field.field_info.is_required()]

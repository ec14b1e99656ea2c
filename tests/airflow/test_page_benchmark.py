"""The benchmark of the pages measures every page that there is: those it lists, and all of the navigation."""

from __future__ import annotations

from benchmarks.pages.measure import PAGES

from kraken_airflow.dashboard.app import create_app
from kraken_airflow.dashboard.pages import navigation


def test_every_page_is_measured() -> None:
    paths = {route.path for route in create_app().routes if "GET" in getattr(route, "methods", ())}
    measured = {f"/{page.path.partition('?')[0]}" for page in PAGES}
    assert measured <= paths
    led_to = {f"/{link.href.removeprefix('./').partition('?')[0]}" for link in navigation()}
    assert led_to <= paths
    assert {path for path in paths if not path.startswith(("/api/", "/static/"))} <= measured | led_to

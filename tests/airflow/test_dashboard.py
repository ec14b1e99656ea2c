"""The page and its JSON, served by Airflow's own API server."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from kraken_airflow.dashboard.app import create_app
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_recon.bootstrap import utc_now
from kraken_recon.domain.intervals import interval_ending_now
from kraken_recon.domain.policy import Mode, Policy
from kraken_recon.service.sync import SyncRequest, sync_accounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_desk import AirflowDesk

PATHS = ["/kraken-recon/", "/kraken-recon/api/latest"]


@pytest.fixture
def client(api_app: Any) -> TestClient:
    return TestClient(api_app, base_url="https://airflow.test")


@pytest.fixture
def viewer(client: TestClient, token_of: Callable[[str | None], str]) -> TestClient:
    client.headers["Authorization"] = f"Bearer {token_of('VIEWER')}"
    return client


def sync(*, mode: Mode = Mode.REPAIR) -> None:
    hook = TradingDbHook()
    ports = hook.wiring().sync_ports()
    with hook.unit_of_work() as unit:
        accounts = unit.sync.find_accounts(None)
    sync_accounts(accounts, SyncRequest(interval_ending_now(utc_now()), mode, Policy()), ports)


@pytest.mark.parametrize("path", PATHS)
def test_nobody_reads_without_a_login(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 401


@pytest.mark.parametrize("path", PATHS)
def test_a_forged_token_is_refused(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"Authorization": "Bearer forged"}).status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_a_login_without_the_dag_is_refused(
    client: TestClient, token_of: Callable[[str | None], str], path: str
) -> None:
    headers = {"Authorization": f"Bearer {token_of(None)}"}
    assert client.get(path, headers=headers).status_code == 403
    assert client.get(f"{path}?dag_id=another", headers=headers).status_code == 403


@pytest.mark.usefixtures("trading_db")
@pytest.mark.parametrize("path", PATHS)
def test_a_viewer_reads_by_header_or_by_cookie(
    client: TestClient, token_of: Callable[[str | None], str], path: str
) -> None:
    token = token_of("VIEWER")
    assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    client.cookies.set("_token", token)
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed(viewer: TestClient, method: str) -> None:
    assert {viewer.request(method, path).status_code for path in PATHS} == {405}


@pytest.mark.parametrize("path", ["docs", "redoc", "openapi.json", "style.css", "templates/page.html"])
def test_there_is_nothing_else(viewer: TestClient, path: str) -> None:
    assert viewer.get(f"/kraken-recon/{path}").status_code == 404


def test_every_route_demands_the_dag() -> None:
    bare = TestClient(create_app())
    routes = [route for route in create_app().routes if getattr(route, "methods", None)]
    assert len(routes) == len(PATHS)
    for route in routes:
        assert bare.get(route.path).status_code == 401


@pytest.mark.usefixtures("trading_db")
def test_the_page_allows_its_own_style_and_nothing_else(viewer: TestClient) -> None:
    reply = viewer.get(PATHS[0])
    policy = reply.headers["content-security-policy"]
    style = re.search(r"<style>(.*?)</style>", reply.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'self'" in policy
    assert reply.headers["cache-control"] == "no-store"
    assert not re.search(r"<script|<link|<img|\sstyle=|\son\w+=|https?://", reply.text)


def test_the_page_says_what_differed_and_why(viewer: TestClient, desk: AirflowDesk) -> None:
    desk.account("alpha", USD="1000")
    desk.account("beta", has_right_key=False)
    sync()
    desk.simulator.control.post(
        "accounts/alpha/events", {"kind": "deposit", "asset": "XXBT", "amount": "0.123456789"}
    )
    sync()
    page = viewer.get(PATHS[0])
    assert page.status_code == 200
    assert "0.123456789 from 1 missed deposit entry" in page.text
    assert "1 of 2 accounts needs a look: beta" in page.text
    assert "EAPI:Invalid signature" in page.text
    latest = viewer.get(PATHS[1]).json()
    alpha, beta = latest["accounts"]
    assert (alpha["status"], beta["status"]) == ("succeeded", "failed")
    (finding,) = alpha["findings"]
    assert finding["drift"] == "0.123456789"
    assert isinstance(finding["db_quantity"], str)
    assert Decimal(finding["unexplained"]) == 0
    assert [alert["kind"] for alert in latest["alerts"]] == ["sync_failure"]
    assert not any(secret in page.text for secret in desk.secrets.values())


def test_names_from_the_database_are_escaped(viewer: TestClient, desk: AirflowDesk) -> None:
    desk.execute(
        "insert into trading.accounts (name, kraken_conn_id) values ('<script>alert(1)</script>', 'x')"
    )
    page = viewer.get(PATHS[0]).text
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_an_unreachable_database_is_not_an_empty_answer(
    viewer: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", "postgres://u:hidden-password@127.0.0.1:1/trading")
    page = viewer.get(PATHS[0])
    assert page.status_code == viewer.get(PATHS[1]).status_code == 503
    assert "Unknown" in page.text
    assert "hidden-password" not in page.text


def test_the_page_stands_in_the_navigation_and_on_the_dag(viewer: TestClient) -> None:
    (plugin,) = [p for p in viewer.get("/api/v2/plugins").json()["plugins"] if p["name"] == "kraken_recon"]
    views = {view["destination"]: view for view in plugin["external_views"]}
    assert set(views) == {"nav", "dag"}
    assert {view["href"] for view in views.values()} == {PATHS[0]}


def test_loading_the_plugin_imports_neither_the_web_framework_nor_the_database(
    project_environment: dict[str, str],
) -> None:
    program = (
        "import sys, airflow.plugins_manager; before = set(sys.modules);"
        "import kraken_airflow.dashboard.lazy;"
        "heavy = {'fastapi', 'sqlalchemy', 'psycopg', 'jinja2', 'krakenex'} & (set(sys.modules) - before);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], env=project_environment, check=True)

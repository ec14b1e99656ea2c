"""The page and its JSON, served by Airflow's own API server."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import re
import subprocess
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from fastapi.testclient import TestClient

from desks.logins import as_role
from desks.page_routes import EXAMPLES, every_route, required
from kraken_airflow.dashboard.downloads import csv_pieces
from kraken_airflow.dashboard.form_token import form_token
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.rights import Role
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.intervals import interval_ending_now
from kraken_recon.wiring import utc_now
from local_stack.databases import postgres_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from desks.airflow import AirflowDesk


def every_path() -> dict[str, str]:
    """Write the query of every page and download there is: empty where it asks for nothing."""
    return {
        path: urlencode({name: EXAMPLES[name] for name in required(route)})
        for path, route in sorted(every_route().items())
    }


PATHS = [f"/kraken-recon{path}" for path, query in every_path().items() if not query]
# Of one account, or of one of its assets.
OF_ONE = [f"/kraken-recon{path}?{query}" for path, query in every_path().items() if query]
STATEMENT = "account=alpha&asset=BTC"
LATEST = "/kraken-recon/api/latest"
ACKNOWLEDGE = "/kraken-recon/acknowledge"


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
        accounts = AccountStore(unit).find_accounts(None)
    sync_accounts(accounts, SyncRequest(interval_ending_now(utc_now()), mode, Policy()), ports)


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
    assert {viewer.request(method, path).status_code for path in (*PATHS, *OF_ONE)} == {405}


@pytest.mark.parametrize(
    "path", ["docs/oauth2-redirect", "redoc", "openapi.json", "style.css", "templates/page.html"]
)
def test_there_is_nothing_else(viewer: TestClient, path: str) -> None:
    assert viewer.get(f"/kraken-recon/{path}").status_code == 404


@pytest.mark.usefixtures("trading_db")
@pytest.mark.parametrize("path", [path for path in PATHS if "/api/" not in path])
def test_a_page_allows_its_own_style_and_scripts_and_nothing_else(viewer: TestClient, path: str) -> None:
    reply = viewer.get(path)
    policy = reply.headers["content-security-policy"]
    style = re.search(r"<style>(.*?)</style>", reply.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in policy
    scripts = re.findall(r"<script>(.*?)</script>", reply.text, re.DOTALL)
    # The script of every page, which keeps it young, and the two that draw charts.
    assert len(scripts) == (3 if path.endswith(("orders", "database")) else 1)
    known = re.search(r"script-src ([^;]+);", policy)
    assert known is not None
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(known[1].split()) == 4
    assert known[1].split()[: len(scripts)] == [f"'sha256-{digest}'" for digest in digests]
    assert "connect-src 'self';" in policy
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'self'" in policy
    assert "form-action 'self'" in policy
    assert reply.headers["cache-control"] == "no-store"
    markup = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", reply.text, flags=re.DOTALL)
    if path.endswith("docs"):
        # A runbook may lead elsewhere; nothing is loaded from there.
        markup = markup.replace("https://", "")
    assert not re.search(r"<script|<link|<img|\sstyle=|\son\w+=|https?://", markup)


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
    latest = viewer.get(LATEST).json()
    alpha, beta = latest["accounts"]
    assert (alpha["status"], beta["status"]) == ("succeeded", "failed")
    assert (alpha["verdict"], beta["verdict"]) == ("accounted for", "not reconciled")
    (finding,) = alpha["findings"]
    assert finding["drift"] == "0.123456789"
    assert isinstance(finding["db_quantity"], str)
    assert Decimal(finding["unexplained"]) == 0
    assert [alert["kind"] for alert in latest["alerts"]] == ["sync_failure"]
    assert not any(secret in page.text for secret in desk.secrets.values())


@pytest.mark.parametrize(
    ("dag_id", "shown"),
    [
        (
            "repair_approval",
            [
                *("wants", "api/wants", "api/wants.csv", "api/held", "api/held.csv"),
                "repair?plan=00000000-0000-0000-0000-000000000007",
            ],
        ),
        (
            "order_verification",
            [
                *("orders", "api/orders", "api/orders.csv", "api/verdicts", "api/verdicts.csv"),
                *("api/slippage", "api/slippage.csv", "order?id=1", "api/order?id=1"),
            ],
        ),
        (
            "session_leak_audit",
            ["database", "api/database", "api/database.csv", "api/samples", "api/samples.csv"],
        ),
    ],
)
def test_a_page_needs_the_dag_whose_rows_it_shows(
    viewer: TestClient,
    trading_db: str,
    monkeypatch: pytest.MonkeyPatch,
    dag_id: str,
    shown: list[str],
) -> None:
    may: Any = SimpleAuthManager.is_authorized_dag

    def except_one(self: Any, *, details: Any = None, **rest: Any) -> bool:
        return details.id != dag_id and bool(may(self, details=details, **rest))

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", except_one)
    assert viewer.get(PATHS[0]).status_code == 200, trading_db
    for path in shown:
        assert (
            viewer.get(f"/kraken-recon/{path}{'&' if '?' in path else '?'}dag_id=position_sync").status_code
            == 403
        )


def alert(desk: AirflowDesk) -> int:
    """Raise an alert and return its number."""
    desk.execute("insert into trading.alerts (kind, message) values ('session_leak', 'a <b>leak</b>')")
    return int(desk.rows("select max(alert_id) as id from trading.alerts")[0]["id"])


def answered(desk: AirflowDesk) -> list[tuple[str, str | None, str | None]]:
    rows = desk.rows("select status, acknowledged_by, note from trading.alerts order by alert_id")
    return [(row["status"], row["acknowledged_by"], row["note"]) for row in rows]


def form_of(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


@pytest.fixture
def operator(api_app: Any, token_of: Callable[[str | None], str]) -> TestClient:
    """Return somebody who may act, with the cookie of a browser."""
    client = TestClient(api_app, base_url="https://airflow.test", follow_redirects=False)
    client.cookies.set("_token", token_of("USER"))
    return client


def test_an_operator_acknowledges_an_alert_from_the_page(operator: TestClient, desk: AirflowDesk) -> None:
    number = alert(desk)
    page = operator.get("/kraken-recon/wants").text
    assert "a &lt;b&gt;leak&lt;/b&gt;" in page
    reply = operator.post(ACKNOWLEDGE, data={"alert_id": number, "token": form_of(page), "note": " on it "})
    assert (reply.status_code, reply.headers["location"]) == (303, "wants")
    assert answered(desk) == [("acknowledged", "somebody", "on it")]
    page = operator.get("/kraken-recon/wants").text
    assert "Note: on it" in page
    assert 'method="post"' not in page


def test_every_page_is_read_as_the_reader_who_keeps_no_answer(
    operator: TestClient, desk: AirflowDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = alert(desk)
    reader = postgres_connection(as_role(desk.database_url, Role.READER))
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", reader)
    assert {path: operator.get(path).status_code for path in PATHS} == dict.fromkeys(PATHS, 200)
    token = form_of(operator.get("/kraken-recon/wants").text)
    reply = operator.post(ACKNOWLEDGE, data={"alert_id": number, "token": token})
    assert reply.status_code == 503
    assert "permission denied for table alerts; its login needs another role" in reply.text
    assert answered(desk) == [("open", None, None)]


def test_a_note_that_cannot_be_kept_is_refused_by_its_field(operator: TestClient, desk: AirflowDesk) -> None:
    number = alert(desk)
    page = operator.get("/kraken-recon/wants").text
    reply = operator.post(ACKNOWLEDGE, data={"alert_id": number, "token": form_of(page), "note": "a\x00b"})
    assert reply.status_code == 422
    assert "note: " in reply.text
    assert "cannot be kept" in reply.text
    assert answered(desk) == [("open", None, None)]


def test_a_viewer_sees_alerts_and_cannot_acknowledge_them(
    viewer: TestClient, operator: TestClient, desk: AirflowDesk
) -> None:
    number = alert(desk)
    assert 'method="post"' not in viewer.get("/kraken-recon/wants").text
    token = form_of(operator.get("/kraken-recon/wants").text)
    assert viewer.post(ACKNOWLEDGE, data={"alert_id": number, "token": token}).status_code == 403
    assert answered(desk) == [("open", None, None)]


def test_another_site_cannot_acknowledge_by_the_cookie_of_an_operator(
    operator: TestClient, desk: AirflowDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = alert(desk)
    right = form_of(operator.get("/kraken-recon/wants").text)
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000)
    old = form_token("somebody")
    monkeypatch.undo()
    for wrong in ("", "forged", right[:-1], form_token("somebody else"), old):
        reply = operator.post(ACKNOWLEDGE, data={"alert_id": number, "token": wrong})
        assert reply.status_code in {403, 422}, wrong
    assert operator.post(ACKNOWLEDGE, data={"alert_id": number}).status_code == 422
    assert answered(desk) == [("open", None, None)]


@pytest.mark.parametrize(
    ("number", "status"), [("0", 422), ("-1", 422), ("1 or 1=1", 422), (str(2**63), 422), (str(2**62), 404)]
)
def test_forged_numbers_acknowledge_nothing(
    operator: TestClient, desk: AirflowDesk, number: str, status: int
) -> None:
    alert(desk)
    token = form_of(operator.get("/kraken-recon/wants").text)
    assert operator.post(ACKNOWLEDGE, data={"alert_id": number, "token": token}).status_code == status
    assert answered(desk) == [("open", None, None)]


@pytest.fixture
def held(viewer: TestClient, desk: AirflowDesk) -> dict[str, Any]:
    """Return the repair that is held because Kraken lost most bitcoins without a ledger line."""
    desk.account("alpha", ZUSD="1000", XXBT="1")
    sync()
    desk.simulator.control.post("accounts/alpha/residual", {"asset": "XXBT", "amount": "-0.6"})
    sync()
    desk.execute("update trading.residuals set first_seen_at = first_seen_at - interval '1 hour'")
    sync()
    (plan,) = viewer.get("/kraken-recon/api/wants").json()["held"]
    return dict(plan)


def test_a_held_repair_leads_to_where_it_is_decided(
    viewer: TestClient, operator: TestClient, desk: AirflowDesk, held: dict[str, Any]
) -> None:
    assert held["is_waiting"]
    page = viewer.get("/kraken-recon/wants").text
    assert "1 repair to decide" in page
    link = f"repair?plan={held['plan_id']}"
    assert f'href="{link}"' in page
    may, may_not = operator.get(f"/kraken-recon/{link}"), viewer.get(f"/kraken-recon/{link}")
    assert may.status_code == may_not.status_code == 200
    for text in (may.text, may_not.text):
        assert "Set BTC by -0.6 on alpha?" in text
        assert '<td data-label="recorded" class="number">1</td>' in text
        assert '<a href="statement?account=alpha&amp;asset=BTC' in text
        assert f'href="..{held["path"]}"' in text
        scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
        assert len(digests) == 2
        assert all(f"'sha256-{digest}'" in may.headers["content-security-policy"] for digest in digests)
        markup = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", text, flags=re.DOTALL)
        assert not re.search(r"\sstyle=|\son\w+=", markup)
    answers = re.findall(r'<button type="button" value="(\w+)">', may.text)
    assert answers == ["Approve", "Reject"]
    assert "<button" not in may_not.text
    assert "your role lacks the right" in may_not.text
    # Both names of an account as somebody else gave it.
    desk.execute("update trading.accounts set name = '<b>[x](y)\u202e'")
    assert r"&lt;b&gt;[x](y)\u202e" in operator.get(f"/kraken-recon/{link}").text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("status = 'outdated', closed_at = now()", "Out of date"),
        ("closed_at = now()", "Out of date"),
        ("status = 'expired', decided_by = 'nobody', decided_at = now()", "Decided by nobody"),
        ("status = 'rejected', decided_by = 'bob', decided_at = now()", "Decided by bob"),
    ],
)
def test_a_held_repair_that_waits_no_longer_takes_no_answer(
    operator: TestClient, desk: AirflowDesk, held: dict[str, Any], change: str, words: str
) -> None:
    desk.execute(f"update trading.repair_plans set {change} where kind = 'held'")
    page = operator.get(f"/kraken-recon/repair?plan={held['plan_id']}")
    assert page.status_code == 200
    assert words in page.text
    assert "<button" not in page.text


@pytest.mark.parametrize(
    ("plan", "status"), [("00000000-0000-0000-0000-000000000007", 404), ("x' or 1=1", 422), ("", 422)]
)
def test_a_repair_that_there_is_not_is_told(
    operator: TestClient, desk: AirflowDesk, plan: str, status: int
) -> None:
    assert desk.rows("select * from trading.repair_plans") == []
    reply = operator.get("/kraken-recon/repair", params={"plan": plan})
    assert (reply.status_code, "This link leads nowhere" in reply.text) == (status, True)


def test_a_difference_leads_to_its_ledger_row(viewer: TestClient, desk: AirflowDesk) -> None:
    desk.account("alpha", USD="1000")
    sync()
    for kind, amount in (("deposit", "0.123456789"), ("withdrawal", "0.1")):
        desk.simulator.control.post(
            "accounts/alpha/events", {"kind": kind, "asset": "XXBT", "amount": amount}
        )
    sync()
    link = re.search(r'href="(statement\?[^"#]+)"', viewer.get(PATHS[0]).text)
    assert link is not None
    page = viewer.get(f"/kraken-recon/{html.unescape(link[1])}")
    assert "2 entries are marked" in page.text
    assert page.text.count('class="marked"') == 2
    whole = viewer.get(f"/kraken-recon/api/statement?{STATEMENT}").json()
    (finding,) = viewer.get(LATEST).json()["accounts"][0]["findings"]
    assert {entry["ledger_id"] for entry in whole["entries"]} == set(finding["ledger_ids"])
    assert all(f'id="{ledger_id}"' in page.text for ledger_id in finding["ledger_ids"])
    assert whole["entries"][-1]["running"] == whole["closing"]
    rows = viewer.get(f"/kraken-recon/api/statement.csv?{STATEMENT}")
    assert rows.headers["content-disposition"].startswith("attachment")
    written = list(csv.DictReader(io.StringIO(rows.text)))
    assert written == [{name: value or "" for name, value in e.items()} for e in whole["entries"]]


@pytest.mark.parametrize("place", ["statement", "api/statement", "api/statement.csv"])
def test_forged_names_lead_to_no_statement(
    client: TestClient, viewer: TestClient, token_of: Callable[[str | None], str], trading_db: str, place: str
) -> None:
    path = f"/kraken-recon/{place}"
    assert viewer.get(f"{path}?account=' or ''='&asset=BTC").status_code == 404, trading_db
    assert viewer.get(f"{path}?account=alpha").status_code == 422
    client.headers["Authorization"] = f"Bearer {token_of(None)}"
    assert client.get(f"{path}?{STATEMENT}").status_code == 403


def test_a_download_runs_no_formula_in_a_spreadsheet() -> None:
    row = {
        "text": "=1+1",
        "reference": "-1+1",
        "amount": "-1.5",
        "none": None,
        "ids": ["@a", "b"],
        "padded": " =1+1",
        "wide": "\uff1d1+1",
    }
    (written,) = csv.DictReader(io.StringIO("".join(csv_pieces([row], list(row)))))
    assert list(written.values()) == ["'=1+1", "'-1+1", "-1.5", "", "'@a b", "' =1+1", "'\uff1d1+1"]


def test_names_from_the_database_are_escaped(viewer: TestClient, desk: AirflowDesk) -> None:
    desk.execute(
        "insert into trading.accounts (name, kraken_conn_id) values ('<script>alert(1)</script>', 'x')"
    )
    page = viewer.get(PATHS[0]).text
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page


def test_an_unreachable_database_is_not_an_empty_answer(
    viewer: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", "postgres://u:hidden-password@127.0.0.1:1/trading")
    page = viewer.get(PATHS[0])
    assert page.status_code == viewer.get(LATEST).status_code == 503
    assert "Unknown" in page.text
    assert "hidden-password" not in page.text


def test_the_page_stands_in_the_navigation_and_on_no_dag_of_others(viewer: TestClient) -> None:
    (plugin,) = [p for p in viewer.get("/api/v2/plugins").json()["plugins"] if p["name"] == "kraken_recon"]
    assert [(view["destination"], view["href"]) for view in plugin["external_views"]] == [("nav", PATHS[0])]
    # What Airflow would put on every task, or run for every DAG.
    assert not plugin["global_operator_extra_links"]
    assert not plugin["listeners"]
    assert not plugin["macros"]


def test_loading_the_plugin_imports_neither_the_web_framework_nor_the_database(
    project_environment: dict[str, str],
) -> None:
    program = (
        "import sys, airflow.plugins_manager; before = set(sys.modules);"
        "import kraken_airflow.dashboard.lazy_app;"
        "heavy = {'fastapi', 'sqlalchemy', 'psycopg', 'jinja2', 'krakenex'} & (set(sys.modules) - before);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], env=project_environment, check=True)

"""Every route of the pages, every kind of caller: each is answered as the reference page says."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient

from desks.page_routes import EXAMPLES, every_route, required
from kraken_airflow.dashboard.form_token import form_token
from reference_pages.attack_surface import LET_IN, REFUSED, UNANSWERED, Caller, Entrance, entrances, expected

if TYPE_CHECKING:
    from desks.airflow import AirflowDesk

PLACE = "/kraken-recon"
ROLES = {
    Caller.NO_ROLE: None,
    Caller.OTHER_TEAM: "USER",
    Caller.VIEWER: "VIEWER",
    Caller.USER: "USER",
    Caller.OP: "OP",
    Caller.ADMIN: "ADMIN",
}


@pytest.fixture
def tokens(api_app: Any, monkeypatch: pytest.MonkeyPatch) -> dict[Caller, str]:
    """A token of each caller, in an Airflow whose DAGs belong to a team."""
    monkeypatch.setattr("airflow.models.dag.DagModel.get_team_name", lambda *_, **__: "owners")
    auth_manager = api_app.state.auth_manager

    def signed(role: str | None, team: str = "owners", **options: Any) -> str:
        user = SimpleAuthManagerUser(username="somebody", role=role, teams=[team])
        return str(auth_manager.generate_jwt(user, **options))

    admin = signed("ADMIN")
    claims = jwt.decode(admin, options={"verify_signature": False})

    def written(part: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

    return {
        Caller.FORGED: "forged",
        Caller.EXPIRED: signed("ADMIN", expiration_time_in_seconds=-3_600),
        Caller.OTHER_KEY: jwt.encode(claims, "k" * 64, algorithm="HS512"),
        Caller.UNSIGNED: f"{written({'alg': 'none', 'typ': 'JWT'})}.{written(claims)}.",
        **{
            caller: signed(role, "others" if caller is Caller.OTHER_TEAM else "owners")
            for caller, role in ROLES.items()
        },
    }


def address_of(entrance: Entrance) -> str:
    route = every_route().get(entrance.path)
    asked = {name: EXAMPLES[name] for name in required(route)} if route else {}
    return f"{PLACE}{entrance.path}" + (f"?{urlencode(asked)}" if asked else "")


@pytest.mark.parametrize("caller", Caller, ids=str)
def test_every_route_answers_each_caller_as_the_page_says(
    api_app: Any, desk: AirflowDesk, tokens: dict[Caller, str], caller: Caller
) -> None:
    client = TestClient(api_app, base_url="https://airflow.test", follow_redirects=False)
    if caller in tokens:
        client.headers["Authorization"] = f"Bearer {tokens[caller]}"
    found = entrances()
    assert len(found) > 40
    wrong = {}
    for entrance in found:
        right, address = expected(entrance, caller), address_of(entrance)
        if entrance.method == "POST":
            status = acknowledged(client, desk, address)
            is_right = status == (303 if right == LET_IN else right)
        elif right == LET_IN and caller is not Caller.VIEWER and "/api/" in address:
            continue  # who may do more reads the same
        else:
            status = client.get(address).status_code
            is_right = status == right or (right == LET_IN and status == 404)
        if not is_right:
            wrong[entrance.method, entrance.path] = status
    assert wrong == {}
    if caller in {Caller.NO_ROLE, Caller.OTHER_TEAM}:
        # Naming another DAG helps nobody.
        assert client.get(f"{PLACE}/", params={"dag_id": "another"}).status_code == REFUSED
    # A browser brings the token as a cookie.
    browser = TestClient(api_app, base_url="https://airflow.test", follow_redirects=False)
    browser.cookies.update({"_token": tokens[caller]} if caller in tokens else {})
    assert browser.get(f"{PLACE}/").status_code == expected(found[0], caller)
    if caller in UNANSWERED:
        assert browser.get(f"{PLACE}/", headers={"Accept": "text/html"}).status_code == 303


def acknowledged(client: TestClient, desk: AirflowDesk, address: str) -> int:
    """Post the form with the right token; what is answered with an error has changed nothing."""
    desk.execute("insert into trading.alerts (kind, message) values ('session_leak', 'a leak')")
    [alert] = desk.rows("select alert_id from trading.alerts")
    data = {"alert_id": alert["alert_id"], "token": form_token("somebody")}
    status = client.post(address, data=data).status_code
    [kept] = desk.rows("select status from trading.alerts")
    assert (kept["status"] == "open") == (status >= 400)
    return status


def test_every_route_demands_a_dag_and_each_caller_is_somebody_else(tokens: dict[Caller, str]) -> None:
    assert all("position_sync" in entrance.dags for entrance in entrances())
    assert {entrance.path for entrance in entrances() if entrance.method != "GET"} == {"/acknowledge"}
    assert len(set(tokens.values())) == len(Caller) - 1


def test_what_a_page_offers_is_what_would_be_taken(
    api_app: Any, desk: AirflowDesk, tokens: dict[Caller, str]
) -> None:
    """Who may not change anything is shown no form, also where only the team is another."""
    desk.execute("insert into trading.alerts (kind, message) values ('session_leak', 'a leak')")
    [post] = [entrance for entrance in entrances() if entrance.method == "POST"]
    for caller in (Caller.VIEWER, Caller.USER, Caller.OP, Caller.ADMIN):
        client = TestClient(api_app, headers={"Authorization": f"Bearer {tokens[caller]}"})
        assert ('method="post"' in client.get(f"{PLACE}/wants").text) == (expected(post, caller) == LET_IN), (
            caller
        )

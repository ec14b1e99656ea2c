"""What a user of Airflow expects of the DAGs in its UI, asked of its own REST API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.models.dag import DagOwnerAttributes  # noqa: TID251 - what the UI reads
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.session import create_session
from fastapi.testclient import TestClient

from desks.dag_runs import read_dags, record_dags, run_dag
from desks.orders import TRADING
from kraken_airflow.dag_parts.links import described
from kraken_recon.settings import RUNBOOK_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.dag_processing.dagbag import DagBag
    from fastapi import FastAPI

    from desks.airflow import AirflowDesk

# Airflow serves a field of a DAG that it calls deprecated itself.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

DAGS = Path(__file__).parents[2] / "dags"
BUTTON = "Show on the dashboard"
# Which page of the dashboard answers for a task.
PAGES = {
    "position_sync": {
        "list_accounts": "",
        "reconcile_accounts": "account?name=trader",
        "publish_summary": "differences",
        "report_outcome": "",
        "list_held_plans": "wants",
        "ask_for_approval": "wants",
        "list_desk_books": "differences",
        "reconcile_desk_books": "differences",
        "publish_desk_books": "differences",
    },
    "order_execution": {"record_decision": "orders", "execute_orders": "orders"},
    "order_verification": {"verify_orders": "orders"},
    "session_leak_audit": {"audit_sessions": "database", "check_watch": "wants"},
    "maintenance": {"tidy": "database", "snapshot_assets": ""},
    "repair_approval": {"ask": "repair?plan=", "act_on_answer": "repair?plan="},
}
NEVER_RUN_HERE = {"ask_for_approval", "reconcile_desk_books", "publish_desk_books", "ask", "act_on_answer"}
# For every type of field what no field of that type may hold.
WRONG: dict[str, Any] = {
    "string": {"no": "text"},
    "boolean": "perhaps",
    "integer": "many",
    "array": "one",
    "object": 7,
}


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return read_dags()


@pytest.fixture(scope="module")
def admin(api_app: FastAPI, token_of: Callable[[str | None], str]) -> TestClient:
    return TestClient(api_app, headers={"Authorization": f"Bearer {token_of('ADMIN')}"})


@pytest.fixture(params=sorted(PAGES))
def dag_id(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def details(admin: TestClient, dag_id: str) -> dict[str, Any]:
    found: dict[str, Any] = admin.get(f"/api/v2/dags/{dag_id}/details").json()
    return found


def test_every_task_has_its_page(bag: DagBag) -> None:
    assert {name: set(dag.task_ids) for name, dag in bag.dags.items()} == {
        name: set(pages) for name, pages in PAGES.items()
    }


def test_the_button_survives_serialization(bag: DagBag, dag_id: str) -> None:
    stored = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags[dag_id]))
    for task in stored.tasks:
        assert BUTTON in task.extra_links, task.task_id


@pytest.mark.parametrize("runnable", sorted(PAGES.keys() - {"repair_approval"}))
def test_a_task_that_ran_leads_to_its_page(
    bag: DagBag, admin: TestClient, desk: AirflowDesk, runnable: str
) -> None:
    desk.account("trader", XXBT="1", ZUSD="1000")
    desk.simulator.control.patch("accounts/trader", {"permissions": list(TRADING)})
    run = run_dag(bag.dags[runnable])
    assert str(run.state) == "success"
    for task_id, page in PAGES[runnable].items():
        if task_id in NEVER_RUN_HERE:
            continue
        path = f"/api/v2/dags/{runnable}/dagRuns/{run.run_id}/taskInstances/{task_id}/links"
        index = 0 if task_id == "reconcile_accounts" else -1
        links = admin.get(path, params={"map_index": index}).json()["extra_links"]
        assert links[BUTTON] == f"/kraken-recon/{page}", task_id
        shown = admin.get(links[BUTTON])
        assert shown.status_code == 200, task_id
        assert "<h1" in shown.text, task_id


def test_every_field_of_a_form_is_explained(admin: TestClient, dag_id: str) -> None:
    for name, param in details(admin, dag_id)["params"].items():
        schema = param["schema"]
        assert schema.get("type"), f"{dag_id}.{name}: give it a type"
        assert schema.get("title"), f"{dag_id}.{name}: give it a title"
        assert param["description"], f"{dag_id}.{name}: give it a description"


def test_every_field_refuses_what_it_cannot_hold(admin: TestClient, dag_id: str) -> None:
    params = details(admin, dag_id)["params"]
    for name, param in params.items():
        kind = param["schema"]["type"]
        wrong = WRONG[kind if isinstance(kind, str) else kind[-1]]
        body = {"logical_date": None, "conf": {name: wrong}}
        reply = admin.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body)
        assert reply.status_code == 400, (name, reply.text)
        told = reply.json()["detail"]
        assert name in told, told
        assert "is not of type" in told, told


def test_the_description_says_what_when_and_where_to_read_on(admin: TestClient, dag_id: str) -> None:
    found = details(admin, dag_id)
    assert found["doc_md"].startswith("### ")
    assert "| Late after |" in found["doc_md"]
    for name in re.findall(r"\]\(([^)]*runbooks/\w+\.md)\)", found["doc_md"]):
        page = admin.get(name)
        assert page.status_code == 200
        assert "<h1" in page.text
    assert f"[docs/runbooks/{dag_id}.md]" in found["doc_md"]
    assert {tag["name"] for tag in found["tags"]} & {"tier-1", "tier-2"}
    assert found["owners"] == ["kraken-recon"]


def test_the_owner_leads_to_where_the_runbooks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    doc = "See `docs/runbooks/maintenance.md`."
    assert described(doc)["owner_links"] == {}
    for address in ("https://wiki.example/kraken/maintenance", "mailto:maintenance@desk.example"):
        monkeypatch.setenv(RUNBOOK_URL.name, address.replace("maintenance", "{name}"))
        assert described(doc) == {
            "doc_md": f"See [docs/runbooks/maintenance.md]({address}).",
            "owner_links": {"kraken-recon": address},
        }
    for refused in (
        "javascript:alert(1)",
        "wiki.example/{name}",
        "file:///etc/passwd",
        "https://",
        "mailto:",
    ):
        monkeypatch.setenv(RUNBOOK_URL.name, refused)
        assert described(doc)["owner_links"] == {}
        assert refused not in described(doc)["doc_md"]


def owner_links() -> dict[str, dict[str, str]]:
    """Read what the UI makes links of."""
    with create_session() as session:
        return dict(DagOwnerAttributes.get_all(session=session))


@pytest.mark.usefixtures("bag")
def test_the_owner_of_a_dag_is_a_link_in_the_ui(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "maintenance" not in owner_links()
    monkeypatch.setenv(RUNBOOK_URL.name, "https://wiki.example/{name}")
    record_dags(read_dags())
    try:
        links = owner_links()
    finally:
        monkeypatch.delenv(RUNBOOK_URL.name)
        record_dags(read_dags())
    assert links == {dag_id: {"kraken-recon": f"https://wiki.example/{dag_id}"} for dag_id in PAGES}
    assert owner_links() == {}

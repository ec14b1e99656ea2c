"""Held repairs, decided by people through the REST API of a real Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import requests
from psycopg.rows import dict_row

from desks.airflow import AirflowDesk
from desks.logins import as_writer
from kraken_recon.cli.main import main
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator
    from desks.airflow_processes import StartAirflow
    from local_stack.airflow import AirflowApi

ACCOUNTS = ("same", "moved", "late")
TIMEOUT_SECONDS = 120
STATUSES = """
select a.name, p.plan_id::text, p.status, p.decided_by, p.note
from trading.repair_plans p join trading.accounts a using (account_id)
where p.kind = 'held'
order by p.created_at
"""
BITCOINS = """
select a.name, p.quantity::text
from trading.positions p join trading.accounts a using (account_id)
where asset = 'BTC'
"""


@pytest.fixture
def connections(simulator: Simulator, database_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Three accounts of which Kraken has lost most bitcoins without a ledger line, an hour ago."""
    desk = AirflowDesk(simulator, database_url, monkeypatch)
    for name in ACCOUNTS:
        desk.account(name, ZUSD="1000", XXBT="1")
    for name, value in desk.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))
    everybody = [word for name in ACCOUNTS for word in ("--account", name)]
    assert main(["sync", *everybody]) == 0
    for name in ACCOUNTS:
        simulator.control.post(f"accounts/{name}/residual", {"asset": "XXBT", "amount": "-0.6"})
    assert main(["sync", *everybody]) == 0
    with psycopg.connect(database_url) as session:
        session.execute("update trading.residuals set first_seen_at = first_seen_at - interval '1 hour'")
        session.execute("update trading.accounts set is_active = false where name = 'late'")
    return desk.variables


class People:
    """Users of one Airflow, by name; each name is also the role and the password."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tokens: dict[str, str] = {}

    def call(self, user: str, method: str, path: str, body: object = None) -> requests.Response:
        if user not in self.tokens:
            signed_in = requests.post(
                f"{self.url}/auth/token", json={"username": user, "password": user}, timeout=30
            )
            self.tokens[user] = signed_in.json()["access_token"]
        headers = {"Authorization": f"Bearer {self.tokens[user]}"}
        return requests.request(method, f"{self.url}/api/v2/{path}", json=body, headers=headers, timeout=30)

    def waiting(self) -> dict[str, dict[str, Any]]:
        """Find the open questions by plan id."""
        reply = self.call("op", "GET", "dags/~/dagRuns/~/hitlDetails?response_received=false").json()
        return {
            detail["task_instance"]["dag_run_id"].removeprefix("plan__"): detail
            for detail in reply["hitl_details"]
        }

    def answer(self, user: str, plan_id: str, choice: str) -> int:
        path = f"dags/repair_approval/dagRuns/plan__{plan_id}/taskInstances/ask/-1/hitlDetails"
        return self.call(user, "PATCH", path, {"chosen_options": [choice], "params_input": {}}).status_code

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("op", "GET", f"dags/{dag_id}/dagRuns").json()["dag_runs"]
        return found

    def states(self, run: str) -> list[tuple[str, str]]:
        """List the task instances of a run of a DAG, such as ``position_sync/dagRuns/ID`` (``~``: of all)."""
        found = self.call("op", "GET", f"dags/{run}/taskInstances?limit=100").json()["task_instances"]
        return sorted((task["task_id"], task["state"]) for task in found)


@pytest.fixture
def stack(connections: dict[str, str], start_airflow: StartAirflow) -> Iterator[tuple[AirflowApi, People]]:
    """A healthy Airflow with an operator and a viewer."""
    with start_airflow(connections, users=("op", "viewer")) as airflow:
        airflow.wait_for("position_sync", "repair_approval")
        yield airflow.api, People(airflow.login.url)


@pytest.mark.timeout(420)
def test_people_decide_about_held_repairs(
    stack: tuple[AirflowApi, People], simulator: Simulator, database_url: str
) -> None:
    api, people = stack

    def read(query: str) -> list[dict[str, Any]]:
        with psycopg.connect(database_url, row_factory=dict_row) as session:
            return session.execute(query.encode()).fetchall()

    def sync() -> None:
        run_id = api.trigger("position_sync", {})
        state = api.wait_for_run(
            "position_sync", run_id, timeout_seconds=TIMEOUT_SECONDS, on_change=lambda _: None
        )
        assert state == "success"

    api.unpause("position_sync")
    sync()
    assert poll_until(lambda: len(people.waiting()) == 2, timeout_seconds=TIMEOUT_SECONDS)
    plans = {row["name"]: row["plan_id"] for row in read(STATUSES)}
    question = people.waiting()[plans["same"]]
    assert question["subject"] == "Set BTC by -0.6 on same?"
    assert "[BTC](/kraken-recon/statement?account=same&asset=BTC&run=" in question["body"]
    assert "| spot | 1 | 0.4 | \\-0.6 |" in question["body"]
    assert " USD at prices of " in question["body"]
    assert question["defaults"] == ["Reject"]

    # Nobody answers the third question in time, and nobody is asked the first two again.
    hours = {"key": "repair_approval_hours", "value": "0.0005"}
    assert people.call("op", "POST", "variables", hours).status_code == 201
    with psycopg.connect(database_url) as session:
        session.execute("update trading.accounts set is_active = true")
    sync()
    # Over all runs: the schedule starts some of its own, and any of them may be the one that asks.
    asked = [state for task, state in people.states("position_sync/dagRuns/~") if task == "ask_for_approval"]
    assert asked.count("success") == len(ACCOUNTS)
    assert len(people.runs("repair_approval")) == len(ACCOUNTS)

    assert people.answer("viewer", plans["same"], "Approve") == 403
    simulator.control.post("accounts/moved/residual", {"asset": "XXBT", "amount": "-0.7"})
    assert people.answer("op", plans["moved"], "Approve") == 200
    assert people.answer("op", plans["same"], "Approve") == 200
    assert people.answer("op", plans["same"], "Reject") == 409

    def decided() -> dict[str, tuple[str, str]]:
        return {
            row["name"]: (row["status"], row["decided_by"]) for row in read(STATUSES) if row["decided_by"]
        }

    expected = {
        "same": ("applied", "op (Airflow)"),
        "moved": ("outdated", "op (Airflow)"),
        "late": ("expired", "nobody"),
    }
    poll_until(lambda: decided() == expected, timeout_seconds=TIMEOUT_SECONDS, pause_seconds=0.5)
    tasks = {name: people.states(f"repair_approval/dagRuns/plan__{plan}") for name, plan in plans.items()}
    assert decided() == expected, tasks
    assert {row["name"]: float(row["quantity"]) for row in read(BITCOINS)} == {
        "same": 0.4, "moved": 1.0, "late": 1.0,
    }  # fmt: skip
    done = f"repair_approval/dagRuns/plan__{plans['moved']}"
    assert poll_until(
        lambda: people.states(done) == [("act_on_answer", "success"), ("ask", "success")],
        timeout_seconds=TIMEOUT_SECONDS,
    )

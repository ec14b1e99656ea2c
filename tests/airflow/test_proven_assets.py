"""Other DAGs run after a proven sync, and after no other."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import timezone
from fastapi.testclient import TestClient

from desks.dag_runs import read_dags, record_dags, run_dag
from kraken_airflow.dag_parts.proven_assets import (
    ANNOUNCED_MAX,
    account_reconciled,
    announced,
    proven_accounts,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow.sdk import DAG
    from fastapi import FastAPI

    from desks.airflow import AirflowDesk


class Airflow:
    """Airflow's API, as far as it tells of assets."""

    def __init__(self, app: FastAPI, token: str) -> None:
        self._client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
        self._seen: set[int] = set()
        self.events()

    def _get(self, path: str, **query: Any) -> Any:
        reply = self._client.get(f"/api/v2/{path}", params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def events(self) -> dict[str, dict[str, Any]]:
        """Read the events since the last look, by the asset's name."""
        listed = self._get("assets/events", order_by="-timestamp", limit=50)["asset_events"]
        new = [event for event in listed if event["id"] not in self._seen]
        self._seen |= {event["id"] for event in new}
        return {event["name"]: event["extra"] for event in new}

    def unpause(self, dag_id: str) -> None:
        reply = self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False})
        assert reply.status_code == 200, reply.text

    def queued_for(self, dag_id: str) -> int:
        """Count the assets whose event waits for the scheduler to run a DAG."""
        reply = self._client.get(f"/api/v2/dags/{dag_id}/assets/queuedEvents")
        return 0 if reply.status_code == 404 else int(reply.json()["total_entries"])


@pytest.fixture
def airflow(api_app: FastAPI, token_of: Callable[[str | None], str]) -> Airflow:
    return Airflow(api_app, token_of("ADMIN"))


@pytest.fixture
def dag() -> DAG:
    return read_dags().dags["position_sync"]


def test_each_proven_account_and_all_of_them_are_announced(
    dag: DAG, desk: AirflowDesk, airflow: Airflow
) -> None:
    desk.account("one", USD="1")
    desk.account("two", USD="2")
    run_dag(dag)
    events = airflow.events()
    assert set(events) == {
        "account_reconciled:one",
        "account_reconciled:two",
        "positions_reconciled",
    }
    runs = {
        row["name"]: row
        for row in desk.rows(
            "select a.name, r.* from trading.reconciliation_runs r join trading.accounts a using (account_id)"
        )
    }
    assert events["account_reconciled:one"] == {
        "account": "one",
        "run_id": str(runs["one"]["run_id"]),
        "as_of": runs["one"]["reported_as_of"].isoformat(),
    }
    oldest = min(run["reported_as_of"] for run in runs.values())
    assert events["positions_reconciled"] == {"accounts": 2, "as_of": oldest.isoformat()}


def test_an_account_that_failed_keeps_the_event_for_all_back(
    dag: DAG, desk: AirflowDesk, airflow: Airflow
) -> None:
    desk.account("good", USD="1")
    desk.account("bad", has_right_key=False)
    assert run_dag(dag).state == "failed"
    assert set(airflow.events()) == {"account_reconciled:good"}


def test_a_run_of_some_accounts_is_no_proof_of_all(dag: DAG, desk: AirflowDesk, airflow: Airflow) -> None:
    desk.account("one", USD="1")
    desk.account("two", USD="2")
    run_dag(dag, run_conf={"accounts": ["two"]})
    assert set(airflow.events()) == {"account_reconciled:two"}


def test_dry_runs_and_runs_for_the_past_announce_nothing(
    dag: DAG, desk: AirflowDesk, airflow: Airflow
) -> None:
    desk.account("desk", USD="1")
    run_dag(dag, run_conf={"mode": "dry_run"})
    assert airflow.events() == {}
    run_dag(dag, logical_date=timezone.utcnow() - timedelta(days=1))
    assert airflow.events() == {}


def test_nothing_is_announced_while_a_residual_waits_to_be_confirmed(
    dag: DAG, desk: AirflowDesk, airflow: Airflow
) -> None:
    desk.account("desk", USD="1")
    run_dag(dag)
    assert set(airflow.events()) == {"account_reconciled:desk", "positions_reconciled"}
    desk.simulator.control.post("accounts/desk/residual", {"asset": "USD", "amount": "500"})
    run_dag(dag)
    newest = "select status, awaiting from trading.reconciliation_runs order by recorded_as_of desc limit 1"
    assert desk.rows(newest) == [{"status": "succeeded", "awaiting": 1}]
    assert airflow.events() == {}


@pytest.mark.parametrize("is_proof", [True, False])
def test_what_is_proven_is_what_the_run_says(is_proof: bool) -> None:  # noqa: FBT001
    assert bool(proven_accounts({"accounts": [{"is_proof": is_proof}]})) is is_proof


def test_any_name_of_an_account_names_an_asset() -> None:
    asset = account_reconciled("Ann's desk/2")
    assert asset.name == "account_reconciled:Ann%27s%20desk%2F2"
    assert asset.uri == "kraken-recon://accounts/Ann%27s%20desk%2F2/reconciled"


def test_a_large_desk_names_the_accounts_that_dags_wait_for() -> None:
    names = [f"desk-{number:04}" for number in range(500)]
    assert announced(names, None) == set(names[:ANNOUNCED_MAX])
    assert announced(names, "desk-0400, desk-0003,unknown") == {"desk-0400", "desk-0003"}
    assert announced(names, "") == set()


def test_the_example_runs_after_the_proof_of_its_account(
    dag: DAG, desk: AirflowDesk, airflow: Airflow, repository: Path, tmp_path: Path
) -> None:
    page = (repository / "docs/how-to/run-after-a-proven-sync.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "risk_report.py").write_text(example)
    bag = read_dags(tmp_path)
    record_dags(bag)
    airflow.unpause("risk_report")
    desk.account("other", USD="1")
    run_dag(dag)
    assert airflow.queued_for("risk_report") == 0
    desk.account("desk", USD="1")
    run_dag(dag)
    assert airflow.queued_for("risk_report") == 1
    assert run_dag(bag.dags["risk_report"]).state == "success"

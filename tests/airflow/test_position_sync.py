"""The DAG as Airflow runs it, on a real trading database and a simulated Kraken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import DAG

    from conftest import AirflowDesk

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def dag(repository: Path) -> DAG:
    found = DagBag(str(repository / "dags")).dags["position_sync"]
    return found


def outcome(dag_run: Any) -> dict[str, list[str]]:
    states: dict[str, list[str]] = {}
    for ti in dag_run.get_task_instances():
        states.setdefault(ti.task_id, []).append(str(ti.state))
    return states


def test_one_wrong_key_turns_the_run_red_and_stops_no_other_account(dag: DAG, desk: AirflowDesk) -> None:
    desk.account("good", USD="1000", BTC="0.5")
    desk.account("bad", has_right_key=False, USD="1")
    run = dag.test()
    print(outcome(run))
    assert run.state == "failed"

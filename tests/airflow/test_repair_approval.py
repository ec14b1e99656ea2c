"""Asking about held repairs, as Airflow runs it, on a real trading database and a simulated Kraken."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_desk import AirflowDesk

STATUSES = "select plan_id::text, status, decided_by, note from trading.repair_plans where kind = 'held'"


@pytest.fixture
def dags(repository: Path) -> Any:
    bag = DagBag(str(repository / "dags"), bundle_path=repository / "dags")
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags


@pytest.fixture
def held_plan(dags: Any, desk: AirflowDesk) -> str:
    """A plan that is held because Kraken lost a bitcoin without a ledger line, an hour ago."""
    desk.account("desk", ZUSD="1000", XXBT="1")
    dags["position_sync"].test()
    desk.simulator.control.post("accounts/desk/residual", {"asset": "XXBT", "amount": "-0.6"})
    dags["position_sync"].test()
    desk.execute("update trading.residuals set first_seen_at = first_seen_at - interval '1 hour'")
    run = dags["position_sync"].test()
    states = Counter((ti.task_id, ti.state) for ti in run.get_task_instances())
    print(states)
    [plan] = desk.rows(STATUSES)
    return str(plan["plan_id"])


def test_x(held_plan):
    print(held_plan)
    assert 0

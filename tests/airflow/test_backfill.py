"""The mapped task of a backfill, on a real trading database and a simulated Kraken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG
from airflow.utils.types import DagRunType

from kraken_airflow.operators.position_sync import ListAccountsOperator, ReconcileAccountsOperator
from kraken_recon.values.intervals import RUN_INTERVAL

if TYPE_CHECKING:
    from desks.airflow import AirflowDesk

INTERVALS = 12


@dataclass
class Run:
    """The fields of a DAG run that the tasks look at."""

    data_interval_start: datetime
    run_type: DagRunType = DagRunType.BACKFILL_JOB
    run_id: str = "backfill__the_run"

    @property
    def data_interval_end(self) -> datetime:
        return self.data_interval_start + RUN_INTERVAL

    run_after = data_interval_end


def backfill(start: datetime) -> list[str]:
    """Run what Airflow runs for one interval of a backfill."""
    run = Run(start)
    context: Any = {"dag_run": run, "dag": DAG("position_sync", schedule=None), "run_id": run.run_id}
    return [
        run_id
        for group in ListAccountsOperator(task_id="list_accounts").execute(context)
        for run_id in ReconcileAccountsOperator(
            task_id="reconcile_accounts", accounts=group, mode="repair", tolerance="0.001"
        ).execute(context)
    ]


def test_a_backfill_through_the_tasks_fills_every_interval_once(desk: AirflowDesk) -> None:
    desk.account("one", USD="1000")
    desk.account("two", XXBT="2")
    now = datetime.now(UTC)
    newest = datetime.fromtimestamp(now.timestamp() // 900 * 900, tz=UTC) - timedelta(hours=1)
    starts = [newest - number * RUN_INTERVAL for number in range(INTERVALS)]
    first = [backfill(start) for start in starts]
    assert [backfill(start) for start in reversed(starts)] == first[::-1]
    rows = desk.rows(
        "select interval_start, status, trigger, note, api_calls from trading.reconciliation_runs"
    )
    assert sorted(row["interval_start"] for row in rows) == sorted(starts * 2)
    assert {(row["status"], row["trigger"], row["api_calls"]) for row in rows} == {
        ("succeeded", "backfill", 0)
    }
    assert {"begin after this interval" in row["note"] for row in rows} == {True}
    assert desk.rows("select * from trading.positions") == []

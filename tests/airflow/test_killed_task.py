"""A task that Airflow ends while its exchange is silent leaves within seconds, and its sessions with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from local_stack.processes import poll_until

if TYPE_CHECKING:
    from desks.airflow import AirflowDesk

ENDS_WITHIN_SECONDS = 10
SESSIONS = """
select application_name
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
"""

# What Airflow's task runner does: its SIGTERM handler calls on_kill, and nothing else.
TASK = """
import signal
from datetime import UTC, datetime
from enum import StrEnum
from types import SimpleNamespace
from kraken_airflow.operators.position_sync import ReconcileAccountsOperator

task = ReconcileAccountsOperator(task_id="task", accounts=["desk"], mode="repair", tolerance="0.001")
signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
run_type = StrEnum("RunType", {"MANUAL": "manual"}).MANUAL
run = SimpleNamespace(run_id="run", run_type=run_type, run_after=datetime.now(UTC), data_interval_end=None)
try:
    task.execute.__wrapped__(task, {"dag": SimpleNamespace(dag_id="position_sync"), "dag_run": run})
except Exception as error:
    raise SystemExit(type(error).__name__)
"""


def test_a_task_told_to_end_ends(desk: AirflowDesk, project_environment: dict[str, str]) -> None:
    desk.account("desk", USD="1")
    desk.simulator.control.post("faults", {"name": "http_error", "status": 503, "account": "desk"})
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", TASK],
        env={**project_environment, **os.environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert poll_until(
            lambda: any(fault["fired"] for fault in desk.simulator.control.get("faults")),
            timeout_seconds=60,
            pause_seconds=0.2,
        )
        assert desk.rows(SESSIONS)
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "RunStoppedError" in errors
    assert time.monotonic() - told < ENDS_WITHIN_SECONDS
    assert poll_until(lambda: desk.rows(SESSIONS) == [], timeout_seconds=5)
    assert desk.rows("select * from trading.reconciliation_runs") == []

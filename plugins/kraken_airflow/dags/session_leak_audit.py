"""
### Audit the sessions of the trading database

Every 5 minutes, look at the database server's sessions, and find those that leaked: idle in a transaction,
left behind by a task that ended, never closed, holding locks that others wait for, or growing in number. Each
finding is a row that names its task and the line that opened it, and stays until the session is gone. By
default nothing is ended: the run writes down what it would do. It also checks that the watch, which sends
alerts, is alive, and tells people in its place when it is not.

| | |
|---|---|
| Reads | `trading_db`: `pg_stat_activity`, `pg_locks`, slots; through `airflow_api`: the states of tasks |
| Writes | `trading`: session samples, findings, actions, alerts; with *dry run* off it ends leaked sessions |
| Re-run | safe: a look at what is now; the same finding is counted, not doubled |
| Backfill | never: sessions of the past are gone |
| Late after | 5 minutes: the next sample is due; see `docs/runbooks/session_leak_audit.md` |
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Final

import pendulum
from airflow.sdk import CronTriggerTimetable, Param, dag

from kraken_airflow.dag_parts.deadlines import due_within
from kraken_airflow.dag_parts.defaults import DEFAULT_ARGS
from kraken_airflow.dag_parts.links import described
from kraken_airflow.operators.session_leak_audit import (
    ACTIONS,
    RULES,
    AuditSessionsOperator,
    CheckWatchOperator,
    audited_connections,
)


def seconds(default: int, title: str, description: str) -> Param:
    """Make a form field for a number of seconds."""
    return Param(default, type="integer", minimum=1, maximum=86400, title=title, description=description)


PARAMS = {
    "connections": Param(
        audited_connections(os.environ),
        type="array",
        items={"type": "string", "minLength": 1},
        minItems=1,
        title="Connections",
        description="Look through these. The first leads to the trading database, and only there anything is "
        "ended; others, such as Airflow's own database, are reported on.",
    ),
    "dry_run": Param(default=True, type="boolean", title="Dry run", description="Write down, do not do."),
    "policy": Param(
        {},
        type="object",
        propertyNames={"enum": RULES},
        additionalProperties={"enum": ACTIONS},
        title="Policy",
        description='The most that may be done about a rule, such as {"over_pool": "report"}.',
    ),
    "actions_max": Param(
        5, type="integer", minimum=0, maximum=100, title="Actions", description="At most this many per run."
    ),
    "hold_seconds": seconds(
        60, "Hold", "Idle in a transaction for longer, where its owner declared nothing."
    ),
    "idle_seconds": seconds(240, "Idle", "Idle for longer, outside any declared pool."),
    "transaction_seconds": seconds(900, "Transaction", "In a transaction for longer than this and any task."),
    "wait_seconds": seconds(30, "Wait", "Others wait for its locks for longer."),
}


@dag(
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=5),
    **due_within(timedelta(minutes=5), narrowed_by={"connections": ["trading_db"]}),
    default_args=DEFAULT_ARGS,
    params=PARAMS,
    tags=["operations", "tier-2"],
    **described(__doc__),
)
def session_leak_audit() -> None:
    """Look at the sessions, and at who tells people of alerts; neither needs the other."""
    AuditSessionsOperator(task_id="audit_sessions", settings="{{ params | tojson }}")
    CheckWatchOperator(task_id="check_watch")


DAG: Final = session_leak_audit()

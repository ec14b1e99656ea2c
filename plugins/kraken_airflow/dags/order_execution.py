"""
### Execute orders

Every minute, and whenever it is triggered: judge new decisions, place what is decided, exactly once, and
follow what was placed until its fills are booked. A run only wakes the work, which is claimed from the
tables: a run more or less, or two at once, change nothing. To decide an order by hand, trigger this DAG and
fill in the form.

| | |
|---|---|
| Reads | `trading_db`; each account's own connection of type `kraken`, whose key may trade |
| Writes | Kraken: orders. `trading`: decisions, orders, fills, ledger entries, positions, costs, alerts |
| Re-run | safe: an order is sent once, whoever runs what again; a decision counts once per key, or per run |
| Backfill | pointless: there is no past work |
| Late after | 15 minutes: see `docs/runbooks/order_execution.md` |
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pendulum
from airflow.sdk import CronTriggerTimetable, dag

from kraken_airflow.dag_parts.deadlines import due_within
from kraken_airflow.dag_parts.defaults import DEFAULT_ARGS, EXCHANGE_QUEUE, KRAKEN_POOL
from kraken_airflow.dag_parts.form_fields import ORDER_PARAMS
from kraken_airflow.dag_parts.links import described
from kraken_airflow.operators.order_execution import ExecuteOrdersOperator, RecordDecisionOperator


@dag(
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=2,
    dagrun_timeout=timedelta(minutes=15),
    **due_within(timedelta(minutes=15), brings_own=True),
    default_args=DEFAULT_ARGS,
    params=ORDER_PARAMS,
    tags=["orders", "tier-1"],
    **described(__doc__),
)
def order_execution() -> None:
    """Keep the form's decision, if there is one, then do all the work there is."""
    decision = RecordDecisionOperator(
        task_id="record_decision",
        decision="{{ dict(params, **(dag_run.conf or {})) | tojson }}",
        pool=KRAKEN_POOL,
        queue=EXCHANGE_QUEUE,
    )
    execution = ExecuteOrdersOperator(
        task_id="execute_orders",
        pool=KRAKEN_POOL,
        queue=EXCHANGE_QUEUE,
        execution_timeout=timedelta(minutes=10),
    )
    decision >> execution


DAG: Final = order_execution()

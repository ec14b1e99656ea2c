"""
### Keep the trading database in shape

Every hour: make the partitions of the months ahead and drop those beyond retention, thin and forget old rows,
give back orders that a killed task had claimed, seal what was written, and keep what each account is worth at
Kraken's prices.
Where `KRAKEN_RECON_AIRFLOW_DAYS_KEPT` is set, Airflow's own old records are deleted, once a day.
Ledger entries, position events, orders, fills, verdicts, runs, discrepancies and alerts are never deleted.

| | |
|---|---|
| Reads | `trading_db`; Kraken's public prices, by way of an account's connection of type `kraken` |
| Writes | `trading`: asset snapshots, seals; deletes old samples, sent messages, dry runs' plans, old rates |
| Re-run | safe at any time, also side by side; the first snapshot of an hour stays |
| Backfill | never: prices and holdings are those of now |
| Late after | 30 minutes: a snapshot of the hour may be missed; see `docs/runbooks/maintenance.md` |
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Final

import pendulum
from airflow.sdk import CronTriggerTimetable, dag

from kraken_airflow.dag_parts.deadlines import due_within
from kraken_airflow.dag_parts.defaults import DEFAULT_ARGS, EXCHANGE_QUEUE, KRAKEN_POOL
from kraken_airflow.dag_parts.links import described
from kraken_airflow.operators.maintenance import (
    CleanAirflowOperator,
    SnapshotAssetsOperator,
    TidyOperator,
)
from kraken_recon.settings import AIRFLOW_DAYS_KEPT


@dag(
    # Not on the hour or a quarter, when position_sync begins.
    schedule=CronTriggerTimetable("7 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),
    **due_within(timedelta(minutes=30)),
    default_args=DEFAULT_ARGS | {"execution_timeout": timedelta(minutes=10)},
    tags=["operations", "tier-2"],
    **described(__doc__),
)
def maintenance() -> None:
    """Tidy, value, and clean Airflow where that is asked for, each without the other."""
    TidyOperator(task_id="tidy")
    SnapshotAssetsOperator(task_id="snapshot_assets", pool=KRAKEN_POOL, queue=EXCHANGE_QUEUE)
    if os.environ.get(AIRFLOW_DAYS_KEPT.name):
        CleanAirflowOperator(task_id="clean_airflow")


DAG: Final = maintenance()

"""
### Reconcile positions with Kraken

Every 15 minutes, compare what the database says each account holds with what Kraken holds, explain every
difference from Kraken's own ledger, repair what may be repaired, and record all of it. A run whose interval
is long over reconciles *as of its end*: it books ledger entries that were missed, once, and records how the
books stood then. It asks for no balance and sets no position from the past.

| | |
|---|---|
| Reads | `trading_db`; each account's own connection of type `kraken`; each desk book's own database |
| Writes | `trading`: runs, discrepancies, ledger entries, position events, positions, alerts; a desk's rows |
| Announces | proven positions, as assets: `docs/how-to/run-after-a-proven-sync.md` |
| Re-run | safe: what succeeded for an interval is not done again; trigger a new run to look again |
| Backfill | safe for any past range, in any order; needed only for the history: `docs/how-to/backfill.md` |
| Late after | 15 minutes: the next run is due; see `docs/runbooks/position_sync.md` |
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pendulum
from airflow.sdk import CronDataIntervalTimetable, TaskGroup, TriggerRule, dag

from kraken_airflow.dag_parts.deadlines import due_within
from kraken_airflow.dag_parts.defaults import DEFAULT_ARGS, EXCHANGE_QUEUE, KRAKEN_POOL
from kraken_airflow.dag_parts.form_fields import SYNC_PARAMS
from kraken_airflow.dag_parts.links import described
from kraken_airflow.dag_parts.proven_assets import PROVEN
from kraken_airflow.operators.desk_books import reconcile_desk_books
from kraken_airflow.operators.position_sync import (
    ListAccountsOperator,
    PublishSummaryOperator,
    ReconcileAccountsOperator,
    ReportOutcomeOperator,
)
from kraken_airflow.operators.repair_approval import ask_about_held_plans


def group(name: str, tooltip: str) -> TaskGroup:
    """Make a box in the graph that reads as a sentence; the ids of its tasks stay their own."""
    return TaskGroup(name, group_display_name=name.replace("_", " "), tooltip=tooltip, prefix_group_id=False)


@dag(
    schedule=CronDataIntervalTimetable("*/15 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),
    **due_within(timedelta(minutes=15), narrowed_by={"accounts": [], "mode": "repair"}),
    default_args=DEFAULT_ARGS,
    params=SYNC_PARAMS,
    tags=["reconciliation", "tier-1"],
    **described(__doc__),
)
def position_sync() -> None:
    """Reconcile the accounts in groups, publish what came out, and fail if any was missed."""
    with group("reconcile_every_account", "Ask Kraken about each account, explain what differs, repair it"):
        accounts = ListAccountsOperator(task_id="list_accounts", names="{{ params.accounts | tojson }}")
        runs = ReconcileAccountsOperator.partial(
            task_id="reconcile_accounts",
            mode="{{ params.mode }}",
            tolerance="{{ params.tolerance }}",
            sweep_age_hours="{{ params.sweep_age_hours }}",
            map_index_template="{{ task.name_in_lists() }}",
            **ReconcileAccountsOperator.lineage(),
            pool=KRAKEN_POOL,
            queue=EXCHANGE_QUEUE,
            execution_timeout=timedelta(minutes=10),
        ).expand(accounts=accounts.output)
    with group("reconcile_desk_books_too", "Compare the desk's own tables with what was just proved"):
        books = reconcile_desk_books(runs.output)
    with group("say_what_came_out", "Publish the totals, and fail if an account was missed"):
        summary = PublishSummaryOperator(
            task_id="publish_summary",
            run_ids=runs.output,
            trigger_rule=TriggerRule.ALL_DONE,
            outlets=[PROVEN],
        )
        outcome = ReportOutcomeOperator(
            task_id="report_outcome",
            accounts=accounts.output,
            run_ids=runs.output,
            trigger_rule=TriggerRule.ALL_DONE,
        )
        summary >> outcome
    with group("let_people_decide", "Start one run of repair_approval for each held repair"):
        [runs, books] >> ask_about_held_plans()


DAG: Final = position_sync()

"""
### Let a person decide about a held repair

Asks one question: shall this plan be written? The person sees both quantities, the value, the explanation so
far and what would be written, on the dashboard and under *Required actions*. An approval reads the account
again, and the desk's book where the plan is about one, and writes the plan only if the drift is still exactly
the same. A rejection, or no answer in time (24 hours, or the Variable `repair_approval_hours`), writes
nothing; either is kept with who and when.
`position_sync` starts one run per held plan; it never waits for it.

| | |
|---|---|
| Reads | `trading_db`; for an approval the account's own connection of type `kraken` |
| Writes | `trading`: the decision; for an approval what `position_sync` writes, also to a desk's book |
| Re-run | safe: a plan is decided once and written once; clear `act_on_answer` to go on after a failure |
| Backfill | never: a run belongs to a plan, not to an interval |
| Late after | an hour after people's time to answer is over: see `docs/runbooks/repair_approval.md` |
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pendulum
from airflow.sdk import Param, TriggerRule, dag

from kraken_airflow.dag_parts.approval_runs import APPROVAL_DAG, ASK_TASK, HOURS_DEFAULT, HOURS_VARIABLE
from kraken_airflow.dag_parts.deadlines import due_within
from kraken_airflow.dag_parts.defaults import DEFAULT_ARGS, EXCHANGE_QUEUE, KRAKEN_POOL
from kraken_airflow.dag_parts.links import described
from kraken_airflow.operators.repair_approval import ActOnAnswerOperator, AskForApprovalOperator

PARAMS = {
    "plan_id": Param(
        type="string",
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        title="Plan",
        description="The id of a held plan, as `python -m kraken_recon plan list --held` shows it.",
    ),
}


@dag(
    dag_id=APPROVAL_DAG,
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=100,
    max_active_tasks=100,
    # Longer than anybody may wait for an answer: the wait has its own limit, which says no.
    dagrun_timeout=timedelta(days=31),
    # For recording the answer, after the time that people are given.
    **due_within(timedelta(hours=1), after_hours=(HOURS_VARIABLE, HOURS_DEFAULT), brings_own=True),
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    params=PARAMS,
    tags=["reconciliation", "tier-1"],
    **described(__doc__),
)
def repair_approval() -> None:
    """Ask, then record the answer and act on it."""
    plan_id = "{{ params.plan_id }}"
    answer = AskForApprovalOperator(
        task_id=ASK_TASK,
        plan_id=plan_id,
        hours=f"{{{{ var.value.get('{HOURS_VARIABLE}', '{HOURS_DEFAULT}') }}}}",
        approvers="{{ var.value.get('repair_approvers', '[]') }}",
    )
    ActOnAnswerOperator(
        task_id="act_on_answer",
        plan_id=plan_id,
        answer=answer.output,
        trigger_rule=TriggerRule.ALL_DONE,
        pool=KRAKEN_POOL,
        queue=EXCHANGE_QUEUE,
        execution_timeout=timedelta(minutes=10),
    )


DAG: Final = repair_approval()

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
| Re-run | safe: an order is sent once, whoever runs what again; a decision of a form counts once per run |
| Backfill | pointless: there is no past work |
| Late after | 15 minutes: see `docs/runbooks/order_execution.md` |
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import CronTriggerTimetable, Param, dag

from kraken_airflow.deadlines import due_within
from kraken_airflow.defaults import DEFAULT_ARGS, EXCHANGE_QUEUE, KRAKEN_POOL
from kraken_airflow.links import described
from kraken_airflow.operators.orders import ExecuteOrdersOperator, RecordDecisionOperator

AMOUNT = r"^([0-9]{1,20}(\.[0-9]{1,18})?)?$"


def text(title: str, description: str = "", *, pattern: str | None = None) -> Param:
    """Make a field that may be left empty."""
    rules = {"pattern": pattern} if pattern else {}
    return Param("", type=["null", "string"], title=title, description=description, **rules)


def choice(title: str, *values: str, description: str = "") -> Param:
    """Make a field with fixed values, the first of which is preset."""
    return Param(values[0], type="string", enum=list(values), title=title, description=description)


PARAMS = {
    "account": text("Account", "Leave empty to decide nothing, and only work on what is there."),
    "pair": text("Pair", "Such as BTC/USD."),
    "side": choice("Side", "", "buy", "sell"),
    "type": choice("Type", "", "market", "limit", "stop-loss", "take-profit"),
    "volume": text("Volume", "In units of the base asset; or give a portion.", pattern=AMOUNT),
    "portion": text("Portion", "Of what is available, above 0 up to 1.", pattern=AMOUNT),
    "limit_price": text("Limit price", pattern=AMOUNT),
    "trigger_price": text("Trigger price", "Of a stop-loss or take-profit order.", pattern=AMOUNT),
    "expected_price": text("Expected price", "What the slippage is measured against.", pattern=AMOUNT),
    "time_in_force": choice("Time in force", "GTC", "IOC", "GTD"),
    "expires_at": text("Expires at", "With GTD: a time such as 2026-01-31T12:00:00Z."),
    "post_only": Param(default=False, type="boolean", title="Post only"),
    "validate": Param(default=False, type="boolean", title="Dry run", description="Kraken only checks it."),
    "source": choice("Source", "manual", "matching", "ai"),
    "reason": text("Reason", "Why; kept with the order."),
    "ai_model": text("Model"),
    "ai_prompt_sha256": text("Hash of the prompt", "64 hexadecimal digits."),
    "ai_answer": text("Raw answer of the model"),
}


@dag(
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=2,
    dagrun_timeout=timedelta(minutes=15),
    **due_within(timedelta(minutes=15)),
    default_args=DEFAULT_ARGS,
    params=PARAMS,
    tags=["orders", "tier-1"],
    **described(__doc__),
)
def order_execution() -> None:
    """Keep the form's decision, if there is one, then do all the work there is."""
    decision = RecordDecisionOperator(
        task_id="record_decision",
        decision="{{ params | tojson }}",
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


order_execution()

"""
### Verify every order that ended

Within seconds of an order's end, and every 5 minutes in any case, check the order against every book:
Kraken's order, its trades, its ledger, the balances before and after, and our own fills and positions. Orders
are claimed from the table, so two runs at once share the work, and nothing is lost with an event. A verdict
never changes an order, a position or the next trade.

| | |
|---|---|
| Reads | `trading_db`; each account's own connection of type `kraken` |
| Writes | `trading`: verifications, levels, rates, alerts; fills and ledger entries that were missing |
| Re-run | safe: a final verdict is written once; what a run left is claimed again when its lease ends |
| Backfill | not needed: each run takes everything that is due, however old |
| Late after | 15 minutes: see `docs/runbooks/order_verification.md` |
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pendulum
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag

from kraken_airflow.dag_parts.deadlines import due_within
from kraken_airflow.dag_parts.defaults import DEFAULT_ARGS, EXCHANGE_QUEUE, KRAKEN_POOL
from kraken_airflow.dag_parts.links import described
from kraken_airflow.dag_parts.orders_ended_asset import ORDERS_ENDED
from kraken_airflow.sensors.order_verification import OrderVerificationSensor


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("*/5 * * * *", timezone="UTC"), assets=[ORDERS_ENDED]
    ),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=2,
    dagrun_timeout=timedelta(minutes=20),
    default_args=DEFAULT_ARGS,
    **due_within(timedelta(minutes=15)),
    tags=["orders", "tier-1"],
    **described(__doc__),
)
def order_verification() -> None:
    """Claim and verify what is due, watch what is not there yet, and publish the failure rates."""
    # One task: each further one would keep a run, and with it the next event's, waiting for a second or two.
    OrderVerificationSensor(
        task_id="verify_orders",
        deferrable=True,
        pool=KRAKEN_POOL,
        queue=EXCHANGE_QUEUE,
        execution_timeout=timedelta(minutes=10),
    )


DAG: Final = order_verification()

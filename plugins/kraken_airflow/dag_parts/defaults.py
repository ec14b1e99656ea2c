"""What every task of this project starts from; a task that needs something else says so in its DAG."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from kraken_airflow.dag_parts.deadlines import tell_of_failed_task
from kraken_recon import settings

OWNER: Final = "kraken-recon"
KRAKEN_POOL: Final = settings.POOL.name
DESK_POOL: Final = settings.DESK_POOL.name
# Of a task that calls Kraken, for executors with queues: of the workers only its own need a way out.
EXCHANGE_QUEUE: Final = settings.EXCHANGE_QUEUE.name

DEFAULT_ARGS: Final[dict[str, Any]] = {
    "owner": OWNER,
    "retries": 2,
    # Airflow adds up to as much again: 10 to 20 seconds, then 20 to 40. The longest wait is for whoever gives
    # a task more retries.
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=2),
    "execution_timeout": timedelta(minutes=2),
    "on_failure_callback": tell_of_failed_task,
}

"""What every task of this project starts from; a task that needs something else says so in its DAG.

And fields of trigger forms that need many words.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from airflow.sdk import Param

KRAKEN_POOL: Final = "kraken_api"

DEFAULT_ARGS: Final[dict[str, Any]] = {
    "owner": "kraken-recon",
    "retries": 2,
    "retry_delay": timedelta(seconds=15),
    "execution_timeout": timedelta(minutes=2),
}

SWEEP_AGE_HOURS: Final = Param(
    24,
    type="integer",
    minimum=1,
    maximum=744,
    title="Sweep age (hours)",
    description="An account's ledger is read and proved in any case once its last proof is nearly this old, "
    "even if its balances agree: entries that cancel out show in no balance.",
)

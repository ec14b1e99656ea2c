"""What every task of this project starts from; a task that needs something else says so in its DAG."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

KRAKEN_POOL: Final = "kraken_api"

DEFAULT_ARGS: Final[dict[str, Any]] = {
    "owner": "kraken-recon",
    "retries": 2,
    "retry_delay": timedelta(seconds=15),
    "execution_timeout": timedelta(minutes=2),
}

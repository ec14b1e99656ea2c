"""Say by the exit status whether a worker answers: ``python -m kraken_airflow.worker_check celery@HOST``.

It asks the broker by itself. Celery's own command, with Airflow's application, imports all of Airflow first,
which takes seconds of a processor at every check.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from celery import Celery

BROKER: Final = "AIRFLOW__CELERY__BROKER_URL"
ANSWER_SECONDS: Final = 5


def _broker() -> str:
    """Read the broker's address as Airflow does: from its variable, or from the command that prints it."""
    if address := os.environ.get(BROKER):
        return address
    command = os.environ[f"{BROKER}_CMD"]
    # The deployment's own configuration, which Airflow runs in the same way.
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


def main() -> int:
    """Ask the named worker; return the exit status."""
    app = Celery(broker=_broker())
    return 0 if app.control.ping(destination=sys.argv[1:], timeout=ANSWER_SECONDS) else 1


if __name__ == "__main__":
    sys.exit(main())

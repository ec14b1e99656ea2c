"""Say by the exit status whether a worker answers: ``python -m kraken_airflow.worker_check celery@HOST``.

0 it does, 1 it does not, 2 the broker does not, of which the worker is not to blame.

It asks the broker by itself. Celery's own command, with Airflow's application, imports all of Airflow first,
which takes seconds of a processor at every check.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from celery import Celery
from kombu.exceptions import OperationalError

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
    try:
        with app.connection_for_write(connect_timeout=ANSWER_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, timeout=ANSWER_SECONDS)
            return 0 if app.control.ping(sys.argv[1:], ANSWER_SECONDS, connection=broker) else 1
    except OperationalError:
        return 2


if __name__ == "__main__":
    sys.exit(main())

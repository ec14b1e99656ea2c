"""A run that is told to stop ends within seconds, even while it waits for an exchange that is down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psycopg

from desks.logins import as_writer
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from conftest import Simulator

# Airflow ends a task by an exception in its main thread; an interrupt is the same thing without Airflow.
STOP_TIMEOUT_SECONDS = 4


def test_interrupted_run_ends_while_its_exchange_is_down(
    simulator: Simulator, database_url: str, project_environment: dict[str, str]
) -> None:
    account = {"name": "desk", "api_key": "desk-key", "api_secret": "c2VjcmV0"}
    simulator.control.post("accounts", {**account, "tier": "unlimited"})
    simulator.control.post("faults", {"name": "http_error", "status": 503})
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into trading.accounts (name, kraken_conn_id) select 'desk' || n, 'desk'"
            " from generate_series(1, 12) n"
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "kraken_recon", "sync", *(f"--account=desk{n}" for n in range(1, 13))],
            env=project_environment
            | {
                "KRAKEN_RECON_DSN": as_writer(database_url),
                "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
                "AIRFLOW_CONN_DESK": json.dumps(
                    {"conn_type": "kraken", "login": "desk-key", "password": "c2VjcmV0",
                     "host": simulator.base_url, "extra": {"tier": "unlimited"}}
                ),
            },
            stderr=subprocess.PIPE,
        )  # fmt: skip
        poll_until(lambda: bool(simulator.control.get("faults")[0]["fired"]), timeout_seconds=60)
        asked_to_stop = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode != 0
        assert time.monotonic() - asked_to_stop < STOP_TIMEOUT_SECONDS

        def sessions() -> int:
            row = connection.execute(
                "select count(*) from pg_stat_activity where application_name like 'kraken_recon%'"
            ).fetchone()
            return row[0] if row else -1

        poll_until(lambda: sessions() == 0, timeout_seconds=5)
        assert sessions() == 0

"""The tasks of ``maintenance``: keep the database in shape, and what accounts are worth on record."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.exceptions import AirflowSkipException
from sqlalchemy import URL

from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_airflow.operators.base import TradingDbOperator
from kraken_airflow.telemetry.metrics import metered
from kraken_airflow.telemetry.task_log import counted
from kraken_recon.alerts.silence_rules import Job
from kraken_recon.database.addresses import connection_parameters
from kraken_recon.errors import ConfigurationError, StoreError
from kraken_recon.maintenance.maintaining import render_maintenance, snapshot_assets, tidy
from kraken_recon.plain_text import as_line
from kraken_recon.settings import AIRFLOW_DAYS_KEPT, AIRFLOW_DB_CLEAN
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context


CLEAN_HOUR: Final = 3
DAYS_KEPT_MIN: Final = 7
OUTPUT_LINES_TOLD: Final = 20


class TidyOperator(TradingDbOperator):
    """Make and drop partitions, forget old rows, give orphaned claims back, and seal what was written."""

    page = "database"
    WRITES = (
        "asset_snapshots",
        "asset_snapshot_rows",
        "session_samples",
        "alert_notifications",
        "repair_plans",
        "repair_plan_rows",
        "verification_rates",
        "order_verifications",
        "seals",
        "seals_due",
    )

    def work(self, _: Context, hook: TradingDbHook) -> dict[str, int]:
        """Do every step, log what was done, and fail if one of them failed."""
        with metered(hook.wiring()) as wiring:
            view = tidy(wiring.maintaining_ports())
            self.leave_heartbeat(Job.MAINTENANCE)
        self.tell([f"Tidied: {', '.join(render_maintenance({**view, 'failed': []}))}", *view["failed"]])
        if view["failed"]:
            raise StoreError("; ".join(view["failed"]))
        done: dict[str, int] = view["done"]
        return done


class SnapshotAssetsOperator(TradingDbOperator):
    """Value every open account at Kraken's prices, once an hour."""

    READS = ("accounts", "positions")
    WRITES = ("asset_snapshots", "asset_snapshot_rows")

    def work(self, _: Context, hook: TradingDbHook) -> int:
        """Keep the values, and fail if accounts had no prices; a retry goes on with those alone."""
        with metered(hook.wiring()) as wiring:
            view = snapshot_assets(wiring.maintaining_ports())
        self.tell(
            [
                f"Valued at Kraken's prices: {counted(view['snapshots'], 'account')}",
                f"Valued anew, as their books are known now: {counted(view['revised'], 'hour')}",
                *view["failed"],
            ]
        )
        if view["failed"]:
            raise StoreError("; ".join(view["failed"]))
        snapshots: int = view["snapshots"]
        return snapshots


class CleanAirflowOperator(TradingDbOperator):
    """Delete Airflow's own old records by its own command, in one run a day and in all that people start.

    A task may not use Airflow's database, and this one does not: the command is a program of its own, which
    is given the address by a connection that somebody made for it.

    Args:
        clean_conn_id: connection of Airflow's database, as who owns it.
    """

    page = "database"
    template_fields = (*TradingDbOperator.template_fields, "clean_conn_id")

    def __init__(self, *, clean_conn_id: str = AIRFLOW_DB_CLEAN.name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clean_conn_id = clean_conn_id

    def work(self, context: Context, _: TradingDbHook) -> None:
        """Run the command and log what it says; fail if a table could not be cleaned."""
        run = context["dag_run"]
        if run.run_type == "scheduled" and run.run_after.hour != CLEAN_HOUR:
            raise AirflowSkipException(f"Airflow's records are cleaned in the run of {CLEAN_HOUR}:00 UTC")
        before = utc_now() - timedelta(days=days_kept(os.environ))
        command = [
            *(sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive"),
            *("--clean-before-timestamp", before.isoformat(), "--batch-size", "10000"),
            "--error-on-cleanup-failure",
        ]
        # What Airflow set to keep this task's own code from its database.
        kept_from_it = {f"AIRFLOW__{section}__SQL_ALCHEMY_CONN" for section in ("CORE", "DATABASE")}
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("_AIRFLOW") and name not in kept_from_it
        }
        environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = as_airflow_writes_it(
            TradingDbHook(self.clean_conn_id).dsn()
        )
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        for line in [*done.stdout.splitlines(), *done.stderr.splitlines()][-OUTPUT_LINES_TOLD:]:
            self.log.info("%s", as_line(line))
        if done.returncode:
            raise StoreError("`airflow db clean` left tables as they were; the task's log has its last lines")


def as_airflow_writes_it(dsn: str) -> str:
    """Write an address of libpq's, as Airflow reads its own; it holds the password."""
    rest = connection_parameters(dsn)
    user, password, database = (rest.pop(name, None) for name in ("user", "password", "dbname"))
    url = URL.create("postgresql+psycopg2", user, password, database=database, query=rest)
    return url.render_as_string(hide_password=False)


def days_kept(environment: Mapping[str, str]) -> int:
    """Read for how many days Airflow's records are kept.

    Raises:
        ConfigurationError: it is no whole number, or so small that runs still at work would lose theirs.
    """
    told = environment.get(AIRFLOW_DAYS_KEPT.name, "")
    if not told.isdecimal() or int(told) < DAYS_KEPT_MIN:
        raise ConfigurationError(
            f"{AIRFLOW_DAYS_KEPT.name}: expected whole days, {DAYS_KEPT_MIN} or more, was {told!r}"
        )
    return int(told)

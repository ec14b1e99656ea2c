"""What every task on the trading database has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from kraken_airflow.dag_parts.failures import translated_failures
from kraken_airflow.dag_parts.form_fields import unknown_fields
from kraken_airflow.dag_parts.links import OnDashboard
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_airflow.telemetry.lineage import Lineage
from kraken_airflow.telemetry.task_log import story
from kraken_recon.alerts.heartbeats import beat
from kraken_recon.errors import RunStoppedError, StoreError
from kraken_recon.plain_text import as_line
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from airflow.sdk import Context

    from kraken_recon.alerts.silence_rules import Job


class TradingDbTask(OnDashboard, Lineage, BaseOperator):
    """A task on the trading database that tells where to look, and ends when Airflow tells it to.

    Args:
        trading_conn_id: connection of the trading database.
    """

    template_fields: Sequence[str] = ("trading_conn_id",)

    def __init__(self, *, trading_conn_id: str = "trading_db", **kwargs: Any) -> None:
        super().__init__(**(self.lineage() | kwargs))
        self.trading_conn_id = trading_conn_id

    def hook(self) -> TradingDbHook:
        """Lead to the trading database, in the name of this task."""
        return TradingDbHook(self.trading_conn_id)

    def tell(self, lines: Sequence[str]) -> None:
        """Log what was asked and what came of it, in few lines that end with where to look."""
        for line in story(lines, self.dashboard_page()):
            self.log.info("%s", as_line(line))

    def leave_heartbeat(self, job: Job) -> None:
        """Keep that a job has just worked; work that is done does not fail for want of a sign of it."""
        try:
            beat(self.hook().unit_of_work, job, utc_now())
        except StoreError as error:
            self.log.warning("no heartbeat of %s could be left: %s", job, error)

    def on_kill(self) -> None:
        """Interrupt what the task is doing: Airflow itself only calls this, and waits.

        Raises:
            RunStoppedError: always, in the main thread, so that every session is closed on the way out.
        """
        raise RunStoppedError("the task was told to end")


class TradingDbOperator(TradingDbTask):
    """A task that does its work at once."""

    # Airflow hands on what no field of the form is named like, and nobody would read it.
    refuses_unknown_fields: ClassVar = True

    def pre_execute(self, context: Context) -> None:
        """Refuse a run that was given a field which its DAG does not have, before anything is done."""
        if self.refuses_unknown_fields:
            unknown = unknown_fields(context["dag_run"].conf, context["dag"].params)
            if unknown:
                raise AirflowFailException(f"nothing is done: {unknown}")

    def execute(self, context: Context) -> Any:
        """Work; an error that does not pass by itself fails the task without a retry."""
        with translated_failures():
            return self.work(context, self.hook())

    def work(self, context: Context, hook: TradingDbHook) -> Any:
        """Do what the task is for, and return what the next ones need of it."""
        raise NotImplementedError


def run_ids_of(groups: Sequence[Sequence[str]] | None) -> list[UUID]:
    """Read the ids of runs that mapped tasks returned, of all of them; none where they were skipped."""
    # The slice fetches what all mapped tasks returned at once; a loop would ask one by one until an error.
    return [UUID(run_id) for group in (groups or [])[:] for run_id in group]

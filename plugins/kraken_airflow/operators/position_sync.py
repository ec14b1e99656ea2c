"""The tasks of ``position_sync``: who is to be reconciled, reconcile, say what came out.

Only names and run ids travel between tasks; amounts stay in the database, where they are exact.
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from kraken_airflow.dag_parts.failures import AlertedFailure
from kraken_airflow.dag_parts.proven_assets import announce
from kraken_airflow.dag_parts.run_interval import is_for_the_past, window_of
from kraken_airflow.operators.base import TradingDbOperator, run_ids_of
from kraken_airflow.telemetry.data_quality import Agreement
from kraken_airflow.telemetry.lineage import BOOKED, table
from kraken_airflow.telemetry.metrics import metered, publish_sync
from kraken_airflow.telemetry.task_log import (
    account_lines,
    counted,
    difference_lines,
    label_of,
    named,
    total_line,
)
from kraken_recon.accounts.store import AccountStore
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.alerts.silence_rules import Job
from kraken_recon.alerts.telling import watch_freshness
from kraken_recon.errors import AccountsLeftError, ConfigurationError, StoreError
from kraken_recon.plain_text import as_line
from kraken_recon.reconciliation.backfill import reconcile_as_of
from kraken_recon.reconciliation.forecasting import plan_run, slots_of, tell_forecast
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.rules.run import DagRun
from kraken_recon.reconciliation.run import SyncRequest, sweep_age_of
from kraken_recon.reconciliation.sync import accounts_in_turn, sync_accounts
from kraken_recon.reports.report import report_of_runs
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.terminal import render_report
from kraken_recon.settings import SYNC_SLOTS
from kraken_recon.values.intervals import RUN_INTERVAL
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from airflow.sdk import Context

    from kraken_airflow.hooks.trading_db import TradingDbHook
    from kraken_recon.accounts.account import Account
    from kraken_recon.reconciliation.forecasting import PlannedRun

LATE_TOLD_MAX: Final = 5
RUNBOOK: Final = "docs/runbooks/position_sync.md"


class ListAccountsOperator(TradingDbOperator):
    """Name the accounts of this run, in groups by what they took lately: each is one mapped task's work.

    Args:
        names: JSON array of account names; empty or null for every active account.
    """

    template_fields = (*TradingDbOperator.template_fields, "names")
    READS = ("accounts", "ledger_entries", "reconciliation_runs", "residuals")
    WRITES = ("alerts",)

    def __init__(self, *, names: str = "[]", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = names

    def work(self, context: Context, hook: TradingDbHook) -> list[list[str]]:
        """Find the accounts, and say whether the run will do them all in time."""
        names = json.loads(self.names) or None
        # A run for the past calls for no balance, and its deadline is that of all of them together.
        due = utc_now() if is_for_the_past(context) else context["dag_run"].run_after
        with hook.unit_of_work() as unit:
            accounts = accounts_in_turn(unit, names, utc_now())
            if not accounts:
                raise ConfigurationError(
                    "no account is active, so nothing is reconciled; add one, or pause the DAG"
                )
            planned = plan_run(
                unit,
                accounts,
                seconds_left=(due + RUN_INTERVAL - utc_now()).total_seconds(),
                slots=min(self._slots(), conf.getint("core", "parallelism")),
                budget_seconds_of=hook.wiring().budget_seconds,
            )
        if names is None and not is_for_the_past(context):
            self._tell_forecast(hook, planned)
        listed = [account.name for account in accounts]
        self.tell(
            [
                f"To reconcile, the most pressing first: {named(listed)} ({counted(len(listed), 'account')})",
                planned.forecast.told,
                *(f"not in time: {one.name}: {one.why}" for one in planned.forecast.late[:LATE_TOLD_MAX]),
            ]
        )
        return [group.names for group in planned.groups]

    def _slots(self) -> int:
        """Read how many tasks run at a time; what only the forecast asks for keeps no run from starting."""
        try:
            return slots_of(os.environ)
        except ConfigurationError as error:
            self.log.error("The forecast takes %s: %s", SYNC_SLOTS.default, as_line(str(error)))  # noqa: TRY400 - not a defect
            return slots_of({})

    def _tell_forecast(self, hook: TradingDbHook, planned: PlannedRun) -> None:
        """Raise or end the alert; whoever holds the alerts keeps no run from starting."""
        try:
            with hook.unit_of_work() as unit:
                tell_forecast(unit, planned)
                unit.commit()
        except StoreError as error:
            told = as_line(f"{type(error).__name__}: {error}")
            self.log.warning("Whether all accounts fit could not be put on record: %s", told)


class ReconcileAccountsOperator(TradingDbOperator):
    """Reconcile a group of accounts; what fails for one account is its run's status, not this task's.

    Args:
        accounts: their names.
        mode: ``repair`` or ``dry_run``.
        tolerance: the largest unexplained residual that is left alone, in units of any asset.
        sweep_age_hours: how old the last proof of a ledger may become before it is read in any case.
    """

    template_fields = (*TradingDbOperator.template_fields, "accounts", "mode", "tolerance", "sweep_age_hours")
    BOOKS = ("BalanceEx", "Ledgers", "OpenPositions")
    READS = ("accounts", "tolerances", "positions", "ledger_entries", "position_events", "residuals")
    WRITES = (
        "accounts",
        *BOOKED,
        "residuals",
        "margin_positions",
        "margin_position_events",
        "margin_checks",
        "reconciliation_runs",
        "discrepancies",
        "repair_plans",
        "repair_plan_rows",
        "alerts",
    )

    def __init__(
        self,
        *,
        accounts: Sequence[str],
        mode: str,
        tolerance: str,
        sweep_age_hours: str = "24",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.accounts = accounts
        self.mode = mode
        self.tolerance = tolerance
        self.sweep_age_hours = sweep_age_hours

    def name_in_lists(self) -> str:
        """Name the task in Airflow's lists by its accounts, as many as fit."""
        return label_of(self.accounts)

    def dashboard_page(self) -> str:
        """Lead to the account's own page where the task has but one, else to all of them."""
        return f"account?{urlencode({'name': self.accounts[0]})}" if len(self.accounts) == 1 else ""

    def work(self, context: Context, hook: TradingDbHook) -> list[str]:
        """Reconcile, log one line per account, and return the ids of the runs."""
        window = window_of(context)
        request = SyncRequest(
            window.interval,
            Mode(self.mode),
            Policy(Tolerance(Decimal(self.tolerance))),
            trigger=str(context["dag_run"].run_type.value),
            dag_run=DagRun(context["dag"].dag_id, str(context["dag_run"].run_id)),
            sweep_age=sweep_age_of(float(self.sweep_age_hours)),
        )
        # One that was paused since it was listed is nobody's failure.
        listed = frozenset(self.accounts)
        accounts = [account for account in _active(hook) if account.name in listed]
        reconcile = reconcile_as_of if window.is_past else sync_accounts
        with metered(hook.wiring()) as wiring:
            try:
                run_ids = reconcile(accounts, request, wiring.sync_ports())
            except AccountsLeftError as error:
                # What is done is summed up by the tasks that follow, although this one fails.
                done = [str(run_id) for run_id in error.run_ids]
                context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=done)
                raise
        if not window.is_past:
            self.leave_heartbeat(Job.POSITION_SYNC)
        asked = f"{self.mode}, tolerance {self.tolerance}: {named(list(self.accounts))}"
        report = _read_report(hook, run_ids)
        agreed = sum(account["matched"] for account in report["accounts"])
        checked = sum(account["checked"] for account in report["accounts"])
        self.agreements = [Agreement(table("positions"), agreed, checked - agreed)]
        self.tell([window.told, asked, *account_lines(report)])
        return [str(run_id) for run_id in run_ids]


class PublishSummaryOperator(TradingDbOperator):
    """Log what a trader wants to know of this run, and return its totals; all of it at DEBUG.

    Args:
        run_ids: what each mapped task returned.
    """

    template_fields = (*TradingDbOperator.template_fields, "run_ids")
    page = "differences"
    READS = ("accounts", "reconciliation_runs", "discrepancies", "alerts")
    WRITES = ("alerts",)

    def __init__(self, *, run_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_ids = run_ids

    def work(self, context: Context, hook: TradingDbHook) -> dict[str, int]:
        """Read the runs back, log what differed, announce what is proven, and return the totals."""
        # Else the report of a run says that what it has just proven was not proven for long.
        watch_freshness(hook.unit_of_work, utc_now())
        report = _read_report(hook, run_ids_of(self.run_ids))
        active = {account.name for account in _active(hook)}
        if not report["accounts"]:
            raise AirflowSkipException("no account was asked, so there is nothing to publish")
        alerts = counted(len(report["alerts"]), "open alert")
        self.tell([total_line(report), alerts, *difference_lines(report)])
        self.log.debug("%s", "\n".join(("", *render_report(report))))
        publish_sync(report)
        announce(context, report, active)
        totals: dict[str, int] = report["totals"]
        return totals


class ReportOutcomeOperator(TradingDbOperator):
    """Fail, by name, for every account that this run left unreconciled.

    The other accounts' work stays done. An account that nobody has checked is an incident, so the DAG run
    must not be green; that one account failed must not keep the others from being reconciled either.

    Args:
        accounts: the groups that were to be reconciled.
        run_ids: what each mapped task returned.
    """

    template_fields = (*TradingDbOperator.template_fields, "accounts", "run_ids")
    READS = ("reconciliation_runs",)

    def __init__(self, *, accounts: Any, run_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.accounts = accounts
        self.run_ids = run_ids

    def work(self, _: Context, hook: TradingDbHook) -> None:
        """Compare the accounts that were listed with the runs that ended well."""
        report = _read_report(hook, run_ids_of(self.run_ids))
        active = {account.name for account in _active(hook)}
        listed = [name for group in self.accounts or () for name in group]
        if not listed:
            raise AlertedFailure(f"no accounts were listed: see the log of list_accounts, and {RUNBOOK}")
        listed = [name for name in listed if name in active]
        problems = unreconciled(listed, report)
        if problems:
            raise AlertedFailure(
                f"{len(problems)} of {len(listed)} accounts were not reconciled; {RUNBOOK} says what to do\n"
                + "\n".join(problems)
            )
        self.tell([f"Nobody was missed: {counted(len(listed), 'account')} reconciled"])


def unreconciled(listed: Iterable[str], report: Mapping[str, Any]) -> list[str]:
    """Say of each account without a good run what is wrong; a moving account is left to the next run."""
    by_name = {account["account"]: account for account in report["accounts"]}
    problems = []
    for name in listed:
        account = by_name.get(name)
        if account is None:
            problems.append(f"{name}: its task failed before it could be recorded")
        elif account["status"] == "failed":
            problems.append(f"{name}: {account['error']}")
    return problems


def _active(hook: TradingDbHook) -> list[Account]:
    with hook.unit_of_work() as unit:
        return AccountStore(unit).find_accounts(None)


def _read_report(hook: TradingDbHook, run_ids: Sequence[UUID]) -> dict[str, Any]:
    with hook.unit_of_work() as unit:
        return report_of_runs(ReportStore(unit), run_ids)

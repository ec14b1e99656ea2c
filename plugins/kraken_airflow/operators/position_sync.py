"""The tasks of ``position_sync``: who is to be reconciled, reconcile, judge desk books, say what came out.

Only names and run ids travel between tasks; amounts stay in the database, where they are exact.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from airflow.sdk import TriggerRule
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from kraken_airflow.dag_parts.defaults import DESK_POOL, EXCHANGE_QUEUE
from kraken_airflow.dag_parts.failures import AlertedFailure
from kraken_airflow.dag_parts.proven_assets import announce
from kraken_airflow.dag_parts.run_interval import is_for_the_past, window_of
from kraken_airflow.hooks.desk_book import DeskBookHook
from kraken_airflow.hooks.kraken import KrakenHook
from kraken_airflow.operators.base import TradingDbOperator
from kraken_airflow.telemetry.data_quality import Agreement
from kraken_airflow.telemetry.lineage import BOOKED, desk_agreements, desk_lineage, table
from kraken_airflow.telemetry.metrics import metered, publish_sync
from kraken_airflow.telemetry.task_log import (
    account_lines,
    counted,
    difference_lines,
    named,
    total_line,
)
from kraken_recon.accounts.store import AccountStore
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.alerts.silence_rules import Job
from kraken_recon.alerts.telling import watch_freshness
from kraken_recon.desk_books.declaring import folder_of, read_books
from kraken_recon.desk_books.run import reconcile_book, settle_books
from kraken_recon.desk_books.store import DeskBookStore
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

    from airflow.sdk import Context

    from kraken_airflow.hooks.trading_db import TradingDbHook
    from kraken_recon.accounts.account import Account
    from kraken_recon.desk_books.declaring import DeclaredBook
    from kraken_recon.desk_books.diffing import DeskBookPorts
    from kraken_recon.desk_books.run import BookOutcome
    from kraken_recon.reconciliation.forecasting import PlannedRun

LATE_TOLD_MAX: Final = 5
LABEL_LENGTH_MAX: Final = 250  # task_instance.rendered_map_index
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
        report = _read_report(hook, _uuids(self.run_ids))
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
        report = _read_report(hook, _uuids(self.run_ids))
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


class ListDeskBooksOperator(TradingDbOperator):
    """Name the desk books that are declared, and end what is still told of others."""

    page = "differences"
    READS = ("desk_writes",)
    WRITES = ("desk_writes", "repair_plans", "alerts")

    def work(self, _: Context, hook: TradingDbHook) -> list[str]:
        """Read the folder of declarations; a file with mistakes in it is a book that cannot be judged."""
        folder = folder_of(os.environ)
        declared = read_books(folder)
        if folder.is_dir():
            settle_books(declared, desk_book_ports(hook))
        names = [one.name for one in declared]
        self.tell([f"Declared in {folder}: {named(names)} ({counted(len(names), 'desk book')})"])
        return names


class ReconcileDeskBookOperator(TradingDbOperator):
    """Judge one desk book for the accounts that this run proved, and write what it allows.

    A book that cannot be read is told of in an alert, and is judged by the next run.

    Args:
        book: its name.
        run_ids: what each mapped task that reconciled accounts returned.
    """

    template_fields = (*TradingDbOperator.template_fields, "book", "run_ids")
    page = "differences"
    BOOKS = ("OpenOrders", "ClosedOrders", "QueryOrders")
    READS = (
        *("accounts", "reconciliation_runs", "positions", "ledger_entries", "fills", "asset_costs"),
        "order_books",
    )
    WRITES = (
        "desk_book_runs",
        "desk_differences",
        "desk_standings",
        "desk_writes",
        "desk_orders",
        "desk_order_reads",
        "orders",
        "order_events",
        "order_verifications",
        "repair_plans",
        "repair_plan_rows",
        "alerts",
    )

    def __init__(self, *, book: str, run_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.book = book
        self.run_ids = run_ids

    def name_in_lists(self) -> str:
        """Name the task in Airflow's lists by its book."""
        return label_of([self.book])

    def work(self, _: Context, hook: TradingDbHook) -> None:
        """Judge the book; the folder is read again, because the file may lie on another machine by now."""
        declared = next((one for one in read_books(folder_of(os.environ)) if one.name == self.book), None)
        if declared is None:
            self.tell([f"{self.book} is not declared on this machine"])
            return
        outcome = reconcile_book(declared, _uuids(self.run_ids), desk_book_ports(hook))
        self._name_tables(declared, outcome)
        self.tell(outcome.lines)

    def _name_tables(self, declared: DeclaredBook, outcome: BookOutcome) -> None:
        """Add the desk's tables to the lineage; a connection that cannot be used is told of by the run."""
        if declared.book is None:
            return
        with suppress(ConfigurationError):
            address = DeskBookHook(declared.book.connection).address()
            tables = desk_lineage(declared.book, address)
            self.inlets = [*self.inlets, *tables["inlets"]]
            self.outlets = [*self.outlets, *tables["outlets"]]
            self.agreements = desk_agreements(declared.book, address, outcome.accounts)


class PublishDeskBooksOperator(TradingDbOperator):
    """Log how many accounts stand how in each desk book after this run, and return that.

    It is the last task about desk books, so that none of them decides how the run ends.

    Args:
        run_ids: what each mapped task that reconciled accounts returned.
    """

    template_fields = (*TradingDbOperator.template_fields, "run_ids")
    page = "differences"
    READS = ("desk_book_runs",)

    def __init__(self, *, run_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_ids = run_ids

    def work(self, _: Context, hook: TradingDbHook) -> dict[str, dict[str, int]]:
        """Count the accounts of each book by how they stand."""
        with hook.unit_of_work() as unit:
            counts = DeskBookStore(unit).counts_of_runs(_uuids(self.run_ids))
        lines = [
            f"{book}: " + ", ".join(f"{counted(n, 'account')} {status}" for status, n in sorted(of.items()))
            for book, of in counts.items()
        ]
        self.tell(lines or ["No desk book was judged"])
        return counts


def label_of(names: Sequence[str]) -> str:
    """Write names for Airflow's lists; the column is bounded, and a longer text would fail the task's end."""
    shown = named(names)
    return shown if len(shown) <= LABEL_LENGTH_MAX else shown[: LABEL_LENGTH_MAX - 1] + "…"


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


def _uuids(groups: Sequence[Sequence[str]] | None) -> list[UUID]:
    # The slice fetches what all mapped tasks returned at once; a loop would ask one by one until an error.
    return [UUID(run_id) for group in (groups or [])[:] for run_id in group]


def desk_book_ports(hook: TradingDbHook) -> DeskBookPorts:
    """Wire the books of desks to the databases and the keys that Airflow's connections name."""
    return hook.wiring().desk_book_ports(
        lambda connection: DeskBookHook(connection).address(),
        lambda connection: KrakenHook(connection).credentials(),
    )


def reconcile_desk_books(run_ids: Any) -> PublishDeskBooksOperator:
    """Add the tasks that judge each desk book by what these runs proved; return the last of them."""
    books = ListDeskBooksOperator(task_id="list_desk_books")
    judged = ReconcileDeskBookOperator.partial(
        task_id="reconcile_desk_books",
        run_ids=run_ids,
        map_index_template="{{ task.name_in_lists() }}",
        **ReconcileDeskBookOperator.lineage(),
        trigger_rule=TriggerRule.ALL_DONE,
        pool=DESK_POOL,
        queue=EXCHANGE_QUEUE,
        # The next run judges again, and must not have to wait for this one.
        retries=1,
        execution_timeout=timedelta(minutes=5),
    ).expand(book=books.output)
    # The last task decides how the run ended: a desk's database is no reason for a run to fail. Where no book
    # is declared there is nothing to say, and no process is started for it.
    told = PublishDeskBooksOperator(
        task_id="publish_desk_books", run_ids=run_ids, trigger_rule=TriggerRule.NONE_SKIPPED
    )
    judged >> told
    return told

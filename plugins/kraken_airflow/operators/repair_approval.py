"""The tasks by which a person decides about a held repair: find what to ask, ask, and act on the answer.

Only ids, names, times and text travel between tasks; amounts stay in the database, where they are exact.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import TriggerRule
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from kraken_airflow.dag_parts.approval_runs import (
    APPROVAL_DAG,
    APPROVE,
    REJECT,
    approval_run_id,
    open_approvals,
    repair_path,
)
from kraken_airflow.dag_parts.failures import translated_failures
from kraken_airflow.dag_parts.links import DASHBOARD, OnDashboard, airflow_path
from kraken_airflow.operators.base import TradingDbOperator, TradingDbTask
from kraken_airflow.operators.desk_books import ReconcileDeskBookOperator, desk_book_ports
from kraken_airflow.operators.position_sync import ReconcileAccountsOperator
from kraken_airflow.telemetry.metrics import metered
from kraken_airflow.telemetry.task_log import counted
from kraken_recon.accounts.store import AccountStore
from kraken_recon.errors import ConfigurationError
from kraken_recon.holdings.pricing import ask_for_prices
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.plans.plan import PlanStatus
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.run import DagRun
from kraken_recon.repairs.deciding import approve, expire, held_plan, reject
from kraken_recon.repairs.desk_plans import DeskBooks
from kraken_recon.repairs.question import case_markdown, case_subject
from kraken_recon.repairs.view import case_of
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from airflow.sdk import Context

    from kraken_airflow.hooks.trading_db import TradingDbHook


class ListHeldPlansOperator(TradingDbOperator):
    """Name the approval runs that held plans need; a run that exists already was asked before."""

    page = "wants"
    READS = ("repair_plans",)

    def work(self, _: Context, hook: TradingDbHook) -> list[dict[str, Any]]:
        """Read the open held plans that nobody decided about."""
        with hook.unit_of_work() as unit:
            waiting = [plan for plan in open_approvals(unit, utc_now()) if plan["is_waiting"]]
        self.tell(
            [
                f"Waiting for a person: {counted(len(waiting), 'held repair')}",
                *(f"plan {plan['plan_id']} of {plan['account']}" for plan in waiting),
            ]
        )
        return [
            {"trigger_run_id": approval_run_id(p["plan_id"]), "conf": {"plan_id": p["plan_id"]}}
            for p in waiting
        ]


class AskAboutPlanOperator(OnDashboard, TriggerDagRunOperator):
    """Start the run that asks about one held plan, unless it was started before."""

    operator_extra_links = [  # noqa: RUF012 - Airflow's own declaration is not a ClassVar
        *TriggerDagRunOperator.operator_extra_links,
        *OnDashboard.operator_extra_links,
    ]
    page = "wants"


def ask_about_held_plans() -> ListHeldPlansOperator:
    """Add the tasks that start `repair_approval` once per held plan; return the first of them."""
    held = ListHeldPlansOperator(task_id="list_held_plans", trigger_rule=TriggerRule.ALL_DONE)
    AskAboutPlanOperator.partial(
        task_id="ask_for_approval",
        trigger_dag_id=APPROVAL_DAG,
        logical_date=None,
        skip_when_already_exists=True,
        # It starts a run and waits for nothing, whatever Airflow's default is.
        wait_for_completion=False,
        deferrable=False,
    ).expand_kwargs(held.output)
    return held


class HeldPlanTask(TradingDbTask):
    """A task about one held plan, which its page of the dashboard shows."""

    plan_id: str

    def dashboard_page(self) -> str:
        """Name the page of the plan."""
        return repair_path(self.plan_id)


class AskForApprovalOperator(HeldPlanTask, HITLOperator):
    """Show a person the case of a held plan and wait for the answer; no answer in time is a rejection.

    It is no `ApprovalOperator`, because that one skips what comes after a rejection, and a rejection is
    recorded too. It returns who answered what, and when.

    Args:
        plan_id: the held plan.
        hours: how long to wait, as a number; may be a fraction.
        approvers: JSON array of ``{"id", "name"}`` of those who may answer; empty for everybody whose role
            may.
        trading_conn_id: connection of the trading database.
    """

    template_fields = (*HeldPlanTask.template_fields, "plan_id", "hours", "approvers")
    READS = ("repair_plans", "repair_plan_rows", "discrepancies", "desk_differences", "ledger_entries")

    def __init__(self, *, plan_id: str, hours: str = "24", approvers: str = "[]", **kwargs: Any) -> None:
        super().__init__(
            subject="Decide about a held repair",
            options=[APPROVE, REJECT],
            defaults=REJECT,
            response_timeout=timedelta(hours=24),
            **kwargs,
        )
        self.plan_id = plan_id
        self.hours = hours
        self.approvers = approvers

    def execute(self, context: Context) -> Any:
        """Write the case, then wait."""
        with translated_failures():
            hook, plan_id = self.hook(), UUID(self.plan_id)
            with hook.unit_of_work() as unit:
                plan = held_plan(PlanStore(unit), plan_id)
                if plan["status"] != PlanStatus.HELD or plan["closed_at"]:
                    raise AirflowSkipException(f"plan {plan_id} is {plan['status']}: nothing to decide")
                [account] = AccountStore(unit).find_accounts([plan["account"]])
                assets = {row["asset"] for row in PlanStore(unit).rows([plan_id])[plan_id]}
            ask_for_prices(account, assets, hook.wiring().maintaining_ports())
            with hook.unit_of_work() as unit:
                case = case_of(PlanStore(unit), ReportStore(unit), PriceStore(unit), plan_id, utc_now())
            self.response_timeout = waiting_time(self.hours)
            self.assigned_users = json.loads(self.approvers) or None
        self.subject = case_subject(case)
        self.tell([f"Asking about plan {plan_id}, for {self.hours} hours: {self.subject}"])
        self.body = case_markdown(case, airflow_path() + DASHBOARD)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return the answer as plain text."""
        answer = super().execute_complete(context, event)
        user = answer["responded_by_user"] or {}
        return {
            "choice": answer["chosen_options"][0],
            "by": user.get("name") or user.get("id"),
            "at": answer["responded_at"].isoformat(),
            "is_timeout": bool(event.get("timedout")),
        }


class ActOnAnswerOperator(HeldPlanTask, TradingDbOperator):
    """Record the answer about a held plan, whatever it is, and write the plan if it was approved.

    Running it again changes nothing, and goes on where an earlier try was cut off.

    Args:
        plan_id: the held plan.
        answer: what `AskForApprovalOperator` returned.
    """

    template_fields = (*TradingDbOperator.template_fields, "plan_id", "answer")
    BOOKS = ReconcileAccountsOperator.BOOKS
    READS = tuple(
        dict.fromkeys(
            (
                *ReconcileAccountsOperator.READS,
                *ReconcileDeskBookOperator.READS,
                "repair_plans",
                "repair_plan_rows",
            )
        )
    )
    WRITES = tuple(dict.fromkeys((*ReconcileAccountsOperator.WRITES, *ReconcileDeskBookOperator.WRITES)))

    def __init__(self, *, plan_id: str, answer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan_id = plan_id
        self.answer = answer

    def work(self, context: Context, hook: TradingDbHook) -> str:
        """Decide, and return what became of the plan."""
        with hook.unit_of_work() as unit:
            plan = held_plan(PlanStore(unit), UUID(self.plan_id))
        if not self.answer:
            if plan["status"] == PlanStatus.HELD and not plan["closed_at"]:
                raise AirflowFailException(
                    f"plan {self.plan_id} has no answer: clear the task that asks, or decide by "
                    f"`python -m kraken_recon plan approve {self.plan_id}` (or reject)"
                )
            raise AirflowSkipException(f"plan {self.plan_id} is {plan['status']}: nothing to record")
        decision = self._decide(hook, str(context["run_id"]))
        told = f"plan {decision.plan_id} of {decision.account} is {decision.status}"
        note = f": {decision.note}" if decision.note else ""
        self.tell([f"{told} ({decision.decided_by} at {decision.decided_at}){note}"])
        if not decision.is_ours:
            self.log.warning("somebody else was first: this answer changed nothing")
        return str(decision.status)

    def _decide(self, hook: TradingDbHook, run_id: str) -> Any:
        plan_id = UUID(self.plan_id)
        note = f"answered {self.answer['at']} in {APPROVAL_DAG}, run {run_id}"
        with metered(hook.wiring()) as wiring:
            ports = wiring.sync_ports()
            if self.answer["is_timeout"]:
                return expire(plan_id, ports, note=note)
            by = f"{self.answer['by']} (Airflow)"
            if self.answer["choice"] == APPROVE:
                return approve(
                    plan_id,
                    by,
                    ports,
                    note=note,
                    dag_run=DagRun(APPROVAL_DAG, run_id),
                    books=lambda: DeskBooks.here(desk_book_ports(hook)),
                )
            return reject(plan_id, by, ports, note=note)


def waiting_time(text: str) -> timedelta:
    """Read a number of hours.

    Raises:
        ConfigurationError: it is no number above zero.
    """
    try:
        length = timedelta(hours=float(text))
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"expected a number of hours to wait for an answer, was {text}") from error
    if length <= timedelta():
        raise ConfigurationError(f"expected a number of hours above zero, was {text}")
    return length

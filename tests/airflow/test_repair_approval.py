"""Asking about held repairs and acting on answers, on a real trading database and a simulated Kraken.

That a person's answer arrives is tested through a real scheduler, in tests/e2e.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from desks.dag_runs import read_dags, run_dag
from kraken_airflow.dag_parts.approval_runs import open_approvals
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_airflow.operators.repair_approval import ActOnAnswerOperator, AskForApprovalOperator, waiting_time
from kraken_recon.accounts.store import AccountStore
from kraken_recon.errors import ConfigurationError, PlanNotWrittenError
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.intervals import interval_ending_now
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from desks.airflow import AirflowDesk

STATUSES = "select plan_id::text, status, decided_by, note from trading.repair_plans where kind = 'held'"
BITCOINS = "select quantity from trading.positions where asset = 'BTC'"
AT = "2026-01-05T12:00:00+00:00"


@pytest.fixture
def sync() -> Callable[[], list[str]]:
    """Run position_sync; return how its questions ended."""
    dag = read_dags().dags["position_sync"]

    def run() -> list[str]:
        done = run_dag(dag)
        assert done.state == "success"
        return [str(ti.state) for ti in done.get_task_instances() if ti.task_id == "ask_for_approval"]

    return run


@pytest.fixture
def plan_id(desk: AirflowDesk) -> str:
    """Return a plan that is held because Kraken lost most bitcoins without a ledger line, an hour ago."""
    desk.account("desk", ZUSD="1000", XXBT="1")
    reconcile()
    desk.simulator.control.post("accounts/desk/residual", {"asset": "XXBT", "amount": "-0.6"})
    reconcile()
    desk.execute("update trading.residuals set first_seen_at = first_seen_at - interval '1 hour'")
    reconcile()
    [plan] = desk.rows(STATUSES)
    return str(plan["plan_id"])


def reconcile() -> None:
    hook = TradingDbHook()
    with hook.unit_of_work() as unit:
        accounts = AccountStore(unit).find_accounts(None)
    request = SyncRequest(interval_ending_now(utc_now()), Mode.REPAIR, Policy())
    sync_accounts(accounts, request, hook.wiring().sync_ports())


def act(plan_id: str, answer: object) -> str:
    task = ActOnAnswerOperator(task_id="act_on_answer", plan_id=plan_id, answer=answer)
    status: str = task.execute.__wrapped__(task, {"run_id": f"plan__{plan_id}"})  # type: ignore[attr-defined]
    return status


def answered(choice: str, *, by: str | None = "alice", is_timeout: bool = False) -> dict[str, Any]:
    return {"choice": choice, "by": by, "at": AT, "is_timeout": is_timeout}


def test_one_run_asks_about_a_plan_however_often_it_is_held(
    plan_id: str, sync: Callable[[], list[str]], desk: AirflowDesk
) -> None:
    assert sync() == ["success"]
    assert sync() == ["skipped"]
    assert desk.rows(BITCOINS) == [{"quantity": Decimal(1)}]
    with TradingDbHook().unit_of_work() as unit:
        [place] = open_approvals(unit, utc_now())
    assert Decimal(place["value"]) > 0
    assert place["priced_at"]
    assert (place["account"], place["plan_id"], place["is_waiting"]) == ("desk", plan_id, True)
    assert (place["dag_id"], place["dag_run_id"]) == ("repair_approval", f"plan__{plan_id}")
    tasks = (
        AskForApprovalOperator(task_id="ask", plan_id=plan_id, execution_timeout=None),
        ActOnAnswerOperator(task_id="act_on_answer", plan_id=plan_id, answer=None),
    )
    assert {task.dashboard_page() for task in tasks} == {f"repair?plan={plan_id}"}
    assert place["path"] == f"/dags/repair_approval/runs/plan__{plan_id}/tasks/ask/required_actions"


def test_an_answer_is_acted_on_once_and_a_retry_goes_on(plan_id: str, desk: AirflowDesk) -> None:
    fault = {"name": "http_error", "status": 404, "account": "desk"}
    desk.simulator.control.post("faults", fault)
    with pytest.raises(PlanNotWrittenError, match="approved, but desk could not be judged"):
        act(plan_id, answered("Approve"))
    assert desk.rows(STATUSES)[0]["status"] == "approved"
    desk.simulator.control.delete("faults")
    assert act(plan_id, answered("Approve")) == "applied"
    assert desk.rows(BITCOINS) == [{"quantity": Decimal("0.4")}]
    events = desk.rows("select * from trading.position_events")
    assert act(plan_id, answered("Approve")) == "applied"
    assert act(plan_id, answered("Reject", by="bob")) == "applied"
    assert desk.rows("select * from trading.position_events") == events
    assert desk.rows(
        "select dag_id, dag_run_id from trading.reconciliation_runs"
        " where trigger = 'approval' and status = 'succeeded'"
    ) == [{"dag_id": "repair_approval", "dag_run_id": f"plan__{plan_id}"}]
    note = f"answered {AT} in repair_approval, run plan__{plan_id}"
    assert desk.rows(STATUSES) == [
        {"plan_id": plan_id, "status": "applied", "decided_by": "alice (Airflow)", "note": note}
    ]


@pytest.mark.parametrize(
    ("answer", "status", "by"),
    [
        (answered("Reject"), "rejected", "alice (Airflow)"),
        (answered("Reject", by=None, is_timeout=True), "expired", "nobody"),
    ],
)
def test_no_is_recorded_and_a_task_without_an_answer_says_so(
    plan_id: str, desk: AirflowDesk, answer: dict[str, Any], status: str, by: str
) -> None:
    with pytest.raises(AirflowFailException, match="has no answer: clear the task that asks"):
        act(plan_id, None)
    assert act(plan_id, answer) == status
    assert desk.rows(STATUSES)[0]["decided_by"] == by
    assert desk.rows(BITCOINS) == [{"quantity": Decimal(1)}]
    with pytest.raises(AirflowSkipException, match=f"is {status}: nothing to record"):
        act(plan_id, None)
    task = AskForApprovalOperator(task_id="ask", plan_id=plan_id, execution_timeout=None)
    with pytest.raises(AirflowSkipException, match=f"is {status}: nothing to decide"):
        task.execute.__wrapped__(task, {})  # type: ignore[attr-defined]


@pytest.mark.parametrize("hours", ["soon", "-1", "0", "nan", "1e300"])
def test_a_senseless_waiting_time_is_refused(hours: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a number of hours"):
        waiting_time(hours)


def test_waiting_may_take_a_fraction_of_an_hour() -> None:
    assert waiting_time("0.5") == timedelta(minutes=30)

"""Where a held plan is decided in Airflow: the names of the DAG, its runs and its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.plans.plan import PlanStatus
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.repairs.view import list_plans, with_values
from kraken_recon.settings import APPROVAL_HOURS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from kraken_recon.database.unit_of_work import UnitOfWork

APPROVAL_DAG: Final = "repair_approval"
ASK_TASK: Final = "ask"
APPROVE: Final = "Approve"
REJECT: Final = "Reject"
# An Airflow Variable: how many hours people have to answer.
HOURS_VARIABLE: Final = APPROVAL_HOURS.name
HOURS_DEFAULT: Final = int(APPROVAL_HOURS.default)
PLANS_MAX: Final = 200


def approval_run_id(plan_id: str) -> str:
    """Name the DAG run that asks about a plan; the same whenever it is asked, so nobody is asked twice."""
    return f"plan__{plan_id}"


def repair_path(plan_id: str) -> str:
    """Name the page that shows a held plan and takes the answer, below the dashboard's address."""
    return f"repair?{urlencode({'plan': plan_id})}"


def open_approvals(unit: UnitOfWork, now: datetime) -> list[dict[str, Any]]:
    """List the open held plans, each with what it is worth and the parts of its place in Airflow.

    Besides what ``with_values`` says: ``dag_id``, ``dag_run_id``, ``task_id``, ``is_waiting``, ``path``,
    which is Airflow's own form below its base URL, and ``question``, which is where its API has the same.
    """
    views = list_plans(PlanStore(unit), None, is_open=True, most=PLANS_MAX)["plans"]
    return [view | place_of(view) for view in with_values(views, PlanStore(unit), PriceStore(unit), now)]


def place_of(view: Mapping[str, Any]) -> dict[str, Any]:
    """Say where in Airflow a held plan is decided, and whether it still waits for that."""
    run_id = approval_run_id(view["plan_id"])
    run = quote(run_id, safe="")
    return {
        "dag_id": APPROVAL_DAG,
        "dag_run_id": run_id,
        "task_id": ASK_TASK,
        "is_waiting": view["status"] == PlanStatus.HELD and not view["closed_at"],
        "path": f"/dags/{APPROVAL_DAG}/runs/{run}/tasks/{ASK_TASK}/required_actions",
        "question": (f"/api/v2/dags/{APPROVAL_DAG}/dagRuns/{run}/taskInstances/{ASK_TASK}/-1/hitlDetails"),
    }

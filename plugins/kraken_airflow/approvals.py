"""Where a held plan is decided in Airflow: the names of the DAG, its runs and its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from kraken_recon.configuration import APPROVAL_HOURS
from kraken_recon.domain.plan import PlanStatus
from kraken_recon.service.plan_views import list_plans, with_values

if TYPE_CHECKING:
    from datetime import datetime

    from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork

APPROVAL_DAG: Final = "repair_approval"
ASK_TASK: Final = "ask"
# An Airflow Variable: how many hours people have to answer.
HOURS_VARIABLE: Final = APPROVAL_HOURS.name
HOURS_DEFAULT: Final = int(APPROVAL_HOURS.default)
PLANS_MAX: Final = 200


def approval_run_id(plan_id: str) -> str:
    """Name the DAG run that asks about a plan; the same whenever it is asked, so nobody is asked twice."""
    return f"plan__{plan_id}"


def open_approvals(unit: PostgresUnitOfWork, now: datetime) -> list[dict[str, Any]]:
    """List the open held plans, each with what it is worth and the parts of its place in Airflow.

    Besides what ``with_values`` says: ``dag_id``, ``dag_run_id``, ``task_id``, ``is_waiting`` and ``path``,
    the page below Airflow's base URL where a person answers.
    """
    views = list_plans(unit.plans, None, is_open=True, most=PLANS_MAX)["plans"]
    return [view | _place(view) for view in with_values(views, unit.plans, unit.prices, now)]


def _place(view: dict[str, Any]) -> dict[str, Any]:
    run_id = approval_run_id(view["plan_id"])
    return {
        "dag_id": APPROVAL_DAG,
        "dag_run_id": run_id,
        "task_id": ASK_TASK,
        "is_waiting": view["status"] == PlanStatus.HELD,
        "path": f"/dags/{APPROVAL_DAG}/runs/{quote(run_id, safe='')}/tasks/{ASK_TASK}/required_actions",
    }

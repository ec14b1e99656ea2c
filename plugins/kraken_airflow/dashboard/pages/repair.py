"""One held repair: the question that Airflow asks a person, and the two answers, also on a phone.

The page itself changes nothing. Its script sends the answer to Airflow's own address for it, with the login
of whoever answers: Airflow says who may, and takes one answer only.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import HTMLResponse

from kraken_airflow.dag_parts.approval_runs import APPROVAL_DAG, APPROVE, REJECT, place_of
from kraken_airflow.dashboard.access import Render, may_change, may_read, open_unit
from kraken_airflow.dashboard.markdown import parsed, written
from kraken_recon.errors import PlanRefusedError
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.plans.plan import PlanStatus
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.repairs.deciding import held_plan
from kraken_recon.repairs.question import case_markdown, case_subject
from kraken_recon.repairs.view import STATUS_WORDS, case_of
from kraken_recon.reports.report_store import ReportStore

# Whether somebody's role may answer; whom the question is for is Airflow's to say.
MayAnswer = Annotated[bool, may_change(APPROVAL_DAG, DagAccessEntity.HITL_DETAIL)]
PlanId = Annotated[UUID, Query(alias="plan")]
LEVELS: Final = {PlanStatus.HELD: "bad", PlanStatus.APPLIED: "good"}


def add_routes(router: APIRouter, render: Render) -> None:
    """Add the page."""

    @router.get("/repair", response_class=HTMLResponse, dependencies=[may_read(APPROVAL_DAG)])
    def repair(may_answer: MayAnswer, plan_id: PlanId) -> str:
        """Show the case of a held repair, and let a person answer while it waits for one."""
        case = _case(plan_id)
        is_gone = case["status"] == PlanStatus.HELD and not case["is_waiting"]
        return render(
            "repair.html",
            case=case,
            subject=case_subject(case),
            body=written(parsed(case_markdown(case, ""))),
            level="watch" if is_gone else LEVELS.get(case["status"], "watch"),
            meaning=STATUS_WORDS[PlanStatus.OUTDATED] if is_gone else case["meaning"],
            answers=(APPROVE, REJECT),
            may_answer=may_answer,
        )


def _case(plan_id: UUID) -> dict[str, Any]:
    with open_unit() as unit:
        try:
            held_plan(PlanStore(unit), plan_id)
        except PlanRefusedError as error:
            raise HTTPException(404, str(error)) from None
        case = case_of(PlanStore(unit), ReportStore(unit), PriceStore(unit), plan_id, datetime.now(UTC))
    return case | place_of(case)

"""Decide about held plans: approve, reject, or let them expire.

Invariants:
1. A held plan is decided once: the first to claim it wins, everybody else is told who did.
2. An approved plan is written by an ordinary sync that reads the account anew, and only when the drift is
   still exactly what was approved; the plan and its events become true in one transaction.
3. Whoever dies between the decision and the writing changes nothing: the same call again goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.accounts.store import AccountStore
from kraken_recon.errors import PlanNotWrittenError, PlanRefusedError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.plans.plan import PlanKind, PlanStatus
from kraken_recon.reconciliation.plans.recording import Approval
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.repairs.desk_plans import write_approved
from kraken_recon.values.intervals import interval_ending_now
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.reconciliation.rules.run import DagRun
    from kraken_recon.reconciliation.run import SyncPorts
    from kraken_recon.repairs.desk_plans import DeskBooks


@dataclass(frozen=True, slots=True)
class PlanDecision:
    """What was decided about a plan, and what became of it.

    ``is_ours`` says that the one who asked decided it; ``written_by_run`` is the run that wrote it.
    """

    plan_id: UUID
    account: str
    status: PlanStatus
    is_ours: bool
    decided_by: str | None
    decided_at: datetime | None
    note: str | None
    written_by_run: UUID | None


def approve(  # noqa: PLR0913 - who decides what, and on whose behalf
    plan_id: UUID,
    by: str,
    ports: SyncPorts,
    *,
    policy: Policy | None = None,
    note: str | None = None,
    dag_run: DagRun | None = None,
    books: Callable[[], DeskBooks] | None = None,
) -> PlanDecision:
    """Approve a held plan and write it, if the drift is still the same; idempotent for the same person.

    The status is ``applied`` or, when the drift is another by now, ``outdated``. ``books`` leads to the
    desk's books, which a plan may be about.

    Raises:
        PlanRefusedError: there is no such held plan.
        PlanNotWrittenError: it is approved, but the account could not be read; call again.
    """
    decision = _decide(plan_id, PlanStatus.APPROVED, by, ports, note)
    if not decision.is_ours or decision.status is not PlanStatus.APPROVED:
        return decision
    with ports.open_unit_of_work() as unit:
        account = AccountStore(unit).find_accounts([decision.account])[0]
        plan = held_plan(PlanStore(unit), plan_id)
        changes = _changes(PlanStore(unit).rows([plan_id])[plan_id])
    request = SyncRequest(
        interval_ending_now(ports.clock()),
        Mode.REPAIR,
        policy or Policy(),
        trigger="approval",
        dag_run=dag_run,
        approval=None if plan["book"] else Approval(plan_id, changes),
    )
    run_ids = sync_accounts([account], request, ports)
    if plan["book"] and books is not None:
        write_approved(plan, run_ids, books())
    with ports.open_unit_of_work() as unit:
        decision = _decision(held_plan(PlanStore(unit), plan_id), by)
    if decision.status is PlanStatus.APPROVED:
        raise PlanNotWrittenError(
            f"plan {plan_id} is approved, but {decision.account} could not be judged just now; "
            f"{_WHO_SAYS_WHY[bool(plan['book'])]}, and approving again goes on from here"
        )
    return decision


_WHO_SAYS_WHY: Final = {
    False: "its newest run says why",
    True: "its newest run and `book diff` say why, and the next run writes it if it can",
}


def reject(plan_id: UUID, by: str, ports: SyncPorts, *, note: str | None = None) -> PlanDecision:
    """Reject a held plan: its drift is not asked about again until it changes.

    Raises:
        PlanRefusedError: there is no such held plan.
    """
    return _decide(plan_id, PlanStatus.REJECTED, by, ports, note)


def expire(plan_id: UUID, ports: SyncPorts, *, note: str | None = None) -> PlanDecision:
    """Note that nobody answered in time, which means no.

    Raises:
        PlanRefusedError: there is no such held plan.
    """
    return _decide(plan_id, PlanStatus.EXPIRED, "nobody", ports, note)


def reopen(plan_id: UUID, ports: SyncPorts) -> PlanDecision:
    """Let the next run hold a rejected or expired drift anew, under a new plan; who decided stays on record.

    Raises:
        PlanRefusedError: the plan is not rejected or expired, or its drift is another by now.
    """
    with ports.open_unit_of_work() as unit:
        plan = held_plan(PlanStore(unit), plan_id)
        if not PlanStore(unit).close_decided(plan_id):
            raise PlanRefusedError(
                f"plan {plan_id} is {plan['status']}{' and closed' if plan['closed_at'] else ''}; only one "
                "that is rejected or expired, and whose drift is still the same, can be opened again"
            )
        unit.commit()
        return _decision(held_plan(PlanStore(unit), plan_id), plan["decided_by"])


def held_plan(plans: PlanStore, plan_id: UUID) -> Mapping[str, Any]:
    """Find a plan that is, or was, held.

    Raises:
        PlanRefusedError: there is none.
    """
    found = plans.find(plan_ids=[plan_id])
    if not found or found[0]["kind"] != PlanKind.HELD or found[0]["status"] == PlanStatus.PLANNED:
        raise PlanRefusedError(
            f"no held plan has the id {plan_id}; see `python -m kraken_recon plan list --held`"
        )
    return found[0]


def _decide(plan_id: UUID, status: PlanStatus, by: str, ports: SyncPorts, note: str | None) -> PlanDecision:
    with ports.open_unit_of_work() as unit:
        held_plan(PlanStore(unit), plan_id)
        PlanStore(unit).decide(plan_id, status, by, note)
        unit.commit()
        plan = held_plan(PlanStore(unit), plan_id)
    return _decision(plan, by)


def _decision(plan: Mapping[str, Any], by: str) -> PlanDecision:
    return PlanDecision(
        plan["plan_id"],
        plan["account"],
        PlanStatus(plan["status"]),
        plan["decided_by"] == by,
        plan["decided_by"],
        plan["decided_at"],
        plan["note"],
        plan["written_by_run"],
    )


@exact_arithmetic()
def _changes(rows: Iterable[Mapping[str, Any]]) -> dict[HoldingKey, Decimal]:
    changes: dict[HoldingKey, Decimal] = {}
    for row in rows:
        key = HoldingKey(row["asset"], row["wallet"])
        changes[key] = changes.get(key, ZERO) + row["quantity_after"] - row["quantity_before"]
    return changes

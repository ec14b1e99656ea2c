"""Undo what a plan repaired, as a new plan.

Ledger entries and openings are facts of the exchange and stay. The undo is written only while every
position that it touches still stands where the plan left it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.domain.ledger import HoldingKey
from kraken_recon.domain.money import format_amount
from kraken_recon.domain.plan import PlanKind, PlanStatus, RepairPlan, undoing
from kraken_recon.domain.reconciliation import Cause, Reason, Step
from kraken_recon.errors import PlanRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.service.planning import PlanStore
    from kraken_recon.service.ports import UnitOfWork


def undo(
    plan_id: UUID,
    by: str,
    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]],
    *,
    now: datetime,
) -> tuple[UUID, bool]:
    """Write the plan that undoes this one; return its id, and whether it was written just now.

    A held plan that was approved stands for the plan that wrote it. Undoing twice does nothing.

    Raises:
        PlanRefusedError: nothing of the plan can be undone, or a position has moved on since.
    """
    with open_unit_of_work() as unit:
        plan = _written(unit.plans, plan_id)
        if plan["undone_by"]:
            return plan["undone_by"], False
        rows = [_step(row) for row in unit.plans.rows([plan["plan_id"]])[plan["plan_id"]]]
        steps = undoing(rows, now)
        if not steps:
            raise PlanRefusedError(
                f"plan {plan['plan_id']} applied ledger entries only; they are facts of the exchange, and "
                "are not undone"
            )
        account = plan["account_id"]
        inverse = RepairPlan(PlanKind.UNDO, account, plan["as_of"], steps)
        keys = sorted({step.key for step in steps})
        unit.sync.lock_positions([(account, key) for key in keys])
        if not unit.plans.insert_undo(inverse, plan["plan_id"], by):
            return inverse.plan_id, False
        left = {row.key: row.after for row in rows}
        _refuse_what_moved(plan, left, unit.plans.standing(account, keys))
        ids = {account: inverse.plan_id}
        unit.sync.write_steps({account: steps}, ids, ids)
        unit.commit()
    return inverse.plan_id, True


def _written(plans: PlanStore, plan_id: UUID) -> Mapping[str, Any]:
    found = plans.find(plan_ids=[plan_id])
    if found and found[0]["written_as"]:
        found = plans.find(plan_ids=[found[0]["written_as"]])
    if not found:
        raise PlanRefusedError(f"no plan has the id {plan_id}; see `python -m kraken_recon plan list`")
    if found[0]["status"] != PlanStatus.APPLIED:
        raise PlanRefusedError(f"plan {plan_id} is {found[0]['status']}: it wrote nothing that can be undone")
    return found[0]


def _refuse_what_moved(
    plan: Mapping[str, Any],
    left: Mapping[HoldingKey, Decimal],
    standing: Mapping[HoldingKey, tuple[Decimal, Decimal]],
) -> None:
    moved = [
        f"{key} was left at {format_amount(left[key])} and stands at {format_amount(quantity)}"
        for key, (quantity, event_total) in sorted(standing.items())
        if not left[key] == quantity == event_total
    ]
    if moved:
        raise PlanRefusedError(
            f"plan {plan['plan_id']} cannot be undone, because positions moved on: {'; '.join(moved)}"
        )


def _step(row: Mapping[str, Any]) -> Step:
    return Step(
        HoldingKey(row["asset"], row["wallet"]),
        row["quantity_before"],
        row["quantity_after"],
        Cause(row["cause"]),
        row["effective_at"],
        Reason(row["reason"]) if row["reason"] else None,
        row["ledger_id"],
    )


def facts_of(rows: Sequence[Mapping[str, Any]]) -> int:
    """Count the rows that an undo leaves: ledger entries, and what was found changed."""
    return len(rows) - len(undoing([_step(row) for row in rows], rows[0]["effective_at"])) if rows else 0

"""Undo what a plan repaired, as a new plan.

Ledger entries and openings are facts of the exchange and stay. The undo is written only while every
position that it touches still stands where the plan left it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kraken_recon.accounts.store import AccountStore
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.books.events import Cause, Reason, Step
from kraken_recon.books.store import BookStore
from kraken_recon.errors import PlanRefusedError
from kraken_recon.holdings.pricing import price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.plans.plan import PlanKind, PlanStatus, RepairPlan, undoing
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.assess import Action, Discrepancy
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.rules.run import RunRecord
from kraken_recon.reconciliation.run_summary import difference_alert, undone_words
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.repairs.accepting import restore
from kraken_recon.repairs.desk_plans import undo_in_book
from kraken_recon.values.intervals import Interval
from kraken_recon.values.money import EXACT, ZERO, format_amount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.repairs.desk_plans import DeskBooks


def undo(
    plan_id: UUID,
    by: str,
    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]],
    *,
    now: datetime,
    books: Callable[[], DeskBooks] | None = None,
) -> tuple[UUID, bool]:
    """Write the plan that undoes this one; return its id, and whether it was written just now.

    A held plan that was approved stands for the plan that wrote it. Undoing twice does nothing. ``books``
    leads to the desk's books, which a plan may be about.

    Raises:
        PlanRefusedError: nothing of the plan can be undone, or a position has moved on since.
        PlanNotWrittenError: of a desk's book, it is not known yet; call again.
    """
    with open_unit_of_work() as unit:
        plan = _written(PlanStore(unit), plan_id)
    if plan["book"] is None:
        return _undo_positions(plan["plan_id"], by, open_unit_of_work, now)
    if books is None:
        raise PlanRefusedError(f"plan {plan_id} wrote to book {plan['book']}, which nothing here leads to")
    return undo_in_book(plan, by, books(), now)


def _undo_positions(
    plan_id: UUID,
    by: str,
    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]],
    now: datetime,
) -> tuple[UUID, bool]:
    with open_unit_of_work() as unit:
        plan = _written(PlanStore(unit), plan_id)
        if plan["undone_by"]:
            return plan["undone_by"], False
        rows = [_step(row) for row in PlanStore(unit).rows([plan["plan_id"]]).get(plan["plan_id"], ())]
        steps = undoing(rows, now)
        is_restored = restore(unit, plan)
        if not steps and not is_restored:
            raise PlanRefusedError(
                f"plan {plan['plan_id']} applied ledger entries only; they are facts of the exchange, and "
                "are not undone"
            )
        account = plan["account_id"]
        keys = sorted({step.key for step in steps})
        if keys:
            BookStore(unit).lock_positions([(account, key) for key in keys])
        left = {row.key: row.after for row in rows}
        standing = PlanStore(unit).standing(account, keys)
        if is_restored:
            # What entries say of a position holds wherever it has moved since.
            left = {key: quantity for key, (quantity, _) in standing.items()}
            steps = _moved_on(steps, left)
        inverse = RepairPlan(PlanKind.UNDO, account, plan["as_of"], steps)
        if not PlanStore(unit).insert_undo(inverse, plan["plan_id"], by):
            return inverse.plan_id, False
        _refuse_what_moved(plan, left, standing)
        ids = {account: inverse.plan_id}
        BookStore(unit).write_steps({account: steps}, ids, ids)
        _tell(unit, plan, inverse, by, now)
        unit.commit()
    return inverse.plan_id, True


def _moved_on(steps: Sequence[Step], quantities: Mapping[HoldingKey, Decimal]) -> tuple[Step, ...]:
    """Let steps change what they change from where the positions stand now."""
    standing, moved = dict(quantities), []
    for step in steps:
        before = standing[step.key]
        standing[step.key] = EXACT.add(before, EXACT.subtract(step.after, step.before))
        moved.append(replace(step, before=before, after=standing[step.key]))
    return tuple(moved)


def _tell(unit: UnitOfWork, plan: Mapping[str, Any], inverse: RepairPlan, by: str, now: datetime) -> None:
    """Say at once what the undo left: a run that found what the repair had put right, and an alert of each.

    After the undo of an undo the positions stand as a repair left them once, and wait for a run to prove it.
    """
    is_wrong = plan["kind"] == PlanKind.REPAIR
    found, keys = _findings(inverse.rows) if is_wrong else [], {step.key for step in inverse.rows}
    run = RunRecord(
        inverse.plan_id,
        inverse.account_id,
        # An account has one run per interval; two undos of one moment are two.
        Interval(now - timedelta(microseconds=1 + inverse.plan_id.int % 1_000_000), now),
        Mode.REPAIR,
        "succeeded",
        "undo",
        counts={
            "checked": len(keys),
            "held": len(found),
            "awaiting": 0 if is_wrong else len(keys),
        },
        note=f"plan {plan['plan_id']} was undone by {by}; Kraken was not asked",
    )
    ReconciliationStore(unit).record_runs([run], {run.run_id: found})
    [account] = AccountStore(unit).find_accounts([plan["account"]])
    prices = price_list(PriceStore(unit), [(account.quote_currency, f.key.asset) for f in found], now)
    AlertStore(unit).raise_alerts(
        [
            difference_alert(
                AlertKind.HELD_REPAIR, undone_words(by), account, finding, run_id=run.run_id, prices=prices
            )
            for finding in found
        ]
    )


def _findings(steps: Sequence[Step]) -> list[Discrepancy]:
    """Say what differs after an undo: Kraken shows what the repair had written."""
    first: dict[HoldingKey, Decimal] = {}
    last: dict[HoldingKey, Decimal] = {}
    for step in steps:
        first.setdefault(step.key, step.before)
        last[step.key] = step.after
    return [
        Discrepancy(
            key, last[key], first[key], ZERO, ZERO, EXACT.subtract(first[key], last[key]), Action.HELD
        )
        for key in sorted(first)
        if first[key] != last[key]
    ]


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

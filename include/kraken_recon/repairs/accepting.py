"""Let a person accept what Kraken tells otherwise, or does not tell, so that no account is stuck.

Invariants:
1. What is accepted is one plan: who, why, every entry before and after, and what positions change by.
2. What lies in a gap is booked as an entry of ours that names it, never silently; once Kraken fills the gap
   by itself, a sync takes that entry back.
3. ``plan undo`` brings the recorded telling back, from wherever the positions stand by then.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.books.events import Cause, Reason, Step
from kraken_recon.books.store import BookStore
from kraken_recon.costs.recomputing import recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.errors import PlanRefusedError
from kraken_recon.ledger.entries import GAP, LedgerEntry, withdrawn
from kraken_recon.ledger.plausible import implausible
from kraken_recon.reconciliation.plans.plan import PlanKind, PlanStatus, RepairPlan
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.run import AcceptedMissing
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.repairs.contradictions import Contradiction, changes_by, find_contradictions
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import HoldingKey
    from kraken_recon.reconciliation.run import SyncPorts

ACCEPTED: Final = "accepted Kraken's telling: "
ALL: Final = "all"


@exact_arithmetic()
def accept(
    account: Account, names: Collection[str], by: str, note: str, ports: SyncPorts
) -> tuple[UUID, list[Contradiction]]:
    """Take over what Kraken tells, or all of it; positions follow. Return the plan and what it took over.

    Raises:
        PlanRefusedError: Kraken tells nothing else of it, or something that cannot be.
    """
    around = None if len(names) != 1 or ALL in names else next(iter(names))
    found = find_contradictions(account, ports, around)
    chosen = [one for one in found if ALL in names or one.name in names]
    if lacking := sorted({*names} - {ALL} - {one.name for one in chosen}):
        raise PlanRefusedError(
            f"Kraken tells nothing else of entry {', '.join(lacking)} than what is on record"
        )
    if not chosen:
        raise PlanRefusedError(f"{account.name}: there is nothing to accept")
    now = ports.clock()
    for one in chosen:
        if one.told and (wrong := implausible(one.told, now)):
            raise PlanRefusedError(f"what Kraken tells of entry {one.name} cannot be: {wrong}")
    with ports.open_unit_of_work() as unit:
        [state] = ReconciliationStore(unit).load_states([account])
        counted = next((one.missing for one in chosen if one.missing), None)
        kept = [state.accepted_missing, counted] if counted else None
        steps = _steps(unit, account.account_id, chosen, now)
        plan = RepairPlan(
            PlanKind.REPAIR,
            account.account_id,
            now,
            steps,
            why=f"{ACCEPTED}{by}: {note}\n{_told(chosen, kept)}",
        )
        ids = {account.account_id: plan.plan_id}
        for one in chosen:
            _record(unit, account.account_id, one, plan.plan_id)
        if counted:
            ReconciliationStore(unit).accept_missing(account.account_id, counted)
        PlanStore(unit).insert([plan], PlanStatus.APPLIED, ids)
        BookStore(unit).write_steps({account.account_id: steps}, ids, ids)
        recompute_account(CostStore(unit), account.name)
        BookStore(unit).resolve_explained([account.account_id], ended_by=f"plan {plan.plan_id} of {by}")
        unit.commit()
    return plan.plan_id, chosen


def _record(unit: UnitOfWork, account_id: int, one: Contradiction, plan_id: UUID) -> None:
    if one.told is None:
        return
    store = BookStore(unit)
    if one.recorded is not None:
        is_done = store.correct_entry(account_id, one.recorded, one.told)
    else:
        is_done = bool(store.ingest({account_id: [one.told]}, {account_id: plan_id}))
    if not is_done:
        raise PlanRefusedError(f"entry {one.name} was changed meanwhile; look again")


def restore(unit: UnitOfWork, plan: Mapping[str, Any]) -> bool:
    """Bring back the recorded telling that a plan replaced, if it is such a plan; positions are not moved."""
    why = plan["why"] or ""
    if not why.startswith(ACCEPTED):
        return False
    told = json.loads(why.rsplit("\n", 1)[1])
    for before, after in told["entries"]:
        now = _entry(after)
        then = _entry(before) if before else withdrawn(now)
        if not BookStore(unit).correct_entry(plan["account_id"], now, then):
            raise PlanRefusedError(f"entry {now.ledger_id} was changed since; nothing was undone")
    if told["missing"]:
        before = told["missing"][0]
        accepted = AcceptedMissing(before[0], datetime.fromisoformat(before[1])) if before else None
        ReconciliationStore(unit).accept_missing(plan["account_id"], accepted)
    recompute_account(CostStore(unit), plan["account"])
    return True


def _steps(
    unit: UnitOfWork, account_id: int, chosen: Sequence[Contradiction], now: datetime
) -> tuple[Step, ...]:
    """Move the positions as the entries change, and take back earlier repairs of what lies in a gap."""
    moving = [(key, change, one) for one in chosen for key, change in changes_by(one).items()]
    keys = sorted({key for key, _, _ in moving})
    if not keys:
        return ()
    BookStore(unit).lock_positions([(account_id, key) for key in keys])
    rows = BookStore(unit).recorded([(account_id, key) for key in keys])
    steps: list[Step] = []
    quantities = {key: row.quantity for (_, key), row in rows.items()}
    repaired = {key: row.adjustment_total for (_, key), row in rows.items()}

    def move(key: HoldingKey, change: Decimal, cause: Cause, at: datetime, reason: Reason) -> None:
        before = quantities[key]
        quantities[key] = before + change
        steps.append(Step(key, before, before + change, cause, at, reason))

    for key, change, one in moving:
        row = rows[account_id, key]
        if row.quantity != row.event_total:
            raise PlanRefusedError(f"{key} was changed in the database without an event; run a sync first")
        is_gap = one.told is not None and one.told.entry_type == GAP
        at = one.told.entry_time if one.told else now
        reason = Reason.GAP_ACCEPTED if is_gap else Reason.ENTRY_CORRECTED
        move(key, change, Cause.CORRECTION, at, reason)
        if is_gap and (twice := _counted_twice(repaired[key], change)):
            repaired[key] -= twice
            move(key, -twice, Cause.ADJUSTMENT, now, Reason.RESIDUAL_REVERSED)
    return tuple(steps)


def _counted_twice(repaired: Decimal, change: Decimal) -> Decimal:
    """Say how much of a gap an earlier repair of a residual put right already."""
    return min(repaired, change, key=abs) if repaired * change > ZERO else ZERO


def _told(chosen: Sequence[Contradiction], kept: Sequence[AcceptedMissing | None] | None) -> str:
    """Write what a plan replaces and by what, so that it can be undone."""
    entries = [
        [_fields(one.recorded) if one.recorded else None, _fields(one.told)] for one in chosen if one.told
    ]
    missing = [[one.entries, one.until.isoformat()] if one else None for one in kept] if kept else None
    return json.dumps({"entries": entries, "missing": missing})


def _fields(entry: LedgerEntry) -> list[str]:
    return [
        entry.ledger_id, entry.refid, entry.entry_time.isoformat(), entry.entry_type, entry.subtype,
        entry.asset, entry.wallet, *(format_amount(a) for a in (entry.amount, entry.fee, entry.balance)),
    ]  # fmt: skip


def _entry(fields: Sequence[str]) -> LedgerEntry:
    ledger_id, refid, moment, *words, amount, fee, balance = fields
    kind, subtype, asset, wallet = words
    return LedgerEntry(
        ledger_id, refid, datetime.fromisoformat(moment), kind, subtype, asset, wallet,
        Decimal(amount), Decimal(fee), Decimal(balance),
    )  # fmt: skip

"""Keep what a run writes, or would write, as plans, and hold what a person decides about.

A run makes at most two plans of an account: what it writes, and what it holds. An account with nothing to
write has none. At most one held plan of an account is open; it stays while its drift is exactly the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kraken_recon.reconciliation.plans.plan import PlanKind, PlanStatus, RepairPlan

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.books.events import Step
    from kraken_recon.ledger.entries import HoldingKey
    from kraken_recon.reconciliation.plans.store import PlanStore
    from kraken_recon.reconciliation.rules.assess import Assessment


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person approved: a plan, and the change of each holding that it was about."""

    plan_id: UUID
    changes: Mapping[HoldingKey, Decimal]


@dataclass(frozen=True, slots=True)
class RunPlans:
    """The plans of one run over a batch of accounts, by account id."""

    written: Mapping[int, RepairPlan] = field(default_factory=dict)
    held: Mapping[int, RepairPlan] = field(default_factory=dict)

    @property
    def written_ids(self) -> dict[int, UUID]:
        """Name what is written, by account id."""
        return {account: plan.plan_id for account, plan in self.written.items()}


def plans_of(
    assessments: Mapping[int, Assessment],
    as_of: Mapping[int, datetime],
    prices: Mapping[int, Mapping[str, Decimal]],
) -> RunPlans:
    """Make the plans of a batch: one of what is written, one of what is held, none of nothing."""

    def plan(kind: PlanKind, account: int, rows: tuple[Step, ...], why: str | None = None) -> RepairPlan:
        return RepairPlan(kind, account, as_of[account], rows, prices[account], why)

    return RunPlans(
        {a: plan(PlanKind.REPAIR, a, found.steps) for a, found in assessments.items() if found.steps},
        {
            a: plan(PlanKind.HELD, a, found.held, _why(found))
            for a, found in assessments.items()
            if found.held
        },
    )


def _why(found: Assessment) -> str:
    reasons = []
    if found.not_converging:
        names = ", ".join(map(str, found.not_converging))
        reasons.append(f"the same repair of {names} was made before and did not last")
    reasons += [f"the repair of {key} was undone by {by}" for key, by in sorted(found.undone.items())]
    if {step.key for step in found.held} - {*found.not_converging, *found.undone}:
        reasons.append("it is more than one run may repair by itself")
    return "; ".join(reasons)


def record_dry_run(store: PlanStore, plans: RunPlans, run_ids: Mapping[int, UUID]) -> None:
    """Keep what a repair would write and hold, with all its rows."""
    store.forget_dry_runs(run_ids.values())
    store.insert([*plans.written.values(), *plans.held.values()], PlanStatus.PLANNED, run_ids)


def record_repair(
    store: PlanStore, plans: RunPlans, run_ids: Mapping[int, UUID], judged: Collection[int]
) -> None:
    """Keep what a repair wrote, and hold what a person decides about.

    Args:
        store: in the transaction that writes the plans' rows as events.
        plans: of the run.
        run_ids: by account id.
        judged: accounts whose drift this run knows, so that what is held of another drift is out of date.
    """
    store.insert(list(plans.written.values()), PlanStatus.APPLIED, run_ids)
    held = {account: plan for account, plan in plans.held.items() if account in judged}
    store.settle_held({a: held[a].fingerprint if a in held else None for a in sorted(judged)})
    store.hold(list(held.values()), run_ids)

"""A repair as a plan: what exactly is written, under a name that follows from it.

Invariants:
1. The id of a plan depends on nothing but its kind, account, as-of and rows.
2. The fingerprint of a plan depends on nothing but its account and what its repairs change: ledger entries
   happen once, so two plans that repair the same drift share it, whatever else moved meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from kraken_recon.books.events import REPAIR_REASONS, RESIDUAL_REASONS, Cause, Reason, Step
from kraken_recon.reconciliation.rules.assess import changes_of
from kraken_recon.values.money import EXACT, format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey

PLAN_NAMESPACE: Final = UUID("5c1b3a52-3f0e-4c56-8f39-706c616e7321")
ACCEPTED_REASONS: Final = (Reason.ENTRY_CORRECTED, Reason.GAP_ACCEPTED)
NOT_WRITTEN: Final = "the run ended before it was written"
"""Why a row is as it was: what was approved of it is still to be written."""
UNDOABLE: Final = (*REPAIR_REASONS, Reason.REPAIR_UNDONE, Reason.RESIDUAL_UNDONE, *ACCEPTED_REASONS)


class PlanKind(StrEnum):
    """What a plan is for."""

    REPAIR = "repair"
    HELD = "held"
    UNDO = "undo"


class PlanStatus(StrEnum):
    """What became of a plan."""

    PLANNED = "planned"
    WRITING = "writing"
    APPLIED = "applied"
    HELD = "held"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    OUTDATED = "outdated"


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """The rows that a repair writes to one account, in the order in which it writes them.

    ``book`` names the book of the desk's that it writes to, None where it writes positions. ``prices`` are
    those that the drift was judged by, in the account's quote currency, and ``why`` says why a person
    decides; neither is part of the plan's identity.
    """

    kind: PlanKind
    account_id: int
    as_of: datetime
    rows: tuple[Step, ...]
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    why: str | None = None
    book: str | None = None
    plan_id: UUID = field(init=False)

    def __post_init__(self) -> None:
        as_of = self.as_of.astimezone(UTC).isoformat()
        lines = [f"{self.kind}|{self.account_id}|{as_of}", *self._of_book, *map(_line, self.rows)]
        # Once, because a plan may have thousands of rows.
        object.__setattr__(self, "plan_id", uuid5(PLAN_NAMESPACE, "\n".join(lines)))

    @property
    def changes(self) -> dict[HoldingKey, Decimal]:
        """Sum what the plan's repairs change, per holding."""
        return changes_of(self.rows)

    @property
    def fingerprint(self) -> UUID | None:
        """Name the drift that the plan repairs; None where it only applies ledger entries."""
        changes = self.changes
        if not changes:
            return None
        lines = [
            f"{key.asset}|{key.wallet}|{format_amount(change)}" for key, change in sorted(changes.items())
        ]
        return uuid5(PLAN_NAMESPACE, "\n".join([str(self.account_id), *self._of_book, *lines]))

    @property
    def _of_book(self) -> list[str]:
        return [] if self.book is None else [f"book {self.book}"]


def _line(row: Step) -> str:
    return "|".join(
        (
            row.key.asset,
            row.key.wallet,
            format_amount(row.before),
            format_amount(row.after),
            row.cause,
            row.reason or "",
            row.ledger_id or "",
        )
    )


def undoing(rows: Sequence[Step], at: datetime) -> tuple[Step, ...]:
    """Turn round what repairs changed, last first, from where the rows left each position.

    Ledger entries, openings, gaps that Kraken filled and entries that are as it told them again are facts of
    the exchange, and what was found changed is a fact of the database: none of them is undone.
    """
    quantities = {row.key: row.after for row in rows}
    inverse = []
    for row in reversed(rows):
        if row.reason not in UNDOABLE:
            continue
        before = quantities[row.key]
        after = EXACT.subtract(before, EXACT.subtract(row.after, row.before))
        if row.cause is Cause.CORRECTION:
            # As of when its entry is: what entries say of the past, events say, too.
            inverse.append(Step(row.key, before, after, row.cause, row.effective_at, Reason.ENTRY_RESTORED))
        else:
            reason = Reason.RESIDUAL_UNDONE if row.reason in RESIDUAL_REASONS else Reason.REPAIR_UNDONE
            inverse.append(Step(row.key, before, after, Cause.ADJUSTMENT, at, reason))
        quantities[row.key] = after
    return tuple(inverse)

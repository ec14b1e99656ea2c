"""What judging one account in one book hands on to be written, and what came of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kraken_recon.desk_books.rules.kept_values import is_same
from kraken_recon.desk_books.rules.records import WRITES, DeskAction
from kraken_recon.reconciliation.plans.plan import NOT_WRITTEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.rules.kept_values import Kept
    from kraken_recon.desk_books.rules.records import Difference
    from kraken_recon.desk_books.rules.writes import WriteTerms


class WriteState(StrEnum):
    """What became of a write to a desk's row."""

    WRITING = "writing"
    WRITTEN = "written"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class JudgedAccount:
    """One account in one book, judged: all that writing it back needs.

    Attributes:
        book: as declared.
        account_id: ours.
        run_id: the run that judged it.
        read_at: when the desk's rows were read.
        differences: with what was decided about each, those of its cash among them.
        terms: what writes are made of, by whether the rows are of cash.
        prices: of the account's assets, in its quote currency, where known.
        approved_plan: the plan that a person approved; None where nobody did.
        approval_stands: whether what was approved is still exactly what there is to write.
    """

    book: DeskBook
    account_id: int
    run_id: UUID
    read_at: datetime
    differences: tuple[Difference, ...]
    terms: Mapping[bool, WriteTerms]
    prices: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    approved_plan: UUID | None = None
    approval_stands: bool = False

    @property
    def to_write(self) -> tuple[Difference, ...]:
        """The differences that are written now."""
        return tuple(one for one in self.differences if one.action in WRITES)

    @property
    def to_hold(self) -> tuple[Difference, ...]:
        """The differences that wait for a person."""
        return tuple(one for one in self.differences if one.action is DeskAction.HELD)


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What came of the writes to one asset's rows; ``reason`` says why it was left for the next run."""

    asset: str
    state: WriteState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WrittenBack:
    """What writing back one account did.

    Attributes:
        outcomes: of each asset that was to be written.
        plan_id: the plan of what was written; None where there was nothing to write.
        held_plan_id: the plan that waits for a person; None where nothing does.
    """

    outcomes: tuple[WriteOutcome, ...] = ()
    plan_id: UUID | None = None
    held_plan_id: UUID | None = None


def conclude(rows: Sequence[Mapping[str, Any]], before: Kept, after: Kept) -> tuple[WriteState, str]:
    """Say, from the rows found at its key, what became of a write of which nobody knows.

    ``before`` is empty for an insert and ``after`` for a removal.
    """
    was_row, is_row = bool(before), bool(after)
    if len(rows) > 1:
        return WriteState.SKIPPED, "several rows are there now; it is judged anew"
    if not rows:
        if not was_row:
            return WriteState.SKIPPED, NOT_WRITTEN
        return (WriteState.WRITTEN, "") if not is_row else (WriteState.SKIPPED, "the row is gone")
    if was_row and is_same(rows[0], before):
        return WriteState.SKIPPED, NOT_WRITTEN
    if is_row and is_same(rows[0], after, is_rounded=True):
        return WriteState.WRITTEN, ""
    return WriteState.SKIPPED, "the row is neither as it was nor as it was to be written; it is judged anew"

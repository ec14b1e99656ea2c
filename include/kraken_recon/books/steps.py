"""Write how one position moves: every step starts where the last one ended, the first at its newest event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kraken_recon.books.events import Cause, Reason, RecordedPosition, Step
from kraken_recon.values.money import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry


@dataclass(slots=True)
class Steps:
    """The steps of one holding so far; ``quantity`` is where the last of them ended."""

    key: HoldingKey
    quantity: Decimal
    made: list[Step] = field(default_factory=list)

    @classmethod
    def begin(cls, key: HoldingKey, row: RecordedPosition, found_at: datetime) -> Steps:
        """Begin at what is on record; what somebody changed without an event is said, as of ``found_at``.

        Then the events connect again; a sync judges the change, with both facts on record.
        """
        steps = cls(key, row.event_total)
        if row.quantity != row.event_total:
            steps.adjust(row.quantity, Reason.FOUND_CHANGED, found_at)
        return steps

    def adjust(self, after: Decimal, reason: Reason, at: datetime) -> None:
        """Move to a quantity for another reason than a ledger entry."""
        self._move(after, Cause.ADJUSTMENT, at, reason)

    def open_by(self, change: Decimal, at: datetime) -> None:
        """Move by what an opening is changed."""
        self._move(EXACT.add(self.quantity, change), Cause.OPENING, at)

    def book(self, entries: Iterable[LedgerEntry]) -> None:
        """Move by each of these entries."""
        for entry in entries:
            after = EXACT.add(self.quantity, entry.change)
            self._move(after, Cause.LEDGER, entry.entry_time, ledger_id=entry.ledger_id)

    def _move(
        self,
        after: Decimal,
        cause: Cause,
        at: datetime,
        reason: Reason | None = None,
        ledger_id: str | None = None,
    ) -> None:
        self.made.append(Step(self.key, self.quantity, after, cause, at, reason, ledger_id))
        self.quantity = after

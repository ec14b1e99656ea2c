"""How a position moves: one step of an event, why, and what is on record."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kraken_recon.values.money import EXACT, ZERO

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey


class Cause(StrEnum):
    """Why a position changed: a correction follows an entry on record that is told otherwise by now."""

    LEDGER = "ledger"
    ADJUSTMENT = "adjustment"
    CORRECTION = "correction"
    OPENING = "opening"


class Reason(StrEnum):
    """What an adjustment or a correction is for."""

    FOUND_CHANGED = "found_changed"
    DRIFT_REPAIRED = "drift_repaired"
    RESIDUAL_REPAIRED = "residual_repaired"
    RESIDUAL_REVERSED = "residual_reversed"
    REPAIR_UNDONE = "repair_undone"
    RESIDUAL_UNDONE = "residual_undone"
    ENTRY_CORRECTED = "entry_corrected"
    GAP_ACCEPTED = "gap_accepted"
    GAP_MENDED = "gap_mended"
    ENTRY_RESTORED = "entry_restored"


RESIDUAL_REASONS: Final = (Reason.RESIDUAL_REPAIRED, Reason.RESIDUAL_REVERSED, Reason.RESIDUAL_UNDONE)

REPAIR_REASONS: Final = (Reason.DRIFT_REPAIRED, Reason.RESIDUAL_REPAIRED, Reason.RESIDUAL_REVERSED)

UNDO_REASONS: Final = (Reason.REPAIR_UNDONE, Reason.RESIDUAL_UNDONE)


@dataclass(frozen=True, slots=True)
class RecordedPosition:
    """What the database holds of one position, before this run; amounts in units of the asset.

    ``ledger_total`` is the opening plus every recorded entry, ``adjustment_total`` what residual repairs
    added and have not taken back, ``adjusted_at`` the reading that the newest of them rests on.
    """

    quantity: Decimal = ZERO
    event_total: Decimal = ZERO
    ledger_total: Decimal = ZERO
    adjustment_total: Decimal = ZERO
    adjusted_at: datetime | None = None

    @property
    def expected(self) -> Decimal:
        """What the position's own history says it must be."""
        return EXACT.add(self.ledger_total, self.adjustment_total)


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one position; becomes a row of ``position_events``."""

    key: HoldingKey
    before: Decimal
    after: Decimal
    cause: Cause
    effective_at: datetime
    reason: Reason | None = None
    ledger_id: str | None = None

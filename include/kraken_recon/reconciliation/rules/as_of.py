"""Decide how an account's books stood at a past moment, from rows that never change.

Invariants:
1. What happened by a moment is the opening and every ledger entry before it; what was believed is every event
   recorded before it. Neither depends on when, how often or in which order anybody asks.
2. ``drift = reported - recorded = explained + database_drift + residual``, exactly, for every finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kraken_recon.reconciliation.rules.assess import Action, Discrepancy
from kraken_recon.values.money import EXACT, ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey


@dataclass(frozen=True, slots=True)
class Coverage:
    """Since when an account has books here, and up to when its ledger was read without a gap.

    ``begins_at`` is None for an account that was never opened, ``read_until`` for one that was never read: it
    may have been opened from a file.
    """

    begins_at: datetime | None
    read_until: datetime | None


@dataclass(frozen=True, slots=True)
class HoldingThen:
    """One holding at a past moment; amounts in units of the asset.

    ``reported`` is its running balance in the ledger, ``recorded`` the sum of the events recorded by then.
    ``ledger_ids`` are the entries that had happened and were not recorded yet (or the other way round), and
    ``explained`` what they come to. ``corrected`` is what other adjustments than residual repairs had moved.
    """

    key: HoldingKey
    reported: Decimal
    recorded: Decimal
    explained: Decimal
    corrected: Decimal
    ledger_ids: tuple[str, ...]

    @property
    def finding(self) -> Discrepancy:
        """What differed, in the parts that a finding of the present has; nothing is repaired in the past."""
        database_drift = EXACT.subtract(ZERO, self.corrected)
        drift = EXACT.subtract(self.reported, self.recorded)
        residual = EXACT.subtract(EXACT.subtract(drift, self.explained), database_drift)
        return Discrepancy(
            self.key,
            self.recorded,
            self.reported,
            self.explained,
            database_drift,
            residual,
            Action.RECORDED if database_drift or residual else Action.APPLIED,
            self.ledger_ids,
        )


def findings_then(holdings: Iterable[HoldingThen]) -> tuple[Discrepancy, ...]:
    """Name the holdings that differed, in the order of their names."""
    return tuple(
        holding.finding
        for holding in sorted(holdings, key=lambda holding: holding.key)
        if holding.reported != holding.recorded
    )

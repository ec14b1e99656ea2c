"""The values that travel between order verification and its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.orders.rules.order import Order
    from kraken_recon.verification.rules.judge import Verification


@dataclass(frozen=True, slots=True)
class ClaimedOrder:
    """An order that is being verified, its account, how often it was judged, and its deadline."""

    order: Order
    account: Account
    attempts: int
    deadline: datetime


@dataclass(frozen=True, slots=True)
class RecordedEntries:
    """RecordedEntries ledger entries by id, and what each moved its position by."""

    entries: Mapping[str, LedgerEntry]
    movements: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Booked:
    """Trades with entries in the account's own recorded ledger, and the account's name for those astray."""

    here: frozenset[str] = frozenset()
    elsewhere: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """An order's verdict; ``due_at`` says when it is looked at again, None where the verdict is final."""

    order_id: int
    verification: Verification
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class WindowCount:
    """How the verdicts of one account and source came out in one window."""

    window_seconds: int
    window_start: datetime
    account_id: int
    account: str
    source: str
    verified: int
    mismatched: int
    inconclusive: int

    @property
    def judged(self) -> int:
        """How many orders came to a final verdict."""
        return self.verified + self.mismatched

    @property
    def failure_percent(self) -> float | None:
        """Share of the final verdicts that are a mismatch; None without any."""
        return 100 * self.mismatched / self.judged if self.judged else None

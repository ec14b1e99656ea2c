"""A run of verification: what it needs, its rules and its cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from kraken_recon.values.threads import keep_nothing
from kraken_recon.verification.rules.judge import Tolerances

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.verification.evidence import VerificationBooks
    from kraken_recon.verification.rules.judge import OrderEvidence, Verification
    from kraken_recon.verification.rules.records import ClaimedOrder


@dataclass(frozen=True, slots=True)
class VerifyingRules:
    """How orders are verified; the same for every order of a run."""

    tolerances: Tolerances = field(default_factory=Tolerances)
    deadline: timedelta = timedelta(minutes=30)
    lease: timedelta = timedelta(seconds=90)
    retry_first: timedelta = timedelta(seconds=10)
    retry_longest: timedelta = timedelta(hours=1)
    orders_per_batch: int = 1_000
    concurrency: int = 4

    def due_after(self, attempts: int) -> timedelta:
        """Say how long to wait after so many tries without a final verdict."""
        wait = self.retry_first
        for _ in range(attempts):
            wait = min(self.retry_longest, 2 * wait)
        return wait


@dataclass(frozen=True, slots=True)
class VerifyingPorts:
    """The outside world, wired by the caller; ``stop`` ends every pause of a reading with an error.

    ``keep_open`` keeps what so many accounts take that are asked at a time for those that come next.
    """

    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    open_books: Callable[[Account], AbstractContextManager[VerificationBooks]]
    clock: Callable[[], datetime]
    stop: Callable[[], None] = lambda: None
    keep_open: Callable[[int], AbstractContextManager[None]] = keep_nothing


@dataclass(slots=True)
class Case:
    """One claimed order on its way to a verdict."""

    claimed: ClaimedOrder
    evidence: OrderEvidence
    verification: Verification

    @property
    def order_id(self) -> int:
        """The order's id."""
        return self.claimed.order.order_id

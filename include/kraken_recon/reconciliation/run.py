"""A run of reconciliation: what is asked, what it needs, and the work on each account."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from kraken_recon.errors import (
    ConfigurationError,
)
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.rules.priority import SWEEP_AGE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import Balance, HoldingKey
    from kraken_recon.reconciliation.exchange import Exchange
    from kraken_recon.reconciliation.margin.rules import MarginFinding, MarginLook
    from kraken_recon.reconciliation.plans.recording import Approval
    from kraken_recon.reconciliation.reading import Reading
    from kraken_recon.reconciliation.rules.policy import Mode, Policy
    from kraken_recon.reconciliation.rules.run import AccountState, Comparison, DagRun
    from kraken_recon.values.intervals import Interval

SWEEP_HOURS_MAX: Final = 24 * 31


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What one run shall do; the same for every account of the run.

    ``concurrency`` bounds how many accounts are asked side by side; ``trigger`` says what started the run,
    ``dag_run`` which run of a DAG it belongs to, if it does;
    ``sweep_age`` how old the last proof of a ledger may become whose balances agree.
    Without ``keeps_costs`` average costs are left to be recomputed later. ``approval`` is of the one account
    of the run. ``trusts_chain`` says that a person takes a ledger that connects for complete although Kraken
    counts more entries than it shows.
    """

    interval: Interval
    mode: Mode
    policy: Policy
    trigger: str = "manual"
    concurrency: int = 4
    dag_run: DagRun | None = None
    keeps_costs: bool = True
    approval: Approval | None = None
    sweep_age: timedelta = SWEEP_AGE
    trusts_chain: bool = False

    @property
    def told_as(self) -> str:
        """Name the run for people."""
        run = self.dag_run
        return f"run {run.run_id} of {run.dag_id}" if run else f"a sync ({self.trigger}), {self.interval}"


@dataclass(frozen=True, slots=True)
class SyncPorts:
    """The outside world, wired by the caller.

    ``pause`` waits a number of seconds; ``stop`` ends every pause, running or to come, with an error.
    """

    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    open_exchange: Callable[[Account], AbstractContextManager[Exchange]]
    clock: Callable[[], datetime]
    pause: Callable[[float], None] = time.sleep
    stop: Callable[[], None] = lambda: None


def sweep_age_of(hours: float) -> timedelta:
    """Read the greatest age of a ledger's proof, in hours.

    Raises:
        ConfigurationError: it is no number of at least one.
    """
    if not 1 <= hours <= SWEEP_HOURS_MAX:
        raise ConfigurationError(f"expected a sweep age of 1 to {SWEEP_HOURS_MAX} hours, was {hours}")
    return timedelta(hours=hours)


RUN_NAMESPACE: Final = UUID("7d0c5b0e-6a4f-4b57-9f0d-6f6b72656b6e")


@dataclass(slots=True)
class AccountWork:
    """One account on its way through a run; each step fills in what it found.

    ``is_swept`` has its ledger read even if its balances agree; ``caught_up`` counts entries of a long ledger
    that were booked, stretch by stretch, before the account could be compared. ``left`` says why not even a
    run could be recorded.
    """

    state: AccountState
    run_id: UUID
    seconds: float = 0.0
    balances: Mapping[HoldingKey, Balance] | None = None
    as_of: datetime | None = None
    comparison: Comparison | None = None
    reading: Reading | None = None
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    calls: int = 0
    error: str | None = None
    left: str | None = None
    moving: str | None = None
    margin: MarginLook | None = None
    margin_findings: tuple[MarginFinding, ...] = ()
    is_swept: bool = False
    caught_up: int = 0

    @property
    def account_id(self) -> int:
        """The account's id."""
        return self.state.account.account_id

    @property
    def needs_reading(self) -> bool:
        """Say whether the balances alone do not settle the account."""
        if self.error or self.comparison is None:
            return False
        return not self.state.is_open or self.is_swept or bool(self.comparison.differing)


def run_id_of(account: Account, request: SyncRequest) -> UUID:
    """Name the run of one account for one interval and mode; the same whenever it is asked."""
    interval = request.interval
    return uuid5(
        RUN_NAMESPACE,
        f"{account.account_id}|{interval.start.isoformat()}|{interval.end.isoformat()}|{request.mode}",
    )

"""A run of reconciliation: what is asked, what it needs, and the work on each account."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from kraken_recon.errors import ConfigurationError
from kraken_recon.reconciliation.rules.priority import SWEEP_AGE
from kraken_recon.reconciliation.stages import Compared, Failed, Left, Moving, Read, Waiting
from kraken_recon.values.threads import keep_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.errors import KrakenReconError
    from kraken_recon.reconciliation.exchange import Exchange
    from kraken_recon.reconciliation.margin.rules import MarginFinding, MarginLook
    from kraken_recon.reconciliation.plans.recording import Approval
    from kraken_recon.reconciliation.rules.policy import Mode, Policy
    from kraken_recon.reconciliation.rules.run import AccountState, DagRun
    from kraken_recon.reconciliation.stages import Reached, Stage
    from kraken_recon.values.intervals import Interval

SIDE_BY_SIDE: Final = 4
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
    concurrency: int = SIDE_BY_SIDE
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

    ``pause`` waits a number of seconds; ``stop`` ends every pause, running or to come, with an error;
    ``keep_open`` keeps what so many accounts take that are asked at a time for those that come next.
    """

    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    open_exchange: Callable[[Account], AbstractContextManager[Exchange]]
    clock: Callable[[], datetime]
    pause: Callable[[float], None] = time.sleep
    stop: Callable[[], None] = lambda: None
    keep_open: Callable[[int], AbstractContextManager[None]] = keep_nothing


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
    """One account on its way through a run; ``stage`` says how far it has come, and what is known by then.

    ``is_swept`` has its ledger read even if its balances agree; ``caught_up`` counts entries of a long ledger
    that were booked, stretch by stretch, before the account could be compared. ``margin`` is what Kraken told
    of its margin positions, if it was asked, and ``margin_findings`` what differed of them.
    """

    state: AccountState
    run_id: UUID
    stage: Stage = field(default_factory=Waiting)
    is_swept: bool = False
    margin: MarginLook | None = None
    margin_findings: tuple[MarginFinding, ...] = ()
    seconds: float = 0.0
    calls: int = 0
    caught_up: int = 0

    @property
    def account_id(self) -> int:
        """The account's id."""
        return self.state.account.account_id

    @property
    def needs_reading(self) -> bool:
        """Say whether the balances alone do not settle the account."""
        if not isinstance(self.stage, Compared):
            return False
        return not self.state.is_open or self.is_swept or bool(self.stage.comparison.differing)

    @property
    def reached(self) -> Reached:
        """What is known of the account, also of one that goes no further."""
        return self.stage.reached if isinstance(self.stage, (Moving, Failed, Left)) else self.stage

    @property
    def is_stopped(self) -> bool:
        """Say whether the account goes no further in this run."""
        return self.stage is not self.reached

    @property
    def error(self) -> str | None:
        """Why the account could not be reconciled, if it could not."""
        return self.stage.why if isinstance(self.stage, Failed) else None

    @property
    def status(self) -> str:
        """What its run came to."""
        if isinstance(self.stage, (Failed, Left)):
            return "failed"
        is_moving = isinstance(self.stage, Moving) or (
            isinstance(self.stage, Read) and not self.stage.reading.coherent
        )
        return "moving" if is_moving else "succeeded"

    def fail(self, error: KrakenReconError) -> None:
        """Go no further, because of this."""
        moving = self.stage.why if isinstance(self.stage, Moving) else None
        self.stage = Failed(f"{type(error).__name__}: {error}", self.reached, moving)

    @contextmanager
    def asking(self, ports: SyncPorts) -> Iterator[Exchange]:
        """Open the account at Kraken, and count the calls."""
        with ports.open_exchange(self.state.account) as exchange:
            try:
                yield exchange
            finally:
                self.calls += exchange.calls


def run_id_of(account: Account, request: SyncRequest) -> UUID:
    """Name the run of one account for one interval and mode; the same whenever it is asked."""
    interval = request.interval
    return uuid5(
        RUN_NAMESPACE,
        f"{account.account_id}|{interval.start.isoformat()}|{interval.end.isoformat()}|{request.mode}",
    )

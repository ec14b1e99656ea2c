"""Reconcile accounts with Kraken: ask, explain, then book.

Invariants:
1. No network call happens inside a transaction.
2. A failure of one account is recorded for that account and stops no other.
3. A run that succeeded for an interval is not run again for it: the same task run twice leaves the same rows.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kraken_recon.errors import ExchangeError, KrakenReconError, StoreError
from kraken_recon.service.booking import AccountWork, book, run_id_of
from kraken_recon.service.margin import ask_positions, must_ask
from kraken_recon.service.reading import KnownBooks, LedgerReader, StillMovingError, read_books

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.domain.intervals import Interval
    from kraken_recon.domain.policy import Mode, Policy
    from kraken_recon.domain.records import Account
    from kraken_recon.service.planning import Approval
    from kraken_recon.service.ports import Exchange, UnitOfWork

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What one run shall do; the same for every account of the run.

    ``concurrency`` bounds how many accounts are asked side by side; ``trigger`` says what started the run.
    Without ``keeps_costs`` average costs are left to be recomputed later. ``approval`` is of the
    one account of the run.
    """

    interval: Interval
    mode: Mode
    policy: Policy
    trigger: str = "manual"
    concurrency: int = 4
    keeps_costs: bool = True
    approval: Approval | None = None


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


def sync_accounts(accounts: Sequence[Account], request: SyncRequest, ports: SyncPorts) -> list[UUID]:
    """Reconcile these accounts and return the id of each one's run, in the order of ``accounts``.

    An account that cannot be reconciled has a run with the status ``failed``; it raises nothing.

    Raises:
        StoreError: the database cannot be used at all.
    """
    with ports.open_unit_of_work() as unit:
        finished = unit.sync.finished_runs(accounts, request.interval, request.mode)
        states = unit.sync.load_states([a for a in accounts if a.account_id not in finished])
        margins = unit.margin.states([state.account.account_id for state in states])
    works = [AccountWork(state, run_id_of(state.account, request)) for state in states]
    side_by_side(works, lambda work: _ask(work, ports), request, ports)
    _compare(works, ports)
    unsettled = [work for work in works if work.needs_reading]
    side_by_side(unsettled, lambda work: _explain(work, request, ports), request, ports)
    leveraged = [work for work in works if must_ask(work, margins[work.account_id])]
    side_by_side(leveraged, lambda work: ask_positions(work, margins[work.account_id], ports), request, ports)
    book(works, request, ports.open_unit_of_work)
    run_ids = {work.account_id: work.run_id for work in works} | dict(finished)
    return [run_ids[account.account_id] for account in accounts]


def side_by_side(
    works: Sequence[AccountWork],
    step: Callable[[AccountWork], None],
    request: SyncRequest,
    ports: SyncPorts,
) -> None:
    """Run one step for every account, a bounded number at a time; what fails is kept on the account.

    When this thread is interrupted (a task that is ended, a time-out), the others are told to stop: their
    sessions must not outlive the run.
    """

    def guarded(work: AccountWork) -> None:
        started = time.monotonic()
        try:
            step(work)
        except StillMovingError as moving:
            work.moving = str(moving)
        except KrakenReconError as error:
            work.error = f"{type(error).__name__}: {error}"
        except Exception as error:
            # A defect met on one account must not cost the others their run; it is logged in full.
            log.exception("account %s: unexpected failure", work.state.account.name)
            work.error = f"unexpected {type(error).__name__}, see the task's log"
        work.seconds += time.monotonic() - started

    if works:
        with ThreadPoolExecutor(max_workers=min(request.concurrency, len(works))) as pool:
            try:
                list(pool.map(guarded, works))
            except BaseException:
                ports.stop()
                raise


def _ask(work: AccountWork, ports: SyncPorts) -> None:
    with ports.open_exchange(work.state.account) as exchange:
        work.as_of = ports.clock()
        try:
            exchange.check_key()
            work.balances = exchange.balances()
        finally:
            work.calls += exchange.calls


def _compare(works: Sequence[AccountWork], ports: SyncPorts) -> None:
    """Compare all replies at once, or one by one where the database refuses something in one of them."""
    replied = [work for work in works if work.balances is not None]
    if not replied:
        return
    try:
        with ports.open_unit_of_work() as unit:
            comparisons = unit.sync.compare(
                {w.account_id: w.balances for w in replied if w.balances is not None}
            )
    except StoreError as error:
        if len(replied) == 1:
            replied[0].error = f"{type(error).__name__}: {error}"
        else:
            for work in replied:
                _compare([work], ports)
        return
    for work in replied:
        work.comparison = comparisons.get(work.account_id)


def _explain(work: AccountWork, request: SyncRequest, ports: SyncPorts) -> None:
    def known_books(after: datetime | None) -> KnownBooks:
        with ports.open_unit_of_work() as unit:
            return KnownBooks(
                unit.sync.entries_after(work.account_id, after),
                unit.sync.balances_at(work.account_id, after),
            )

    with ports.open_exchange(work.state.account) as exchange:
        try:
            reader = LedgerReader(exchange, work.state, known_books, ports.pause, ports.clock)
            work.reading = read_books(reader, work.balances or {}, ports.clock)
            work.prices = _prices(work, request, exchange)
        finally:
            work.calls += exchange.calls


def _prices(work: AccountWork, request: SyncRequest, exchange: Exchange) -> Mapping[str, Decimal]:
    """Ask for prices only where a residual is old enough to be judged by its value.

    Without prices nothing of value is repaired: the guard holds what it cannot value.
    """
    assert work.reading is not None  # noqa: S101 - for the type checker
    oldest = work.reading.as_of - request.policy.confirmation_age
    if not any(seen.first_seen_at <= oldest for seen in work.state.observations.values()):
        return {}
    try:
        return exchange.prices(work.state.account.quote_currency)
    except ExchangeError as error:
        log.warning("account %s: no prices, repairs are held: %s", work.state.account.name, error)
        return {}

"""Reconcile accounts with Kraken: ask, explain, then book.

Invariants:
1. No network call happens inside a transaction.
2. A failure of one account is recorded for that account and stops no other.
3. A run that succeeded for an interval is not run again for it: the same task run twice leaves the same rows.
4. Accounts come in the order of their need, and are booked as they are read: a run that is cut short has
   done the most pressing.
5. Balances that agree do not prove a ledger: each is read, and proved, at least once in ``sweep_age``, and in
   every run while an adjustment waits for the entry that explains it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kraken_recon.accounts.store import AccountStore
from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.lock_patience import LockPatience
from kraken_recon.errors import (
    AccountsLeftError,
    ExchangeError,
    KrakenReconError,
    LockTimeoutError,
    StoreError,
)
from kraken_recon.holdings.pricing import keep_prices
from kraken_recon.ledger.entries import TOKENIZED
from kraken_recon.ledger.operations import lacks_a_leg
from kraken_recon.reconciliation.booking import book
from kraken_recon.reconciliation.long_ledgers import (
    book_stretch,
    ledger_reader,
    not_caught_up,
    tokenized_reader,
)
from kraken_recon.reconciliation.margin.reconcile import ask_positions, must_ask
from kraken_recon.reconciliation.margin.store import MarginStore
from kraken_recon.reconciliation.priority_store import PriorityStore
from kraken_recon.reconciliation.reading import LongLedgerError, StillMovingError, read_coherently
from kraken_recon.reconciliation.rules.priority import ACTIVE_FOR, due_for_sweep, in_order_of_need
from kraken_recon.reconciliation.run import AccountWork, SyncPorts, SyncRequest, run_id_of
from kraken_recon.reconciliation.run_summary import failure_alert
from kraken_recon.reconciliation.stages import Compared, Failed, Left, Moving, Read, Replied, Waiting
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.values.threads import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import Balance, HoldingKey
    from kraken_recon.ledger.transfers import Transfer
    from kraken_recon.reconciliation.exchange import Exchange
    from kraken_recon.reconciliation.reading import LedgerReader, Reading
    from kraken_recon.reconciliation.rules.run import AccountState

log = logging.getLogger(__name__)

READINGS_BOOKED_TOGETHER: Final = 8


def sync_accounts(accounts: Sequence[Account], request: SyncRequest, ports: SyncPorts) -> list[UUID]:
    """Reconcile these accounts and return the id of each one's run, in the order of ``accounts``.

    An account that cannot be reconciled has a run with the status ``failed``; it raises nothing.

    Raises:
        AccountsLeftError: of some accounts not even that could be recorded; all others are done.
        StoreError: the database cannot be used at all.
    """
    ports = replace(ports, open_unit_of_work=LockPatience(ports.open_unit_of_work).open)
    with ports.open_unit_of_work() as unit:
        finished = ReconciliationStore(unit).finished_runs(accounts, request.interval, request.mode)
        states = ReconciliationStore(unit).load_states([a for a in accounts if a.account_id not in finished])
        margins = MarginStore(unit).states([state.account.account_id for state in states])
        works = _in_turn(unit, states, request, ports.clock())
        asked_in = ReconciliationStore(unit).snapshot()

    def ask_about_margin_and_book(batch: Sequence[AccountWork]) -> None:
        leveraged = [work for work in batch if must_ask(work, margins[work.account_id])]
        work_by_work(
            leveraged, lambda work: ask_positions(work, margins[work.account_id], ports), request, ports
        )
        book(batch, request, ports.open_unit_of_work)

    work_by_work(works, lambda work: _ask(work, ports), request, ports)
    _compare(works, asked_in, ports)
    ask_about_margin_and_book([work for work in works if not work.needs_reading])
    unsettled = [work for work in works if work.needs_reading]
    for start in range(0, len(unsettled), READINGS_BOOKED_TOGETHER):
        batch = unsettled[start : start + READINGS_BOOKED_TOGETHER]
        work_by_work(batch, lambda work: _explain(work, request, ports), request, ports)
        for quote, prices in _prices_by_quote(batch).items():
            keep_prices(quote, prices, ports)
        ask_about_margin_and_book(batch)
    return recorded_runs(accounts, works, finished, ports)


def recorded_runs(
    accounts: Sequence[Account], works: Sequence[AccountWork], finished: Mapping[int, UUID], ports: SyncPorts
) -> list[UUID]:
    """Name each account's run, in the order of ``accounts``.

    Raises:
        AccountsLeftError: some have none; there is an alert for each, if that could be written.
    """
    left = {work.account_id: work.stage.why for work in works if isinstance(work.stage, Left)}
    run_ids = {work.account_id: work.run_id for work in works} | dict(finished)
    recorded = [run_ids[a.account_id] for a in accounts if a.account_id not in left]
    if left:
        try:
            with ports.open_unit_of_work() as unit:
                AlertStore(unit).raise_alerts(
                    [failure_alert(work, left[work.account_id]) for work in works if work.account_id in left]
                )
                unit.commit()
        except StoreError as error:
            log.warning("no alert could be written of accounts that were left: %s", error)
        raise AccountsLeftError(
            "left as they were, and not recorded",
            accounts={a.name: left[a.account_id] for a in accounts if a.account_id in left},
            run_ids=recorded,
        )
    return recorded


def _in_turn(
    unit: UnitOfWork, states: Sequence[AccountState], request: SyncRequest, now: datetime
) -> list[AccountWork]:
    """Put the most pressing accounts first, and choose those whose ledger is read in any case."""
    read_until = {s.account.account_id: s.ledger_read_until for s in states if s.is_open}
    swept = due_for_sweep(read_until, now, request.sweep_age)
    by_id = {state.account.account_id: state for state in states}
    needs = PriorityStore(unit).needs(list(by_id), now - ACTIVE_FOR)
    return [
        AccountWork(
            by_id[number],
            run_id_of(by_id[number].account, request),
            is_swept=number in swept or by_id[number].is_unexplained,
        )
        for number in in_order_of_need(needs, now)
    ]


def accounts_in_turn(unit: UnitOfWork, names: Collection[str] | None, now: datetime) -> list[Account]:
    """List active accounts, or those named, the most pressing first.

    Raises:
        ConfigurationError: a name is unknown.
    """
    by_id = {account.account_id: account for account in AccountStore(unit).find_accounts(names)}
    return [
        by_id[number]
        for number in in_order_of_need(PriorityStore(unit).needs(list(by_id), now - ACTIVE_FOR), now)
    ]


def work_by_work(
    works: Sequence[AccountWork],
    step: Callable[[AccountWork], None],
    request: SyncRequest,
    ports: SyncPorts,
) -> None:
    """Run one step for every account; what fails is kept on the account."""

    def guarded(work: AccountWork) -> None:
        started = time.monotonic()
        try:
            step(work)
        except StillMovingError as moving:
            work.stage = Moving(str(moving), work.reached)
        except KrakenReconError as error:
            work.fail(error)
        except Exception as error:
            # A defect met on one account must not cost the others their run; it is logged in full.
            log.exception("account %s: unexpected failure", work.state.account.name)
            work.stage = Failed(f"unexpected {type(error).__name__}, see the task's log", work.reached)
        work.seconds += time.monotonic() - started

    side_by_side(works, guarded, concurrency=request.concurrency, stop=ports.stop, keep_open=ports.keep_open)


def _ask(work: AccountWork, ports: SyncPorts) -> None:
    with work.asking(ports) as exchange:
        as_of = ports.clock()
        work.stage = Waiting(as_of)
        exchange.check_key()
        work.stage = Replied(as_of, exchange.balances())


def _compare(works: Sequence[AccountWork], asked_in: str, ports: SyncPorts) -> None:
    """Compare all replies at once, or one by one where the database refuses something in one of them."""
    replied = [(work, work.stage) for work in works if isinstance(work.stage, Replied)]
    if not replied:
        return
    try:
        with ports.open_unit_of_work() as unit:
            comparisons = ReconciliationStore(unit).compare(
                {work.account_id: reply.balances for work, reply in replied}, asked_in
            )
    except StoreError as error:
        # What is only read waits for nothing but a lock of a whole table: it is the same for every account.
        if len(replied) == 1 or isinstance(error, LockTimeoutError):
            for work, _ in replied:
                work.fail(error)
        else:
            for work, _ in replied:
                _compare([work], asked_in, ports)
        return
    for work, reply in replied:
        work.stage = Compared(reply.as_of, reply.balances, comparisons[work.account_id])


def _explain(work: AccountWork, request: SyncRequest, ports: SyncPorts) -> None:
    assert isinstance(work.stage, Compared)  # noqa: S101 - for the type checker
    balances, comparison = work.stage.balances, work.stage.comparison
    with work.asking(ports) as exchange:
        reading = _read(work, balances, exchange, request, ports)
        # Whatever fails from here on, the run says as of when it was read.
        work.stage = read = Read(balances, comparison, reading)
        oldest = reading.as_of - request.policy.confirmation_age
        judged = {key for key, seen in work.state.observations.items() if seen.first_seen_at <= oldest}
        prices = _prices(work, exchange) if judged else {}
        # What somebody tolerated before is not asked about again.
        transfers = _transfers(work, exchange) if judged & comparison.differing.keys() else ()
    work.stage = replace(read, prices=prices, transfers=transfers)


def _read(
    work: AccountWork,
    balances: Mapping[HoldingKey, Balance],
    exchange: Exchange,
    request: SyncRequest,
    ports: SyncPorts,
) -> Reading:
    """Read from the watermark, or in a sweep from where the ledger was last read without a gap.

    Raises:
        StillMovingError: among others when the ledger is so long that only a stretch of it was booked.
    """
    trusts_chain = request.trusts_chain
    other_class = tokenized_reader(work, exchange, ports, trusts_chain=trusts_chain)
    watermark, read_until = work.state.newest_entry_at, work.state.ledger_read_until
    starts = [read_until] if work.is_swept else [watermark]
    if work.state.is_unexplained:
        # Whatever explains an adjustment lies behind the newest entry that it was made on.
        starts.insert(0, work.state.unexplained_after)
    if work.is_swept and work.state.gaps_since:
        # Whether Kraken fills by now what a person accepted as a gap.
        starts.insert(0, work.state.gaps_since)
    if watermark is not None and read_until is not None and watermark < read_until:
        # Where a long ledger is being caught up with, the watermark waits at its beginning.
        starts.append(read_until)
    for start in starts:
        reader = ledger_reader(work, exchange, ports, start, trusts_chain=trusts_chain)
        try:
            return _read_classes(reader, other_class, balances, ports)
        except LongLedgerError as error:
            long = error
            if error.reader.is_tokenized:
                break
    reader = long.reader
    if not reader.is_tokenized:
        reader = ledger_reader(work, exchange, ports, read_until, trusts_chain=trusts_chain)
    raise not_caught_up(long, book_stretch(work, reader, long, request.mode, ports))


def _read_classes(
    reader: LedgerReader,
    other_class: LedgerReader,
    balances: Mapping[HoldingKey, Balance],
    ports: SyncPorts,
) -> Reading:
    """Read the ledger of tokenized assets, too, where there may be something in it.

    So it is where the account holds some, or held some, and where the other ledger shows one leg alone of
    what was bought or sold in the app.
    """
    if reader.state.has_tokenized or any(key.wallet == TOKENIZED for key in balances):
        return read_coherently(reader, balances, ports.clock, other_class)
    reading = read_coherently(reader, balances, ports.clock)
    if not lacks_a_leg(reading.entries):
        return reading
    return read_coherently(reader, reading.balances, ports.clock, other_class)


def _transfers(work: AccountWork, exchange: Exchange) -> tuple[Transfer, ...]:
    """Ask what is under way; where it cannot be asked, residuals are judged without it."""
    try:
        return exchange.transfers()
    except ExchangeError as error:
        log.warning("account %s: deposits and withdrawals under way: %s", work.state.account.name, error)
        return ()


def _prices(work: AccountWork, exchange: Exchange) -> Mapping[str, Decimal]:
    """Ask for the prices that residuals are judged by."""
    try:
        return exchange.prices(work.state.account.quote_currency)
    except ExchangeError as error:
        log.warning("account %s: no prices, repairs are held: %s", work.state.account.name, error)
        return {}


def _prices_by_quote(works: Iterable[AccountWork]) -> dict[str, Mapping[str, Decimal]]:
    return {
        work.state.account.quote_currency: work.stage.prices
        for work in works
        if isinstance(work.stage, Read) and work.stage.prices
    }

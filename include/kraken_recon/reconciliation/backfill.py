"""Reconcile accounts as of the end of a past interval.

Invariants:
1. Both sides are rebuilt from rows that never change, so the time and the order of the runs do not matter.
2. A run concludes nothing before the ledger is read, without a gap, from the opening to beyond its interval.
3. Today's positions move only by entries that were missed, each once; no balance is asked for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.books.store import BookStore
from kraken_recon.database.lock_patience import LockPatience
from kraken_recon.database.retrying import STORE_TRIES_MAX, is_worth_repeating
from kraken_recon.errors import StoreError, StoreUnreachableError
from kraken_recon.reconciliation.backfill_store import BackfillStore
from kraken_recon.reconciliation.long_ledgers import apply_missed, book_stretch, ledger_reader, not_caught_up
from kraken_recon.reconciliation.reading import LAG_MAX, LongLedgerError, Reading
from kraken_recon.reconciliation.rules.as_of import findings_then
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.rules.run import RunRecord
from kraken_recon.reconciliation.run import AccountWork, run_id_of
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.reconciliation.sync import recorded_runs, work_by_work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.reconciliation.rules.as_of import Coverage
    from kraken_recon.reconciliation.rules.assess import Discrepancy
    from kraken_recon.reconciliation.run import SyncPorts, SyncRequest

# Kraken's ledger lags behind, and what was recorded just before the end must be committed.
SETTLING: Final = max(LAG_MAX, timedelta(minutes=5))
# Each of them is booked before the next is read, so a run that is cut short goes on from there.
STRETCHES_MAX: Final = 10
BOOKS_BEGIN_LATER: Final = "the account's books begin after this interval: nothing was believed of it yet"
NOT_SETTLED: Final = (
    f"the interval is not over, or since less than {SETTLING.seconds // 60} minutes: "
    "its books may still be written"
)


@dataclass(frozen=True, slots=True)
class _Then:
    """What the books at a past moment came to."""

    findings: tuple[Discrepancy, ...] = ()
    checked: int = 0
    head: str | None = None
    ingested: int = 0
    lock_hold_ms: float = 0.0


def reconcile_as_of(accounts: Sequence[Account], request: SyncRequest, ports: SyncPorts) -> list[UUID]:
    """Reconcile as of the interval's end and return the id of each account's run, in the order given.

    An account that cannot be reconciled has a run with the status ``failed``; it raises nothing.

    Raises:
        AccountsLeftError: of some accounts not even that could be recorded; all others are done.
        StoreError: the database cannot be used at all.
    """
    ports = replace(ports, open_unit_of_work=LockPatience(ports.open_unit_of_work).open)
    with ports.open_unit_of_work() as unit:
        finished = ReconciliationStore(unit).finished_runs(accounts, request.interval, request.mode)
        unfinished = [account for account in accounts if account.account_id not in finished]
        states = ReconciliationStore(unit).load_states(unfinished)
        coverages = BackfillStore(unit).coverage([account.account_id for account in unfinished])
    works = [AccountWork(state, run_id_of(state.account, request)) for state in states]
    end = request.interval.end
    if ports.clock() < end + SETTLING:
        for work in works:
            work.moving = NOT_SETTLED
    unread = [w for w in works if not w.moving and _must_be_read(coverages[w.account_id], end)]
    work_by_work(unread, lambda work: _read(work, coverages[work.account_id], request, ports), request, ports)
    for work in works:
        _book(work, coverages[work.account_id], request, ports)
    return recorded_runs(accounts, works, finished, ports)


def _has_books(coverage: Coverage, end: datetime) -> bool:
    return coverage.begins_at is not None and coverage.begins_at < end


def _must_be_read(coverage: Coverage, end: datetime) -> bool:
    """Say whether an entry of the interval, or of before, could still be unknown here."""
    if not _has_books(coverage, end):
        return False
    return coverage.read_until is None or coverage.read_until < end + SETTLING


def _read(work: AccountWork, coverage: Coverage, request: SyncRequest, ports: SyncPorts) -> None:
    """Read the ledger from where it was last read without a gap, through to its head, and prove it.

    A long one is read stretch by stretch, no further than the interval needs.
    """
    read_until = coverage.read_until
    with ports.open_exchange(work.state.account) as exchange:
        try:
            exchange.check_key()
            for stretch in range(STRETCHES_MAX + 1):
                as_of = ports.clock()
                reader = ledger_reader(work, exchange, ports, read_until, trusts_chain=request.trusts_chain)
                try:
                    pages, after = reader.read_all()
                except LongLedgerError as long:
                    if stretch == STRETCHES_MAX and read_until is not None:
                        raise not_caught_up(long, read_until) from long
                    read_until = book_stretch(work, reader, long, request.mode, ports)
                    if read_until >= request.interval.end + SETTLING:
                        return
                else:
                    work.reading = Reading({}, tuple(pages.entries.values()), after, as_of, coherent=True)
                    return
        finally:
            work.calls += exchange.calls


def _book(work: AccountWork, coverage: Coverage, request: SyncRequest, ports: SyncPorts) -> None:
    """Write everything of one account in one transaction; what cannot be written is recorded as failed."""
    tries = 0
    while True:
        tries += 1
        started = time.monotonic()
        try:
            with ports.open_unit_of_work() as unit:
                if work.error or work.moving or not _has_books(coverage, request.interval.end):
                    then = _Then()
                else:
                    then = _booked(unit, work, request)
                seconds = work.seconds + time.monotonic() - started
                run = _run_record(work, coverage, request, then, seconds)
                ReconciliationStore(unit).record_runs([run], {run.run_id: then.findings})
                unit.commit()
        except StoreUnreachableError:
            raise
        except StoreError as error:
            if is_worth_repeating(error) and tries < STORE_TRIES_MAX:
                continue
            reason = f"{type(error).__name__}: {error}"
            if work.error:
                work.left = f"{work.error}; it could not be recorded: {reason}"
                return
            work.error, tries = reason, 0
        else:
            return


def _booked(unit: UnitOfWork, work: AccountWork, request: SyncRequest) -> _Then:
    end, reading = request.interval.end, work.reading
    ingested, held_ms = 0, 0.0
    if reading is not None and request.mode is Mode.REPAIR:
        started = time.monotonic()
        ingested = apply_missed(unit, work, reading, to_head=True)
        held_ms = (time.monotonic() - started) * 1000
    read = reading.entries if reading is not None else ()
    holdings = BackfillStore(unit).holdings_then(work.account_id, end, read)
    recorded_head = BackfillStore(unit).head_then(work.account_id, end)
    newest_read = max(
        ((entry.entry_time, entry.ledger_id) for entry in read if entry.entry_time < end), default=None
    )
    if request.mode is Mode.DRY_RUN:
        ingested = _count_unknown(unit, work, read)
    return _Then(
        findings_then(holdings),
        len(holdings),
        newest_read[1] if newest_read else recorded_head,
        ingested,
        held_ms,
    )


def _count_unknown(unit: UnitOfWork, work: AccountWork, read: Sequence[LedgerEntry]) -> int:
    return len(read) - len(BookStore(unit).known_ids({work.account_id: read})) if read else 0


def _run_record(
    work: AccountWork, coverage: Coverage, request: SyncRequest, then: _Then, seconds: float
) -> RunRecord:
    unsettled = work.error or work.moving
    has_books = _has_books(coverage, request.interval.end)
    return RunRecord(
        run_id=work.run_id,
        account_id=work.account_id,
        interval=request.interval,
        mode=request.mode,
        status="failed" if work.error else "moving" if work.moving else "succeeded",
        trigger=request.trigger,
        recorded_as_of=request.interval.end,
        reported_as_of=None if unsettled or not has_books else request.interval.end,
        reported_head=then.head,
        counts={
            "checked": then.checked,
            "matched": then.checked - len(then.findings),
            "explained": sum(1 for finding in then.findings if finding.explained),
            "failed": int(bool(work.error)),
        },
        entries_ingested=work.caught_up + then.ingested,
        api_calls=work.calls,
        seconds=seconds,
        lock_hold_ms=then.lock_hold_ms,
        note=None if work.error else work.moving or (None if has_books else BOOKS_BEGIN_LATER),
        error=work.error,
        dag_run=request.dag_run,
    )

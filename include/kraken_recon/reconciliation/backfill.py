"""Reconcile accounts as of the end of a past interval.

Invariants:
1. Both sides are rebuilt from rows that never change, so the time and the order of the runs do not matter.
2. A run concludes nothing before the ledger is read, without a gap, from the opening to beyond its interval.
3. Today's positions move only by entries that were missed, each once; no balance is asked for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.books.store import BookStore
from kraken_recon.database.lock_patience import LockPatience
from kraken_recon.reconciliation.backfill_store import BackfillStore
from kraken_recon.reconciliation.ledger_pages import LAG_MAX
from kraken_recon.reconciliation.long_ledgers import apply_missed, book_stretch, ledger_reader, not_caught_up
from kraken_recon.reconciliation.reading import LongLedgerError, Reading
from kraken_recon.reconciliation.rules.as_of import findings_then
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.run import AccountWork, run_id_of
from kraken_recon.reconciliation.run_summary import run_record
from kraken_recon.reconciliation.stages import Moving
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.reconciliation.sync import recorded_runs, work_by_work
from kraken_recon.reconciliation.transactions import write_in_batches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.reconciliation.reading import LedgerReader
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
            work.stage = Moving(NOT_SETTLED, work.reached)
    past = _Past(request, ports, coverages)
    unread = [w for w in works if not w.is_stopped and _must_be_read(coverages[w.account_id], end)]
    work_by_work(unread, past.read, request, ports)
    write_in_batches(works, past.write, ports.open_unit_of_work, accounts_per_transaction=1)
    return recorded_runs(accounts, works, finished, ports)


def _has_books(coverage: Coverage, end: datetime) -> bool:
    return coverage.begins_at is not None and coverage.begins_at < end


def _must_be_read(coverage: Coverage, end: datetime) -> bool:
    """Say whether an entry of the interval, or of before, could still be unknown here."""
    if not _has_books(coverage, end):
        return False
    return coverage.read_until is None or coverage.read_until < end + SETTLING


def _reading(readers: Sequence[LedgerReader], as_of: datetime) -> Reading:
    """Read the ledgers of an account; the first one begins latest."""
    pages, after = readers[0].read_all()
    for reader in readers[1:]:
        pages = pages.joined(reader.reaching_back_to(after).read_all()[0])
    return Reading(
        {},
        tuple(pages.entries.values()),
        after,
        as_of,
        coherent=True,
        respelled=pages.respelled,
        mended=pages.mended,
        has_tokenized=len(readers) > 1,
    )


@dataclass(frozen=True, slots=True)
class _Past:
    """One run as of a past moment; ``readings`` are of the accounts whose ledger had to be read for it."""

    request: SyncRequest
    ports: SyncPorts
    coverages: Mapping[int, Coverage]
    readings: dict[int, Reading] = field(default_factory=dict)

    def read(self, work: AccountWork) -> None:
        """Read the ledger from where it was last read without a gap, through to its head, and prove it.

        A long one is read stretch by stretch, no further than the interval needs. So is the ledger of
        tokenized assets, where the account holds some, or held some.
        """
        request, ports = self.request, self.ports
        until = {False: work.state.ledger_read_until}
        if work.state.has_tokenized:
            until[True] = work.state.tokenized_read_until
        with work.asking(ports) as exchange:
            exchange.check_key()
            for stretch in range(STRETCHES_MAX + 1):
                as_of = ports.clock()
                readers = [
                    replace(
                        ledger_reader(work, exchange, ports, start, trusts_chain=request.trusts_chain),
                        is_tokenized=is_tokenized,
                    )
                    for is_tokenized, start in until.items()
                ]
                try:
                    self.readings[work.account_id] = _reading(readers, as_of)
                except LongLedgerError as long:
                    read_until = until[long.reader.is_tokenized]
                    if stretch == STRETCHES_MAX and read_until is not None:
                        raise not_caught_up(long, read_until) from long
                    read_until = book_stretch(work, long.reader, long, request.mode, ports)
                    until[long.reader.is_tokenized] = read_until
                    if all(moment and moment >= request.interval.end + SETTLING for moment in until.values()):
                        return
                else:
                    return

    def write(self, unit: UnitOfWork, works: Sequence[AccountWork]) -> None:
        """Write everything of one account."""
        (work,) = works
        started = time.monotonic()
        has_books = _has_books(self.coverages[work.account_id], self.request.interval.end)
        is_known = has_books and not work.is_stopped
        then = self._booked(unit, work) if is_known else _Then()
        stopped = work.stage.why if isinstance(work.stage, Moving) else None
        run = run_record(
            work,
            self.request,
            recorded_as_of=self.request.interval.end,
            as_of=self.request.interval.end if is_known else None,
            head=then.head,
            counts={
                "checked": then.checked,
                "matched": then.checked - len(then.findings),
                "explained": sum(1 for finding in then.findings if finding.explained),
                "failed": int(bool(work.error)),
            },
            ingested=then.ingested,
            seconds=time.monotonic() - started,
            lock_hold_ms=then.lock_hold_ms,
            note=None if work.error else stopped or (None if has_books else BOOKS_BEGIN_LATER),
        )
        ReconciliationStore(unit).record_runs([run], {run.run_id: then.findings})

    def _booked(self, unit: UnitOfWork, work: AccountWork) -> _Then:
        end, reading = self.request.interval.end, self.readings.get(work.account_id)
        read = reading.entries if reading is not None else ()
        ingested, held_ms = 0, 0.0
        if self.request.mode is Mode.DRY_RUN:
            ingested = len(read) - len(BookStore(unit).known_ids({work.account_id: read})) if read else 0
        elif reading is not None:
            started = time.monotonic()
            ingested = apply_missed(unit, work, reading, to_head=True)
            held_ms = (time.monotonic() - started) * 1000
        store = BackfillStore(unit)
        holdings = store.holdings_then(work.account_id, end, read)
        newest_read = max(
            ((entry.entry_time, entry.ledger_id) for entry in read if entry.entry_time < end), default=None
        )
        head = newest_read[1] if newest_read else store.head_then(work.account_id, end)
        return _Then(findings_then(holdings), len(holdings), head, ingested, held_ms)

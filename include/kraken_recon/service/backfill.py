"""Reconcile accounts as of the end of a past interval.

Invariants:
1. Both sides are rebuilt from rows that never change, so the time and the order of the runs do not matter.
2. A run concludes nothing before the ledger is read, without a hole, from the opening to beyond its interval.
3. Today's positions move only by entries that were missed, each once; no balance is asked for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.domain.entry_kinds import strange_entries
from kraken_recon.domain.money import exact_arithmetic
from kraken_recon.domain.past import findings_then
from kraken_recon.domain.policy import Mode
from kraken_recon.domain.reconciliation import Cause, Reason, Step
from kraken_recon.domain.records import RunRecord
from kraken_recon.errors import StoreError
from kraken_recon.service.booking import STORE_TRIES_MAX, AccountWork, run_id_of
from kraken_recon.service.costing import recompute_account
from kraken_recon.service.reading import LAG_MAX, KnownBooks, LedgerReader, Reading
from kraken_recon.service.strange import strange_alerts
from kraken_recon.service.sync import side_by_side

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.domain.ledger import LedgerEntry
    from kraken_recon.domain.past import Coverage
    from kraken_recon.domain.reconciliation import Finding
    from kraken_recon.domain.records import Account
    from kraken_recon.service.ports import UnitOfWork
    from kraken_recon.service.sync import SyncPorts, SyncRequest

# Kraken's ledger lags behind, and what was recorded just before the end must be committed.
SETTLING: Final = max(LAG_MAX, timedelta(minutes=5))
BOOKS_BEGIN_LATER: Final = "the account's books begin after this interval: nothing was believed of it yet"
NOT_SETTLED: Final = (
    f"the interval is not over, or since less than {SETTLING.seconds // 60} minutes: "
    "its books may still be written"
)


@dataclass(frozen=True, slots=True)
class _Then:
    """What the books at a past moment came to."""

    findings: tuple[Finding, ...] = ()
    checked: int = 0
    head: str | None = None
    ingested: int = 0
    lock_hold_ms: float = 0.0


def reconcile_as_of(accounts: Sequence[Account], request: SyncRequest, ports: SyncPorts) -> list[UUID]:
    """Reconcile as of the interval's end and return the id of each account's run, in the order given.

    An account that cannot be reconciled has a run with the status ``failed``; it raises nothing.

    Raises:
        StoreError: the database cannot be used at all.
    """
    with ports.open_unit_of_work() as unit:
        finished = unit.sync.finished_runs(accounts, request.interval, request.mode)
        unfinished = [account for account in accounts if account.account_id not in finished]
        states = unit.sync.load_states(unfinished)
        coverages = unit.backfill.coverage([account.account_id for account in unfinished])
    works = [AccountWork(state, run_id_of(state.account, request)) for state in states]
    end = request.interval.end
    if ports.clock() < end + SETTLING:
        for work in works:
            work.moving = NOT_SETTLED
    unread = [w for w in works if not w.moving and _must_be_read(coverages[w.account_id], end)]
    side_by_side(unread, lambda work: _read(work, coverages[work.account_id], ports), request, ports)
    for work in works:
        _book(work, coverages[work.account_id], request, ports)
    run_ids = {work.account_id: work.run_id for work in works} | dict(finished)
    return [run_ids[account.account_id] for account in accounts]


def _has_books(coverage: Coverage, end: datetime) -> bool:
    return coverage.begins_at is not None and coverage.begins_at < end


def _must_be_read(coverage: Coverage, end: datetime) -> bool:
    """Say whether an entry of the interval, or of before, could still be unknown here."""
    if not _has_books(coverage, end):
        return False
    return coverage.read_until is None or coverage.read_until < end + SETTLING


def _read(work: AccountWork, coverage: Coverage, ports: SyncPorts) -> None:
    """Read the ledger from where it was last read without a hole, through to its head, and prove it."""

    def known_books(after: datetime | None) -> KnownBooks:
        with ports.open_unit_of_work() as unit:
            return KnownBooks(
                unit.sync.entries_after(work.account_id, after),
                unit.sync.balances_at(work.account_id, after),
            )

    state = replace(work.state, newest_entry_at=coverage.read_until)
    with ports.open_exchange(work.state.account) as exchange:
        as_of = ports.clock()
        try:
            exchange.check_key()
            pages, after = LedgerReader(exchange, state, known_books, ports.pause, ports.clock).read()
        finally:
            work.calls += exchange.calls
    work.reading = Reading({}, tuple(pages.entries.values()), after, as_of, coherent=True)


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
                unit.backfill.record_run(_run_record(work, coverage, request, then, seconds), then.findings)
                unit.commit()
        except StoreError as error:
            if error.retryable and tries < STORE_TRIES_MAX:
                continue
            if work.error:
                raise
            work.error, tries = f"{type(error).__name__}: {error}", 0
        else:
            return


def _booked(unit: UnitOfWork, work: AccountWork, request: SyncRequest) -> _Then:
    end, reading = request.interval.end, work.reading
    ingested, held_ms = 0, 0.0
    if reading is not None and request.mode is Mode.REPAIR:
        ingested, held_ms = _apply_missed(unit, work, reading)
    read = reading.entries if reading is not None else ()
    holdings = unit.backfill.holdings_then(work.account_id, end, read)
    recorded_head = unit.backfill.head_then(work.account_id, end)
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
    return len(read) - len(unit.sync.known_ids({work.account_id: read})) if read else 0


@exact_arithmetic()
def _apply_missed(unit: UnitOfWork, work: AccountWork, reading: Reading) -> tuple[int, float]:
    """Book entries that nobody has recorded; return how many, and the milliseconds that it took."""
    account, started = work.account_id, time.monotonic()
    inserted = unit.sync.ingest({account: reading.entries}, {account: work.run_id})
    fresh = {
        key: new
        for key, entries in reading.chained.items()
        if (new := [entry for entry in entries if (account, entry.ledger_id) in inserted])
    }
    places = sorted((account, key) for key in fresh)
    if places:
        unit.sync.lock_positions(places)
    steps: list[Step] = []
    for (_, key), row in sorted(unit.sync.recorded(places).items()) if places else ():
        quantity = row.quantity
        if quantity != row.event_total:
            # Somebody changed it silently: said here so that the events connect; the next sync puts it right.
            steps.append(
                Step(key, row.event_total, quantity, Cause.ADJUSTMENT, reading.as_of, Reason.FOUND_CHANGED)
            )
        for entry in fresh[key]:
            after = quantity + entry.change
            steps.append(
                Step(key, quantity, after, Cause.LEDGER, entry.entry_time, ledger_id=entry.ledger_id)
            )
            quantity = after
    unit.sync.write_steps({account: steps}, {account: work.run_id})
    unit.sync.advance_watermarks({account: reading.entries}, {})
    unit.sync.advance_coverage({account: (reading.after, reading.as_of)})
    if inserted:
        recompute_account(unit.costs, work.state.account.name)
        strange = strange_entries(entry for entries in fresh.values() for entry in entries)
        unit.sync.raise_alerts(strange_alerts(work.state.account, strange))
    return len(inserted), (time.monotonic() - started) * 1000


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
        reported_as_of=None if unsettled or not has_books else request.interval.end,
        reported_head=then.head,
        counts={
            "checked": then.checked,
            "matched": then.checked - len(then.findings),
            "explained": sum(1 for finding in then.findings if finding.explained),
            "failed": int(bool(work.error)),
        },
        entries_ingested=then.ingested,
        api_calls=work.calls,
        seconds=seconds,
        lock_hold_ms=then.lock_hold_ms,
        note=None if work.error else work.moving or (None if has_books else BOOKS_BEGIN_LATER),
        error=work.error,
    )

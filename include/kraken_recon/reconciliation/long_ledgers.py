"""Catch up with a ledger that is too long to be read at once, and book what readings of the past bring.

Invariants:
1. Every stretch is proved and booked before the next one is read, so that nothing read is read again.
2. Positions move by entries that nobody had recorded, each once; no balance is looked at.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from kraken_recon.books.booking_entries import move_by_new
from kraken_recon.books.store import BookStore
from kraken_recon.database.retrying import repeated
from kraken_recon.errors import PayloadInvalidError
from kraken_recon.reconciliation.entry_alerts import tell_of_added
from kraken_recon.reconciliation.ledger_pages import KnownBooks
from kraken_recon.reconciliation.reading import (
    LedgerReader,
    Reading,
    StillMovingError,
    mend_gaps,
    respell_all,
)
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.values.money import exact_arithmetic

if TYPE_CHECKING:
    from datetime import datetime

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.reconciliation.exchange import Exchange
    from kraken_recon.reconciliation.reading import LongLedgerError
    from kraken_recon.reconciliation.run import AccountWork, SyncPorts


def ledger_reader(
    work: AccountWork,
    exchange: Exchange,
    ports: SyncPorts,
    start: datetime | None,
    *,
    trusts_chain: bool = False,
) -> LedgerReader:
    """Make a reader of an account's ledger that begins a little before ``start`` (None: at its floor)."""

    def known_books(after: datetime | None) -> KnownBooks:
        with ports.open_unit_of_work() as unit:
            return KnownBooks(
                BookStore(unit).entries_after(work.account_id, after),
                BookStore(unit).balances_at(work.account_id, after),
            )

    state = replace(work.state, newest_entry_at=start)
    return LedgerReader(exchange, state, known_books, ports.pause, ports.clock, trusts_chain)


def tokenized_reader(
    work: AccountWork,
    exchange: Exchange,
    ports: SyncPorts,
    *,
    trusts_chain: bool = False,
) -> LedgerReader:
    """Make a reader of the ledger of tokenized assets that goes on from where it was last read."""
    start = work.state.tokenized_read_until
    return replace(ledger_reader(work, exchange, ports, start, trusts_chain=trusts_chain), is_tokenized=True)


def book_stretch(
    work: AccountWork, reader: LedgerReader, long: LongLedgerError, mode: Mode, ports: SyncPorts
) -> datetime:
    """Read and book the oldest stretch of a long ledger; return up to when it is read now.

    Raises:
        StillMovingError: a dry run, which may keep nothing of what it reads.
        PayloadInvalidError: the stretch cannot be proved.
    """
    if mode is Mode.DRY_RUN:
        raise StillMovingError(f"{long}; a dry run keeps nothing of what it reads, so it cannot catch up")
    end = reader.stretch_end(long)
    pages, after = reader.read_all(end)
    until = end.entry_time - timedelta(microseconds=1)
    if reader.state.newest_entry_at is not None and until <= reader.state.newest_entry_at:
        raise PayloadInvalidError(
            f"expected fewer entries of one moment than a run may read, was {long} at {end.entry_time}",
            endpoint="Ledgers",
        )
    reading = Reading(
        {},
        tuple(pages.entries.values()),
        after,
        until,
        coherent=True,
        respelled=pages.respelled,
        mended=pages.mended,
        has_currencies=not reader.is_tokenized,
        has_tokenized=reader.is_tokenized,
    )

    def apply(unit: UnitOfWork) -> int:
        booked = apply_missed(unit, work, reading, to_head=False)
        unit.commit()
        return booked

    work.caught_up += repeated(apply, ports.open_unit_of_work)
    return until


def not_caught_up(long: LongLedgerError, until: datetime) -> StillMovingError:
    """Say how far a long ledger is read, and what to do about the rest."""
    return StillMovingError(
        f"{long}: read and booked up to {until.isoformat(timespec='seconds')}, the next run goes on from "
        "there; importing Kraken's export is faster"
    )


@exact_arithmetic()
def apply_missed(unit: UnitOfWork, work: AccountWork, reading: Reading, *, to_head: bool) -> int:
    """Book the entries of a proved reading that nobody has recorded; return how many.

    ``to_head`` says that the reading goes up to the newest entry, so that the watermark may follow.
    """
    account = work.state.account
    respell_all(BookStore(unit), work.account_id, reading)
    mend_gaps(BookStore(unit), work.account_id, reading, work.run_id)
    news = move_by_new(unit, {account: reading.entries}, work.run_id, found_at=reading.as_of)
    fresh = [entry for of in news[work.account_id].values() for entry in of]
    ReconciliationStore(unit).advance_proofs(
        {work.account_id: reading.entries} if to_head else {},
        covered={work.account_id: (reading.after, reading.as_of)} if reading.has_currencies else {},
        tokenized={work.account_id: reading.as_of} if reading.has_tokenized else {},
    )
    if fresh:
        tell_of_added(unit, account, fresh)
    return len(fresh)

"""The baseline: SQLAlchemy's ORM row by row, as such a sync is usually written.

It is meant to be right: one pooled connection, one transaction per account, every row locked and read fresh
(``populate_existing``) before it is compared, the same rows written as by the product. The naive way stamps
every position that it looked at with the time of the sync; the careful way leaves equal rows alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.declarative import DeferredReflection
from sqlalchemy.orm import DeclarativeBase, Session

from benchmarks.position_sync.workload import INTERVAL, REQUEST, ZERO
from kraken_recon.database.unit_of_work import DRIVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.position_sync.workload import PreparedWork
    from kraken_recon.ledger.entries import Balance, LedgerEntry


class _Base(DeferredReflection, DeclarativeBase):
    """The tables as the database tells of them."""

    metadata = sa.MetaData(schema="trading")


class _Account(_Base):
    __tablename__ = "accounts"


class _Position(_Base):
    __tablename__ = "positions"


class _Entry(_Base):
    __tablename__ = "ledger_entries"


class _Event(_Base):
    __tablename__ = "position_events"


class _Run(_Base):
    __tablename__ = "reconciliation_runs"


class _Discrepancy(_Base):
    __tablename__ = "discrepancies"


def sync(url: str, prepared: Sequence[PreparedWork]) -> None:
    """Sync one account after the other, stamping every position."""
    _sync(url, prepared, stamps_every_position=True)


def sync_carefully(url: str, prepared: Sequence[PreparedWork]) -> None:
    """Sync one account after the other, writing only what differs."""
    _sync(url, prepared, stamps_every_position=False)


def _sync(url: str, prepared: Sequence[PreparedWork], *, stamps_every_position: bool) -> None:
    engine = sa.create_engine(url.replace("postgresql://", DRIVER, 1))
    _Base.prepare(engine)
    try:
        for one in prepared:
            with Session(engine) as session:
                _sync_account(session, one, stamps_every_position=stamps_every_position)
                session.commit()
    finally:
        engine.dispose()


def _sync_account(session: Session, prepared: PreparedWork, *, stamps_every_position: bool) -> None:
    work = prepared.work
    balances = prepared.balances
    run: Any = _Run(
        run_id=work.run_id,
        account_id=work.account_id,
        interval_start=INTERVAL.start,
        interval_end=INTERVAL.end,
        mode=str(REQUEST.mode),
        status="succeeded",
        trigger=REQUEST.trigger,
        recorded_as_of=datetime.now(UTC),
        reported_as_of=INTERVAL.end,
        api_calls=work.calls,
        seconds=ZERO,
        lock_hold_ms=ZERO,
        checked=len(balances),
    )
    session.add(run)
    found = 0
    for key, balance in balances.items():
        position: Any = session.get(
            _Position, (work.account_id, *key), with_for_update=True, populate_existing=True
        )
        if stamps_every_position:
            position.updated_at = datetime.now(UTC)
        if position.quantity != balance.balance:
            found += 1
            missed = [entry for entry in prepared.reading.entries if entry.key == key]
            _apply(session, prepared, position, balance, missed)
    run.matched = len(balances) - found
    run.explained = run.entries_ingested = found
    if found:
        head = prepared.reading.head
        run.reported_head = head.ledger_id if head else None
        _advance_watermark(session, work.account_id)


def _apply(
    session: Session,
    prepared: PreparedWork,
    position: Any,  # noqa: ANN401 - mapped from a Table, which has no static attributes
    balance: Balance,
    entries: Iterable[LedgerEntry],
) -> None:
    work = prepared.work
    recorded = position.quantity
    applied = []
    for entry in entries:
        if session.get(_Entry, (work.account_id, entry.ledger_id)) is not None:
            continue
        session.add(_new_entry(prepared, entry))
        after = position.quantity + entry.change
        session.add(
            _Event(
                account_id=work.account_id,
                asset=entry.asset,
                wallet=entry.wallet,
                quantity_before=position.quantity,
                quantity_after=after,
                cause="ledger",
                ledger_id=entry.ledger_id,
                run_id=work.run_id,
                effective_at=entry.entry_time,
            )
        )
        position.quantity = after
        applied.append(entry)
    position.updated_at = datetime.now(UTC)
    position.available_quantity = balance.available
    position.available_as_of = INTERVAL.end
    explained = sum((entry.change for entry in applied), Decimal(0))
    session.add(
        _Discrepancy(
            run_id=work.run_id,
            account_id=work.account_id,
            asset=position.asset,
            wallet=position.wallet,
            db_quantity=recorded,
            exchange_quantity=balance.balance,
            explained=explained,
            database_drift=ZERO,
            residual=balance.balance - recorded - explained,
            action="applied",
            ledger_ids=[entry.ledger_id for entry in applied],
        )
    )


def _new_entry(prepared: PreparedWork, entry: LedgerEntry) -> _Entry:
    return _Entry(
        account_id=prepared.work.account_id,
        ledger_id=entry.ledger_id,
        refid=entry.refid,
        entry_time=entry.entry_time,
        type=entry.entry_type,
        subtype=entry.subtype,
        asset=entry.asset,
        wallet=entry.wallet,
        amount=entry.amount,
        fee=entry.fee,
        balance=entry.balance,
        run_id=prepared.work.run_id,
    )


def _advance_watermark(session: Session, account_id: int) -> None:
    session.flush()
    newest = session.scalar(
        sa.select(sa.func.max(_Entry.ingest_seq)).where(_Entry.account_id == account_id)  # type: ignore[attr-defined]
    )
    account: Any = session.get(_Account, account_id, with_for_update=True, populate_existing=True)
    account.ledger_watermark = newest

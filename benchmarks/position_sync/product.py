"""This project's own sync, from the moment Kraken has answered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.position_sync.workload import INTERVAL, REQUEST
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.reconciliation.booking import book
from kraken_recon.reconciliation.stages import Compared, Read
from kraken_recon.reconciliation.store import ReconciliationStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine

    from benchmarks.position_sync.workload import PreparedWork
    from kraken_recon.reconciliation.run import AccountWork, SyncRequest


def sync(url: str, prepared: Sequence[PreparedWork]) -> None:
    """Compare every account, then book in batches, as ``sync_accounts`` does around its calls to Kraken."""
    _sync(url, prepared, REQUEST)


def sync_without_costs(url: str, prepared: Sequence[PreparedWork]) -> None:
    """Do the same and keep no average costs, as no other way does."""
    _sync(url, prepared, replace(REQUEST, keeps_costs=False))


def _sync(url: str, prepared: Sequence[PreparedWork], request: SyncRequest) -> None:
    engine = create_engine(url, application_name="benchmark product")
    book(compared(engine, prepared), request, lambda: UnitOfWork(engine))


def compared(engine: Engine, prepared: Sequence[PreparedWork]) -> list[AccountWork]:
    """Compare all replies at once, and give those that differ their reading."""
    with UnitOfWork(engine) as unit:
        store, replies = ReconciliationStore(unit), {p.work.account_id: p.balances for p in prepared}
        comparisons = store.compare(replies, store.snapshot())
    for p in prepared:
        comparison = comparisons[p.work.account_id]
        p.work.stage = Compared(INTERVAL.end, p.balances, comparison)
        if p.work.needs_reading:
            p.work.stage = Read(p.balances, comparison, p.reading, {})
    return [p.work for p in prepared]

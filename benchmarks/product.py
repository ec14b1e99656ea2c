"""This project's own sync, from the moment Kraken has answered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.workload import REQUEST
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.reconciliation.booking import book
from kraken_recon.reconciliation.store import ReconciliationStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.workload import PreparedWork
    from kraken_recon.reconciliation.run import SyncRequest


def sync(url: str, prepared: Sequence[PreparedWork]) -> None:
    """Compare every account, then book in batches, as ``sync_accounts`` does around its calls to Kraken."""
    _sync(url, prepared, REQUEST)


def sync_with_costs(url: str, prepared: Sequence[PreparedWork]) -> None:
    """Do the same and keep average costs, which no other way does."""
    _sync(url, prepared, replace(REQUEST, keeps_costs=True))


def _sync(url: str, prepared: Sequence[PreparedWork], request: SyncRequest) -> None:
    engine = create_engine(url, application_name="benchmark product")
    with UnitOfWork(engine) as unit:
        comparisons = ReconciliationStore(unit).compare(
            {p.work.account_id: p.work.balances or {} for p in prepared}
        )
    for p in prepared:
        p.work.comparison = comparisons[p.work.account_id]
        if p.work.needs_reading:
            p.work.reading = p.reading
    book([p.work for p in prepared], request, lambda: UnitOfWork(engine))

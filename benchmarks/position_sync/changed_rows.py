"""What a changed position costs others: write-ahead log, and how long its lock is held."""

from __future__ import annotations

import statistics
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row

from benchmarks.position_sync import bare_sql, product
from benchmarks.position_sync.laboratory import laboratory
from benchmarks.position_sync.unchanged_pass import watched
from benchmarks.position_sync.workload import REQUEST, Scale, make_desk
from kraken_recon.database.statement_spans import NAME
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.reconciliation.booking import book

if TYPE_CHECKING:
    from benchmarks.position_sync.laboratory import Laboratory
    from benchmarks.position_sync.workload import Desk

LOCKING = "books.lock_positions"


def measure_log(place: Laboratory, desk: Desk) -> dict[str, Any]:
    """Sync a fresh database and say how much log each changed position took, images of whole pages apart."""
    ways = {"product": product.sync, "without_costs": product.sync_without_costs, "bare_sql": bare_sql.sync}
    found = {}
    for name, sync in ways.items():
        with (
            place.fresh_database() as url,
            psycopg.connect(url, autocommit=True, row_factory=dict_row) as observer,
        ):
            with watched(observer) as written:
                sync(url, desk.prepared_works())
            log = written[0]
            found[name] = {
                "bytes_per_row": log.bytes_of_server / desk.missed_entries,
                "bytes_per_row_without_images": (log.bytes_of_server - log.bytes_of_images)
                / desk.missed_entries,
                "by_table": dict(log.bytes_by_table),
            }
    return found


def measure_lock_hold(server_url: str, *, accounts: int, positions: int) -> dict[str, Any]:
    """Book accounts of which every position changed, one by one, each in a session of its own.

    A lock counts from the moment when the statement that takes it has returned until the commit has.
    """
    desk = make_desk(Scale(accounts, positions, drift=Decimal(1)))
    held: list[float] = []
    taken: list[float] = []

    class Watched(UnitOfWork):
        """Looks at the clock once its locks are gone."""

        def commit(self) -> None:
            super().commit()
            if taken:
                held.append((time.perf_counter() - taken.pop()) * 1000)

    with laboratory(server_url, desk) as place, place.fresh_database() as url:
        engine = create_engine(url, application_name="benchmark lock hold")

        @sa.event.listens_for(engine, "after_cursor_execute")
        def executed(_c: Any, _k: Any, _s: Any, _p: Any, context: Any, _m: Any) -> None:  # noqa: ANN401
            if context.execution_options.get(NAME) == LOCKING:
                taken.append(time.perf_counter())

        for work in product.compared(engine, desk.prepared_works()):
            book([work], REQUEST, lambda: Watched(engine))
    assert len(held) == accounts, f"expected {accounts} bookings, saw {len(held)}"
    return {
        "accounts": accounts,
        "positions": positions,
        "p50_ms": statistics.median(held),
        "p99_ms": statistics.quantiles(held, n=100, method="inclusive")[98],
        "max_ms": max(held),
    }

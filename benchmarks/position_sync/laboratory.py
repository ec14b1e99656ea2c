"""Databases to measure on: fresh copies of one prepared desk, and what is asked of them afterwards."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from benchmarks.position_sync.workload import load_desk
from benchmarks.servers import with_database
from kraken_recon.database.migrate import migrate
from kraken_recon.database.unit_of_work import create_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.position_sync.workload import Desk

# What must be the same whoever synced: every column but clocks, sequences and durations.
END_STATES: Final = {
    "positions": "select account_id, asset, wallet, quantity, available_quantity, available_as_of, avg_cost "
    "from trading.positions",
    "ledger_entries": "select account_id, ledger_id, refid, entry_time, type, subtype, asset, wallet, "
    "amount, fee, balance, run_id from trading.ledger_entries",
    "position_events": "select account_id, asset, wallet, quantity_before, quantity_after, cause, reason, "
    "ledger_id, run_id, effective_at from trading.position_events",
    "event_totals": "select account_id, asset, wallet, sum(quantity_after - quantity_before) "
    "from trading.position_events group by 1, 2, 3",
    "discrepancies": "select run_id, account_id, asset, wallet, db_quantity, exchange_quantity, drift, "
    "explained, unexplained, database_drift, residual, action, ledger_ids from trading.discrepancies",
    "reconciliation_runs": "select run_id, account_id, interval_start, interval_end, mode, status, trigger, "
    "reported_as_of, reported_head, checked, matched, explained, entries_ingested, api_calls, note, error "
    "from trading.reconciliation_runs",
    "watermarks": "select a.account_id, a.ledger_watermark = (select max(ingest_seq) "
    "from trading.ledger_entries e where e.account_id = a.account_id) from trading.accounts a",
}


@dataclass(frozen=True, slots=True)
class TableState:
    """How many rows a table has, and a digest of them in any order."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Laboratory:
    """A server, and on it the template that every measured database is copied from."""

    server_url: str
    template: str

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """Yield the URL of an identical fresh database; all begin right after a checkpoint."""
        name = f"recon_bench_{secrets.token_hex(6)}"
        with psycopg.connect(self.server_url, autocommit=True) as administrator:
            administrator.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(
                    sql.Identifier(name), sql.Identifier(self.template)
                )
            )
            try:
                administrator.execute("checkpoint")
                yield with_database(self.server_url, name)
            finally:
                administrator.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextmanager
def laboratory(server_url: str, desk: Desk) -> Iterator[Laboratory]:
    """Prepare the template on a server, and remove it at the end."""
    name = f"recon_bench_template_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True) as administrator:
        administrator.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            url = with_database(server_url, name)
            engine = create_engine(url)
            migrate(engine)
            load_desk(url, desk)
            yield Laboratory(server_url, name)
        finally:
            administrator.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def end_state(url: str) -> dict[str, TableState]:
    """Digest what a sync left behind, table by table."""
    states = {}
    with psycopg.connect(url) as connection:
        for name, query in END_STATES.items():
            row = connection.execute(
                sql.SQL(
                    "select count(*), coalesce(md5(string_agg(t::text, ',' order by t::text)), '') "
                    "from ({}) as t"
                ).format(sql.SQL(query))
            ).fetchone()
            assert row is not None
            states[name] = TableState(row[0], row[1])
    return states

"""What a pass costs in which nothing changed: calls to Kraken, and write-ahead log, table by table."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import dict_row

from benchmarks.position_sync.workload import INTERVAL, REQUEST
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.reconciliation.run import SyncPorts
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.reconciliation.sync import sync_accounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.position_sync.laboratory import Laboratory
    from benchmarks.position_sync.workload import Desk
    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerPage
    from kraken_recon.ledger.transfers import Transfer

UNTOUCHED: Final = ("positions", "ledger_entries", "position_events")
STATISTICS_TIMEOUT_SECONDS: Final = 10
# The server notes its own doings now and then; they are nobody's writes.
OF_THE_SERVER_ITSELF: Final = ("RUNNING_XACTS", "CHECKPOINT_ONLINE", "CHECKPOINT_REDO")


@dataclass
class CountingExchange:
    """Answers ``BalanceEx`` from memory and counts; any other question is a defect of the sync."""

    reply: Mapping[HoldingKey, Balance]
    calls: int = 0

    def check_key(self) -> None:
        """Accept the key; a real one is checked once a day."""

    def balances(self) -> Mapping[HoldingKey, Balance]:
        """Answer, at the price of one call."""
        self.calls += 1
        return self.reply

    def ledger_page(self, **_: object) -> LedgerPage:
        """Refuse."""
        raise AssertionError("asked for the ledger of an account in which nothing changed")

    def tokenized_ledger_page(self, **_: object) -> LedgerPage:
        """Refuse."""
        raise AssertionError("asked for the tokenized assets of an account in which nothing changed")

    def transfers(self) -> tuple[Transfer, ...]:
        """Refuse."""
        raise AssertionError("asked for the transfers of an account in which nothing changed")

    def open_positions(self) -> dict[str, Any]:
        """Refuse."""
        raise AssertionError("asked for the positions of an account in which nothing changed")

    def prices(self, quote: str) -> dict[str, Any]:
        """Refuse."""
        raise AssertionError(f"asked for prices in {quote} for an account in which nothing changed")


@dataclass(frozen=True, slots=True)
class WrittenLog:
    """Write-ahead log between two moments: all of it, and what refers to pages of one database, by table."""

    bytes_of_server: int
    bytes_of_images: int
    bytes_by_table: Mapping[str, int]


def measure_unchanged_pass(laboratory: Laboratory, desk: Desk) -> dict[str, Any]:
    """Sync a desk on which nothing has changed, through ``sync_accounts``, and say what that cost."""
    replies = {a.account_id: a.balances(with_missed=False) for a in desk.accounts}
    with (
        laboratory.fresh_database() as url,
        psycopg.connect(url, autocommit=True, row_factory=dict_row) as observer,
    ):
        engine = create_engine(url, application_name="benchmark unchanged pass")
        with watched(observer) as compared, UnitOfWork(engine) as unit:
            ReconciliationStore(unit).compare(replies)
        exchanges = {number: CountingExchange(reply) for number, reply in replies.items()}

        @contextmanager
        def open_exchange(account: Account) -> Iterator[CountingExchange]:
            yield exchanges[account.account_id]

        before = _row_counters(observer)
        ports = SyncPorts(lambda: UnitOfWork(engine), open_exchange, lambda: INTERVAL.end)
        started = time.perf_counter()
        with watched(observer) as synced:
            sync_accounts([a.state.account for a in desk.accounts], REQUEST, ports)
        seconds = time.perf_counter() - started
        statuses = observer.execute(
            "select status, checked = matched as all_matched, api_calls, count(*) as accounts "
            "from trading.reconciliation_runs where interval_start = %s group by 1, 2, 3",
            [INTERVAL.start],
        ).fetchall()
        written = _rows_written(observer, before, runs=len(desk.accounts))
    return {
        "accounts": len(desk.accounts),
        "positions": sum(map(len, replies.values())),
        "runs": statuses,
        "api_calls_per_account": sum(e.calls for e in exchanges.values()) / len(exchanges),
        "seconds": seconds,
        "wal_bytes_of_compare": _as_json(compared[0]),
        "wal_bytes_of_whole_pass": _as_json(synced[0]),
        "row_versions_written": written,
    }


def _as_json(log: WrittenLog) -> dict[str, Any]:
    return {
        "total": log.bytes_of_server,
        "positions_entries_events": sum(log.bytes_by_table.get(table, 0) for table in UNTOUCHED),
        "by_table": dict(log.bytes_by_table),
    }


@contextmanager
def watched(observer: psycopg.Connection[Any]) -> Iterator[list[WrittenLog]]:
    """Read the log written inside the block into the list yielded."""
    found: list[WrittenLog] = []
    start = _insert_position(observer)
    yield found
    end = _insert_position(observer)
    # The inspection reads only what is on disk; committing anything at all brings it there.
    observer.execute("select pg_logical_emit_message(true, 'benchmark', '')")
    if start == end:
        found.append(WrittenLog(0, 0, {}))
        return
    of_server = observer.execute(
        "select coalesce(sum(record_length), 0)::bigint as bytes, "
        "coalesce(sum(fpi_length), 0)::bigint as images from pg_get_wal_records_info(%s, %s) "
        "where record_type <> all(%s)",
        [start, end, list(OF_THE_SERVER_ITSELF)],
    ).fetchall()
    by_table = observer.execute(
        """
        select
          c.relname as name,
          sum(b.block_data_length + b.block_fpi_length + b.main_data_length)::bigint as bytes
        from pg_get_wal_block_info(%s, %s) b
        join pg_class r on r.oid = pg_filenode_relation(b.reltablespace, b.relfilenode)
        left join pg_index i on i.indexrelid = r.oid
        join pg_class c on c.oid = coalesce(i.indrelid, r.oid)
        where b.reldatabase = (select oid from pg_database where datname = current_database())
        group by c.relname
        order by bytes desc
        """,
        [start, end],
    ).fetchall()
    found.append(
        WrittenLog(
            of_server[0]["bytes"], of_server[0]["images"], {row["name"]: row["bytes"] for row in by_table}
        )
    )


def _insert_position(observer: psycopg.Connection[Any]) -> str:
    return str(observer.execute("select pg_current_wal_insert_lsn()::text as lsn").fetchall()[0]["lsn"])


def _row_counters(observer: psycopg.Connection[Any]) -> dict[str, dict[str, int]]:
    rows = observer.execute(
        "select relname, n_tup_ins as inserted, n_tup_upd as updated, n_tup_del as deleted, "
        "n_dead_tup as dead "
        "from pg_stat_user_tables where schemaname = 'trading'"
    ).fetchall()
    return {row.pop("relname"): row for row in rows}


def _rows_written(
    observer: psycopg.Connection[Any], before: Mapping[str, Mapping[str, int]], *, runs: int
) -> dict[str, dict[str, int]]:
    """Say how many row versions each table got, once the closed sessions have reported theirs."""
    deadline = time.monotonic() + STATISTICS_TIMEOUT_SECONDS
    while True:
        now = _row_counters(observer)
        change = {
            table: {name: count - before[table][name] for name, count in counters.items()}
            for table, counters in now.items()
        }
        if change["reconciliation_runs"]["inserted"] == runs:
            return {table: change[table] for table in (*UNTOUCHED, "reconciliation_runs")}
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"expected statistics of {runs} runs inserted, was {change['reconciliation_runs']}"
            )
        time.sleep(0.05)

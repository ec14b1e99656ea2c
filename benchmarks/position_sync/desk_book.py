"""The desk's own table beside the product's positions: a second database with a row for each of them.

Invariants:
1. Every run gets the same table. All rows agree with what a sync leaves, save one in a thousand: of every
   fiftieth position that had drifted the bot lacks the same entry that we lacked.
2. Comparing is measured as a run does it, from reading the desk's rows to what is decided about each.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa

from benchmarks.position_sync import product
from benchmarks.position_sync.workload import INTERVAL
from benchmarks.servers import scratch_database
from demo_bot.tables import MARKET, Table
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.desk_books.address import DeskAddress, Dialect
from kraken_recon.desk_books.declaring import DeclaredBook, parse_book
from kraken_recon.desk_books.diffing import DeskBookPorts
from kraken_recon.desk_books.run import reconcile_book

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.position_sync.laboratory import Laboratory
    from benchmarks.position_sync.workload import Desk
    from kraken_recon.desk_books.declaration import DeskBook

BEHIND_EVERY: Final = 50
RUNS: Final = sa.text("select run_id from trading.newest_proofs order by account_id")
DECLARED: Final = """
name: bench
connection: bench_db
accounts: {{{accounts}}}
positions:
  table: positions
  account: account_id
  asset: symbol
  quantity: quantity
  only: {{market: {market}}}
"""


@dataclass(frozen=True, slots=True)
class DeskTable:
    """The desk's database with its declaration, and how many of its rows lack an entry."""

    address: DeskAddress
    book: DeskBook
    assets: frozenset[str]
    rows: int
    behind: int


@contextmanager
def desk_table(server_url: str, desk: Desk) -> Iterator[DeskTable]:
    """Make the desk's database on a server, and remove it at the end."""
    with scratch_database(server_url) as url:
        Table.metadata.create_all(create_engine(url))
        assets, rows, behind = set(), 0, 0
        with (
            psycopg.connect(url) as connection,
            connection.cursor() as cursor,
            cursor.copy(
                "copy positions (account_id, symbol, name, market, version, quantity, available_quantity,"
                " is_active) from stdin"
            ) as copy,
        ):
            drifted = 0
            for prepared in desk.accounts:
                quantities = {e.asset: e.balance for e in prepared.recorded}
                for entry in prepared.missed:
                    if drifted % BEHIND_EVERY:
                        quantities[entry.asset] = entry.balance
                    else:
                        behind += 1
                    drifted += 1
                for asset, quantity in quantities.items():
                    assets.add(asset)
                    rows += 1
                    copy.write_row(
                        (prepared.account_id, asset, asset, MARKET, "v1", quantity, quantity, "true")
                    )
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create index on positions (account_id, market)")
            connection.execute("vacuum (analyze) positions")
        accounts = ", ".join(f"{a.state.account.name}: {a.account_id}" for a in desk.accounts)
        book, problems = parse_book(DECLARED.format(accounts=accounts, market=MARKET), "bench.yaml")
        assert book is not None, problems
        yield DeskTable(_address(url), book, frozenset(assets), rows, behind)


def _address(url: str) -> DeskAddress:
    parts = urlsplit(url)
    return DeskAddress(
        "bench_db",
        Dialect.POSTGRESQL,
        parts.hostname,
        parts.port,
        parts.path.lstrip("/"),
        parts.username,
        parts.password,
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds of one sync, average costs included as in any run, and of comparing the book after it."""

    sync: float
    comparing: float


def measure_pairs(place: Laboratory, desk: Desk, pairs: int) -> tuple[DeskTable, list[Pair]]:
    """Sync a fresh database and reconcile the book after it, this often, and once before to warm up."""
    measured = []
    with desk_table(place.server_url, desk) as table:
        for _ in range(pairs + 1):
            with place.fresh_database() as url:
                prepared = desk.prepared_works()
                gc.collect()
                # What the benchmark itself keeps in memory is no run's: the collector need not look at it.
                gc.freeze()
                started = time.perf_counter()
                product.sync(url, prepared)
                seconds = time.perf_counter() - started
                measured.append(Pair(seconds, _seconds_of_comparing(url, table)))
                gc.unfreeze()
    return table, measured[1:]


def _seconds_of_comparing(url: str, table: DeskTable) -> float:
    """Reconcile the book of a database that was just synced, as its task does; return how long that took.

    Raises:
        AssertionError: something else was found than what the bot lacks.
    """
    engine = create_engine(url, application_name="benchmark desk book")
    ports = DeskBookPorts(
        lambda: UnitOfWork(engine), lambda _: table.address, lambda _: table.assets, lambda: INTERVAL.end
    )
    with UnitOfWork(engine) as unit:
        run_ids = [row.run_id for row in unit.connection.execute(RUNS)]
    started = time.perf_counter()
    outcome = reconcile_book(DeclaredBook(Path("bench.yaml"), table.book), run_ids, ports)
    seconds = time.perf_counter() - started
    found = [one for account in outcome.accounts for one in account.judgement.differences]
    agreed = sum(account.judgement.agreed for account in outcome.accounts)
    assert (len(found), agreed) == (table.behind, table.rows - table.behind), outcome.told
    assert {one.explained.answer.explanation for one in found} == {"behind"}
    return seconds

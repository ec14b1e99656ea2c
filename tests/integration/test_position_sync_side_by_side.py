"""Fills and syncs of the same accounts at the same time, in real processes on a real database.

The exchange is a schema of its own in the same database, so that every process sees the same Kraken. Eight
writers let entries happen there: trades, and transfers between two accounts. Most they book at once, as a
fill does; the rest are left for the syncs to find. Two syncs run without pause over all accounts.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import uuid4

import sqlalchemy as sa

from desks.fake_exchange import Desk, bring
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.errors import KrakenReconError
from kraken_recon.ledger.entries import SPOT, Balance, HoldingKey, LedgerEntry, LedgerPage
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncPorts, SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.intervals import Interval
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from multiprocessing.queues import Queue
    from multiprocessing.sharedctypes import Synchronized

    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.transfers import Transfer
    from kraken_recon.reconciliation.margin.rules import MarginPosition

WRITERS, SYNCS, ACCOUNTS, SECONDS = 8, 2, 3, 6
BOOKINGS_MIN, SECONDS_MAX = 50, 60
TRADES_PER_BOOKING = 4
ASSETS = ("AAA", "BTC", "ETH", "USD", "ZZZ")
EXCHANGE_SCHEMA = """
create schema exchange;
create table exchange.entries (
  place bigint generated always as identity primary key,
  account_id bigint not null, ledger_id text not null unique, entry_time timestamptz not null,
  asset text not null, amount numeric not null, balance numeric not null
);
create index on exchange.entries (account_id, entry_time);
create table exchange.balances (
  account_id bigint, asset text, balance numeric not null, primary key (account_id, asset)
);
"""
MOVE = sa.text(
    "with moved as (update exchange.balances set balance = balance + :amount"
    " where account_id = :account and asset = :asset returning balance)"
    " insert into exchange.entries (account_id, ledger_id, entry_time, asset, amount, balance)"
    " select :account, :ledger_id, clock_timestamp(), :asset, :amount, balance from moved"
    " returning entry_time, balance"
)


class SharedExchange:
    """Kraken, kept in the database; satisfies the ``Exchange`` port for one account."""

    def __init__(self, engine: sa.Engine, account_id: int) -> None:
        self._engine = engine
        self._account_id = account_id
        self.calls = 0

    def check_key(self) -> None:
        """Accept any key."""

    def balances(self) -> Mapping[HoldingKey, Balance]:
        nothing = Decimal(0)
        return {
            HoldingKey(row.asset, SPOT): Balance(row.balance, nothing, nothing, nothing)
            for row in self._ask("select asset, balance from exchange.balances where account_id = :account")
        }

    def ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        found = self._ask(
            "select *, count(*) over () as counted from exchange.entries where account_id = :account"
            " and entry_time > coalesce(:after, '-infinity'::timestamptz)"
            " and place <= coalesce((select place from exchange.entries where ledger_id = :until), 1e18)"
            " order by place desc limit 50 offset :offset",
            after=after,
            until=until,
            offset=offset,
        )
        return LedgerPage(
            tuple(entry(row.ledger_id, row.entry_time, row.asset, row.amount, row.balance) for row in found),
            found[0].counted if found else 0,
        )

    def tokenized_ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        del after, until, offset
        return LedgerPage((), 0)

    def transfers(self) -> tuple[Transfer, ...]:
        return ()

    def open_positions(self) -> Mapping[str, MarginPosition]:
        self.calls += 1
        return {}

    def prices(self, quote: str) -> Mapping[str, Decimal]:
        del quote
        return dict.fromkeys(ASSETS, Decimal(1))

    def _ask(self, query: str, **values: object) -> list[sa.Row[tuple[object, ...]]]:
        self.calls += 1
        with self._engine.connect() as connection:
            return list(connection.execute(sa.text(query), {"account": self._account_id, **values}).all())


def entry(ledger_id: str, at: datetime, asset: str, amount: Decimal, balance: Decimal) -> LedgerEntry:
    return LedgerEntry(ledger_id, ledger_id, at, "trade", "", asset, SPOT, amount, Decimal(0), balance)


def trade(engine: sa.Engine, account_ids: list[int], chance: random.Random) -> dict[int, list[LedgerEntry]]:
    """Let a trade or a transfer happen: what one side gives, the other gets."""
    first, second = chance.choice(account_ids), chance.choice(account_ids)
    amount = Decimal(chance.randint(1, 10**9)) / 10**8
    asset, other = chance.sample(ASSETS, 2)
    moves = [(first, asset, amount), (second, asset, -amount)]
    if first == second:
        moves = [(first, asset, amount), (first, other, -amount)]
    made: dict[int, list[LedgerEntry]] = {}
    with engine.begin() as connection:
        for account, moved, change in sorted(moves):
            ledger_id = f"L{uuid4().hex}"
            at, balance = connection.execute(
                MOVE, {"account": account, "asset": moved, "amount": change, "ledger_id": ledger_id}
            ).one()
            made.setdefault(account, []).append(entry(ledger_id, at, moved, change, balance))
    return made


@dataclass(frozen=True)
class Shift:
    """How long all work: a while, and on a busy machine until enough was booked."""

    began: float
    booked: Synchronized[int]

    def is_over(self) -> bool:
        seconds = time.monotonic() - self.began
        return seconds > SECONDS_MAX or (seconds > SECONDS and self.booked.value >= BOOKINGS_MIN)

    def add(self, booked: int) -> None:
        with self.booked.get_lock():
            self.booked.value += booked


def write(url: str, account_ids: list[int], seed: int, shift: Shift, results: Queue[str]) -> None:
    """Trade and book until the shift is over."""
    chance = random.Random(seed)  # noqa: S311 - not for secrecy
    engine = create_engine(url, application_name="writer")
    exchange = create_engine(url, application_name="exchange")
    while not shift.is_over():
        made: dict[int, list[LedgerEntry]] = {}
        for _ in range(chance.randint(1, TRADES_PER_BOOKING)):
            for account, entries in trade(exchange, account_ids, chance).items():
                made.setdefault(account, []).extend(entries)
        if chance.random() < 0.7:
            try:
                # A fill may be brought twice, by two workers.
                shift.add(bring(engine, made))
                shift.add(bring(engine, made) if chance.random() < 0.2 else 0)
            except KrakenReconError as error:
                results.put(f"failed: writer: {type(error).__name__}: {error}")
    exchange.dispose()
    results.put("wrote")


def run_sync(url: str, interval: Interval) -> list[str]:
    """Sync every account once, and return what went wrong."""
    engine = create_engine(url, application_name="sync")
    exchange = create_engine(url, application_name="exchange")

    @contextmanager
    def open_exchange(account: Account) -> Iterator[SharedExchange]:
        yield SharedExchange(exchange, account.account_id)

    ports = SyncPorts(lambda: UnitOfWork(engine), open_exchange, lambda: datetime.now(UTC), lambda _: None)
    with UnitOfWork(engine) as unit:
        accounts = AccountStore(unit).find_accounts(None)
    sync_accounts(accounts, SyncRequest(interval, Mode.REPAIR, Policy()), ports)
    exchange.dispose()
    with engine.connect() as connection:
        return [
            f"failed: sync: {error}"
            for (error,) in connection.execute(
                sa.text(
                    "select error from trading.reconciliation_runs"
                    " where interval_start = :start and status = 'failed'"
                ),
                {"start": interval.start},
            )
        ]


def sync(url: str, number: int, shift: Shift, results: Queue[str]) -> None:
    """Sync again and again until the shift is over, every time for another interval."""
    runs = 0
    while not shift.is_over():
        start = datetime(2026, 1, 1, number, tzinfo=UTC) + timedelta(days=runs)
        for failure in run_sync(url, Interval(start, start + timedelta(hours=1))):
            results.put(failure)
        runs += 1
    results.put(f"synced {runs}")


def deadlocks(desk: Desk) -> int:
    return int(
        desk.rows("select deadlocks from pg_stat_database where datname = current_database()")[0]["deadlocks"]
    )


def test_fills_and_syncs_of_the_same_accounts_lose_and_double_nothing(database_url: str) -> None:
    desk = Desk(database_url)
    desk.execute(EXCHANGE_SCHEMA)
    for number in range(ACCOUNTS):
        desk.account(f"account {number}")
    account_ids = [desk.account_id(name) for name in desk.books]
    for account in account_ids:
        for asset in ASSETS:
            desk.execute(
                "insert into exchange.balances values (:account, :asset, 0)", account=account, asset=asset
            )
    first = datetime(2025, 1, 1, tzinfo=UTC)
    assert run_sync(database_url, Interval(first, first + timedelta(hours=1))) == []
    results, booked = work_together(database_url, account_ids)
    last = datetime(2027, 1, 1, tzinfo=UTC)
    assert run_sync(database_url, Interval(last, last + timedelta(hours=1))) == []

    assert [result for result in results if result.startswith("failed")] == []
    assert sum(result.startswith(("wrote", "synced")) for result in results) == WRITERS + SYNCS
    assert booked >= BOOKINGS_MIN
    assert deadlocks(desk) == 0
    check_books(desk)


def work_together(url: str, account_ids: list[int]) -> tuple[list[str], int]:
    """Run all processes side by side; collect what they report, and how much the writers booked."""
    # Forked, because ten interpreters would take longer to start than to do their work.
    context = multiprocessing.get_context("fork")
    results: Queue[str] = context.Queue()
    shift = Shift(time.monotonic(), context.Value("i", 0))
    workers = [
        context.Process(target=write, args=(url, account_ids, seed, shift, results), daemon=True)
        for seed in range(WRITERS)
    ] + [context.Process(target=sync, args=(url, n, shift, results), daemon=True) for n in range(SYNCS)]
    for worker in workers:
        worker.start()
    reports: list[str] = []
    ended = 0
    while ended < len(workers):
        reports.append(results.get(timeout=SECONDS_MAX + 30))
        ended += not reports[-1].startswith("failed")
    for worker in workers:
        worker.join(timeout=30)
        assert worker.exitcode == 0
    poll_until(lambda: not multiprocessing.active_children(), timeout_seconds=5)
    return reports, shift.booked.value


def check_books(desk: Desk) -> None:
    books = desk.rows(
        "select b.account_id, b.asset, b.balance, p.quantity,"
        " (select sum(amount - fee) from trading.ledger_entries e"
        "   where (e.account_id, e.asset) = (b.account_id, b.asset)) as entries,"
        " (select sum(quantity_after - quantity_before) from trading.position_events v"
        "   where (v.account_id, v.asset) = (b.account_id, b.asset)) as events"
        " from exchange.balances b left join trading.positions p using (account_id, asset)"
    )
    assert len(books) == ACCOUNTS * len(ASSETS)
    for row in books:
        assert row["balance"] == row["quantity"] == row["entries"] == row["events"], row
    for asset in ASSETS:
        total = desk.rows("select sum(quantity) as total from trading.positions where asset = :a", a=asset)
        assert (
            desk.rows("select sum(amount) as total from trading.ledger_entries where asset = :a", a=asset)
            == total
        )
    assert desk.rows("select sum(quantity) as total from trading.positions")[0]["total"] == 0
    assert desk.rows("select reason from trading.position_events where cause <> 'ledger'") == []
    assert (
        desk.rows(
            "select ledger_id from trading.position_events group by account_id, ledger_id having count(*) > 1"
        )
        == []
    )
    assert (
        desk.rows(
            "select ledger_id from exchange.entries except select ledger_id from trading.ledger_entries"
        )
        == []
    )
    assert (
        desk.rows(
            "select * from (select v.*, coalesce(lag(quantity_after) over ("
            "  partition by account_id, asset, wallet order by event_id), 0) as expected"
            " from trading.position_events v) as chained where quantity_before <> expected"
        )
        == []
    )

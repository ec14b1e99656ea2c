"""A desk in one state, to which it returns before every schedule, and what is found in it afterwards.

Invariants:
1. Every schedule begins with the same rows and the same next numbers of every sequence.
2. Actors are the product's use cases on sessions of the product's own limits, as its writer.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from copy import deepcopy
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.races.listening import Listener, step_through
from benchmarks.races.turns import DEADLOCK_TIMEOUT_MS, Turns
from desks.fake_exchange import Desk
from desks.fakes import FakeExchange
from desks.logins import as_writer
from desks.pooled_sessions import pooled_engine
from kraken_recon.database.named_sql import load
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.reconciliation.run import SyncPorts

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import sqlalchemy as sa

    from desks.fakes import FakeBooks
    from kraken_recon.accounts.account import Account
    from kraken_recon.reconciliation.exchange import Exchange

ACCOUNT: Final = "desk"
VACUUM_EVERY: Final = 200
ZERO: Final = Decimal(0)
QUERIES: Final = load(__file__, "stage")


class Stage:
    """One account's desk on a database of its own, and the sessions of the actors on it; a context manager.

    Attributes:
        listener: hears of every statement; it may alter one.
        kept: what prepared the pair keeps for its roles.
        restoring: brings back what lies elsewhere, such as a desk's own tables.
        elsewhere: reads what lies elsewhere, and what is wrong with it.
    """

    def __init__(self, url: str, letters: str) -> None:
        self.url = url
        self.desk = Desk(url)
        self.watch = psycopg.connect(url, autocommit=True)
        self.watch.execute(f"set deadlock_timeout = {DEADLOCK_TIMEOUT_MS}")
        database = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        # A plan of its own for each of a hundred thousand statements would cost most of the time.
        for setting in (f"deadlock_timeout = {DEADLOCK_TIMEOUT_MS}", "plan_cache_mode = force_generic_plan"):
            self.watch.execute(f'alter database "{database}" set {setting}')
        self.turns = Turns(self.watch)
        self.engines = {letter: self._engine(as_writer(url)) for letter in letters}
        self.listener = Listener(self.turns)
        self.kept: dict[str, Any] = {}
        self.restoring: Callable[[], None] = lambda: None
        self.elsewhere: Callable[[], tuple[list[Any], list[str]]] = lambda: ([], [])
        self.ending = ExitStack()
        self.ending.enter_context(step_through(self.listener))
        self._restore = ""
        self._books: dict[str, FakeBooks] = {}
        self._restored = 0

    def _engine(self, url: str) -> sa.Engine:
        engine = pooled_engine(url, owner=self)
        with UnitOfWork(engine):
            pass  # the schema's revision is asked for once an engine, not in the first schedule alone
        return engine

    def close(self) -> None:
        """End all sessions."""
        self.ending.close()
        for engine in (*self.engines.values(), self.desk.engine):
            engine.dispose()
        self.watch.close()

    def keep(self) -> None:
        """Let what is there now be the state in which every schedule begins."""
        statements = ["begin", "set local session_replication_role = replica"]
        self.watch.execute("create schema if not exists kept")
        for table, columns in self.watch.execute(QUERIES["tables"]).fetchall():
            statements.append(f"delete from {table}")
            kept = f"kept.{table.rpartition('.')[2]}"
            self.watch.execute(f"drop table if exists {kept}")
            self.watch.execute(f"create table {kept} as table {table}")
            if self.watch.execute(f"select exists (select from {kept})").fetchone() == (True,):
                statements.append(
                    f"insert into {table} ({columns}) overriding system value select {columns} from {kept}"
                )
        for (sequence,) in self.watch.execute(QUERIES["sequences"]).fetchall():
            row = self.watch.execute(f"select last_value, is_called from {sequence}").fetchone()
            assert row is not None
            statements.append(f"select setval('{sequence}', {row[0]}, {str(row[1]).lower()})")
        self._restore = "; ".join((*statements, "commit"))
        self._books = deepcopy(self.desk.books)

    def restore(self) -> None:
        """Bring the desk, and its books at the exchange, back to what was kept."""
        if self._restored % VACUUM_EVERY == 0:
            self.watch.execute("vacuum (analyze)")
        self._restored += 1
        self.watch.execute(self._restore)
        self.restoring()
        self.desk.books = deepcopy(self._books)

    def ports(self, letter: str) -> SyncPorts:
        """The outside world of an actor: its own sessions, and the exchange, each call a step."""
        engine = self.engines[letter]

        def open_exchange(account: Account) -> AbstractContextManager[Exchange]:
            prices = self.desk.exchanges[account.name].price_list
            return FakeExchange(self.desk.books[account.name], self.turns.asks, prices).opened()

        return SyncPorts(lambda: UnitOfWork(engine), open_exchange, lambda: self.desk.now, lambda _: None)

    def books(self) -> dict[str, list[Any]]:
        """Read what two orders of the same work must agree on, table by table."""
        rows = self.watch.execute(QUERIES["books"]).fetchall()
        return {
            **{name: json.loads(told, parse_float=str) for name, told in rows},
            "elsewhere": self.elsewhere()[0],
        }

    def progress(self) -> tuple[str, ...]:
        """Say up to when the account is read, and up to when it is proved; empty for never."""
        row = self.watch.execute(QUERIES["progress"]).fetchone()
        return tuple(moment or "" for moment in row or ())

    def wrongs(self) -> list[str]:
        """Say what is wrong with the books, whatever order they came about in."""
        found = [f"{what}: {where}" for what, where in self.watch.execute(QUERIES["wrongs"]).fetchall()]
        return [*found, *self._untold(), *self.elsewhere()[1]]

    def _untold(self) -> list[str]:
        """Compare positions with the exchange; what differs must be told of."""
        told = {*self.watch.execute(QUERIES["told"]).fetchall()}
        positions = self.desk.positions(ACCOUNT)
        reported = {key: of.balance for key, of in self.desk.books[ACCOUNT].balances().items()}
        return [
            f"{key} is {positions.get(key, ZERO)} here and {reported.get(key, ZERO)} at the exchange, untold"
            for key in sorted({*positions, *reported})
            if positions.get(key, ZERO) != reported.get(key, ZERO) and (key.asset, key.wallet) not in told
        ]

"""Databases of desks, in the shapes that such systems have, on every server that can be had here."""

from __future__ import annotations

import getpass
import json
import secrets
import shutil
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from demo_bot.tables import Table
from local_stack.ports import free_port
from local_stack.processes import dying_with_parent, poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOW_TO = Path(__file__).resolve().parents[2] / "docs/how-to/adopt-a-desk.md"
FREQTRADE_TABLES = """
create table trades (
  id integer primary key, exchange varchar(25) not null, pair varchar(25) not null, is_open boolean not null,
  amount float, open_rate float, open_date datetime
);
create table orders (
  id integer primary key, ft_trade_id integer not null, ft_order_side varchar(25) not null,
  ft_pair varchar(25) not null, order_id varchar(255) not null, status varchar(255), amount float,
  filled float, average float, order_date datetime, order_update_date datetime
)
"""
HUMMINGBOT_TABLES = """
create table "TradeFill" (
  config_file_path text not null, market text not null, symbol text not null, base_asset text not null,
  quote_asset text not null, timestamp bigint not null, order_id text not null, trade_type text not null,
  price bigint not null, amount bigint not null, exchange_trade_id text not null
)
"""


@dataclass
class DeskDatabase:
    """One database of a desk's, with the connection by which it is read."""

    url: sa.URL
    connection: Mapping[str, Any]
    file: Path | None = None
    engine: sa.Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(self.url, poolclass=NullPool)

    @property
    def variable(self) -> str:
        """What the variable of the connection holds."""
        return json.dumps(self.connection)

    def run(self, statements: str, **values: object) -> None:
        """Run statements as the desk does, and commit."""
        with self.engine.begin() as session:
            for statement in statements.split(";"):
                session.execute(sa.text(statement), values)

    def dump(self) -> list[object]:
        """Read everything, to see whether anything changed."""
        tables = sa.inspect(self.engine).get_table_names()
        with self.engine.connect() as session:
            quote = session.dialect.identifier_preparer.quote
            rows = [
                session.exec_driver_sql(f"select * from {quote(t)} order by 1").all() for t in sorted(tables)
            ]
        return [rows, self.file and self.file.read_bytes()]


def sqlite_database(folder: Path) -> DeskDatabase:
    """Make an empty file of SQLite's."""
    file = folder / "desk.db"
    with closing(sqlite3.connect(file)) as made:
        made.execute("pragma user_version = 1")
        made.commit()
    url = sa.URL.create("sqlite", database=str(file))
    return DeskDatabase(url, {"conn_type": "sqlite", "host": str(file)}, file)


@contextmanager
def postgresql_database(admin_url: str) -> Iterator[DeskDatabase]:
    """Make an empty database on the tests' server, with a role that may do anything in it."""
    name = f"desk_{secrets.token_hex(6)}"
    parts = urlsplit(admin_url)
    url = sa.make_url(admin_url).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as session:
        session.exec_driver_sql(f"create database {name}")
    fields = {
        "conn_type": "postgres",
        "host": parts.hostname,
        "port": parts.port,
        "login": url.username,
        "password": url.password,
        "schema": name,
    }
    try:
        yield DeskDatabase(url.set(database=name), fields)
    finally:
        with admin.connect() as session:
            session.exec_driver_sql(f"drop database {name} with (force)")


@contextmanager
def mariadb_server(folder: Path) -> Iterator[int]:
    """Start a server of MariaDB's for as long as the block runs; skip where there is none."""
    pytest.importorskip("pymysql", reason="the extra mysql is not installed")
    server, install = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if server is None or install is None:
        pytest.skip("no server of MariaDB's on this machine (mariadbd, mariadb-install-db)")
    base = Path(server).resolve().parents[1]
    common = ["--no-defaults", f"--user={getpass.getuser()}", f"--basedir={base}"]
    subprocess.run(
        [
            install,
            *common,
            f"--datadir={folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    port = free_port()
    process = subprocess.Popen(
        [
            server,
            *common,
            f"--datadir={folder / 'data'}",
            f"--socket={folder / 's'}",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=0",
            "--skip-log-bin",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=dying_with_parent(),  # noqa: PLW1509 - started from the main thread
    )
    try:
        poll_until((folder / "s").exists, timeout_seconds=60)
        _make_role(folder / "s")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def _make_role(socket: Path) -> None:
    engine = sa.create_engine(
        "mysql+pymysql://root@localhost", poolclass=NullPool, connect_args={"unix_socket": str(socket)}
    )
    with engine.begin() as session:
        session.exec_driver_sql("create user desk@'127.0.0.1' identified by 'desk-secret'")
        session.exec_driver_sql("grant all on *.* to desk@'127.0.0.1' with grant option")


@contextmanager
def mariadb_database(port: int) -> Iterator[DeskDatabase]:
    """Make an empty database on a server of MariaDB's."""
    name = f"desk_{secrets.token_hex(6)}"
    url = sa.URL.create("mysql+pymysql", "desk", "desk-secret", "127.0.0.1", port)
    admin = sa.create_engine(url, poolclass=NullPool)
    with admin.begin() as session:
        session.exec_driver_sql(f"create database {name} character set utf8mb4")
    fields = {
        "conn_type": "mysql",
        "host": "127.0.0.1",
        "port": port,
        "login": "desk",
        "password": "desk-secret",
        "schema": name,
    }
    try:
        yield DeskDatabase(url.set(database=name), fields)
    finally:
        with admin.begin() as session:
            session.exec_driver_sql(f"drop database {name}")


def make_arena(database: DeskDatabase, positions: Mapping[str, Decimal], cash: Decimal) -> None:
    """Fill the shape with a row for each symbol of account 1, and with rows that are nobody's business."""
    Table.metadata.create_all(database.engine)
    database.run(
        "insert into accounts values (1, 'gpt-trader', :cash), (9, 'other', 5)",
        cash=str(cash),
    )
    for number, (symbol, quantity) in enumerate(positions.items(), start=1):
        add_position(database, number, symbol, quantity)
    add_position(database, 900, "BTC", 77, account=9)
    database.run("update positions set market = 'STOCK', account_id = 1 where id = 900")


def add_position(
    database: DeskDatabase, number: int, symbol: str, quantity: object, *, account: int = 1
) -> None:
    """Add one row of the first shape."""
    database.run(
        "insert into positions values"
        " (:id, :account, :symbol, 'n', 'CRYPTO', 'v1', :quantity, 0, null, 'true', null)",
        id=number,
        account=account,
        symbol=symbol,
        quantity=str(quantity),
    )


@dataclass(frozen=True, slots=True)
class FreqtradeBook:
    """The second shape: open trades with amounts as floats; what is sold closes the oldest."""

    database: DeskDatabase
    digits: int = 8

    def make(self) -> None:
        """Make the tables, with a trade that is closed."""
        self.database.run(FREQTRADE_TABLES)
        self._open("BTC", Decimal(5))
        self.database.run("update trades set is_open = false")

    def move(self, asset: str, change: Decimal) -> None:
        """Open a trade of what is bought; take what is sold from the oldest."""
        if change > 0:
            self._open(asset, change)
            return
        with self.database.engine.begin() as session:
            query = sa.text("select id, amount from trades where is_open and pair = :pair order by id")
            for number, amount in session.execute(query, {"pair": f"{asset}/EUR"}).all():
                left = round(Decimal(repr(amount)) + change, self.digits)
                change = min(left, Decimal(0))
                session.execute(
                    sa.text("update trades set amount = :left, is_open = :is_open where id = :id"),
                    {"id": number, "left": float(max(left, Decimal(0))), "is_open": left > 0},
                )
        assert not change, "more was sold than there is"

    def _open(self, asset: str, amount: Decimal) -> None:
        self.database.run(
            "insert into trades (exchange, pair, is_open, amount, open_rate)"
            " values ('kraken', :pair, true, :amount, 1.0)",
            pair=f"{asset}/EUR",
            amount=float(amount),
        )


@dataclass(frozen=True, slots=True)
class HummingbotBook:
    """The third shape: fills, as whole numbers of millionths."""

    database: DeskDatabase
    digits: int = 6

    def make(self) -> None:
        """Make the table, with a fill at another exchange."""
        self.database.run(HUMMINGBOT_TABLES)
        self.move("BTC", Decimal(5))
        self.database.run("update \"TradeFill\" set market = 'binance'")

    def move(self, asset: str, change: Decimal) -> None:
        """Add a fill."""
        self.database.run(
            'insert into "TradeFill" values'
            " ('conf_pmm.yml', 'kraken', :symbol, :asset, 'USD', 1, 'o', :side, 1, :amount, 't')",
            symbol=f"{asset}-USD",
            asset=asset,
            side="BUY" if change > 0 else "SELL",
            amount=int(abs(change).scaleb(self.digits)),
        )

"""The stack's databases, and the few rows that the demo writes by hand.

Everything here is the demo's own: on a server of somebody else's the names say so, and no other
database is touched.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from local_stack.exchange import Account


@dataclass(frozen=True, slots=True)
class Database:
    """One database on a server.

    Attributes:
        server_url: a URL with which databases may be created and dropped.
    """

    server_url: str
    name: str

    @property
    def url(self) -> str:
        """Return the URL of the database itself."""
        return urlsplit(self.server_url)._replace(path=f"/{self.name}").geturl()

    def ensure(self) -> bool:
        """Create the database unless it exists; tell whether it was created."""
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            known = connection.execute("select from pg_database where datname = %s", [self.name]).fetchone()
            if known is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(self.name)))
            return known is None

    def recreate(self) -> None:
        """Drop the database with all it holds, and create it empty."""
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            name = sql.Identifier(self.name)
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))
            connection.execute(sql.SQL("create database {}").format(name))

    def mark(self, text: str) -> None:
        """Write a note on the database; it lives and dies with it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            statement = sql.SQL("comment on database {} is {}")
            connection.execute(statement.format(sql.Identifier(self.name), sql.Literal(text)))

    def marking(self) -> str:
        """Return the note."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "select shobj_description(oid, 'pg_database') from pg_database where datname = %s",
                [self.name],
            ).fetchone()
        return str(row[0] or "") if row else ""


def postgres_connection(url: str) -> str:
    """Write a libpq URL as a connection of Airflow."""
    parts = urlsplit(url)
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": parts.hostname,
            "port": parts.port or 5432,
            "login": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "schema": parts.path.lstrip("/"),
        }
    )


def insert_accounts(trading: Database, accounts: Iterable[Account]) -> None:
    """Make the accounts known to the reconciliation; those already known stay as they are."""
    with psycopg.connect(trading.url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into trading.accounts (name, kraken_conn_id, quote_currency, is_active)
            values (%s, %s, %s, true)
            on conflict (name) do nothing
            """,
            [(account.name, account.connection_id, account.quote_currency) for account in accounts],
        )


def outcome_since(trading: Database, moment: datetime) -> Counter[str]:
    """Count the account reconciliations that were recorded since a moment, by their status."""
    with psycopg.connect(trading.url) as connection:
        rows = connection.execute(
            """
            select status, count(*)
            from trading.reconciliation_runs
            where recorded_as_of >= %s
            group by status
            """,
            [moment],
        ).fetchall()
    return Counter({str(status): int(number) for status, number in rows})


def plant_drift(trading: Database) -> list[str]:
    """Damage the books in ways that happen in real desks; return a sentence on each."""
    told = []
    with psycopg.connect(trading.url) as connection:
        rows = connection.execute(
            """
            select distinct on (account_id)
                account_id, name, asset, wallet, trim_scale(quantity)
            from trading.positions
            join trading.accounts using (account_id)
            where quantity > 0 and is_active
            order by account_id, quantity desc, asset
            """
        ).fetchall()
        for damage, (account_id, name, asset, wallet, quantity) in zip(DAMAGES, rows, strict=False):
            connection.execute(damage.statement, {"account_id": account_id, "asset": asset, "wallet": wallet})
            told.append(damage.told.format(name=name, asset=asset, quantity=quantity))
    return told


@dataclass(frozen=True, slots=True)
class Damage:
    """One way in which books go wrong."""

    statement: str
    told: str


DAMAGES = (
    Damage(
        """
        update trading.positions
        set quantity = quantity * 0.75
        where account_id = %(account_id)s and asset = %(asset)s and wallet = %(wallet)s
        """,
        "{name}: a bug overwrote a position; a quarter of {quantity} {asset} is missing from the books",
    ),
    Damage(
        """
        delete from trading.positions
        where account_id = %(account_id)s and asset = %(asset)s and wallet = %(wallet)s
        """,
        "{name}: somebody deleted the row of {quantity} {asset} by hand",
    ),
    Damage(
        """
        insert into trading.positions (account_id, asset, wallet, quantity, available_quantity)
        values (%(account_id)s, 'LINK', 'spot', 12.5, 12.5)
        on conflict (account_id, asset, wallet) do update set quantity = positions.quantity + 12.5
        """,
        "{name}: an order was booked that never reached Kraken; the books show 12.5 LINK too many",
    ),
    Damage(
        """
        update trading.positions
        set quantity = quantity + 0.0004
        where account_id = %(account_id)s and asset = %(asset)s and wallet = %(wallet)s
        """,
        "{name}: somebody rounded; {asset} is off by 0.0004",
    ),
)

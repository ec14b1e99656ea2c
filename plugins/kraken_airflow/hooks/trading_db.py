"""From the Airflow connection of the trading database to units of work.

Invariants:
1. ``unit_of_work`` is the only way to a session; it rolls back unless committed and always closes.
2. Only named fields of the connection are used. Whoever can edit its extras cannot slip in an option.
3. Every session says which task opened it, and has its limits set by the server before its first statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret

from kraken_airflow.hooks.kraken import KrakenHook, find_connection
from kraken_airflow.hooks.session_names import running_task
from kraken_recon.database.unit_of_work import SessionLimits
from kraken_recon.errors import ConfigurationError
from kraken_recon.settings import TRADING_DB
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.kraken.credentials import KrakenCredentials

POSTGRES_TYPES: Final = frozenset({"postgres", "postgresql"})
# Transport security of the server connection; everything else in the extras is ignored.
EXTRAS_READ: Final = ("sslmode", "sslrootcert")


class TradingDbHook(BaseHook):
    """The trading database.

    Args:
        trading_conn_id: a connection of type ``postgres``.
        limits: how long a session may wait and hold.
        application_name: what the sessions are called in the database; the running task when left out.
    """

    conn_name_attr = "trading_conn_id"
    default_conn_name = TRADING_DB.name
    hook_name = "Trading database"

    def __init__(
        self,
        trading_conn_id: str = default_conn_name,
        *,
        limits: SessionLimits | None = None,
        application_name: str | None = None,
    ) -> None:
        super().__init__()
        self.trading_conn_id = trading_conn_id
        self.limits = limits or SessionLimits()
        name, self.task = running_task()
        self.application_name = application_name or name

    def dsn(self) -> str:
        """Write the connection as a ``postgresql://`` address; it holds the password.

        Raises:
            ConfigurationError: the connection is missing or is none of a PostgreSQL database.
        """
        return _dsn(find_connection(self.trading_conn_id))

    def unit_of_work(self) -> UnitOfWork:
        """Give one session and transaction, for a ``with`` block.

        Raises:
            ConfigurationError: the connection is missing or is none of a PostgreSQL database.
        """
        return self.wiring().units_of_work()()

    def wiring(self) -> Wiring:
        """Wire the use cases to this database, and to Kraken through each account's own connection."""
        return Wiring(
            self.dsn(),
            _credentials_of,
            application_name=self.application_name,
            limits=self.limits,
            task=self.task,
        )


def _credentials_of(account: Account) -> KrakenCredentials:
    return KrakenHook(account.kraken_conn_id).credentials()


def _dsn(connection: Connection) -> str:
    if connection.conn_type not in POSTGRES_TYPES:
        raise ConfigurationError(
            f"connection {connection.conn_id}: expected type postgres, was {connection.conn_type}"
        )
    if not connection.schema:
        raise ConfigurationError(f"connection {connection.conn_id}: its database (schema) must be named")
    extras = connection.extra_dejson
    options = {name: str(extras[name]) for name in EXTRAS_READ if extras.get(name)}
    host = connection.host or ""
    if host.startswith("/"):
        options["host"], host = host, ""
    elif ":" in host:
        host = f"[{host}]"
    login = quote(connection.login or "", safe="")
    if connection.password:
        password = quote(connection.password, safe="")
        mask_secret(password)
        login += f":{password}"
    authority = f"{login}@" if login else ""
    authority += host + (f":{connection.port}" if connection.port else "")
    query = f"?{urlencode(options, quote_via=quote)}" if options else ""
    return f"postgresql://{authority}/{quote(connection.schema, safe='')}{query}"

"""From the Airflow connection of the trading database to units of work.

Invariants:
1. ``unit_of_work`` is the only way to a session; it rolls back unless committed and always closes.
2. Nothing that the connection says is left out in silence: libpq gets it, or it is refused by name.
3. Every session says which task opened it, and every transaction has its limits, whatever the connection
   says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from kraken_airflow.hooks.kraken import KrakenHook, fields_of, find_connection
from kraken_airflow.hooks.session_names import running_task
from kraken_recon.database.addresses import address_of_connection
from kraken_recon.database.unit_of_work import SessionLimits
from kraken_recon.settings import TRADING_DB
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.kraken.credentials import KrakenCredentials

# Added to the id of a connection, the id of the one that leads past its pooler.
DIRECT: Final = "_direct"


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
        """Write the connection as an address for libpq; it holds the password.

        Raises:
            ConfigurationError: the connection is missing or is none of a PostgreSQL database.
        """
        return _dsn(find_connection(self.trading_conn_id))

    def direct_dsn(self) -> str | None:
        """Write the connection that leads past a pooler as an address; None where there is none.

        Raises:
            ConfigurationError: it is none of a PostgreSQL database.
        """
        try:
            connection = BaseHook.get_connection(self.trading_conn_id + DIRECT)
        except AirflowNotFoundException:
            return None
        return _dsn(connection)

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
            direct_dsn=self.direct_dsn,
            application_name=self.application_name,
            limits=self.limits,
            task=self.task,
        )


def _credentials_of(account: Account) -> KrakenCredentials:
    return KrakenHook(account.kraken_conn_id).credentials()


def _dsn(connection: Connection) -> str:
    if connection.password:
        mask_secret(connection.password)
    return address_of_connection(connection.conn_id, connection.conn_type, fields_of(connection))

"""The trading database and the keys that the environment names, for every command that needs them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.addresses import address_of_connection
from kraken_recon.errors import ConfigurationError
from kraken_recon.kraken.credentials import allowed_hosts, credentials_from_environment
from kraken_recon.settings import (
    DIRECT_DSN,
    DIRECT_DSN_FILE,
    DSN,
    DSN_FILE,
    TRADING_DB,
    TRADING_DB_DIRECT,
    connection_variable,
)
from kraken_recon.values.connection_fields import parse_connection
from kraken_recon.values.connections_file import connections_of
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.kraken.credentials import KrakenCredentials
    from kraken_recon.settings import Setting

_BACKEND: Final = "AIRFLOW__SECRETS__BACKEND"
_BACKEND_ARGUMENTS: Final = "AIRFLOW__SECRETS__BACKEND_KWARGS"
_FILE_BACKENDS: Final = ("LocalFilesystemBackend", "ConnectionsFile")


def wired() -> Wiring:
    """Wire the use cases to the database and the keys that the environment names.

    Raises:
        ConfigurationError: no database is named, or the file that should name it cannot be read.
    """
    return Wiring(
        _dsn(),
        lambda account: credentials_of(account.kraken_conn_id),
        direct_dsn=direct_dsn,
        application_name=f"kraken_recon:cli:{os.getpid()}",
    )


def unit_of_work() -> UnitOfWork:
    """Open the trading database for one unit of work."""
    return wired().units_of_work()()


def account_named(name: str) -> Account:
    """Find an account.

    Raises:
        ConfigurationError: there is none of that name.
    """
    with unit_of_work() as unit:
        return AccountStore(unit).find_accounts([name])[0]


def credentials_of(connection: str) -> KrakenCredentials:
    """Read an account's key from the environment.

    Raises:
        ConfigurationError: it is missing, or not usable; the message says what to change.
    """
    return credentials_from_environment(connection, environment(), allowed_hosts=allowed_hosts(os.environ))


def dsn_of(connection: str) -> str:
    """Find the address of a database of PostgreSQL's; that of the trading database is a setting of commands.

    Raises:
        ConfigurationError: nothing says where it is.
    """
    text = environment().get(connection_variable(connection), "")
    if connection == TRADING_DB.name and not (text and _named(DSN, DSN_FILE) is None):
        return _dsn()
    try:
        conn_type, fields = parse_connection(text)
    except ValueError as error:
        raise ConfigurationError(
            f"connection {connection}: {connection_variable(connection)} is {error}"
        ) from None
    return address_of_connection(connection, conn_type or "postgres", fields)


def direct_dsn() -> str | None:
    """Find the address past a pooler; None where nothing says it."""
    if dsn := _named(DIRECT_DSN, DIRECT_DSN_FILE):
        return dsn
    connection = TRADING_DB_DIRECT.name
    return dsn_of(connection) if environment().get(connection_variable(connection)) else None


def environment() -> dict[str, str]:
    """Read the environment, with the connections of the file that Airflow is told to find them in.

    As in Airflow, what the file holds comes first.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    return {**os.environ, **_connections_of_file(os.environ)}


def _connections_of_file(environ: Mapping[str, str]) -> dict[str, str]:
    try:
        file = json.loads(environ.get(_BACKEND_ARGUMENTS) or "{}").get("connections_file_path")
        if not file or not environ.get(_BACKEND, "").endswith(_FILE_BACKENDS):
            return {}
        return {
            connection_variable(name): value if isinstance(value, str) else json.dumps(value)
            for name, value in connections_of(file).items()
        }
    except (OSError, ValueError, AttributeError) as error:
        # Not its text, which may quote the file.
        told = error.strerror if isinstance(error, OSError) else "it holds no connections by name"
        raise ConfigurationError(f"cannot read the file that {_BACKEND_ARGUMENTS} names: {told}") from None


def _named(address: Setting, address_file: Setting) -> str | None:
    """Read an address from the environment, or from the file that it names."""
    if dsn := os.environ.get(address.name):
        return dsn
    if file := os.environ.get(address_file.name):
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(
                f"cannot read {file}, which {address_file.name} names: {error.strerror}"
            ) from error
    return None


def _dsn() -> str:
    if dsn := _named(DSN, DSN_FILE):
        return dsn
    raise ConfigurationError(
        f"set {DSN.name} to the trading database, such as postgresql://user@host:5432/trading, "
        f"or {DSN_FILE.name} to a file that holds it"
    )

"""The trading database and the keys that the environment names, for every command that needs them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kraken_recon.accounts.store import AccountStore
from kraken_recon.errors import ConfigurationError
from kraken_recon.kraken.credentials import allowed_hosts, credentials_from_environment
from kraken_recon.settings import DSN, DSN_FILE
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.kraken.credentials import KrakenCredentials


def wired() -> Wiring:
    """Wire the use cases to the database and the keys that the environment names.

    Raises:
        ConfigurationError: no database is named, or the file that should name it cannot be read.
    """
    return Wiring(
        _dsn(),
        lambda account: credentials_of(account.kraken_conn_id),
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
    return credentials_from_environment(connection, os.environ, allowed_hosts=allowed_hosts(os.environ))


def _dsn() -> str:
    if dsn := os.environ.get(DSN.name):
        return dsn
    if file := os.environ.get(DSN_FILE.name):
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(
                f"cannot read {file}, which {DSN_FILE.name} names: {error.strerror}"
            ) from error
    raise ConfigurationError(
        f"set {DSN.name} to the trading database, such as postgresql://user@host:5432/trading, "
        f"or {DSN_FILE.name} to a file that holds it"
    )

"""The trading database and the keys that the environment names, for every command that needs them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kraken_recon.accounts.store import AccountStore
from kraken_recon.errors import ConfigurationError
from kraken_recon.kraken.credentials import allowed_hosts, credentials_from_environment
from kraken_recon.settings import DIRECT_DSN, DIRECT_DSN_FILE, DSN, DSN_FILE
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.kraken.credentials import KrakenCredentials
    from kraken_recon.settings import Setting


def wired() -> Wiring:
    """Wire the use cases to the database and the keys that the environment names.

    Raises:
        ConfigurationError: no database is named, or the file that should name it cannot be read.
    """
    return Wiring(
        _dsn(),
        lambda account: credentials_of(account.kraken_conn_id),
        direct_dsn=partial(_named, DIRECT_DSN, DIRECT_DSN_FILE),
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

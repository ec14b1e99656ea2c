"""The commands about accounts and their keys: ``account ...`` and ``check-key``."""

from __future__ import annotations

from typing import Any, Final

from kraken_recon.accounts.managing import (
    accounts_view,
    add_account,
    asset_of,
    checked_connection,
    render_accounts,
)
from kraken_recon.accounts.store import AccountStore
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.alerts.store import AlertStore
from kraken_recon.cli.arguments import MINUTES_MAX, amount, whole_number
from kraken_recon.cli.books import told_without_book
from kraken_recon.cli.command import Arguments, Result, argument, command, either, group
from kraken_recon.cli.trading_db import credentials_of, unit_of_work
from kraken_recon.errors import ConfigurationError
from kraken_recon.kraken.client import KrakenClient
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.trading_client import TRADE_PERMISSIONS, trading_right
from kraken_recon.wiring import utc_now

NAME: Final = argument("name", metavar="NAME")


@command(
    "check-key", argument("connection", metavar="CONNECTION", help="id of a connection, such as kraken_desk")
)
def check_key(arguments: Arguments) -> Result:
    """Ask Kraken whether a key may do what is needed, and no more."""
    connection = checked_connection(arguments.connection)
    credentials = credentials_of(connection)
    with KrakenClient(credentials, account=connection, slots=InProcessCallSlots()) as client:
        info = client.inspect_key()
        balances = client.balances()
    may_trade = info.permissions >= TRADE_PERMISSIONS
    assets = sorted({key.asset for key, balance in balances.items() if balance.balance})
    view = {
        "connection": connection,
        "key": info.name,
        "host": credentials.base_url,
        "permissions": sorted(info.permissions),
        "may_trade": may_trade,
        "assets": assets,
    }
    trading = trading_right(info.permissions)
    return view, [
        f"{connection}: the key {info.name!r} is good; it reads, {trading}, and cannot withdraw",
        f"the account holds {len(assets)} asset{'' if len(assets) == 1 else 's'}: {', '.join(assets) or '-'}",
    ]


@command("list")
def list_accounts(_: Arguments) -> Result:
    """List every account, and what was set for it."""
    return _listed(None)


@command(
    "add",
    NAME,
    argument("--connection", required=True, metavar="ID", help="of type kraken, with its key"),
    argument("--quote", default="USD", metavar="CODE", help="what it is valued in (USD)"),
)
def add(arguments: Arguments) -> Result:
    """Add an account; the next sync opens it."""
    with unit_of_work() as unit:
        add_account(AccountStore(unit), arguments.name, arguments.connection, arguments.quote)
        unit.commit()
    view, lines = _listed(arguments.name)
    return view, [*lines, *told_without_book(view)]


@command("pause", NAME)
def pause(arguments: Arguments) -> Result:
    """Leave an account alone, until it is resumed."""
    return _changed(arguments.name, is_active=False)


@command("resume", NAME)
def resume(arguments: Arguments) -> Result:
    """Reconcile an account again."""
    return _changed(arguments.name, is_active=True)


@command(
    "set",
    NAME,
    argument("--connection", metavar="ID", help="another connection, of the same account"),
    argument(
        "--freshness-minutes",
        type=whole_number(0, MINUTES_MAX),
        metavar="N",
        help="alert when its newest proof is older",
    ),
)
def set_account(arguments: Arguments) -> Result:
    """Change what is asked of an account."""
    if arguments.connection is None and arguments.freshness_minutes is None:
        raise ConfigurationError("say what to change: --connection or --freshness-minutes")
    if arguments.freshness_minutes is not None and arguments.freshness_minutes < 1:
        raise ConfigurationError(f"expected at least one minute, was {arguments.freshness_minutes}")
    connection = None if arguments.connection is None else checked_connection(arguments.connection)
    return _changed(
        arguments.name, kraken_conn_id=connection, freshness_limit_minutes=arguments.freshness_minutes
    )


@command(
    "tolerate",
    NAME,
    argument("--asset", required=True, metavar="CODE", help="such as BTC"),
    either(
        argument("--quantity", metavar="Q", help="units of the asset that are left alone"),
        argument("--as-the-run", action="store_true", help="take it away: the run's own again"),
        required=True,
    ),
    argument("--value", metavar="V", help="or this much in the quote currency"),
)
def tolerate(arguments: Arguments) -> Result:
    """Set how exact one asset of an account must be."""
    name, asset, tolerance = arguments.name, asset_of(arguments.asset), None
    if arguments.quantity is not None:
        value = None if arguments.value is None else amount(arguments.value)
        tolerance = Tolerance(amount(arguments.quantity), value)
    elif arguments.value is not None:
        raise ConfigurationError("--value comes with --quantity")
    with unit_of_work() as unit:
        if not AccountStore(unit).tolerate(name, asset, tolerance):
            if tolerance:
                raise _unknown(name)
            raise ConfigurationError(f"account {name} has no tolerance of its own for {asset}")
        unit.commit()
    return _listed(name)


def _changed(name: str, **values: Any) -> Result:  # noqa: ANN401 - the fields of the store's change
    with unit_of_work() as unit:
        if not AccountStore(unit).change(name, **values):
            raise _unknown(name)
        AlertStore(unit).close_paused(utc_now())
        unit.commit()
    return _listed(name)


def _listed(name: str | None) -> Result:
    with unit_of_work() as unit:
        view = accounts_view(AccountStore(unit))
    if name:
        view = {"accounts": [account for account in view["accounts"] if account["name"] == name]}
    return view, [*render_accounts(view)]


def _unknown(name: str) -> ConfigurationError:
    return ConfigurationError(f"no account is named {name}; see `python -m kraken_recon account list`")


ACCOUNT_COMMANDS: Final = group(
    "account",
    "Add accounts, list them, and say what is asked of each.",
    *(list_accounts, add, pause, resume, set_account, tolerate),
)

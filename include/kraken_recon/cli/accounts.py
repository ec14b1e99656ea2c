"""The commands about accounts and their keys: ``account ...`` and ``check-key``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

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
from kraken_recon.cli.arguments import MINUTES_MAX, whole_number
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ConfigurationError
from kraken_recon.kraken.client import KrakenClient
from kraken_recon.kraken.credentials import credentials_from_environment, parse_allowed_hosts
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.trading_client import TRADE_PERMISSIONS, trading_right
from kraken_recon.settings import ALLOWED_HOSTS
from kraken_recon.values.money import ZERO, parse_amount
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from decimal import Decimal
    from typing import TypeAlias

    from kraken_recon.wiring import Wiring

    View: TypeAlias = tuple[dict[str, Any], list[str]]
    Command: TypeAlias = Callable[[str, Callable[[argparse.Namespace], View], str], argparse.ArgumentParser]


def add_key_command(command: Command) -> None:
    """Add ``check-key``, which needs no database."""
    checked = command("check-key", _check_key, "Ask Kraken whether a key may do what is needed, and no more.")
    checked.add_argument("connection", metavar="CONNECTION", help="id of a connection, such as kraken_desk")


def _check_key(arguments: argparse.Namespace) -> View:
    connection = checked_connection(arguments.connection)
    credentials = credentials_from_environment(
        connection, os.environ, allowed_hosts=parse_allowed_hosts(os.environ.get(ALLOWED_HOSTS.name))
    )
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


class AccountCommands:
    """Each command on the trading database that ``wiring`` names when it runs."""

    def __init__(self, wiring: Callable[[], Wiring]) -> None:
        self._wiring = wiring

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the commands below ``account``."""
        commands = parser.add_subparsers(dest="account_command", required=True, metavar="COMMAND")

        def command(
            name: str, run: Callable[[argparse.Namespace], None], summary: str
        ) -> argparse.ArgumentParser:
            added = commands.add_parser(name, help=summary, description=summary)
            added.add_argument("--json", action="store_true", help="print one JSON document")
            added.set_defaults(run=lambda arguments: self._listed_after(run, arguments))
            if name != "list":
                added.add_argument("name", metavar="NAME")
            return added

        command("list", lambda _: None, "List every account, and what was set for it.")
        added = command("add", self._add, "Add an account; the next sync opens it.")
        added.add_argument("--connection", required=True, metavar="ID", help="of type kraken, with its key")
        added.add_argument("--quote", default="USD", metavar="CODE", help="what it is valued in (USD)")
        command("pause", self._pause, "Leave an account alone, until it is resumed.")
        command("resume", self._resume, "Reconcile an account again.")
        changed = command("set", self._set, "Change what is asked of an account.")
        changed.add_argument("--connection", metavar="ID", help="another connection, of the same account")
        changed.add_argument(
            "--freshness-minutes",
            type=whole_number(0, MINUTES_MAX),
            metavar="N",
            help="alert when its newest proof is older",
        )
        tolerated = command("tolerate", self._tolerate, "Set how exact one asset of an account must be.")
        tolerated.add_argument("--asset", required=True, metavar="CODE", help="such as BTC")
        what = tolerated.add_mutually_exclusive_group(required=True)
        what.add_argument("--quantity", metavar="Q", help="units of the asset that are left alone")
        what.add_argument("--as-the-run", action="store_true", help="take it away: the run's own again")
        tolerated.add_argument("--value", metavar="V", help="or this much in the quote currency")

    def _listed_after(
        self, change: Callable[[argparse.Namespace], None], arguments: argparse.Namespace
    ) -> View:
        change(arguments)
        with UnitOfWork(self._wiring().engine()) as unit:
            view = accounts_view(AccountStore(unit))
        if name := getattr(arguments, "name", None):
            view = {"accounts": [account for account in view["accounts"] if account["name"] == name]}
        return view, [*render_accounts(view)]

    def _add(self, arguments: argparse.Namespace) -> None:
        with UnitOfWork(self._wiring().engine()) as unit:
            add_account(AccountStore(unit), arguments.name, arguments.connection, arguments.quote)
            unit.commit()

    def _pause(self, arguments: argparse.Namespace) -> None:
        self._change(arguments.name, is_active=False)

    def _resume(self, arguments: argparse.Namespace) -> None:
        self._change(arguments.name, is_active=True)

    def _set(self, arguments: argparse.Namespace) -> None:
        if arguments.connection is None and arguments.freshness_minutes is None:
            raise ConfigurationError("say what to change: --connection or --freshness-minutes")
        if arguments.freshness_minutes is not None and arguments.freshness_minutes < 1:
            raise ConfigurationError(f"expected at least one minute, was {arguments.freshness_minutes}")
        connection = None if arguments.connection is None else checked_connection(arguments.connection)
        self._change(
            arguments.name, kraken_conn_id=connection, freshness_limit_minutes=arguments.freshness_minutes
        )

    def _change(self, name: str, **values: Any) -> None:  # noqa: ANN401 - the fields of the store's change
        with UnitOfWork(self._wiring().engine()) as unit:
            if not AccountStore(unit).change(name, **values):
                raise _unknown(name)
            AlertStore(unit).close_paused(utc_now())
            unit.commit()

    def _tolerate(self, arguments: argparse.Namespace) -> None:
        asset = asset_of(arguments.asset)
        tolerance = None
        if arguments.quantity is not None:
            tolerance = Tolerance(
                _amount(arguments.quantity), None if arguments.value is None else _amount(arguments.value)
            )
        elif arguments.value is not None:
            raise ConfigurationError("--value comes with --quantity")
        with UnitOfWork(self._wiring().engine()) as unit:
            if not AccountStore(unit).tolerate(arguments.name, asset, tolerance):
                raise (
                    _unknown(arguments.name)
                    if tolerance
                    else ConfigurationError(
                        f"account {arguments.name} has no tolerance of its own for {asset}"
                    )
                )
            unit.commit()


def _unknown(name: str) -> ConfigurationError:
    return ConfigurationError(f"no account is named {name}; see `python -m kraken_recon account list`")


def _amount(text: str) -> Decimal:
    try:
        amount = parse_amount(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if amount < ZERO:
        raise ConfigurationError(f"expected zero or more, was {text}")
    return amount

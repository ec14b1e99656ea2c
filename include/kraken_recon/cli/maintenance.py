"""The commands of ``python -m kraken_recon`` that maintain the database and show what accounts are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.accounts.store import AccountStore
from kraken_recon.cli.arguments import DAYS_MAX, whole_number
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.holdings.view import render_holdings
from kraken_recon.maintenance.maintaining import holdings_view, maintain, render_maintenance

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import TypeAlias

    from kraken_recon.wiring import Wiring

    View: TypeAlias = tuple[dict[str, Any], list[str]]
    Command: TypeAlias = Callable[[str, Callable[[argparse.Namespace], View], str], argparse.ArgumentParser]

CURVE_DAYS = 30


def add_maintenance_commands(command: Command, wiring: Callable[[], Wiring]) -> None:
    """Add the commands; ``wiring`` is called when one of them runs."""
    command(
        "maintain",
        lambda _: _maintain(wiring()),
        "Make and drop partitions, thin old rows, give orphaned claims back, and value the accounts.",
    )
    held = command(
        "holdings",
        lambda a: _holdings(a, wiring()),
        "Show what an account's holdings are worth now, and were worth over time.",
    )
    held.add_argument("--account", required=True, metavar="NAME")
    held.add_argument(
        "--days",
        type=whole_number(1, DAYS_MAX),
        default=CURVE_DAYS,
        metavar="N",
        help="how far the curve goes back (30)",
    )


def _maintain(wiring: Wiring) -> View:
    view = maintain(wiring.maintaining_ports())
    return view, render_maintenance(view)


def _holdings(arguments: argparse.Namespace, wiring: Wiring) -> View:
    with UnitOfWork(wiring.engine()) as unit:
        [account] = AccountStore(unit).find_accounts([arguments.account])
    view = holdings_view(account, arguments.days, wiring.maintaining_ports())
    return view, render_holdings(view)

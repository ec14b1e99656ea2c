"""The commands that keep the database up to date and in shape, and show what accounts are worth."""

from __future__ import annotations

from typing import Final

from kraken_recon.cli.arguments import DAYS_MAX, whole_number
from kraken_recon.cli.command import ACCOUNT, Arguments, Result, argument, command
from kraken_recon.cli.trading_db import account_named, wired
from kraken_recon.database.migrate import migrate_and_tell
from kraken_recon.database.unit_of_work import translated_errors
from kraken_recon.holdings.view import render_holdings
from kraken_recon.maintenance.maintaining import holdings_view, maintain, render_maintenance

CURVE_DAYS: Final = 30


@command("migrate")
def migrate_schema(_: Arguments) -> Result:
    """Bring the trading schema up to date."""
    with translated_errors():
        revision, left = migrate_and_tell(wired().engine())
    lines = [f"the trading schema is at revision {revision}"]
    if left:
        lines += [
            "not all roles exist, so that logins have to own the schema; an administrator of the server runs",
            *(f"  {statement}" for statement in left),
            "and then this again: docs/how-to/least-privilege.md",
        ]
    return {"revision": revision, "for_administrator": left}, lines


@command("maintain")
def maintain_database(_: Arguments) -> Result:
    """Make and drop partitions, thin old rows, give orphaned claims back, and value the accounts."""
    view = maintain(wired().maintaining_ports())
    return view, render_maintenance(view)


@command(
    "holdings",
    ACCOUNT,
    argument(
        "--days",
        type=whole_number(1, DAYS_MAX),
        default=CURVE_DAYS,
        metavar="N",
        help="how far the curve goes back (30)",
    ),
)
def holdings(arguments: Arguments) -> Result:
    """Show what an account's holdings are worth now, and were worth over time."""
    account = account_named(arguments.account)
    view = holdings_view(account, arguments.days, wired().maintaining_ports())
    return view, render_holdings(view)

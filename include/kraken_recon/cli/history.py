"""The command that imports an account's history."""

from __future__ import annotations

from pathlib import Path

from kraken_recon.cli.command import ACCOUNT, Arguments, Result, argument, command
from kraken_recon.cli.trading_db import account_named, unit_of_work
from kraken_recon.history.importing import import_exports
from kraken_recon.history.view import render_import, view_of_import
from kraken_recon.kraken.export_files import read_exports


@command(
    "import",
    ACCOUNT,
    argument(
        "files", nargs="+", type=Path, metavar="FILE", help="ledgers.csv, trades.csv, or a zip with them"
    ),
)
def import_history(arguments: Arguments) -> Result:
    """Import an account's history from Kraken's own exports."""
    exports = [export for file in arguments.files for export in read_exports(file)]
    account = account_named(arguments.account)
    done = import_exports(account, exports, unit_of_work)
    view = view_of_import(account.name, exports, done)
    return view, render_import(view)

"""The commands that show what is on record: newest runs, statements, costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kraken_recon.cli.arguments import moment
from kraken_recon.cli.books import told_without_book
from kraken_recon.cli.command import ACCOUNT, Arguments, Result, argument, command
from kraken_recon.cli.trading_db import unit_of_work
from kraken_recon.costs.recomputing import cost_view, recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.desk_books.declared_here import declared_here
from kraken_recon.reports.desk_books import desk_side_of, with_desk_books
from kraken_recon.reports.report import report, statement
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.terminal import render_costs, render_report, render_statement
from kraken_recon.wiring import utc_now


@command("report", argument("--account", action="append", metavar="NAME", help="account; may be given again"))
def newest_runs(arguments: Arguments) -> Result:
    """Show each account's newest run, what differed, also in the desk's own books, and open alerts."""
    with unit_of_work() as unit:
        reports = ReportStore(unit)
        view = with_desk_books(report(reports, arguments.account), reports, declared_here())
    return view, [*render_report(view), *told_without_book(view)]


@command(
    "explain",
    ACCOUNT,
    argument("--asset", required=True, metavar="CODE", help="such as BTC or USD"),
    argument("--at", type=moment, metavar="TIME", help="as of this time; default: now"),
)
def explain(arguments: Arguments) -> Result:
    """Write one asset of an account as a bank statement, and what the desk's own books say of it."""
    with unit_of_work() as unit:
        reports = ReportStore(unit)
        view = statement(reports, arguments.account, arguments.asset, arguments.at or utc_now())
        if arguments.at is None:
            view["desk_books"] = desk_side_of(reports, declared_here(), arguments.account, arguments.asset)
    return view, render_statement(view)


@command(
    "cost",
    ACCOUNT,
    argument("--asset", metavar="CODE", help="such as BTC; default: all"),
    argument(
        "--recompute",
        action="store_true",
        help="rebuild the account's figures from its entries first, and say whether anything changed",
    ),
)
def cost(arguments: Arguments) -> Result:
    """Show what an account's assets cost on average, and what sales brought."""
    recomputed: dict[str, Any] = {}
    with unit_of_work() as unit:
        if arguments.recompute:
            written = recompute_account(CostStore(unit), arguments.account)
            unit.commit()
            recomputed = {"recomputed": {"changed": written.anything, **asdict(written)}}
        view = cost_view(CostStore(unit), arguments.account, arguments.asset) | recomputed
    return view, render_costs(view)

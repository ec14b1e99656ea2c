"""The command that reconciles accounts."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime

from kraken_recon.accounts.store import AccountStore
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.cli.arguments import MINUTES_MAX, amount, moment, typed, whole_number
from kraken_recon.cli.books import judge_declared_books, told_desk_books_now, told_without_book
from kraken_recon.cli.command import Arguments, Result, argument, command
from kraken_recon.cli.trading_db import unit_of_work, wired
from kraken_recon.desk_books.declared_here import declared_here
from kraken_recon.errors import ConfigurationError
from kraken_recon.reconciliation.backfill import reconcile_as_of
from kraken_recon.reconciliation.forecasting import forecast_view, plan_run, render_forecast, slots_of
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.rules.priority import SWEEP_AGE
from kraken_recon.reconciliation.run import SyncRequest, sweep_age_of
from kraken_recon.reconciliation.sync import accounts_in_turn, sync_accounts
from kraken_recon.repairs.view import plans_of_runs, render_plan
from kraken_recon.reports.desk_books import with_desk_books
from kraken_recon.reports.report import report_of_runs
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.terminal import render_report
from kraken_recon.values.intervals import RUN_INTERVAL, Interval, interval_ending_now
from kraken_recon.wiring import utc_now


@command(
    "sync",
    argument("--account", action="append", required=True, metavar="NAME", help="account; may be given again"),
    argument(
        "--interval",
        nargs=2,
        type=moment,
        metavar=("START", "END"),
        help="as of the end of this past interval instead of now; two times such as 2026-01-31T12:00Z",
    ),
    argument("--dry-run", action="store_true", help="say what would be done and write no position"),
    argument(
        "--tolerance",
        type=typed(amount),
        metavar="QUANTITY",
        help="unexplained quantity to leave alone (0.001)",
    ),
    argument(
        "--trust-chain",
        action="store_true",
        help="take a ledger that connects for complete although Kraken counts more entries than it shows",
    ),
    argument(
        "--sweep-age",
        type=typed(lambda hours: sweep_age_of(float(hours))),
        default=SWEEP_AGE,
        metavar="HOURS",
        help="read a ledger in any case once its last proof is nearly this old (24)",
    ),
)
def sync(arguments: Arguments) -> Result:
    """Reconcile accounts with Kraken, now or as of the past, and now the desk's own books with them."""
    ports = wired().sync_ports()
    policy = Policy()
    if arguments.tolerance is not None:
        policy = replace(policy, tolerance=Tolerance(arguments.tolerance))
    past = _past_interval(*arguments.interval) if arguments.interval else None
    request = SyncRequest(
        interval=past or interval_ending_now(utc_now()),
        mode=Mode.DRY_RUN if arguments.dry_run else Mode.REPAIR,
        policy=policy,
        trigger="command line",
        sweep_age=arguments.sweep_age,
        trusts_chain=arguments.trust_chain,
    )
    with unit_of_work() as unit:
        accounts = AccountStore(unit).find_accounts(arguments.account)
    run_ids = (reconcile_as_of if past else sync_accounts)(accounts, request, ports)
    if not past and not arguments.dry_run:
        judge_declared_books(run_ids)
    with unit_of_work() as unit:
        reports = ReportStore(unit)
        view = report_of_runs(reports, run_ids)
        if not past and not arguments.dry_run:
            view = with_desk_books(view, reports, declared_here())
        view["plans"] = plans_of_runs(PlanStore(unit), run_ids, with_rows=arguments.dry_run)
    failed = [a["account"] for a in view["accounts"] if a["status"] == "failed"]
    if failed:
        view["failed"] = failed
    return view, [
        *render_report(view),
        *told_without_book(view),
        *(told_desk_books_now(view) if arguments.dry_run and not past else ()),
        *(line for plan in view["plans"] for line in ("", *render_plan(plan))),
    ]


@command(
    "forecast",
    argument("--account", action="append", metavar="NAME", help="account; may be given again"),
    argument(
        "--within",
        type=whole_number(1, MINUTES_MAX),
        default=int(RUN_INTERVAL.total_seconds() // 60),
        metavar="MINUTES",
        help="how much time the run has (15)",
    ),
)
def forecast(arguments: Arguments) -> Result:
    """Say what the next run of position_sync will take, and which accounts it will not reach in time."""
    with unit_of_work() as unit:
        planned = plan_run(
            unit,
            accounts_in_turn(unit, arguments.account, utc_now()),
            seconds_left=60.0 * arguments.within,
            slots=slots_of(os.environ),
            budget_seconds_of=wired().budget_seconds,
        )
    view = forecast_view(planned)
    return view, render_forecast(view)


def _past_interval(start: datetime, end: datetime) -> Interval:
    if not start < end < utc_now():
        raise ConfigurationError(
            f"expected an interval that is over, START before END, was {start.isoformat()} {end.isoformat()}"
        )
    return Interval(start.astimezone(UTC), end.astimezone(UTC))

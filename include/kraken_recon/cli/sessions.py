"""The commands that find leaked sessions: on the server, and in source."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from kraken_recon.cli.arguments import DAYS_MAX, whole_number
from kraken_recon.cli.command import Arguments, Result, argument, command
from kraken_recon.cli.trading_db import environment, unit_of_work, wired
from kraken_recon.sessions.airflow_api import AirflowApi, NoAirflow
from kraken_recon.sessions.auditing import AuditRequest, audit, render_audit
from kraken_recon.sessions.plot import plot_sessions
from kraken_recon.sessions.rules.leaks import ActionPolicy
from kraken_recon.sessions.store import SessionStore
from kraken_recon.wiring import source_of, utc_now
from session_lint.__main__ import add_arguments, lint


@command(
    "audit",
    argument("--act", action="store_true", help="end what the policy lets be ended; default: dry run"),
    argument("--plot", type=Path, metavar="FILE", help="draw connections over time into a PNG instead"),
    argument("--days", type=whole_number(1, DAYS_MAX), default=1, metavar="N", help="days to draw (1)"),
)
def audit_sessions(arguments: Arguments) -> Result:
    """Find leaked sessions of the trading database, now."""
    if arguments.plot is not None:
        with unit_of_work() as unit:
            since = utc_now() - timedelta(days=arguments.days)
            view = plot_sessions(SessionStore(unit), since, arguments.plot)
        return view, [f"{view['samples']} samples and {view['findings']} findings: {arguments.plot}"]
    wiring = wired()
    airflow = AirflowApi.from_environment(environment()) or NoAirflow()
    ports = wiring.audit_ports(
        [source_of("trading_db", unit_of_work)], airflow, acted_by=wiring.application_name
    )
    view = audit(AuditRequest(ActionPolicy(is_dry_run=not arguments.act)), ports)
    return view, render_audit(view)


@command("lint-sessions", add_arguments)
def lint_sessions(arguments: Arguments) -> Result:
    """Find database sessions that Python source may leave open."""
    return lint(arguments)

"""The operator's command line: ``python -m kraken_recon COMMAND``.

Results go to standard output, logs and errors to standard error. What the exit status means is declared in
``exit_statuses``. Only ``lint-sessions`` tells what it found by its status: 1 for findings, 2 for files that
it could not read.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kraken_recon import settings
from kraken_recon.accounts.store import AccountStore
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.alerts.heartbeat_store import HeartbeatStore
from kraken_recon.alerts.store import AlertStore
from kraken_recon.alerts.telling import alerts_view, render_alerts
from kraken_recon.certificates.certifying import certify, render_summary, summary, verify
from kraken_recon.certificates.store import CertificateStore
from kraken_recon.cli.accounts import AccountCommands, add_key_command
from kraken_recon.cli.arguments import (
    DAYS_MAX,
    ArgumentParser,
    moment,
    quantity,
    row_id,
    whole_number,
)
from kraken_recon.cli.contradictions import add_contradictions_command
from kraken_recon.cli.exit_statuses import ExitStatus
from kraken_recon.cli.maintenance import add_maintenance_commands
from kraken_recon.cli.orders import add_order_commands
from kraken_recon.cli.repairs import PlanCommands
from kraken_recon.cli.verification import add_verification_commands
from kraken_recon.costs.recomputing import cost_view, recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.database.migrate import migrate
from kraken_recon.database.unit_of_work import UnitOfWork, translated_errors
from kraken_recon.errors import CertificateError, ConfigurationError, KrakenReconError
from kraken_recon.history.importing import import_exports
from kraken_recon.history.view import render_import, view_of_import
from kraken_recon.kraken.credentials import (
    ALLOWED_HOSTS_VARIABLE,
    credentials_from_environment,
    parse_allowed_hosts,
)
from kraken_recon.kraken.export_files import read_exports
from kraken_recon.reconciliation.backfill import reconcile_as_of
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.rules.priority import SWEEP_AGE
from kraken_recon.reconciliation.run import SyncRequest, sweep_age_of
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.repairs.view import plans_of_runs, render_plan
from kraken_recon.reports.report import report, report_of_runs, statement
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.terminal import render_costs, render_report, render_statement
from kraken_recon.sessions.airflow_api import AirflowApi, NoAirflow
from kraken_recon.sessions.auditing import AuditRequest, audit, render_audit
from kraken_recon.sessions.plot import plot_sessions
from kraken_recon.sessions.rules.leaks import ActionPolicy
from kraken_recon.sessions.store import SessionStore
from kraken_recon.values.intervals import Interval, interval_ending_now
from kraken_recon.wiring import Wiring, source_of, utc_now
from session_lint.__main__ import add_arguments, lint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DSN_VARIABLE = settings.DSN.name
DSN_FILE_VARIABLE = settings.DSN_FILE.name


def _dsn() -> str:
    if dsn := os.environ.get(DSN_VARIABLE):
        return dsn
    if file := os.environ.get(DSN_FILE_VARIABLE):
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(
                f"cannot read {file}, which {DSN_FILE_VARIABLE} names: {error.strerror}"
            ) from error
    raise ConfigurationError(
        f"set {DSN_VARIABLE} to the trading database, such as postgresql://user@host:5432/trading, "
        f"or {DSN_FILE_VARIABLE} to a file that holds it"
    )


def _wiring() -> Wiring:
    dsn = _dsn()
    allowed_hosts = parse_allowed_hosts(os.environ.get(ALLOWED_HOSTS_VARIABLE))
    return Wiring(
        dsn,
        lambda account: credentials_from_environment(
            account.kraken_conn_id, os.environ, allowed_hosts=allowed_hosts
        ),
        application_name=f"kraken_recon:cli:{os.getpid()}",
    )


def _migrate(_: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    with translated_errors():
        revision = migrate(_wiring().engine())
    return {"revision": revision}, [f"the trading schema is at revision {revision}"]


def _sync(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    wiring = _wiring()
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
    ports = wiring.sync_ports()
    with ports.open_unit_of_work() as unit:
        accounts = AccountStore(unit).find_accounts(arguments.account)
    run_ids = (reconcile_as_of if past else sync_accounts)(accounts, request, ports)
    with UnitOfWork(wiring.engine()) as unit:
        view = report_of_runs(ReportStore(unit), run_ids)
        view["plans"] = plans_of_runs(PlanStore(unit), run_ids, with_rows=arguments.dry_run)
    failed = [a["account"] for a in view["accounts"] if a["status"] == "failed"]
    if failed:
        view["failed"] = failed
    return view, [
        *render_report(view),
        *(line for plan in view["plans"] for line in ("", *render_plan(plan))),
    ]


def _past_interval(start: datetime, end: datetime) -> Interval:
    if not start < end < utc_now():
        raise ConfigurationError(
            f"expected an interval that is over, START before END, was {start.isoformat()} {end.isoformat()}"
        )
    return Interval(start.astimezone(UTC), end.astimezone(UTC))


def _explain(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    with UnitOfWork(_wiring().engine()) as unit:
        view = statement(ReportStore(unit), arguments.account, arguments.asset, arguments.at or utc_now())
    return view, render_statement(view)


def _cost(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    recomputed: dict[str, Any] = {}
    with UnitOfWork(_wiring().engine()) as unit:
        if arguments.recompute:
            written = recompute_account(CostStore(unit), arguments.account)
            unit.commit()
            recomputed = {"recomputed": {"changed": written.anything, **asdict(written)}}
        view = cost_view(CostStore(unit), arguments.account, arguments.asset) | recomputed
    return view, render_costs(view)


def _report(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    with UnitOfWork(_wiring().engine()) as unit:
        view = report(ReportStore(unit), arguments.account)
    return view, render_report(view)


def _alerts(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    answered = arguments.acknowledge or arguments.resolve
    if answered and not arguments.by:
        raise ConfigurationError("say who answers: --by NAME")
    with UnitOfWork(_wiring().engine()) as unit:
        if answered:
            status = "acknowledged" if arguments.acknowledge else "resolved"
            count = AlertStore(unit).answer(answered, status, arguments.by, arguments.note)
            unit.commit()
        now = utc_now()
        jobs = HeartbeatStore(unit).heartbeats(now)
        view = alerts_view(AlertStore(unit), jobs, now, with_resolved=arguments.all)
    done = [f"{count:,} {status}"] if answered else []
    return view, [*done, *render_alerts(view)]


def _alerts_named(text: str) -> int | str:
    return row_id(text) if text.isdecimal() else text


def _certify(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    with UnitOfWork(_wiring().engine()) as unit:
        document = certify(CertificateStore(unit), arguments.account, arguments.at, now=utc_now())
    text = json.dumps(document, indent=2)
    if arguments.output is None:
        return document, [text]
    try:
        arguments.output.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {arguments.output}: {error.strerror}") from error
    view = {**summary(document), "file": str(arguments.output)}
    return view, [*render_summary(view), f"written to {arguments.output}"]


def _verify_certificate(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    try:
        text = arguments.file.read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {arguments.file}: {error.strerror}") from error
    view = verify(text)
    return view, render_summary(view)


def _import(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    exports = [export for file in arguments.files for export in read_exports(file)]
    engine = _wiring().engine()
    with UnitOfWork(engine) as unit:
        account = AccountStore(unit).find_accounts([arguments.account])[0]
    done = import_exports(account, exports, lambda: UnitOfWork(engine))
    view = view_of_import(account.name, exports, done)
    return view, render_import(view)


def _audit(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    wiring = _wiring()
    engine = wiring.engine()
    if arguments.plot is not None:
        with UnitOfWork(engine) as unit:
            since = utc_now() - timedelta(days=arguments.days)
            view = plot_sessions(SessionStore(unit), since, arguments.plot)
        return view, [f"{view['samples']} samples and {view['findings']} findings: {arguments.plot}"]
    source = source_of("trading_db", lambda: UnitOfWork(engine))
    airflow = AirflowApi.from_environment(os.environ) or NoAirflow()
    ports = wiring.audit_ports([source], airflow, acted_by=wiring.application_name)
    view = audit(AuditRequest(ActionPolicy(is_dry_run=not arguments.act)), ports)
    return view, render_audit(view)


def _hours(text: str) -> timedelta:
    try:
        return sweep_age_of(float(text))
    except (ValueError, ConfigurationError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_sync_options(sync: argparse.ArgumentParser) -> None:
    sync.add_argument(
        "--account", action="append", required=True, metavar="NAME", help="account; may be given again"
    )
    sync.add_argument(
        "--interval",
        nargs=2,
        type=moment,
        metavar=("START", "END"),
        help="as of the end of this past interval instead of now; two times such as 2026-01-31T12:00Z",
    )
    sync.add_argument("--dry-run", action="store_true", help="say what would be done and write no position")
    sync.add_argument(
        "--tolerance", type=quantity, metavar="QUANTITY", help="unexplained quantity to leave alone (0.001)"
    )
    sync.add_argument(
        "--trust-chain",
        action="store_true",
        help="take a ledger that connects for complete although Kraken counts more entries than it shows",
    )
    sync.add_argument(
        "--sweep-age",
        type=_hours,
        default=SWEEP_AGE,
        metavar="HOURS",
        help="read a ledger in any case once its last proof is nearly this old (24)",
    )


def make_parser() -> ArgumentParser:
    """Make the parser of every command."""
    parser = ArgumentParser(
        prog="python -m kraken_recon", description="Reconcile recorded positions with Kraken."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], tuple[dict[str, Any], list[str]]], summary: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary)
        added.add_argument("--json", action="store_true", help="print one JSON document")
        added.set_defaults(run=run)
        return added

    command("migrate", _migrate, "Bring the trading schema up to date.")
    add_key_command(command)
    account_summary = "Add accounts, list them, and say what is asked of each."
    AccountCommands(_wiring).add_to(
        commands.add_parser("account", help=account_summary, description=account_summary)
    )
    sync = command("sync", _sync, "Reconcile accounts with Kraken, now or as of the past.")
    _add_sync_options(sync)
    explain = command("explain", _explain, "Write one asset of an account as a bank statement.")
    explain.add_argument("--account", required=True, metavar="NAME")
    explain.add_argument("--asset", required=True, metavar="CODE", help="such as BTC or USD")
    explain.add_argument("--at", type=moment, metavar="TIME", help="as of this time; default: now")
    imported = command("import", _import, "Import an account's history from Kraken's own exports.")
    imported.add_argument("--account", required=True, metavar="NAME")
    imported.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="ledgers.csv, trades.csv, or a zip with them"
    )
    add_contradictions_command(command, _wiring)
    cost = command("cost", _cost, "Show what an account's assets cost on average, and what sales brought.")
    cost.add_argument("--account", required=True, metavar="NAME")
    cost.add_argument("--asset", metavar="CODE", help="such as BTC; default: all")
    cost.add_argument(
        "--recompute",
        action="store_true",
        help="rebuild the account's figures from its entries first, and say whether anything changed",
    )
    reported = command("report", _report, "Show each account's newest run, what differed, and open alerts.")
    reported.add_argument("--account", action="append", metavar="NAME", help="account; may be given again")
    alerts = command("alerts", _alerts, "Show alerts and how fresh each account is; answer an alert.")
    alerts.add_argument("--all", action="store_true", help="resolved ones too")
    answer = alerts.add_mutually_exclusive_group()
    answer.add_argument(
        "--acknowledge",
        type=_alerts_named,
        metavar="ID|KIND",
        help="say that somebody looks after it, or after all of a kind",
    )
    answer.add_argument(
        "--resolve", type=_alerts_named, metavar="ID|KIND", help="say that it is over, or all of a kind are"
    )
    alerts.add_argument("--by", metavar="NAME", help="who answers")
    alerts.add_argument("--note", metavar="TEXT", help="what to remember of it")
    certificate = command("certify", _certify, "Prove an account's positions at a moment, as one document.")
    certificate.add_argument("--account", required=True, metavar="NAME")
    certificate.add_argument("--at", type=moment, required=True, metavar="TIME", help="the moment to prove")
    certificate.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    checked = command(
        "verify-certificate", _verify_certificate, "Check a certificate from its file alone, offline."
    )
    checked.add_argument("file", type=Path, metavar="FILE")
    plans = commands.add_parser("plan", help="Show, undo, approve or reject what repairs write.")
    PlanCommands(_wiring).add_to(plans)
    add_order_commands(command, _wiring)
    add_verification_commands(command, _wiring)
    add_maintenance_commands(command, _wiring)
    _add_session_commands(command)
    return parser


def _add_session_commands(
    command: Callable[
        [str, Callable[[argparse.Namespace], tuple[dict[str, Any], list[str]]], str], argparse.ArgumentParser
    ],
) -> None:
    audited = command("audit", _audit, "Find leaked sessions of the trading database, now.")
    audited.add_argument(
        "--act", action="store_true", help="end what the policy lets be ended; default: dry run"
    )
    audited.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw connections over time into a PNG instead"
    )
    audited.add_argument(
        "--days", type=whole_number(1, DAYS_MAX), default=1, metavar="N", help="days to draw (1)"
    )
    linted = command("lint-sessions", lint, "Find database sessions that Python source may leave open.")
    add_arguments(linted)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    # A file name or an asset of Kraken's may hold what the terminal's encoding does not.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    parser.check_texts(parsed)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        view, lines = parsed.run(parsed)
    except KrakenReconError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return ExitStatus.FAILED
    if problem := view.get("problem"):
        print(problem, file=sys.stderr)
    print(json.dumps(view, indent=2) if parsed.json else "\n".join(lines))
    return int(view.get("exit_status", bool(view.get("failed"))))


if __name__ == "__main__":
    sys.exit(main())

"""The operator's command line: ``python -m kraken_recon COMMAND``.

Results go to standard output, logs and errors to standard error. What the exit status means is declared in
``exit_statuses``. Some commands tell what they found by their status: ``doctor``, ``seals verify`` and
``verify-certificate``, 1 where something is wrong, and ``lint-sessions``, 1 for findings, 2 for files that it
could not read.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import TYPE_CHECKING, Final

from kraken_recon.cli import (
    accounts,
    alerts,
    books,
    certificates,
    dags,
    doctor,
    history,
    maintenance,
    orders,
    reconciliation,
    repairs,
    reports,
    seals,
    sessions,
    verification,
)
from kraken_recon.cli.arguments import ArgumentParser
from kraken_recon.cli.exit_statuses import ExitStatus
from kraken_recon.cli.log_lines import log_to_stderr
from kraken_recon.errors import KrakenReconError
from kraken_recon.installed import DISTRIBUTION, version
from kraken_recon.plain_text import as_line

if TYPE_CHECKING:
    from collections.abc import Sequence

# In the order in which help and the reference show them.
COMMANDS: Final = (
    maintenance.migrate_schema,
    doctor.doctor,
    accounts.check_key,
    accounts.ACCOUNT_COMMANDS,
    reconciliation.sync,
    reconciliation.forecast,
    reports.explain,
    history.import_history,
    repairs.contradictions,
    reports.cost,
    reports.newest_runs,
    alerts.alerts,
    books.BOOK_COMMANDS,
    certificates.certify_position,
    certificates.verify_certificate,
    repairs.PLAN_COMMANDS,
    orders.order,
    orders.cancel,
    orders.amend,
    orders.settle,
    orders.trace_order,
    verification.verify,
    verification.verifications,
    maintenance.maintain_database,
    maintenance.holdings,
    seals.SEAL_COMMANDS,
    sessions.audit_sessions,
    sessions.lint_sessions,
    dags.dag_files,
)


def make_parser() -> ArgumentParser:
    """Make the parser of every command."""
    parser = ArgumentParser(
        prog="python -m kraken_recon", description="Reconcile recorded positions with Kraken."
    )
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {version()}")
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(parsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    # A file name or an asset of Kraken's may hold what the terminal's encoding does not.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    parser.check_texts(parsed)
    log_to_stderr(logging.WARNING)
    try:
        view, lines = parsed.run(parsed)
    except KrakenReconError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return ExitStatus.FAILED
    if problem := view.get("problem"):
        print(as_line(problem), file=sys.stderr)
    # Names, notes and reasons are others' texts: none of them may move the cursor or begin a line.
    print(json.dumps(view, indent=2) if parsed.json else "\n".join(map(as_line, lines)))
    return int(view.get("exit_status", bool(view.get("failed"))))

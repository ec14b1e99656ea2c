"""What people read: the report of the latest runs, and an asset's position as a bank statement.

Amounts leave as text, exact and without an exponent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.errors import NotOnRecordError
from kraken_recon.reconciliation.margin.view import margin_view
from kraken_recon.reconciliation.rules.counts import TOLD
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount
from kraken_recon.values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.reports.report_store import ReportStore

AMOUNTS: Final = (
    "db_quantity",
    "exchange_quantity",
    "drift",
    "explained",
    "unexplained",
    "database_drift",
    "residual",
)
FIGURES: Final = (*(count.name for count in TOLD), "entries_ingested", "api_calls")
RUN_FIELDS: Final = (
    *("run_id", "mode", "trigger", "dag_id", "dag_run_id", "recorded_as_of", "reported_as_of", "proven_at"),
    *("ledger_proven_at", "ledger_proof_age_seconds", "seconds", "note", "error"),
)
ALERT_FIELDS: Final = (
    *(
        "alert_id",
        "kind",
        "account",
        "asset",
        "wallet",
        "status",
        "message",
        "occurrences",
        "opened_at",
        "last_seen_at",
    ),
)
ENTRY_FIELDS: Final = ("ledger_id", "refid", "type", "subtype", "wallet", "amount", "fee", "balance")
ACTION_WORDS: Final = {
    "applied": "the missing entries were applied",
    "update": "the position was set to the right quantity",
    "add": "the missing position was added",
    "remove": "the position was set to zero",
    "within_tolerance": "within tolerance, left alone",
    "awaiting_confirmation": "not written until a later reading confirms it",
    "under_way": "a deposit or withdrawal under way explains it",
    "moving": "the account was moving; left to the next run",
    "held": "not written; a person decides",
    "recorded": "as it stood then; nothing is written to the past",
}


def explanation(finding: Mapping[str, Any]) -> str:
    """Say in a few words why a position differed and what was done."""
    parts = []
    if finding["ledger_ids"]:
        kinds = ", ".join(finding["entry_types"]) or "ledger"
        parts.append(
            f"{format_amount(finding['explained'])} from {len(finding['ledger_ids'])} missed {kinds} "
            f"{'entry' if len(finding['ledger_ids']) == 1 else 'entries'}"
            f"{'' if finding['explained'] else ' that cancel out'}"
        )
    if finding["database_drift"]:
        parts.append(f"{format_amount(finding['database_drift'])} changed in the database without a reason")
    if finding["residual"]:
        parts.append(f"{format_amount(finding['residual'])} that no ledger entry explains")
    return f"{'; '.join(parts) or 'agrees'}: {ACTION_WORDS[finding['action']]}"


def _finding_view(finding: Mapping[str, Any]) -> dict[str, Any]:
    """Write what differed, with amounts as text and the reason in words."""
    told = {name: finding[name] for name in ("asset", "wallet", *AMOUNTS, "action", "ledger_ids")}
    return {**plain(told), "explanation": explanation(finding)}


def _run_view(run: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "account": run["name"],
        **plain({name: run.get(name) for name in RUN_FIELDS}),
        "status": run["status"] or "never run",
        "interval": plain([run["interval_start"], run["interval_end"]]),
        "is_proof": bool(run["is_proof"]),
        **{name: run[name] or 0 for name in FIGURES},
        "findings": [_finding_view(f) for f in findings],
    }


def report(reports: ReportStore, names: Collection[str] | None) -> dict[str, Any]:
    """Collect the newest run of each account with what differed, and the open alerts."""
    return _assembled(reports, reports.latest_runs(names), reports.open_alerts(names))


def report_of_runs(reports: ReportStore, run_ids: Collection[UUID]) -> dict[str, Any]:
    """Collect these runs with what differed."""
    runs = reports.runs(run_ids)
    return _assembled(reports, runs, reports.open_alerts([run["name"] for run in runs]))


def _assembled(
    reports: ReportStore, runs: Sequence[Mapping[str, Any]], alerts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    findings = reports.findings_of([run["run_id"] for run in runs if run["run_id"]])
    by_run = defaultdict(list)
    for finding in findings:
        by_run[finding["run_id"]].append(finding)
    views = [_run_view(run, by_run[run["run_id"]]) for run in runs]
    positions = reports.margin_positions([run["name"] for run in runs])
    changes = reports.margin_changes([run["run_id"] for run in runs if run["run_id"]])
    for run, view in zip(runs, views, strict=True):
        view["margin"] = margin_view(
            [position for position in positions if position["name"] == run["name"]],
            [change for change in changes if change["run_id"] == run["run_id"]],
        )
    return {
        "accounts": views,
        "totals": {
            "accounts": len(views),
            **Counter(view["status"].replace(" ", "_") for view in views),
            **{name: sum(view[name] for view in views) for name in FIGURES},
        },
        "alerts": [plain({name: alert[name] for name in ALERT_FIELDS}) for alert in alerts],
    }


def holder_of(reports: ReportStore, account: str, asset: str) -> int:
    """Find an account that holds or held an asset; what was never there has no statement, not an empty one.

    Raises:
        NotOnRecordError: there is no such account, or nothing is on record of the asset.
    """
    account_id = reports.account_id(account)
    if not reports.was_held(account_id, asset):
        raise NotOnRecordError(f"account {account} never held {asset}: nothing is on record of it")
    return account_id


@exact_arithmetic()
def statement(reports: ReportStore, account: str, asset: str, at: datetime) -> dict[str, Any]:
    """Write one asset of one account as a bank statement, over all its wallets, up to ``at``.

    ``closing`` is the opening plus every entry. ``residual`` is what else there is: repairs that no entry
    accounts for, and what Kraken's balance shows beyond its own ledger.

    Raises:
        NotOnRecordError: there is no such account, or it never held the asset.
    """
    account_id = holder_of(reports, account, asset)
    opening = reports.statement_opening(account_id, asset, at)
    running = opening
    entries = []
    for entry in reports.statement_entries(account_id, asset, at):
        running += entry["amount"] - entry["fee"]
        entries.append(entry_view(entry, running))
    frame = statement_frame(reports, account, asset, at, opening=opening, closing=running)
    return {**frame, "entries": entries}


def entry_view(entry: Mapping[str, Any], running: Decimal) -> dict[str, Any]:
    """Write a ledger entry as a line of a statement; ``running`` is the quantity after it."""
    told = {name: entry[name] for name in ENTRY_FIELDS}
    line: dict[str, Any] = plain({**told, "time": entry["entry_time"], "running": running})
    return line


@exact_arithmetic()
def statement_frame(  # noqa: PLR0913 - what a statement is of
    reports: ReportStore, account: str, asset: str, at: datetime, *, opening: Decimal, closing: Decimal
) -> dict[str, Any]:
    """Write everything of a statement but its entries."""
    account_id = reports.account_id(account)
    adjustments = reports.statement_adjustments(account_id, asset, at)
    adjusted = sum((a["quantity_after"] - a["quantity_before"] for a in adjustments), ZERO)
    frame: dict[str, Any] = plain(
        {
            "account": account,
            "asset": asset,
            "at": at,
            "opening": opening,
            "adjustments": [
                {
                    "time": a["effective_at"],
                    "wallet": a["wallet"],
                    "reason": a["reason"],
                    "amount": a["quantity_after"] - a["quantity_before"],
                    "run_id": a["run_id"],
                }
                for a in adjustments
            ],
            "closing": closing,
            "residual": adjusted + reports.statement_residual(account_id, asset, at),
        }
    )
    return frame

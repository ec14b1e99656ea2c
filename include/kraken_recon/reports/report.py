"""What people read: the report of the latest runs, and an asset's position as a bank statement.

Amounts leave as text, exact and without an exponent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.errors import ConfigurationError
from kraken_recon.reconciliation.margin.view import margin_view
from kraken_recon.reconciliation.rules.counts import TOLD
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

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
ACTION_WORDS: Final = {
    "applied": "the missing entries were applied",
    "update": "the position was set to the right quantity",
    "add": "the missing position was added",
    "remove": "the position was set to zero",
    "within_tolerance": "within tolerance, left alone",
    "awaiting_confirmation": "not written until a later reading confirms it",
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


def finding_view(finding: Mapping[str, Any]) -> dict[str, Any]:
    """Write what differed, with amounts as text and the reason in words."""
    return {
        "asset": finding["asset"],
        "wallet": finding["wallet"],
        **{name: format_amount(finding[name]) for name in AMOUNTS},
        "action": finding["action"],
        "ledger_ids": list(finding["ledger_ids"]),
        "explanation": explanation(finding),
    }


def _run_view(run: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "account": run["name"],
        "run_id": str(run["run_id"]) if run["run_id"] else None,
        "status": run["status"] or "never run",
        "mode": run["mode"],
        "trigger": run["trigger"],
        "dag_id": run["dag_id"],
        "dag_run_id": run["dag_run_id"],
        "interval": [_iso(run["interval_start"]), _iso(run["interval_end"])],
        "recorded_as_of": _iso(run["recorded_as_of"]),
        "reported_as_of": _iso(run["reported_as_of"]),
        "is_proof": bool(run["is_proof"]),
        "proven_at": _iso(run.get("proven_at")),
        "ledger_proven_at": _iso(run.get("ledger_proven_at")),
        "ledger_proof_age_seconds": run.get("ledger_proof_age_seconds"),
        **{name: run[name] or 0 for name in FIGURES},
        "seconds": format_amount(run["seconds"]) if run["seconds"] is not None else None,
        "note": run["note"],
        "error": run["error"],
        "findings": [finding_view(f) for f in findings],
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


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
        "alerts": [
            {
                "alert_id": alert["alert_id"],
                "kind": alert["kind"],
                "account": alert["account"],
                "asset": alert["asset"],
                "wallet": alert["wallet"],
                "status": alert["status"],
                "message": alert["message"],
                "occurrences": alert["occurrences"],
                "opened_at": _iso(alert["opened_at"]),
                "last_seen_at": _iso(alert["last_seen_at"]),
            }
            for alert in alerts
        ],
    }


def holder_of(reports: ReportStore, account: str, asset: str) -> int:
    """Find an account that holds or held an asset; what was never there has no statement, not an empty one.

    Raises:
        ConfigurationError: there is no such account, or nothing is on record of the asset.
    """
    account_id = reports.account_id(account)
    if not reports.was_held(account_id, asset):
        raise ConfigurationError(f"account {account} never held {asset}: nothing is on record of it")
    return account_id


@exact_arithmetic()
def statement(reports: ReportStore, account: str, asset: str, at: datetime) -> dict[str, Any]:
    """Write one asset of one account as a bank statement, over all its wallets, up to ``at``.

    ``closing`` is the opening plus every entry. ``residual`` is what else there is: repairs that no entry
    accounts for, and what Kraken's balance shows beyond its own ledger.

    Raises:
        ConfigurationError: there is no such account, or it never held the asset.
    """
    account_id = holder_of(reports, account, asset)
    opening = sum(reports.statement_openings(account_id, asset, at).values(), ZERO)
    running = opening
    entries = []
    for entry in reports.statement_entries(account_id, asset, at):
        running += entry["amount"] - entry["fee"]
        entries.append(entry_view(entry, running))
    frame = statement_frame(reports, account, asset, at, opening=opening, closing=running)
    return {**frame, "entries": entries}


def entry_view(entry: Mapping[str, Any], running: Decimal) -> dict[str, Any]:
    """Write a ledger entry as a line of a statement; ``running`` is the quantity after it."""
    return {
        "ledger_id": entry["ledger_id"],
        "refid": entry["refid"],
        "time": _iso(entry["entry_time"]),
        "type": entry["type"],
        "subtype": entry["subtype"],
        "wallet": entry["wallet"],
        "amount": format_amount(entry["amount"]),
        "fee": format_amount(entry["fee"]),
        "balance": format_amount(entry["balance"]),
        "running": format_amount(running),
    }


@exact_arithmetic()
def statement_frame(  # noqa: PLR0913 - what a statement is of
    reports: ReportStore, account: str, asset: str, at: datetime, *, opening: Decimal, closing: Decimal
) -> dict[str, Any]:
    """Write everything of a statement but its entries."""
    account_id = reports.account_id(account)
    adjustments = reports.statement_adjustments(account_id, asset, at)
    adjusted = sum((a["quantity_after"] - a["quantity_before"] for a in adjustments), ZERO)
    return {
        "account": account,
        "asset": asset,
        "at": _iso(at),
        "opening": format_amount(opening),
        "adjustments": [
            {
                "time": _iso(a["effective_at"]),
                "wallet": a["wallet"],
                "reason": a["reason"],
                "amount": format_amount(a["quantity_after"] - a["quantity_before"]),
                "run_id": str(a["run_id"]) if a["run_id"] else None,
            }
            for a in adjustments
        ],
        "closing": format_amount(closing),
        "residual": format_amount(adjusted + reports.statement_residual(account_id, asset, at)),
    }

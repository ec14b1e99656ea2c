"""Collect what wants a person, and what a statement shows; JSON gives the same."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_airflow.approvals import open_approvals
from kraken_recon.domain.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork

ALERTS_MOST: Final = 200
ENTRIES_SHOWN_MAX: Final = 200
# What a spreadsheet would run as a formula.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
AMOUNT_FIELDS: Final = frozenset({"amount", "fee", "balance", "running"})
ENTRY_FIELDS: Final = (
    "ledger_id",
    "refid",
    "time",
    "type",
    "subtype",
    "wallet",
    "amount",
    "fee",
    "balance",
    "running",
)


def wants(unit: PostgresUnitOfWork) -> dict[str, Any]:
    """Answer: what wants me? Held repairs and alerts that nobody resolved."""
    alerts = [plain(row) for row in unit.alerts.find_alerts(with_resolved=False, most=ALERTS_MOST + 1)]
    held = open_approvals(unit.plans)
    unanswered = sum(alert["status"] == "open" for alert in alerts[:ALERTS_MOST])
    waiting = sum(plan["is_waiting"] for plan in held)
    return {
        "held": held,
        "alerts": alerts[:ALERTS_MOST],
        "has_more_alerts": len(alerts) > ALERTS_MOST,
        "waiting": waiting,
        "unanswered": unanswered,
        "level": "bad" if waiting or unanswered else "watch" if alerts or held else "good",
    }


def newest_of(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the newest entries of a statement, newest first, and count the rest."""
    entries = whole["entries"]
    shown = entries[: -ENTRIES_SHOWN_MAX - 1 : -1]
    return {**whole, "entries": shown, "left_out": len(entries) - len(shown)}


def csv_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """Write statement entries as CSV; nothing that a spreadsheet would take for a formula."""
    file = io.StringIO()
    writer = csv.DictWriter(file, ENTRY_FIELDS)
    writer.writeheader()
    writer.writerows({name: _cell(name, entry[name]) for name in ENTRY_FIELDS} for entry in entries)
    return file.getvalue()


def _cell(name: str, value: str | None) -> str:
    text = value or ""
    return f"'{text}" if name not in AMOUNT_FIELDS and text.startswith(FORMULA_STARTS) else text


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a row into what JSON knows: times as ISO text, amounts as exact text."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a column's value
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return format_amount(value) if isinstance(value, Decimal) else value

"""Turn a report or a statement into lines that a trader reads in a terminal."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.desk_books.terminal import render_differences, render_on_record
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.margin.view import margin_lines
from kraken_recon.reconciliation.rules.counts import TERMINAL_COLUMNS, figures_of
from kraken_recon.reports.desk_books import AGREES, NOT_JUDGED, standing_words
from kraken_recon.values.shown_figures import rounded_for_people, table

if TYPE_CHECKING:
    from collections.abc import Mapping

MARKS: Final = {"succeeded": "ok", "moving": "moving", "failed": "FAILED", "never run": "-"}
FINDINGS_SHOWN_MAX: Final = 20
AGE_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def render_report(report: Mapping[str, Any]) -> list[str]:
    """Write one line per account, then what differed and why, then the open alerts."""
    # A desk without books of its own is not told of them in every line.
    desk = {a["account"]: standing_words(a["desk_books"]) for a in report["accounts"] if a.get("desk_books")}
    header: tuple[str, ...] = ("ACCOUNT", "STATE", "AGREE", *TERMINAL_COLUMNS, "CALLS", "SECONDS")
    header += ("LEDGER PROOF", "DESK") if desk else ("LEDGER PROOF",)
    rows = [header]
    for a in report["accounts"]:
        figures = figures_of(a)
        rows.append(
            (
                a["account"],
                MARKS[a["status"]],
                f"{a['matched']}/{a['checked']}",
                *(str(figures[name]) for name in TERMINAL_COLUMNS.values()),
                str(a["api_calls"]),
                a["seconds"] or "-",
                _age(a["ledger_proof_age_seconds"]),
                *([desk.get(a["account"], "no book")] if desk else ()),
            )
        )
    lines = list(table(rows, right=frozenset(range(2, len(header) - bool(desk)))))
    for a in report["accounts"]:
        lines += _account_details(a)
    if report["alerts"]:
        lines += ["", "OPEN ALERTS"]
        lines += [
            f"  {alert['kind'].replace('_', ' ')} (seen {_times(alert['occurrences'])}): {alert['message']}"
            for alert in report["alerts"]
        ]
    return lines


def _age(seconds: int | None) -> str:
    """Say how old a proof is, in the largest unit that it fills."""
    if seconds is None:
        return "never"
    unit, length = next(((u, n) for u, n in AGE_UNITS if seconds >= n), ("s", 1))
    return f"{max(0, seconds) // length} {unit} old"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _account_details(account: Mapping[str, Any]) -> list[str]:
    lines = []
    if account["error"]:
        lines.append(f"  failed: {account['error']}")
    if account["note"]:
        lines.append(f"  {account['note']}")
    findings = account["findings"]
    for finding in findings[:FINDINGS_SHOWN_MAX]:
        lines.append(
            f"  {HoldingKey(finding['asset'], finding['wallet'])}: recorded {finding['db_quantity']}, "
            f"Kraken {finding['exchange_quantity']} (drift {finding['drift']})"
        )
        lines.append(f"      {finding['explanation']}")
    if len(findings) > FINDINGS_SHOWN_MAX:
        lines.append(f"  and {len(findings) - FINDINGS_SHOWN_MAX} more; see --json")
    lines += margin_lines(account["margin"])
    for book in account.get("desk_books", ()):
        if book["differences"] or standing_words([book]) != AGREES:
            lines += [f"  {line}" for line in render_on_record(book)]
    return ["", account["account"], *lines] if lines else []


def render_statement(statement: Mapping[str, Any]) -> list[str]:
    """Write a statement: opening, every entry with the running quantity, closing, residual."""
    rows = [("TIME", "TYPE", "WALLET", "AMOUNT", "FEE", "RUNNING", "LEDGER ID")]
    rows += [
        (
            e["time"],
            f"{e['type']}/{e['subtype']}" if e["subtype"] else e["type"],
            e["wallet"],
            e["amount"],
            e["fee"],
            e["running"],
            e["ledger_id"],
        )
        for e in statement["entries"]
    ]
    lines = [
        f"{statement['account']}  {statement['asset']}  as of {statement['at']}",
        "",
        f"opening {statement['opening']}",
        *table(rows, right=frozenset({3, 4, 5})),
        f"closing {statement['closing']}",
    ]
    lines += [
        f"adjusted {a['amount']} at {a['time']}: {a['reason'].replace('_', ' ')} ({a['wallet']})"
        for a in statement["adjustments"]
    ]
    lines.append(f"residual {statement['residual']}")
    for book in statement.get("desk_books", ()):
        judged = f"judged at {book['read_at']}" if book["read_at"] else NOT_JUDGED
        agrees = "" if book["differences"] or not book["read_at"] else ", nothing differs"
        lines += ["", f"desk book {book['book']}: {judged}{agrees}", *render_differences(book["differences"])]
    return lines


def render_costs(view: Mapping[str, Any]) -> list[str]:
    """Write one line per asset, after what a recomputation found if there was one."""
    quote = view["quote_currency"]
    rows = [
        (
            "ASSET",
            f"AVERAGE {quote}",
            "COVERS",
            "KNOWN",
            "UNKNOWN",
            f"COST {quote}",
            f"REALISED {quote}",
            "AS OF",
        )
    ]
    rows += [
        (
            cost["asset"],
            rounded_for_people(Decimal(cost["avg_cost"])) if cost["avg_cost"] else "-",
            cost["covers"] or "-",
            cost["quantity_known"],
            cost["quantity_unknown"],
            rounded_for_people(Decimal(cost["cost"])),
            rounded_for_people(Decimal(cost["realised"])),
            cost["as_of"] or "-",
        )
        for cost in view["assets"]
    ]
    lines = [f"{view['account']}  average costs in {quote}", ""]
    lines += list(table(rows, right=frozenset(range(1, 7)))) if view["assets"] else ["no costs on record"]
    if view["elsewhere"]:
        lines += [
            "",
            "went to products of Kraken's that no balance shows; keeps its cost until it is back",
        ]
        lines += [f"  {row['quantity']} {row['asset']}, {row['place']}" for row in view["elsewhere"]]
    if view["unpaired"]:
        lines += ["", "cost unknown: the other leg of a rename or delisting is not on record, or not certain"]
        lines += [
            f"  {leg['amount']} {leg['asset']} by {leg['kind']} at {leg['time']} ({leg['ledger_id']})"
            for leg in view["unpaired"]
        ]
    recomputed = view.get("recomputed")
    if recomputed:
        lines += ["", _recomputed_line(recomputed)]
    return lines


def _recomputed_line(recomputed: Mapping[str, Any]) -> str:
    if not recomputed["changed"]:
        return "recomputed from the ledger entries: nothing changed"
    return (
        f"recomputed from the ledger entries: corrected {recomputed['costs']} costs, "
        f"{recomputed['results']} realised results, {recomputed['positions']} positions"
    )

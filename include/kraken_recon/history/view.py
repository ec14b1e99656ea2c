"""Show what an import did: as a JSON document, and as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_recon.history.rules.export_rows import LedgerExport, TradesExport
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.history.importing import ImportedHistory

FINDINGS_SHOWN_MAX: Final = 20
OPENING_WORDS: Final = {
    None: "the account is not open yet: there was nothing to open it from",
    "ledger": "the history begins at zero: everything is on file",
    "derived": "what came before the oldest entry is not on file; the opening stands for it",
    "balance": "what came before the oldest entry is not on file; the opening stands for it",
}


def view_of_import(
    account: str, exports: Sequence[LedgerExport | TradesExport], done: ImportedHistory
) -> dict[str, Any]:
    """Write an import as plain values; amounts as strings."""
    return {
        "account": account,
        "import_id": str(done.import_id),
        "files": [_file(export) for export in exports],
        "entries": {
            "read": done.read,
            "already_recorded": done.read - done.imported,
            "imported": done.imported,
            "before_opening": done.before_opening,
        },
        "opened": done.opened,
        "opening_source": done.opening_source,
        "ledger_floor": done.ledger_floor.isoformat() if done.ledger_floor else None,
        "moved_positions": [
            {
                "asset": key.asset,
                "wallet": key.wallet,
                "before": format_amount(before),
                "after": format_amount(after),
            }
            for key, (before, after) in done.moved.items()
        ],
        "trades": {
            "checked": done.trades,
            "findings": [
                {"kind": f.kind, "txid": f.txid, "ledger_id": f.ledger_id, "detail": f.detail}
                for f in done.findings
            ],
        },
    }


def _file(export: LedgerExport | TradesExport) -> dict[str, Any]:
    if isinstance(export, TradesExport):
        return {"file": export.name, "report": "trades", "rows": len(export.trades)}
    return {
        "file": export.name,
        "report": "ledgers",
        "rows": len(export.entries),
        "pending_skipped": export.pending,
        "other_class_skipped": export.other_class,
    }


def render_import(view: Mapping[str, Any]) -> list[str]:
    """Write what was read, what was new, what moved, and what did not join."""
    lines = [view["account"]]
    for file in view["files"]:
        line = f"  {file['file']}: {file['rows']} {file['report']} rows"
        if file.get("pending_skipped"):
            line += f", {file['pending_skipped']} pending rows skipped"
        if file.get("other_class_skipped"):
            line += f", {file['other_class_skipped']} rows of another asset class skipped"
        lines.append(line)
    entries = view["entries"]
    lines += [
        f"  {entries['imported']} entries imported, {entries['before_opening']} from before the opening",
        f"  {entries['already_recorded']} entries were recorded already",
        f"  {OPENING_WORDS[view['opening_source']]}",
    ]
    lines += [
        f"  {HoldingKey(p['asset'], p['wallet'])}: {p['before']} -> {p['after']}"
        for p in view["moved_positions"]
    ]
    findings = view["trades"]["findings"]
    if view["trades"]["checked"]:
        lines.append(f"  {view['trades']['checked']} trades checked, {len(findings)} findings")
    lines += [
        f"    {f['txid']} {f['kind'].replace('_', ' ')} {f['ledger_id'] or ''}: {f['detail']}"
        for f in findings[:FINDINGS_SHOWN_MAX]
    ]
    if len(findings) > FINDINGS_SHOWN_MAX:
        lines.append(f"    and {len(findings) - FINDINGS_SHOWN_MAX} more; see --json")
    return lines

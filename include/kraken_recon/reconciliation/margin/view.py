"""What people read of margin positions; amounts leave as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_recon.values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHOWN: Final = (
    *("position_id", "status", "pair", "side", "terms"),
    *("volume", "volume_closed", "cost", "fee", "margin", "value", "net"),
    *("opened_at", "rollover_at", "last_seen_at"),
)
CHANGE_WORDS: Final = {
    "opening": "was open already when the account was first asked",
    "opened": "was opened",
    "changed": "changed",
    "closed": "was closed",
    "awaiting_confirmation": "differs without a ledger entry; not written until a later look confirms it",
}


def margin_view(
    positions: Sequence[Mapping[str, Any]], changes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Show an account's positions that are not closed, and what its run found of any."""
    return {
        "positions": [plain({name: position[name] for name in SHOWN}) for position in positions],
        "changes": [_change_view(change) for change in changes],
    }


def _change_view(change: Mapping[str, Any]) -> dict[str, Any]:
    told = change["after"] or change["before"] or {}
    words = CHANGE_WORDS[change["action"]]
    if not change["is_explained"] and change["action"] != "awaiting_confirmation":
        words += ", and no ledger entry says why"
    return {
        "position_id": change["position_id"],
        "action": change["action"],
        "pair": told.get("pair"),
        "side": told.get("side"),
        "before": change["before"],
        "after": change["after"],
        "is_explained": change["is_explained"],
        "ledger_ids": list(change["ledger_ids"]),
        "explanation": words,
    }


def margin_lines(margin: Mapping[str, Any]) -> list[str]:
    """Write open positions and what changed as lines of a terminal."""
    lines = [
        f"  margin {p['position_id']}: {p['side']} {p['volume']} {p['pair']}, "
        f"{p['volume_closed']} of it closed, cost {p['cost']}, fees {p['fee']}{_result(p['net'])}"
        for p in margin["positions"]
    ]
    lines += [
        f"  margin {c['position_id']} {c['explanation']}{_named(c['ledger_ids'])}" for c in margin["changes"]
    ]
    return lines


def _result(net: str | None) -> str:
    return "" if net is None else f", result so far {net}"


def _named(ledger_ids: Sequence[str]) -> str:
    return f" ({', '.join(ledger_ids)})" if ledger_ids else ""

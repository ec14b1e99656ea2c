"""What people read of verifications: one order with its levels, and an account's newest verdicts.

Amounts are text, exact and without an exponent, as they were recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_recon.errors import NotOnRecordError
from kraken_recon.values.plain import plain
from kraken_recon.verification.rules.levels import Level

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from kraken_recon.verification.store import VerificationStore

VERIFICATIONS_SHOWN_MAX: Final = 50
MARKS: Final = {
    "passed": "ok",
    "warning": "WARNING",
    "mismatch": "MISMATCH",
    "inconclusive": "waiting",
    "not_applicable": "-",
}


def verification_view(reports: VerificationStore, order_id: int) -> dict[str, Any]:
    """Collect one order's verdict with its levels; without a verdict while the order has not ended.

    Raises:
        NotOnRecordError: there is no such order.
    """
    row = reports.verification(order_id)
    if row is None:
        raise NotOnRecordError(f"there is no order {order_id}; see trading.orders")
    levels = {level["level"]: level for level in reports.levels(order_id)}
    return {
        "order_id": order_id,
        "account": row["account"],
        "kraken_txid": row["kraken_txid"],
        "pair": row["pair"],
        "side": row["side"],
        "status": row["order_status"],
        "source": row["source"],
        "verdict": row["verdict"],
        "failed_levels": list(row["failed_levels"] or ()),
        "message": row["message"] or _why_not(row),
        "attempts": row["attempts"] or 0,
        "judged_at": plain(row["judged_at"]),
        "due_at": plain(row["due_at"]) if row["verdict"] == "inconclusive" else None,
        "deadline": plain(row["deadline"]),
        "levels": [_level_view(levels[level]) for level in Level if level in levels],
    }


def _why_not(row: Mapping[str, Any]) -> str:
    if row["ended_at"] is None:
        return f"the order has not ended: it is {row['order_status']}"
    if row["due_at"] is None:
        return f"the order never was at Kraken: it is {row['order_status']}"
    return "another worker is verifying the order"


def _level_view(level: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "level": level["level"],
        "verdict": level["verdict"],
        "expected": level["expected"],
        "observed": level["observed"],
        "message": level["message"],
    }


def verifications_view(
    reports: VerificationStore, account: str, *, now: datetime, most: int
) -> dict[str, Any]:
    """Collect an account's newest verdicts, and its failure rates."""
    return {
        "account": account,
        "rates": [
            {
                "window_seconds": count.window_seconds,
                "window_start": plain(count.window_start),
                "source": count.source,
                "verified": count.verified,
                "mismatched": count.mismatched,
                "inconclusive": count.inconclusive,
                "failure_percent": count.failure_percent,
            }
            for count in reports.rates(now=now, account=account)
        ],
        "orders": [
            {
                "order_id": row["order_id"],
                "source": row["source"],
                "pair": row["pair"],
                "side": row["side"],
                "volume_executed": plain(row["volume_executed"]),
                "ended_at": plain(row["ended_at"]),
                "verdict": row["verdict"] or "waiting",
                "failed_levels": list(row["failed_levels"]),
                "message": row["message"],
                "judged_at": plain(row["judged_at"]),
            }
            for row in reports.latest(account, most=most)
        ],
    }


def render_verification(view: Mapping[str, Any]) -> list[str]:
    """Write one verdict and a line or more for each level."""
    verdict = (view["verdict"] or "no verdict yet").upper()
    where = f"{view['status']}, {view['kraken_txid'] or 'no id at Kraken'}"
    lines = [
        f"order {view['order_id']} of {view['account']}: {view['side']} {view['pair']}, {where}",
        f"{verdict}: {view['message']}",
    ]
    for level in view["levels"]:
        lines.append(f"  {level['level']:10} {MARKS[level['verdict']]:9} {level['message']}")
        lines += _figures(level["expected"], level["observed"])
    return lines


def _figures(expected: Mapping[str, str], observed: Mapping[str, str]) -> Sequence[str]:
    lines = []
    for name in {**expected, **observed}:
        parts = [f"expected {expected[name]}"] if name in expected else []
        parts += [f"was {observed[name]}"] if name in observed else []
        lines.append(f"             {name}: {', '.join(parts)}")
    return lines


def render_verifications(view: Mapping[str, Any]) -> list[str]:
    """Write the failure rates, then one line per order."""
    lines = [view["account"]]
    for rate in view["rates"]:
        percent = rate["failure_percent"]
        told = "-" if percent is None else f"{percent:.1f} %"
        judged = rate["verified"] + rate["mismatched"]
        lines.append(
            f"  {rate['source']}, {rate['window_seconds'] // 3_600} h from {rate['window_start']}: "
            f"{told} failed ({rate['mismatched']} of {judged})"
        )
    for order in view["orders"]:
        failed = f" ({', '.join(order['failed_levels'])})" if order["failed_levels"] else ""
        lines.append(
            f"  {order['order_id']}  {order['verdict']}{failed}  {order['side']} {order['volume_executed']} "
            f"{order['pair']}  {order['source']}  {order['ended_at']}"
        )
    return lines if view["orders"] else [*lines, "  no order of this account was verified yet"]

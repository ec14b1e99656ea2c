"""Orders for people and scripts: the outcome of one, and its whole trace from reason to ledger entry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.errors import NotOnRecordError
from kraken_recon.values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.orders.rules.order import Order
    from kraken_recon.orders.store import OrderStore

_SHOWN: Final = (
    *("order_id", "source", "pair", "side", "order_type", "volume", "limit_price", "trigger_price"),
    *("cl_ord_id", "kraken_txid", "status", "status_reason"),
    *("volume_executed", "cost_executed", "fee_reported", "ended_at"),
)
_DECISION: Final = ("decision_id", "received_via", "received_at", "payload")


def order_view(order: Order) -> dict[str, Any]:
    """Show what came of an order; amounts as text."""
    return {name: plain(getattr(order, name)) for name in _SHOWN}


def render_order(view: Mapping[str, Any]) -> list[str]:
    """Write an order's outcome as lines for people."""
    size = f"{view['volume'] or '?'} {view['pair']}"
    price = view["limit_price"] or view["trigger_price"]
    executed = f"executed {view['volume_executed']} for {view['cost_executed']}"
    at = f" at {price}" if price else ""
    lines = [
        f"order {view['order_id']}: {view['side']} {size}, {view['order_type']}{at}",
        f"  {view['status']}" + (f": {view['status_reason']}" if view["status_reason"] else ""),
        f"  {executed}, fee {view['fee_reported']} (reported)",
    ]
    if view["cl_ord_id"]:
        at_kraken = f"at Kraken {view['kraken_txid']}, " if view["kraken_txid"] else ""
        lines.append(f"  {at_kraken}our id {view['cl_ord_id']}")
    return lines


def trace(store: OrderStore, order_id: int) -> dict[str, Any]:
    """Show everything on record of an order: decision, order, events, fills, ledger, positions, verdicts.

    Raises:
        NotOnRecordError: there is no such order.
    """
    found = store.trace(order_id)
    if not found:
        raise NotOnRecordError(f"there is no order {order_id}")
    order: dict[str, Any] = plain(found["order"])
    decision = {name: order.pop(name) for name in _DECISION}
    decision["payload"] = json.loads(decision["payload"]) if decision["payload"] else None
    return {
        "order_id": order_id,
        "account": order.pop("account"),
        "decision": decision if decision["decision_id"] else None,
        "reason": order["reason"],
        "order": order,
        "events": [_event(event) for event in found["events"]],
        "fills": plain(found["fills"]),
        "ledger_entries": [_entry(row) for row in found["entries"]],
        "position_events": [
            {
                "event_id": row["event_id"],
                "ledger_id": row["ledger_id"],
                "asset": row["asset"],
                "before": plain(row["quantity_before"]),
                "after": plain(row["quantity_after"]),
            }
            for row in found["entries"]
            if row["event_id"] is not None
        ],
        "verifications": found["verifications"],
    }


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    event: dict[str, Any] = plain(row)
    return event | {"detail": json.loads(row["detail"])}


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("ledger_id", "refid", "entry_time", "type", "asset", "wallet", "amount", "fee", "balance")
    return {name: plain(row[name]) for name in names}


def render_trace(view: Mapping[str, Any]) -> list[str]:
    """Write a trace as a story."""
    order, decision = view["order"], view["decision"]
    size = f"{order['volume'] or order['portion']} {order['pair']}"
    what = f"{order['side']} {size}, {order['order_type']}, {order['status']}"
    lines = [f"order {view['order_id']} of {view['account']}: {what}"]
    if decision:
        via = f"decision {decision['decision_id']}, {decision['received_via']}"
        lines.append(f"decided {decision['received_at']} by {order['source']} ({via})")
    if view["reason"]:
        lines.append(f"  because: {view['reason']}")
    if order["ai_model"]:
        lines.append(f"  model {order['ai_model']}, prompt {order['ai_prompt_sha256']}")
    told = {
        "what happened": [f"{e['recorded_at']} {e['what']} ({e['recorded_by']})" for e in view["events"]],
        "at Kraken": [order["kraken_txid"]] if order["kraken_txid"] else [],
        "fills": [_fill_line(fill) for fill in view["fills"]],
        "ledger entries": [_entry_line(entry) for entry in view["ledger_entries"]],
        "positions": [f"{p['asset']}: {p['before']} -> {p['after']}" for p in view["position_events"]],
        "verification": [str(v.get("verdict") or "not verified yet") for v in view["verifications"]],
    }
    for title, rows in told.items():
        lines += [f"{title}:", *(f"  {row}" for row in rows)] if rows else []
    return lines


def _fill_line(fill: Mapping[str, Any]) -> str:
    figures = f"{fill['volume']} at {fill['price']}, cost {fill['cost']}, fee {fill['fee']}"
    return f"{fill['trade_id']} {fill['trade_time']}: {figures}"


def _entry_line(entry: Mapping[str, Any]) -> str:
    figures = f"{entry['amount']} {entry['asset']}, fee {entry['fee']}, balance {entry['balance']}"
    return f"{entry['ledger_id']} of {entry['refid']}: {figures}"

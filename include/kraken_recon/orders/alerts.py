"""Alerts about single orders: one for each order and kind, so that none overwrites another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon.alerts.alert import Alert

if TYPE_CHECKING:
    from kraken_recon.alerts.kinds import AlertKind
    from kraken_recon.orders.rules.order import Order


def subject_of(order_id: int) -> str:
    """Name an order as part of an alert's identity, in the place of a wallet."""
    return f"order {order_id}"


def order_alert(kind: AlertKind, order: Order, message: str) -> Alert:
    """Make the alert of one order; its volume is what the alert is about in money."""
    told = f"order {order.order_id}, {order.side.value} {order.pair}: {message}"
    return Alert(
        kind,
        order.account_id,
        order.base,
        subject_of(order.order_id),
        told,
        amount=order.volume,
        evidence={"order_id": str(order.order_id)},
    )

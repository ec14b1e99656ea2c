"""Refuse decided orders that may not leave, and tell of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.orders.alerts import order_alert
from kraken_recon.orders.rules.order import OrderStatus
from kraken_recon.orders.store import OrderStore

if TYPE_CHECKING:
    from datetime import datetime

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.orders.exchange import OrderPorts
    from kraken_recon.orders.rules.order import Order

CLOCK_DOUBT: Final = timedelta(hours=1)
"""What is overdue by this is refused without asking Kraken whether this machine's clock is right."""


def refuse_order(unit: UnitOfWork, order: Order, reason: str, *, now: datetime, by: str) -> None:
    """Refuse a locked, decided order; what it would have taken is free, and people are told why."""
    refused = order.ended(OrderStatus.REFUSED, reason, now)
    OrderStore(unit).save(order, refused, f"refused: {reason}", by=by)
    AlertStore(unit).raise_alerts([order_alert(AlertKind.ORDER_REFUSED, order, f"is refused: {reason}")])


def too_old(decided_at: datetime, valid_until: datetime) -> str:
    """Say that a decision has outlived itself."""
    return (
        f"it is too old: decided at {decided_at.isoformat(timespec='seconds')}, to be sent before "
        f"{valid_until.isoformat(timespec='seconds')}; decide again if it is still wanted"
    )


def refuse_expired(ports: OrderPorts, account_id: int | None = None) -> int:
    """Refuse the decided orders of an account that may no longer leave; return how many.

    Without an account: those of all, once an age is beyond any doubt about this machine's clock. That is how
    orders end whose accounts are paused or cannot be worked on.
    """
    now = ports.clock()
    until = now if account_id is not None else now - CLOCK_DOUBT
    with ports.open_unit_of_work() as unit:
        expired = OrderStore(unit).lock_expired(until, account_id)
        for order in expired:
            reason = too_old(order.decided_at, order.valid_until or until)
            refuse_order(unit, order, reason, now=now, by=ports.worker)
        unit.commit()
    return len(expired)

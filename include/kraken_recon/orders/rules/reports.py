"""What Kraken says of an order, and what that makes of ours.

Invariants:
1. A report never takes back what an earlier one said: executed volume does not fall, an end stays an end.
2. What a report does not say is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kraken_recon.orders.rules.order import ENDED_AT_EXCHANGE, OrderStatus, may_become
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.orders.rules.order import Order, OrderType, Side

_STATUSES: Final[Mapping[str, OrderStatus]] = MappingProxyType(
    {
        "pending": OrderStatus.OPEN,
        "open": OrderStatus.OPEN,
        "closed": OrderStatus.CLOSED,
        "canceled": OrderStatus.CANCELED,
        "expired": OrderStatus.EXPIRED,
    }
)
REPORTED_STATUSES: Final = frozenset(_STATUSES)


@dataclass(frozen=True, slots=True)
class ReportedOrder:
    """Kraken's order object (OpenOrders, ClosedOrders, QueryOrders), by our names.

    ``status_reported`` is Kraken's own word. ``price_average`` is over what was executed; ``cost`` and
    ``fee`` are in the quote currency and may be cut to fewer digits than the trades' (recorded in 2020).
    ``trade_ids`` is empty unless the trades were asked for.
    """

    kraken_txid: str
    cl_ord_id: str | None
    status_reported: str
    pair: str
    side: Side
    order_type: OrderType
    volume: Decimal
    limit_price: Decimal | None
    trigger_price: Decimal | None
    volume_executed: Decimal
    cost: Decimal
    fee: Decimal
    price_average: Decimal
    opened_at: datetime
    closed_at: datetime | None
    expires_at: datetime | None
    reason: str | None
    flags: frozenset[str]
    trade_ids: tuple[str, ...] = ()

    @property
    def status(self) -> OrderStatus:
        """The report as a state of ours."""
        return _STATUSES[self.status_reported]


def reported_onto(order: Order, report: ReportedOrder, now: datetime) -> Order:
    """Return the order as this report makes it; unchanged where the report is older than what is known."""
    if report.volume_executed < order.volume_executed or (
        order.status in ENDED_AT_EXCHANGE and report.status not in ENDED_AT_EXCHANGE
    ):
        return order
    status = order.status
    if report.status is not status and may_become(status, report.status):
        status = report.status
    ended = status in ENDED_AT_EXCHANGE
    return replace(
        order,
        status=status,
        status_reason=report.reason or order.status_reason,
        kraken_txid=report.kraken_txid,
        volume=report.volume if report.volume > ZERO else order.volume,
        # A market order has no limit; Kraken writes "0", which is read as none.
        limit_price=report.limit_price if report.limit_price is not None else order.limit_price,
        trigger_price=report.trigger_price if report.trigger_price is not None else order.trigger_price,
        volume_executed=report.volume_executed,
        cost_executed=report.cost,
        fee_reported=report.fee,
        answered_at=order.answered_at or now,
        absent_since=None,
        ended_at=order.ended_at if not ended else order.ended_at or report.closed_at or now,
    )

"""Take an order over that Kraken shows: the same id at Kraken is the same order.

Invariant: a row that was taken for somebody else's order keeps its story; its fills go to the order of ours
that it turned out to be, in the transaction that gives that one Kraken's id.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.errors import StoreError
from kraken_recon.orders.alerts import subject_of
from kraken_recon.orders.rules.order import FOUND_AT_KRAKEN, OrderStatus, TimeInForce
from kraken_recon.orders.rules.sizing import assets_of
from kraken_recon.orders.store import OrderStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.orders.rules.order import Order, Source
    from kraken_recon.orders.rules.reports import ReportedOrder

SETTLED_BY_ADOPTION: Final = (AlertKind.ORDER_UNKNOWN, AlertKind.ORDER_NOT_PLACED)


def lock_with_twins(
    store: OrderStore, order: Order, kraken_txid: str | None
) -> tuple[Order, Sequence[Order]]:
    """Lock an order, and the rows that bear the id by which Kraken knows it; return both as they are now."""
    txids = () if kraken_txid is None else (kraken_txid,)
    twins = store.known_at_kraken(order.account_id, txids=txids, cl_ord_ids=())
    locked = store.lock_orders({order.order_id, *(twin.order_id for twin in twins)})
    [now] = [one for one in locked if one.order_id == order.order_id]
    return now, [one for one in locked if one is not now and one.kraken_txid in txids]


def merge_twins(store: OrderStore, order: Order, twins: Sequence[Order], *, by: str, now: datetime) -> None:
    """Make rows that were taken for somebody else's order part of this one; both are locked.

    Raises:
        StoreError: one of them is an order of ours, too.
    """
    for twin in twins:
        if twin.source not in FOUND_AT_KRAKEN:
            raise StoreError(
                f"order {order.order_id} and order {twin.order_id} are both {twin.kraken_txid} at Kraken"
            )
        merged = replace(
            twin,
            status=OrderStatus.MERGED,
            status_reason=f"it is order {order.order_id}, which has its fills now",
            kraken_txid=None,
            ended_at=twin.ended_at or now,
            settled_at=twin.settled_at or now,
        )
        detail = {"kraken_txid": twin.kraken_txid, "order_id": order.order_id}
        store.save(twin, merged, f"merged into order {order.order_id}", by=by, detail=detail)
        store.give_fills(twin.order_id, order.order_id)


def adopt(  # noqa: PLR0913 - all but three by name
    unit: UnitOfWork,
    order: Order,
    report: ReportedOrder,
    *,
    twins: Sequence[Order],
    what: str,
    by: str,
    now: datetime,
) -> None:
    """Take a locked order over as Kraken shows it, and end the alerts that it is not known."""
    merge_twins(OrderStore(unit), order, twins, by=by, now=now)
    # Taken over as open even where it has ended: its end comes with its fills, in one transaction.
    adopted = replace(
        order,
        status=OrderStatus.OPEN,
        status_reason=None,
        kraken_txid=report.kraken_txid,
        # Of one whose sending this database does not know of, as it was restored: as Kraken says.
        volume=order.volume or report.volume,
        submitted_at=order.submitted_at or report.opened_at,
        deadline=order.deadline or report.opened_at,
        answered_at=now,
        absent_since=None,
        ended_at=None,
        settled_at=None,
    )
    detail = {"kraken_txid": report.kraken_txid, "status": report.status_reported}
    OrderStore(unit).save(order, adopted, what, by=by, detail=detail)
    AlertStore(unit).resolve_about(order.account_id, subject_of(order.order_id), SETTLED_BY_ADOPTION)


def found_order(account_id: int, report: ReportedOrder, source: Source, now: datetime) -> dict[str, Any]:
    """Write an order that nobody here placed as a new row, open until it is followed."""
    base, quote = assets_of(report.pair)
    return {
        "account_id": account_id,
        "source": source.value,
        "pair": report.pair,
        "base": base,
        "quote": quote,
        "side": report.side.value,
        "order_type": report.order_type.value,
        "volume": report.volume,
        "limit_price": report.limit_price,
        "trigger_price": report.trigger_price,
        "time_in_force": TimeInForce.GOOD_TILL_CANCELED.value,
        "is_post_only": "post" in report.flags,
        "is_dry_run": False,
        "cl_ord_id": report.cl_ord_id,
        "kraken_txid": report.kraken_txid,
        # Its end comes with its fills.
        "status": OrderStatus.OPEN.value,
        "decided_at": report.opened_at,
        "answered_at": now,
    }

"""Which order at Kraken is which of the desk's own.

Invariants:
1. An id decides: Kraken's own, else the client's. What it does not name is looked for by what it is.
2. Without an id only the one order of its pair, side, volume and time is it; of several none is chosen, and
   no order at Kraken is taken for two of the desk's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.desk_books.rules.compare import agrees
from kraken_recon.orders.rules.order import Side
from kraken_recon.values.money import SCALE_MAX, ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from kraken_recon.orders.rules.reports import ReportedOrder

BEFORE_CREATION: Final = timedelta(minutes=1)
"""How much earlier than the desk says an order may have been opened: clocks differ."""
WITHOUT_CREATION: Final = timedelta(days=1)
AMBIGUOUS: Final = "ambiguous"
UNMATCHED: Final = "unmatched"
_FILLED_WORDS: Final = ("fill", "clos", "done", "exec", "complet")


@dataclass(frozen=True, slots=True)
class DeskOrder:
    """One order as the desk's own table has it; None is what the desk does not keep.

    ``pair`` is named as Kraken's reports do, None where nobody knows the market. Times are in UTC.
    """

    order_id: str
    pair: str | None
    side: Side | None
    volume: Decimal
    status: str
    changed_at: datetime
    kraken_id: str | None = None
    client_id: str | None = None
    executed: Decimal | None = None
    price: Decimal | None = None
    fee: Decimal | None = None
    created_at: datetime | None = None

    @property
    def has_fills(self) -> bool:
        """Whether the desk says that something of it was executed; without a volume its status tells."""
        if self.executed is not None:
            return self.executed > ZERO
        return self.status.strip().casefold().startswith(_FILLED_WORDS)


@dataclass(frozen=True, slots=True)
class MatchedOrder:
    """A desk's order with the one at Kraken, or with the problem, or with neither while it may yet come.

    ``candidates`` are the orders at Kraken among which none was chosen.
    """

    order: DeskOrder
    report: ReportedOrder | None = None
    problem: str = ""
    candidates: tuple[str, ...] = ()


def side_of(text: str) -> Side | None:
    """Read a side in any case; None where it is neither."""
    return {"buy": Side.BUY, "sell": Side.SELL}.get(text.strip().casefold())


def match_orders(
    orders: Sequence[DeskOrder],
    reports: Iterable[ReportedOrder],
    *,
    late_by: timedelta,
    now: datetime,
    decimals: int = SCALE_MAX,
) -> list[MatchedOrder]:
    """Match orders of one account that ended with what Kraken shows of it, in the order of the desk's.

    Args:
        orders: of the desk's, ended.
        reports: all orders of the account at Kraken from the time that these span.
        late_by: of the book.
        now: until then an order that Kraken does not show may still appear.
        decimals: the digits of the desk's volume.
    """
    listed = list(reports)
    named = {order.order_id: _named(order, listed) for order in orders}
    taken = {report.kraken_txid for report in named.values() if report}
    free = [report for report in listed if report.kraken_txid not in taken]
    fitting = {
        order.order_id: [report for report in free if _fits(order, report, late_by, decimals)]
        for order in orders
        if named[order.order_id] is None and order.kraken_id is None and order.client_id is None
    }
    wanted: dict[str, int] = defaultdict(int)
    for candidates in fitting.values():
        for report in candidates:
            wanted[report.kraken_txid] += 1
    return [
        MatchedOrder(order, named[order.order_id])
        if named[order.order_id]
        else _judged(
            order, fitting.get(order.order_id, []), wanted, is_late=now - order.changed_at >= late_by
        )
        for order in orders
    ]


def _named(order: DeskOrder, reports: Iterable[ReportedOrder]) -> ReportedOrder | None:
    """Find the order that an id names; an id of the client's may have been used again."""
    if order.kraken_id is not None:
        return next((report for report in reports if report.kraken_txid == order.kraken_id), None)
    if order.client_id is None:
        return None
    own = [report for report in reports if report.cl_ord_id == order.client_id]
    return own[0] if len(own) == 1 else None


def _judged(
    order: DeskOrder, candidates: Sequence[ReportedOrder], wanted: dict[str, int], *, is_late: bool
) -> MatchedOrder:
    if len(candidates) == 1 and wanted[candidates[0].kraken_txid] == 1:
        return MatchedOrder(order, candidates[0])
    if candidates:
        found = tuple(sorted(report.kraken_txid for report in candidates))
        return MatchedOrder(order, None, AMBIGUOUS, found)
    return MatchedOrder(order, None, UNMATCHED if order.has_fills and is_late else "")


def _fits(order: DeskOrder, report: ReportedOrder, late_by: timedelta, decimals: int) -> bool:
    opened_from = (
        order.created_at - BEFORE_CREATION if order.created_at else order.changed_at - WITHOUT_CREATION
    )
    return (
        (report.pair, report.side) == (order.pair, order.side)
        and agrees(report.volume, order.volume, decimals)
        and opened_from <= report.opened_at
        and (report.closed_at or report.opened_at) <= order.changed_at + late_by
    )

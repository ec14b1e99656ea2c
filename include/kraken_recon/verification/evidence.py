"""Read Kraken's books about a batch of orders of one account, once for all of them.

Calls that read history cost four times as much as others, so they are asked for last and only about what the
cheaper ones have shown: first the orders, then the trades of those that ended, then the ledger around the
trades.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from kraken_recon.orders.rules.order import ENDED_AT_EXCHANGE
from kraken_recon.verification.rules.judge import OrderEvidence
from kraken_recon.verification.rules.records import Booked, RecordedEntries

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.desk_books.rules.orders import OrderInBook
    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.orders.rules.order import Fill, Order
    from kraken_recon.orders.rules.reports import ReportedOrder

# How much of the ledger before and after a trade is read, and beyond which gap two trades are read apart.
AROUND: Final = timedelta(minutes=1)
APART: Final = timedelta(minutes=10)


class VerificationBooks(Protocol):
    """One account's orders, trades and ledger at Kraken."""

    def query_orders(self, txids: Collection[str]) -> Mapping[str, ReportedOrder]:
        """Read orders with their trade ids; those that Kraken does not show are left out."""
        ...

    def trades_of(self, trade_ids: Collection[str]) -> Mapping[str, Fill]:
        """Read trades; those that Kraken does not show are left out."""
        ...

    def ledger_between(self, after: datetime, until: datetime) -> Sequence[LedgerEntry]:
        """Read the ledger entries later than ``after`` up to ``until``."""
        ...


@dataclass(slots=True)
class SeenBooks:
    """What Kraken's books of one account have shown; ended orders and trades never change."""

    orders: dict[str, ReportedOrder] = field(default_factory=dict)
    trades: dict[str, Fill] = field(default_factory=dict)
    entries: tuple[LedgerEntry, ...] = ()

    def order(self, order: Order) -> ReportedOrder | None:
        """Find Kraken's telling of an order."""
        return self.orders.get(order.kraken_txid or "")

    def trade_ids_of(self, order: Order) -> tuple[str, ...]:
        """List the trades of an order that ended, as Kraken's order does."""
        reported = self.order(order)
        return reported.trade_ids if reported is not None and reported.status in ENDED_AT_EXCHANGE else ()


def read_books(books: VerificationBooks, orders: Sequence[Order], seen: SeenBooks) -> None:
    """Add what Kraken's books show of these orders to what was seen before."""
    unsettled = [o.kraken_txid for o in orders if o.kraken_txid and not _is_settled(seen, o)]
    if unsettled:
        seen.orders.update(books.query_orders(unsettled))
    trade_ids = [trade for order in orders for trade in seen.trade_ids_of(order)]
    unseen = [trade for trade in trade_ids if trade not in seen.trades]
    if unseen:
        seen.trades.update(books.trades_of(unseen))
    times = [seen.trades[trade].trade_time for trade in trade_ids if trade in seen.trades]
    read = [entry for start, end in _stretches(times) for entry in books.ledger_between(start, end)]
    seen.entries = tuple({entry.ledger_id: entry for entry in read}.values())


def _is_settled(seen: SeenBooks, order: Order) -> bool:
    reported = seen.order(order)
    return reported is not None and reported.status in ENDED_AT_EXCHANGE


def _stretches(times: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """Join moments that lie close together into stretches, with something around each."""
    stretches: list[tuple[datetime, datetime]] = []
    for time in sorted(times):
        if stretches and time - stretches[-1][1] <= APART:
            stretches[-1] = (stretches[-1][0], time + AROUND)
        else:
            stretches.append((time - AROUND, time + AROUND))
    return stretches


def evidence_of(  # noqa: PLR0913 - the parts of one piece of evidence, all but two by name
    order: Order,
    seen: SeenBooks | None = None,
    *,
    fills: Mapping[str, Fill] | None = None,
    recorded: RecordedEntries | None = None,
    booked: Booked | None = None,
    desk_rows: tuple[OrderInBook, ...] = (),
    is_past_deadline: bool = False,
) -> OrderEvidence:
    """Put together what is known of one order."""
    seen = seen or SeenBooks()
    recorded = recorded or RecordedEntries({}, {})
    booked = booked or Booked()
    trade_ids = seen.trade_ids_of(order)
    return OrderEvidence(
        order=order,
        recorded_fills=fills or {},
        reported=seen.order(order),
        trades={trade: seen.trades[trade] for trade in trade_ids if trade in seen.trades},
        entries=seen.entries,
        recorded_entries=recorded.entries,
        movements=recorded.movements,
        booked_trades=booked.here,
        elsewhere={t: account for t, account in booked.elsewhere.items() if t in trade_ids},
        is_past_deadline=is_past_deadline,
        desk_rows=desk_rows,
    )

"""Read Kraken's books about a batch of orders of one account, once for all of them.

Calls that read history cost four times as much as others, so they are asked for last and only about what the
cheaper ones have shown: first the orders, then the trades of those that ended, then the ledger around the
trades.
"""

from __future__ import annotations

from collections import defaultdict
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

# How much of the ledger after a trade is read, and beyond which gap two trades are read apart. No entry of a
# trade is earlier than it; what was before matters only where one of its entries may be missing for good.
JUST_BEFORE: Final = timedelta(seconds=2)
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
    seen.entries = _entries(books, times, before=JUST_BEFORE)
    if suspicious := _with_a_leg_passed_by(orders, seen):
        around = _entries(books, suspicious, before=AROUND)
        seen.entries = tuple({entry.ledger_id: entry for entry in (*around, *seen.entries)}.values())


def _entries(
    books: VerificationBooks, times: Iterable[datetime], *, before: timedelta
) -> tuple[LedgerEntry, ...]:
    stretches = _stretches(times, before=before)
    read = [entry for start, end in stretches for entry in books.ledger_between(start, end)]
    return tuple({entry.ledger_id: entry for entry in read}.values())


def _with_a_leg_passed_by(orders: Sequence[Order], seen: SeenBooks) -> list[datetime]:
    """Name the times of trades with one leg in the ledger, where the other leg's asset has later entries.

    Only there can running balances prove that a leg will not come, and they do so from before the trade on.
    """
    assets_of: dict[str, set[str]] = defaultdict(set)
    newest: dict[str, datetime] = {}
    for entry in seen.entries:
        assets_of[entry.refid].add(entry.asset)
        newest[entry.asset] = max(newest.get(entry.asset, entry.entry_time), entry.entry_time)
    return [
        trade.trade_time
        for order in orders
        for trade_id in seen.trade_ids_of(order)
        if trade_id in assets_of and (trade := seen.trades.get(trade_id)) is not None
        if any(
            newest.get(asset, trade.trade_time) > trade.trade_time
            for asset in {order.base, order.quote} - assets_of[trade_id]
        )
    ]


def _is_settled(seen: SeenBooks, order: Order) -> bool:
    reported = seen.order(order)
    return reported is not None and reported.status in ENDED_AT_EXCHANGE


def _stretches(times: Iterable[datetime], *, before: timedelta) -> list[tuple[datetime, datetime]]:
    """Join moments that lie close together into stretches, with something around each."""
    stretches: list[tuple[datetime, datetime]] = []
    for time in sorted(times):
        if stretches and time - stretches[-1][1] <= APART:
            stretches[-1] = (stretches[-1][0], time + AROUND)
        else:
            stretches.append((time - before, time + AROUND))
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

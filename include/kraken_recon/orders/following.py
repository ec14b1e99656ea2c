"""Follow orders at Kraken: their terms, fills and ends.

Invariants:
1. Fills and their ledger entries are booked in the transaction that moves the order on, and only once.
2. An order's end and the fills known by then are committed together, with the wake-up for its verification.
3. No network call happens inside a transaction.
4. An order that cannot be followed keeps no other from being followed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.books.booking_entries import book_entries
from kraken_recon.database.retrying import repeated
from kraken_recon.errors import KrakenReconError, PayloadInvalidError, RequestRefusedError, StoreError
from kraken_recon.orders.one_by_one import Troubles
from kraken_recon.orders.rules.order import ENDED_AT_EXCHANGE, OrderStatus
from kraken_recon.orders.rules.reports import reported_onto
from kraken_recon.orders.store import OrderStore
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.orders.exchange import OrderPorts, OrderRecords, OrderSettings
    from kraken_recon.orders.rules.order import Fill, Order
    from kraken_recon.orders.rules.reports import ReportedOrder

log = logging.getLogger(__name__)

ORDERS_PER_TRANSACTION: Final = 50
# A ledger entry is written up to a fifth of a second after its trade (recorded), and shown later.
ENTRY_LEAD: Final = timedelta(seconds=1)
ENTRY_DELAY_MAX: Final = timedelta(minutes=1)
LEGS: Final = 2
# Times what was filled; what Kraken books wrongly by less is still what it books.
BEYOND: Final = 10
# Far more than Kraken has ever charged of a trade.
FEE_SHARE: Final = Decimal("0.05")


@dataclass(frozen=True, slots=True)
class OrderFollower:
    """Follows one account's orders at Kraken."""

    account: Account
    books: OrderRecords
    ports: OrderPorts
    settings: OrderSettings

    def follow(self) -> int:
        """Bring open orders, and ended ones with incomplete fills, up to date; return how many need more."""
        with self.ports.open_unit_of_work() as unit:
            followed = OrderStore(unit).followed(self.account.account_id)
        troubles = Troubles()
        for start in range(0, len(followed), ORDERS_PER_TRANSACTION):
            self._follow_apart(followed[start : start + ORDERS_PER_TRANSACTION], troubles)
        troubles.tell()
        with self.ports.open_unit_of_work() as unit:
            return sum(
                order.status is not OrderStatus.OPEN
                for order in OrderStore(unit).followed(self.account.account_id)
            )

    def _follow_apart(self, orders: Sequence[Order], troubles: Troubles) -> None:
        """Follow orders together; where that fails by what one of them is, halve them until it is alone."""
        if len(orders) == 1:
            with troubles.about(f"order {orders[0].order_id}"):
                self._follow(orders)
            return
        try:
            self._follow(orders)
        except KrakenReconError as error:
            if not isinstance(error, (PayloadInvalidError, RequestRefusedError, StoreError)):
                raise
        except (ValueError, LookupError, ArithmeticError):
            log.exception("account %s: %d orders are followed apart", self.account.name, len(orders))
        else:
            return
        middle = len(orders) // 2
        self._follow_apart(orders[:middle], troubles)
        self._follow_apart(orders[middle:], troubles)

    def _follow(self, orders: Sequence[Order]) -> None:
        now = self.ports.clock()
        reports = self.books.query_orders([o.kraken_txid for o in orders if o.kraken_txid])
        with self.ports.open_unit_of_work() as unit:
            recorded = OrderStore(unit).fills_of([o.order_id for o in orders])
        fills, entries = self._gather(orders, reports, recorded)

        def write(unit: UnitOfWork) -> None:
            # Ledger entries and positions are locked before orders, as everywhere.
            book_entries(unit, {self.account: entries}, now)
            locked = OrderStore(unit).lock_orders([o.order_id for o in orders])
            OrderStore(unit).record_fills(self.account.account_id, fills)
            known = OrderStore(unit).fills_of([o.order_id for o in locked])
            ended = [
                self._advance(unit, order, reports.get(order.kraken_txid or ""), known[order.order_id], now)
                for order in locked
            ]
            if any(ended):
                OrderStore(unit).notify_ended()
            unit.commit()

        repeated(write, self.ports.open_unit_of_work)

    def _gather(
        self,
        orders: Sequence[Order],
        reports: Mapping[str, ReportedOrder],
        recorded: Mapping[int, Sequence[tuple[Fill, int]]],
    ) -> tuple[dict[str, tuple[int, Fill]], tuple[LedgerEntry, ...]]:
        """Read the trades that are not recorded, and the ledger entries of all that lack some."""
        order_of = {o.kraken_txid: o.order_id for o in orders}
        have = {fill.trade_id for of in recorded.values() for fill, _ in of}
        wanted = {trade for report in reports.values() for trade in report.trade_ids} - have
        read = self.books.trades_of(wanted) if wanted else {}
        fills = {
            trade_id: (order_of[fill.kraken_txid], fill)
            for trade_id, fill in read.items()
            if fill.kraken_txid in order_of
        }
        lacking = [fill for _, fill in fills.values()]
        lacking += [fill for of in recorded.values() for fill, entries in of if entries < LEGS]
        if not lacking:
            return fills, ()
        times = [fill.trade_time for fill in lacking]
        entries = self.books.ledger_entries(
            {fill.trade_id for fill in lacking},
            after=min(times) - ENTRY_LEAD,
            until=max(times) + ENTRY_DELAY_MAX,
        )
        refuse_absurd(lacking, entries)
        return fills, entries

    @exact_arithmetic()
    def _advance(
        self,
        unit: UnitOfWork,
        order: Order,
        report: ReportedOrder | None,
        fills: Sequence[tuple[Fill, int]],
        now: datetime,
    ) -> bool:
        """Write what a report and the fills make of an order; say whether it ended by it."""
        after = reported_onto(order, report, now) if report is not None else order
        if after.status in ENDED_AT_EXCHANGE and after.settled_at is None:
            filled = sum((fill.volume for fill, _ in fills), ZERO)
            is_complete = filled == after.volume_executed and all(entries >= LEGS for _, entries in fills)
            is_given_up = after.ended_at is not None and now - after.ended_at > self.settings.settle_patience
            if is_complete or is_given_up:
                after = replace(after, settled_at=now)
        if after == order:
            return False
        OrderStore(unit).save(
            order,
            after,
            _story(order, after),
            by=self.ports.worker,
            detail={
                "volume_executed": after.volume_executed,
                "cost": after.cost_executed,
                "fee": after.fee_reported,
                "fills": [fill.trade_id for fill, _ in fills],
            },
        )
        return order.ended_at is None and after.ended_at is not None


@exact_arithmetic()
def refuse_absurd(fills: Iterable[Fill], entries: Iterable[LedgerEntry]) -> None:
    """Refuse entries that are beyond all that their fill can have moved: no chain proves them here.

    Those that merely differ from it are Kraken's own books: they are booked, and the verification tells of
    them.

    Raises:
        PayloadInvalidError: an entry moves several times what was filled.
    """
    legs = {
        (fill.trade_id, asset): (fill, amount)
        for fill in fills
        for asset, amount in zip(fill.pair.split("/"), (fill.volume, fill.cost), strict=False)
    }
    for entry in entries:
        if (leg := legs.get((entry.refid, entry.asset))) and _is_beyond(entry, *leg):
            fill, amount = leg
            raise PayloadInvalidError(
                f"entry {entry.ledger_id} moves {format_amount(entry.amount)} {entry.asset} with a fee of "
                f"{format_amount(entry.fee)}, which its trade {entry.refid} cannot explain: it is of "
                f"{format_amount(amount)} {entry.asset}, with a fee worth {format_amount(fill.fee)} of "
                f"{format_amount(fill.cost)}"
            )


def _is_beyond(entry: LedgerEntry, fill: Fill, amount: Decimal) -> bool:
    # Kraken takes the fee from either side; as a share of it, and without a division, which may not be exact.
    fee_max = amount * max(FEE_SHARE * fill.cost, BEYOND * abs(fill.fee))
    return abs(entry.amount) > BEYOND * amount or abs(entry.fee) * fill.cost > fee_max


def _story(before: Order, after: Order) -> str:
    if before.status is not after.status:
        return f"{after.status.value}: {after.status_reason}" if after.status_reason else after.status.value
    if (before.volume, before.limit_price, before.trigger_price) != (
        after.volume,
        after.limit_price,
        after.trigger_price,
    ):
        return "amended"
    if before.volume_executed != after.volume_executed:
        return "filled in part"
    return "fills complete" if after.settled_at and not before.settled_at else "reported again"

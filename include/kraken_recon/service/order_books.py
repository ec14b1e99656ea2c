"""Bring what Kraken's books say of orders into ours: outcomes, fills, external orders.

Invariants:
1. What is found is believed at once; that something is *not* there only after its deadline, twice, apart.
2. Fills and their ledger entries are booked in the transaction that moves the order on, and only once.
3. An order's end and the fills known by then are committed together, with the wake-up for its verification.
4. No network call happens inside a transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.domain.alert_kinds import AlertKind
from kraken_recon.domain.markets import assets_of
from kraken_recon.domain.money import ZERO, exact_arithmetic
from kraken_recon.domain.orders import ENDED_AT_EXCHANGE, OrderStatus, Source, TimeInForce
from kraken_recon.domain.records import Alert
from kraken_recon.domain.reported_orders import reported_onto
from kraken_recon.service.filling import book_entries
from kraken_recon.service.order_evidence import evidence_of
from kraken_recon.service.repeating import repeated

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.domain.ledger import LedgerEntry
    from kraken_recon.domain.orders import Fill, Order
    from kraken_recon.domain.records import Account
    from kraken_recon.domain.reported_orders import ReportedOrder
    from kraken_recon.service.order_ports import OrderBooks, OrderPorts, OrderSettings, OrderUnitOfWork

ORDERS_PER_TRANSACTION: Final = 50
# A ledger entry is written up to a fifth of a second after its trade (recorded), and shown later.
ENTRY_LEAD: Final = timedelta(seconds=1)
ENTRY_DELAY_MAX: Final = timedelta(minutes=1)
LEGS: Final = 2


@dataclass(frozen=True, slots=True)
class OrderBookkeeper:
    """Follows one account's orders at Kraken."""

    account: Account
    books: OrderBooks
    ports: OrderPorts
    settings: OrderSettings

    # Orders of unknown outcome

    def resolve(self) -> None:
        """Look for the orders whose answer never came; adopt what is found, declare what is proved absent."""
        with self.ports.open_unit_of_work() as unit:
            unresolved = unit.orders.unresolved(self.account.account_id)
        waiting = [o for o in unresolved if o.status is OrderStatus.UNKNOWN or self._is_overdue(o)]
        if not waiting:
            return
        looked_at = self.ports.clock()
        since = min(o.submitted_at for o in waiting if o.submitted_at) - self.settings.clock_skew
        reports, blind = self._search(since)
        found = {r.cl_ord_id: r for r in reports.values()}
        absent = [o for o in waiting if o.cl_ord_id not in found]
        evidence: Mapping[str, Any] = {}
        if any(self._is_provable(o, looked_at) for o in absent):
            evidence = evidence_of(absent, self.account, self.books, self.ports)
        with self.ports.open_unit_of_work() as unit:
            for order in unit.orders.lock_orders([o.order_id for o in waiting]):
                if order.status not in {OrderStatus.SUBMITTING, OrderStatus.UNKNOWN}:
                    continue
                report = found.get(order.cl_ord_id)
                if report is not None:
                    self._adopt(unit, order, report, "found in Kraken's books")
                elif self._is_provable(order, looked_at) and not _is_blind(order, blind):
                    self._not_found(unit, order, looked_at, evidence)
            unit.commit()

    def _is_overdue(self, order: Order) -> bool:
        """Say whether a request's answer is late; before that, its sender is still waiting for it."""
        return order.deadline is not None and order.deadline < self.ports.clock()

    def _is_provable(self, order: Order, looked_at: datetime) -> bool:
        return order.deadline is not None and order.deadline + self.settings.absence_margin <= looked_at

    def _all_orders(self, since: datetime) -> dict[str, ReportedOrder]:
        # The open ones first: an order that ends between the two readings is then in one of them.
        still_open = self.books.open_orders()
        return {**still_open, **self.books.closed_orders(after=since)}

    def _search(self, since: datetime) -> tuple[dict[str, ReportedOrder], list[Fill]]:
        """Read every order and trade since a moment, and name the trades whose order is not shown."""
        reports = self._all_orders(since)
        strays = {
            fill.kraken_txid: fill
            for fill in self.books.trades(after=since).values()
            if fill.kraken_txid not in reports
        }
        if strays:
            with self.ports.open_unit_of_work() as unit:
                known = unit.orders.known_at_kraken(self.account.account_id, txids=strays, cl_ord_ids=())
            for order in known:
                strays.pop(order.kraken_txid or "", None)
        if strays:
            reports |= self.books.query_orders(strays)
        return reports, [fill for txid, fill in strays.items() if txid not in reports]

    def _adopt(self, unit: OrderUnitOfWork, order: Order, report: ReportedOrder, what: str) -> None:
        # Taken over as open even where it has ended: its end comes with its fills, in one transaction.
        adopted = replace(
            order,
            status=OrderStatus.OPEN,
            status_reason=None,
            kraken_txid=report.kraken_txid,
            answered_at=self.ports.clock(),
            absent_since=None,
            ended_at=None,
            settled_at=None,
        )
        detail = {"kraken_txid": report.kraken_txid, "status": report.status_reported}
        unit.orders.save(order, adopted, what, by=self.ports.worker, detail=detail)

    def _not_found(
        self, unit: OrderUnitOfWork, order: Order, looked_at: datetime, evidence: Mapping[str, Any]
    ) -> None:
        if order.absent_since is None:
            seen = replace(order, absent_since=looked_at)
            what = "not in Kraken's books, first look"
        elif looked_at - order.absent_since >= self.settings.absence_gap:
            reason = "Kraken's books have no such order, twice after its deadline"
            seen = replace(
                order,
                status=OrderStatus.NOT_PLACED,
                status_reason=reason,
                ended_at=looked_at,
                settled_at=looked_at,
            )
            what = "not placed"
            unit.sync.raise_alerts([self._alert(AlertKind.ORDER_NOT_PLACED, order, reason)])
        else:
            return
        unit.orders.save(order, seen, what, by=self.ports.worker, detail=evidence)

    def _alert(self, kind: AlertKind, order: Order, message: str) -> Alert:
        told = f"order {order.order_id}, {order.side.value} {order.pair}: {message}"
        return Alert(kind, self.account.account_id, order.base, None, told)

    # Open and ended orders

    def follow(self) -> int:
        """Bring open orders, and ended ones with incomplete fills, up to date; return how many need more."""
        with self.ports.open_unit_of_work() as unit:
            followed = unit.orders.followed(self.account.account_id)
        for start in range(0, len(followed), ORDERS_PER_TRANSACTION):
            self._follow(followed[start : start + ORDERS_PER_TRANSACTION])
        with self.ports.open_unit_of_work() as unit:
            return sum(
                order.status is not OrderStatus.OPEN
                for order in unit.orders.followed(self.account.account_id)
            )

    def _follow(self, orders: Sequence[Order]) -> None:
        now = self.ports.clock()
        reports = self.books.query_orders([o.kraken_txid for o in orders if o.kraken_txid])
        with self.ports.open_unit_of_work() as unit:
            recorded = unit.orders.fills_of([o.order_id for o in orders])
        fills, entries = self._gather(orders, reports, recorded)

        def write(unit: OrderUnitOfWork) -> None:
            # Ledger entries and positions are locked before orders, as everywhere.
            book_entries(unit, {self.account: entries})
            locked = unit.orders.lock_orders([o.order_id for o in orders])
            unit.orders.record_fills(self.account.account_id, fills)
            known = unit.orders.fills_of([o.order_id for o in locked])
            ended = [
                self._advance(unit, order, reports.get(order.kraken_txid or ""), known[order.order_id], now)
                for order in locked
            ]
            if any(ended):
                unit.orders.notify_ended()
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
        return fills, self.books.ledger_entries(
            {fill.trade_id for fill in lacking},
            after=min(times) - ENTRY_LEAD,
            until=max(times) + ENTRY_DELAY_MAX,
        )

    @exact_arithmetic()
    def _advance(
        self,
        unit: OrderUnitOfWork,
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
        unit.orders.save(
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

    # External orders

    def adopt_external(self, read_until: datetime | None) -> int:
        """Adopt the orders at Kraken that are not known to be there; return how many.

        One that bears the id of an order declared not placed is that order, found late.
        """
        now = self.ports.clock()
        after = read_until - self.settings.look_every if read_until else now - self.settings.first_look_back
        reports = self._all_orders(after)
        with self.ports.open_unit_of_work() as unit:
            adopted = self._adopt_unknown(unit, reports)
            unit.orders.looked_through(self.account.account_id, now)
            unit.commit()
        return adopted

    def _adopt_unknown(self, unit: OrderUnitOfWork, reports: Mapping[str, ReportedOrder]) -> int:
        store = unit.orders
        own_ids = [r.cl_ord_id for r in reports.values() if r.cl_ord_id]
        known = store.known_at_kraken(self.account.account_id, txids=reports, cl_ord_ids=own_ids)
        known_txids = {o.kraken_txid for o in known if o.kraken_txid}
        nameless = {o.cl_ord_id: o.order_id for o in known if o.kraken_txid is None}
        adopted = 0
        for order in store.lock_orders(_ids_of(nameless, reports.values())):
            report = next(r for r in reports.values() if r.cl_ord_id == order.cl_ord_id)
            if order.status is OrderStatus.NOT_PLACED:
                unit.sync.raise_alerts(
                    [
                        self._alert(
                            AlertKind.ORDER_FOUND_LATE, order, "was declared not placed, but Kraken has it"
                        )
                    ]
                )
                self._adopt(unit, order, report, "found late: it was declared not placed")
                adopted += 1
            elif order.status is OrderStatus.UNKNOWN:
                self._adopt(unit, order, report, "found in Kraken's books")
                adopted += 1
        for report in sorted(reports.values(), key=lambda r: (r.opened_at, r.kraken_txid)):
            if report.kraken_txid in known_txids or report.cl_ord_id in nameless:
                continue
            adopted += self._insert_external(unit, report)
        return adopted

    def _insert_external(self, unit: OrderUnitOfWork, report: ReportedOrder) -> bool:
        base, quote = assets_of(report.pair)
        values = {
            "account_id": self.account.account_id,
            "source": Source.EXTERNAL.value,
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
            # Open until it is followed: its end comes with its fills.
            "status": OrderStatus.OPEN.value,
            "decided_at": report.opened_at,
            "answered_at": self.ports.clock(),
        }
        order_id = unit.orders.insert_order(values)
        if order_id is None:
            return False
        unit.orders.add_event(
            order_id, None, OrderStatus.OPEN, "found at Kraken; nobody here placed it", by=self.ports.worker
        )
        return True


def _ids_of(nameless: Mapping[str | None, int], reports: Iterable[ReportedOrder]) -> Collection[int]:
    return [nameless[report.cl_ord_id] for report in reports if report.cl_ord_id in nameless]


def _is_blind(order: Order, strays: Sequence[Fill]) -> bool:
    """Say whether a trade without a visible order may be this order's: then its absence proves nothing."""
    return any(fill.pair == order.pair and fill.side is order.side for fill in strays)


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

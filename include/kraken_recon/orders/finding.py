"""Find in Kraken's books the orders that have no answer, and those that nobody here placed.

Invariants:
1. What is found is believed at once; that something is *not* there only after its deadline, twice, apart, and
   only while no book of Kraken's speaks of it.
2. An order that may be ours is adopted as nobody else's.
3. An order that cannot be worked on keeps no other from being looked after.
4. No network call happens inside a transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.retrying import repeated
from kraken_recon.orders.absence_evidence import OrderSearch, told
from kraken_recon.orders.adopting import SETTLED_BY_ADOPTION, adopt, found_order, lock_with_twins
from kraken_recon.orders.alerts import order_alert, subject_of
from kraken_recon.orders.one_by_one import Troubles
from kraken_recon.orders.rules.absence import AbsenceEvidence, doubts, late_doubts, may_be
from kraken_recon.orders.rules.order import FOUND_AT_KRAKEN, IN_DOUBT, OrderStatus, Source
from kraken_recon.orders.store import OrderStore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.orders.exchange import OrderPorts, OrderRecords, OrderSettings
    from kraken_recon.orders.rules.order import Order
    from kraken_recon.orders.rules.reports import ReportedOrder

DOUBTS_TOLD_MAX: Final = 3
FOUND: Final = "found in Kraken's books"
#: An order of ours that Kraken's books may still turn out to have.
MISSED: Final = frozenset({OrderStatus.NOT_PLACED, OrderStatus.UNKNOWN, OrderStatus.DECIDED})
FOUND_LATE: Final = "found late: it was declared not placed"


@dataclass(frozen=True, slots=True)
class OrderFinder:
    """Looks through one account's books at Kraken."""

    account: Account
    books: OrderRecords
    ports: OrderPorts
    settings: OrderSettings

    # Orders of unknown outcome

    def resolve(self) -> None:
        """Look for the orders whose answer never came; adopt what is found, declare what is proved absent.

        Raises:
            OrderStuckError: some of them could not be worked on; the others were.
        """
        with self.ports.open_unit_of_work() as unit:
            unresolved = OrderStore(unit).unresolved(self.account.account_id)
        looked_at = self.ports.clock()
        waiting = [o for o in unresolved if o.status is OrderStatus.UNKNOWN or self._is_overdue(o)]
        # The books since one that is in doubt for long may be too long to read; no newer one waits for it.
        recent = looked_at - self.settings.first_look_back
        old = [o for o in waiting if o.submitted_at and o.submitted_at < recent]
        troubles = Troubles()
        self._resolve([o for o in waiting if o not in old], looked_at, troubles)
        for order in old:
            with troubles.about(f"order {order.order_id}"):
                self._resolve([order], looked_at, troubles)
        troubles.tell()

    def _resolve(self, waiting: Sequence[Order], looked_at: datetime, troubles: Troubles) -> None:
        if not waiting:
            return
        since = self._since(waiting)
        seen = self._search.look(waiting, since)
        found = {r.cl_ord_id: r for r in seen.reports.values()}
        absent = [o for o in waiting if o.cl_ord_id not in found]
        if any(self._is_provable(order, looked_at) for order in absent):
            seen = self._search.weigh(absent, seen, since)
        for order in waiting:
            with troubles.about(f"order {order.order_id}"):
                self._conclude(order, found.get(order.cl_ord_id), seen, looked_at)

    @property
    def _search(self) -> OrderSearch:
        return OrderSearch(self.account, self.books, self.ports)

    def _since(self, orders: Collection[Order]) -> datetime:
        return min(o.submitted_at for o in orders if o.submitted_at) - self.settings.clock_skew

    def _is_overdue(self, order: Order) -> bool:
        """Say whether a request's answer is late; before that, its sender is still waiting for it."""
        return order.deadline is not None and order.deadline < self.ports.clock()

    def _is_provable(self, order: Order, looked_at: datetime) -> bool:
        return order.deadline is not None and order.deadline + self.settings.absence_margin <= looked_at

    def _conclude(
        self, order: Order, report: ReportedOrder | None, seen: AbsenceEvidence, looked_at: datetime
    ) -> None:
        """Write what one look makes of an order, unless somebody else has settled it meanwhile."""

        def write(unit: UnitOfWork) -> None:
            if report is not None:
                self._take_over(unit, order, report, from_statuses=IN_DOUBT)
            elif self._is_provable(order, looked_at):
                [now] = OrderStore(unit).lock_orders([order.order_id])
                if now.status in IN_DOUBT:
                    self._not_found(unit, now, looked_at, seen)
            unit.commit()

        repeated(write, self.ports.open_unit_of_work)

    def _take_over(
        self,
        unit: UnitOfWork,
        order: Order,
        report: ReportedOrder,
        *,
        from_statuses: Collection[OrderStatus],
    ) -> bool:
        """Adopt an order of ours; False where somebody else has settled it meanwhile."""
        now, twins = lock_with_twins(OrderStore(unit), order, report.kraken_txid)
        if now.status not in from_statuses:
            return False
        is_late = now.status is OrderStatus.NOT_PLACED
        adopt(
            unit,
            now,
            report,
            twins=twins,
            what=FOUND_LATE if is_late else FOUND,
            by=self.ports.worker,
            now=self.ports.clock(),
        )
        if is_late:
            message = "was declared not placed, but Kraken has it"
            AlertStore(unit).raise_alerts([order_alert(AlertKind.ORDER_FOUND_LATE, now, message)])
        return True

    def _not_found(self, unit: UnitOfWork, order: Order, looked_at: datetime, seen: AbsenceEvidence) -> None:
        """Count a look without the order, unless something in Kraken's books may come of it."""
        doubted = doubts(order, seen)
        if doubted:
            self._doubt(unit, order, doubted, looked_at, seen)
        elif order.absent_since is None:
            looked = replace(order, absent_since=looked_at, status_reason=None)
            what = "not in Kraken's books, first look"
            OrderStore(unit).save(order, looked, what, by=self.ports.worker, detail=told(seen))
        elif looked_at - order.absent_since >= self.settings.absence_gap:
            reason = "Kraken's books have no such order, twice after its deadline"
            ended = order.ended(OrderStatus.NOT_PLACED, reason, looked_at)
            OrderStore(unit).save(order, ended, "not placed", by=self.ports.worker, detail=told(seen))
            AlertStore(unit).resolve_about(order.account_id, subject_of(order.order_id), SETTLED_BY_ADOPTION)
            AlertStore(unit).raise_alerts([order_alert(AlertKind.ORDER_NOT_PLACED, order, reason)])

    def _doubt(
        self,
        unit: UnitOfWork,
        order: Order,
        doubted: Sequence[str],
        looked_at: datetime,
        seen: AbsenceEvidence,
    ) -> None:
        """Keep an order unknown and say why; a person hears of it once it would have been proved absent."""
        reason = "; ".join(doubted[:DOUBTS_TOLD_MAX])
        kept = replace(
            order,
            status=OrderStatus.UNKNOWN,
            status_reason=reason,
            absent_since=None,
            ended_at=None,
            settled_at=None,
        )
        if kept != order:
            detail = {"doubts": list(doubted), **told(seen)}
            OrderStore(unit).save(order, kept, f"kept unknown: {reason}", by=self.ports.worker, detail=detail)
        if order.deadline is None or looked_at < (
            order.deadline + self.settings.absence_margin + self.settings.absence_gap
        ):
            return
        message = f"of unknown outcome, do not decide it again: {reason}"
        AlertStore(unit).raise_alerts([order_alert(AlertKind.ORDER_UNKNOWN, order, message)])

    # Orders of others, and orders that are found late

    def adopt_external(self, read_until: datetime | None) -> int:
        """Adopt the orders at Kraken that are not known to be there; return how many.

        One that bears the id of an order declared not placed is that order, found late. One that may be an
        order of ours without an answer waits until it is known not to be.

        Raises:
            OrderStuckError: some of them could not be adopted; the others were.
        """
        now = self.ports.clock()
        account_id = self.account.account_id
        after = read_until - self.settings.look_every if read_until else now - self.settings.first_look_back
        with self.ports.open_unit_of_work() as unit:
            late = OrderStore(unit).lately_absent(account_id, after=now - self.settings.late_look_back)
            in_doubt = [*OrderStore(unit).unresolved(account_id), *late]
        if late:
            after = min(after, self._since(late))
        reports = self._search.all_orders(after)
        troubles = Troubles()
        adopted = self._adopt_ours(reports, troubles)
        strangers, waiting = self._strangers(reports, in_doubt)
        for report in strangers:
            with troubles.about(f"order {report.kraken_txid}"):
                adopted += self._insert_external(report)
        with troubles.about("orders declared not placed"):
            self._reconsider(late, now)
        # What waits, or failed, must be read again.
        left = [r.opened_at for r in (*waiting, *(s for s in strangers if troubles.found))]
        oldest = now - self.settings.late_look_back
        with self.ports.open_unit_of_work() as unit:
            OrderStore(unit).looked_through(account_id, after, max(oldest, min([now, *left])))
            unit.commit()
        troubles.tell()
        return adopted

    def _adopt_ours(self, reports: Mapping[str, ReportedOrder], troubles: Troubles) -> int:
        """Adopt the orders of ours that were given up or are looked for, by their ids."""
        by_id = {r.cl_ord_id: r for r in reports.values() if r.cl_ord_id}
        with self.ports.open_unit_of_work() as unit:
            known = OrderStore(unit).known_at_kraken(self.account.account_id, txids=(), cl_ord_ids=by_id)
        adopted = 0
        for order in known:
            if order.status not in MISSED or order.cl_ord_id is None:
                continue
            report = by_id[order.cl_ord_id]
            with troubles.about(f"order {order.order_id}"), self.ports.open_unit_of_work() as unit:
                adopted += self._take_over(unit, order, report, from_statuses=MISSED)
                unit.commit()
        return adopted

    def _strangers(
        self, reports: Mapping[str, ReportedOrder], in_doubt: Sequence[Order]
    ) -> tuple[list[ReportedOrder], list[ReportedOrder]]:
        """List the orders that nobody here placed, oldest first, and those that may be ours all the same."""
        own_ids = {r.cl_ord_id for r in reports.values() if r.cl_ord_id}
        with self.ports.open_unit_of_work() as unit:
            known = OrderStore(unit).known_at_kraken(
                self.account.account_id, txids=reports, cl_ord_ids=own_ids
            )
        txids = {o.kraken_txid for o in known}
        awaited = {o.cl_ord_id for o in known if o.status in MISSED | IN_DOUBT} - {None}
        strange = [
            report
            for report in sorted(reports.values(), key=lambda r: (r.opened_at, r.kraken_txid))
            if report.kraken_txid not in txids and report.cl_ord_id not in awaited
        ]
        waiting = [report for report in strange if any(may_be(order, report) for order in in_doubt)]
        return [report for report in strange if report not in waiting], waiting

    def _reconsider(self, late: Sequence[Order], looked_at: datetime) -> None:
        """Look again for orders declared not placed; one that Kraken's books now speak of is unknown."""
        with self.ports.open_unit_of_work() as unit:
            still = OrderStore(unit).lately_absent(
                self.account.account_id, after=looked_at - self.settings.late_look_back
            )
            under_way = [
                *OrderStore(unit).followed(self.account.account_id),
                *OrderStore(unit).unresolved(self.account.account_id),
            ]
        # What comes of an order that is under way must not be taken for another's.
        busy = {(order.pair, order.side) for order in under_way}
        orders = [o for o in still if o in late and (o.pair, o.side) not in busy]
        if not orders:
            return
        since = self._since(orders)
        seen = self._search.weigh(orders, self._search.look(orders, since), since)
        for order in orders:
            if doubted := late_doubts(order, seen):
                with self.ports.open_unit_of_work() as unit:
                    [now] = OrderStore(unit).lock_orders([order.order_id])
                    if now == order:
                        self._doubt(unit, now, doubted, looked_at, seen)
                        AlertStore(unit).resolve_about(
                            now.account_id, subject_of(now.order_id), [AlertKind.ORDER_NOT_PLACED]
                        )
                    unit.commit()

    def _insert_external(self, report: ReportedOrder) -> bool:
        account_id, what = self.account.account_id, "found at Kraken; nobody here placed it"
        values = found_order(account_id, report, Source.EXTERNAL, self.ports.clock())
        with self.ports.open_unit_of_work() as unit:
            own_ids = [report.cl_ord_id] if report.cl_ord_id else []
            bearers = OrderStore(unit).known_at_kraken(account_id, txids=(), cl_ord_ids=own_ids)
            # Where its id is another row's, Kraken executed what it had refused, or a bot repeats its ids.
            order_id = OrderStore(unit).insert_order(values | ({"cl_ord_id": None} if bearers else {}))
            if order_id is None:
                return False
            for bearer in bearers:
                what = f"found at Kraken, with the same id as order {bearer.order_id}"
                if bearer.source not in FOUND_AT_KRAKEN:
                    message = f"is at Kraken once more, as {report.kraken_txid}, here order {order_id}"
                    AlertStore(unit).raise_alerts([order_alert(AlertKind.ORDER_FOUND_LATE, bearer, message)])
            OrderStore(unit).add_event(order_id, None, OrderStatus.OPEN, what, by=self.ports.worker)
            unit.commit()
        return True

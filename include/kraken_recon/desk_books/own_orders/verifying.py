"""Read the desk's own orders, find them at Kraken, and give them to the verification of orders.

Invariants:
1. Each order is given once for what the desk says of it: a run that is repeated, or two at once, add nothing,
   and one that was killed is taken up where it stopped.
2. An order of the desk's is never sent, changed, cancelled or followed by us, and takes nothing of what ours
   may spend: it is taken over as ended, and verified.
3. Nothing is ever written to the desk's database, and what keeps one account from being looked at stops no
   other.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.retrying import repeated
from kraken_recon.desk_books.own_orders.looking import (
    FIRST_LOOK_BACK,
    OVERLAP,
    AccountLook,
    look_for_orders,
)
from kraken_recon.desk_books.own_orders.row_store import OrdersReading, WantedOrders, read_orders
from kraken_recon.desk_books.own_orders.store import OwnOrderStore
from kraken_recon.desk_books.rules.names import Names
from kraken_recon.desk_books.rules.orders import PROBLEMS, OrderState, as_said, order_problem
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.errors import ConfigurationError, KrakenReconError, StoreUnreachableError
from kraken_recon.orders.adopting import found_order
from kraken_recon.orders.rules.absence import may_be
from kraken_recon.orders.rules.order import ENDED_AT_EXCHANGE, FOUND_AT_KRAKEN, Source
from kraken_recon.orders.rules.reports import reported_onto
from kraken_recon.orders.store import OrderStore
from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.own_orders.looking import DeskOrderSource, FoundOrder, OwnOrderPorts
    from kraken_recon.desk_books.own_orders.store import KnownOrder, OrderOnRecord
    from kraken_recon.desk_books.rules.records import OrderProblem
    from kraken_recon.orders.rules.order import Order

log = logging.getLogger(__name__)

VERIFIED_WITHIN: Final = timedelta(minutes=30)
PROBLEMS_MOST: Final = 100
_TOLD_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class OwnOrders:
    """What came of one account's own orders in one book.

    ``given`` counts those that were given to the verification; ``orders`` are those that were not found, or
    that Kraken tells otherwise.
    """

    given: int = 0
    orders: tuple[OrderProblem, ...] = ()
    problems: tuple[DeskProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Looked:
    """One look at one book: what was read of the desk's and from when on, and what was found by account."""

    reading: OrdersReading
    read_at: datetime
    accounts: Mapping[str, AccountLook]

    @property
    def read_until(self) -> datetime:
        """Up to which change of an order everything was read; the desk's clock may be ahead of ours."""
        return min(self.reading.complete_until or self.read_at, self.read_at)


def verify_desk_orders(
    book: DeskBook, accounts: Sequence[Account], known: Collection[str], ports: OwnOrderPorts
) -> dict[str, OwnOrders]:
    """Find the orders of a book that ended since they were last read, and have them verified; by account.

    Args:
        book: whose orders are declared; without them there is nothing to do.
        accounts: of ours.
        known: the assets that Kraken knows, by our names.
        ports: the outside world.
    """
    if book.orders is None:
        return {}
    looked = _look(book, accounts, known, ports)
    done: dict[str, OwnOrders] = {}
    quiet = [a for a in accounts if a.name in looked.accounts and looked.accounts[a.name].is_quiet]
    if quiet:
        repeated(partial(_conclude_quiet, book, quiet, looked), ports.open_unit_of_work)
    for account in accounts:
        look = looked.accounts.get(account.name)
        if account in quiet:
            done[account.name] = OwnOrders(problems=looked.reading.problems)
        elif look is not None:
            done[account.name] = _Settling(book, account, ports).settle(look, looked)
        elif looked.reading.problems:
            done[account.name] = OwnOrders(problems=looked.reading.problems)
    return done


def look_at_desk_orders(
    book: DeskBook, account: Account, known: Collection[str], ports: OwnOrderPorts
) -> OwnOrders:
    """Say how an account's own orders stand in a book now; nothing is written."""
    if book.orders is None:
        return OwnOrders()
    looked = _look(book, [account], known, ports)
    look = looked.accounts.get(account.name, AccountLook())
    with ports.open_unit_of_work() as unit:
        on_record = OwnOrderStore(unit).problems(book.name, account.name, most=PROBLEMS_MOST)
    fresh = {one.order.order_id: one for one in look.found}
    problems = [one.problem for one in on_record if one.desk_order_id not in fresh.keys() | look.gone]
    problems += [
        order_problem(one.order.order_id, one.state, one.candidates)
        for one in look.found
        if one.state in PROBLEMS
    ]
    return OwnOrders(
        orders=tuple(sorted(problems, key=lambda one: one.order_id)),
        problems=(*looked.reading.problems, *look.problems),
    )


def read_desk_orders(
    book: DeskBook, accounts: Sequence[Account], known: Collection[str], ports: DeskOrderSource
) -> OrdersReading:
    """Read what changed since the last time, and what is still looked for; Kraken is not asked."""
    return _read(book, accounts, known, ports)[0]


def _read(
    book: DeskBook, accounts: Sequence[Account], known: Collection[str], ports: DeskOrderSource
) -> tuple[OrdersReading, Mapping[int, Mapping[str, KnownOrder]]]:
    now = ports.clock()
    ids = {account.account_id: account for account in accounts}
    with ports.open_unit_of_work() as unit:
        read_until = OwnOrderStore(unit).read_until(book.name, ids)
        unsettled = OwnOrderStore(unit).unsettled(book.name, ids)
    wanted = {
        account.name: WantedOrders(
            account.quote_currency,
            read_until[number] - OVERLAP if number in read_until else now - FIRST_LOOK_BACK,
            frozenset(unsettled.get(number, ())),
        )
        for number, account in ids.items()
        if book.accounts.by is not None or account.name in book.accounts.values
    }
    if not wanted:
        return OrdersReading(), unsettled
    try:
        address = ports.address_of(book.connection)
    except ConfigurationError as error:
        problem = DeskProblem(f"{book.name} orders", one_line(str(error)), error.remedy)
        return OrdersReading(problems=(problem,)), unsettled
    return read_orders(address, book, wanted, Names(book.positions.asset, known)), unsettled


def _look(
    book: DeskBook, accounts: Sequence[Account], known: Collection[str], ports: OwnOrderPorts
) -> _Looked:
    """Read what changed since the last time and what is still looked for, then look for it at Kraken."""
    read_at = ports.clock()
    reading, unsettled = _read(book, accounts, known, ports)
    return _Looked(
        reading,
        read_at,
        {
            account.name: look_for_orders(
                book, account, reading, unsettled.get(account.account_id, {}), ports
            )
            for account in accounts
            if account.name in reading.accounts
        },
    )


@dataclass(frozen=True, slots=True)
class _Settling:
    """Writes what was found of one account's orders."""

    book: DeskBook
    account: Account
    ports: OwnOrderPorts

    def settle(self, look: AccountLook, looked: _Looked) -> OwnOrders:
        """Give what was found to the verification, keep the rest, and say how far the desk was read."""
        given, problems = 0, [*looked.reading.problems, *look.problems]
        known = len(problems)
        for found in look.found:
            try:
                given += repeated(partial(self._settle, found), self.ports.open_unit_of_work)
            except StoreUnreachableError:
                raise
            except KrakenReconError as error:
                log.warning("book %s, order %s: %s", self.book.name, found.order.order_id, error)
                what = one_line(f"order {found.order.order_id} could not be given on: {error}")
                problems.append(DeskProblem(f"{self.book.name} orders", what, "The next run tries again."))
        is_whole = len(problems) == known
        on_record = repeated(
            lambda unit: self._conclude(unit, look, looked, is_whole=is_whole), self.ports.open_unit_of_work
        )
        told = [one.problem for one in on_record]
        return OwnOrders(given, tuple(sorted(told, key=lambda one: one.order_id)), tuple(problems))

    def _settle(self, found: FoundOrder, unit: UnitOfWork) -> bool:
        """Write one order; say whether it was given to the verification."""
        store, account_id, now = OwnOrderStore(unit), self.account.account_id, self.ports.clock()
        state, ours = found.state, None
        before = store.lock(self.book.name, account_id, found.order, now)
        if before.state is OrderState.MATCHED and as_said(before.order) == as_said(found.order):
            return False  # by another run, meanwhile
        if state is OrderState.MATCHED:
            ours = self._taken_over(unit, found)
            # What may be an order of ours without an answer is the desk's only once that is known.
            state = OrderState.MATCHED if ours is not None else OrderState.WAITING
        store.keep(
            self.book.name,
            account_id,
            found.order,
            state,
            candidates=found.candidates,
            our_order_id=ours,
        )
        if ours is not None:
            store.verify_again(ours, now=now, deadline=now + VERIFIED_WITHIN)
            OrderStore(unit).notify_ended()
        unit.commit()
        return ours is not None

    def _taken_over(self, unit: UnitOfWork, found: FoundOrder) -> int | None:
        """Make Kraken's order one of ours; None while it may be an order that we sent without an answer."""
        report, orders = found.report, OrderStore(unit)
        assert report is not None  # noqa: S101 - for the type checker
        client_ids = [report.cl_ord_id] if report.cl_ord_id else []
        known = orders.known_at_kraken(
            self.account.account_id, txids=[report.kraken_txid], cl_ord_ids=client_ids
        )
        named = [order for order in known if order.kraken_txid == report.kraken_txid]
        if not named:
            if known or any(may_be(o, report) for o in orders.unresolved(self.account.account_id)):
                return None
            now = self.ports.clock()
            values = found_order(self.account.account_id, report, Source.DESK, now)
            order_id = orders.insert_order(values)
            if order_id is None:
                return None
            named = orders.orders([order_id])
            what = f"found at Kraken; it is order {found.order.order_id} of the desk book {self.book.name}"
            orders.add_event(order_id, None, named[0].status, what, by=self.ports.worker)
        [order] = orders.lock_orders([named[0].order_id])
        return self._ended(orders, order, found)

    def _ended(self, orders: OrderStore, order: Order, found: FoundOrder) -> int | None:
        """Have a locked order be the desk's, as it ended; None while ours is not known to have ended."""
        report, now = found.report, self.ports.clock()
        assert report is not None  # noqa: S101 - for the type checker
        if order.source in FOUND_AT_KRAKEN and order.status not in ENDED_AT_EXCHANGE:
            # Its fills and their entries are brought in by its verification.
            after = replace(reported_onto(order, report, now), settled_at=now)
            if after.status not in ENDED_AT_EXCHANGE:
                return None
            orders.save(order, after, after.status.value, by=self.ports.worker)
            order = after
        if order.source is Source.EXTERNAL:
            what = f"it is order {found.order.order_id} of the desk book {self.book.name}"
            orders.is_the_desks(order, what, by=self.ports.worker)
        return order.order_id if order.status in ENDED_AT_EXCHANGE else None

    def _conclude(
        self, unit: UnitOfWork, look: AccountLook, looked: _Looked, *, is_whole: bool
    ) -> list[OrderOnRecord]:
        """Forget what the desk has no more, say how far it was read, and tell people what was not found."""
        store, account_id = OwnOrderStore(unit), self.account.account_id
        if looked.reading.complete_until is None:
            store.forget(self.book.name, account_id, look.gone)
        if is_whole:
            store.read_through(self.book.name, [account_id], looked.read_until, looked.read_at)
        on_record = store.problems(self.book.name, self.account.name, most=PROBLEMS_MOST)
        lost = [one for one in on_record if one.state in PROBLEMS]
        if lost:
            AlertStore(unit).raise_alerts([_alert(self.account, self.book.name, lost)])
        else:
            kinds = [AlertKind.DESK_ORDER_UNMATCHED]
            AlertStore(unit).resolve_about(account_id, self.book.name, kinds)
        unit.commit()
        return on_record


def _conclude_quiet(book: DeskBook, accounts: Sequence[Account], looked: _Looked, unit: UnitOfWork) -> None:
    """Say of accounts of which there is no news how far they were read; nothing of them is lost any more."""
    ids = [account.account_id for account in accounts]
    OwnOrderStore(unit).read_through(book.name, ids, looked.read_until, looked.read_at)
    ended_by = f"a run that found every order of book {book.name}"
    kind = AlertKind.DESK_ORDER_UNMATCHED
    AlertStore(unit).resolve_alerts(ids, kind, ended_by=ended_by, subject=book.name)
    unit.commit()


def _alert(account: Account, book: str, lost: Sequence[OrderOnRecord]) -> Alert:
    told = "; ".join(f"{one.desk_order_id} {one.problem.detail}" for one in lost[:_TOLD_MAX])
    more = f", and {len(lost) - _TOLD_MAX} more" if len(lost) > _TOLD_MAX else ""
    counted = "1 order" if len(lost) == 1 else f"{len(lost)} orders"
    return Alert(
        AlertKind.DESK_ORDER_UNMATCHED,
        account.account_id,
        None,
        book,
        one_line(f"{account.name}, desk book {book}: {counted} of the desk's: {told}{more}"),
        evidence={"book": book, "desk_order_ids": [one.desk_order_id for one in lost]},
    )

"""Look for the desk's own orders at Kraken; nothing is written.

Invariants:
1. What is on record here comes first; Kraken is asked only for what is missing, once for all of an account.
2. Where Kraken could not be asked and the record has gaps, an order is only found by an id; nothing is called
   unmatched or ambiguous.
3. No session of a database is open while another is asked, or while Kraken is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from kraken_recon.desk_books.own_orders.store import KnownOrder, OwnOrderStore
from kraken_recon.desk_books.rules.orders import (
    UNSETTLED,
    WITHOUT_CREATION,
    OrderState,
    as_said,
    match_orders,
    opened_after,
)
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.errors import ConfigurationError, ExchangeError, RequestRefusedError
from kraken_recon.orders.rules.order import ENDED_AT_EXCHANGE
from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.own_orders.row_store import OrdersReading
    from kraken_recon.desk_books.rules.orders import DeskOrder, MatchedOrder
    from kraken_recon.orders.exchange import OrderRecords
    from kraken_recon.orders.rules.reports import ReportedOrder

OVERLAP: Final = timedelta(hours=1)
"""How much of what was read before is read again: rows may become visible after later ones."""
FIRST_LOOK_BACK: Final = timedelta(days=1)
ASKED_FOR: Final = timedelta(days=1)
"""For so long Kraken is asked again for an order that it does not show, or shows several of."""
_KRAKEN_ID: Final = re.compile(r"O[A-Z0-9]{4,8}-[A-Z0-9]{4,8}-[A-Z0-9]{4,8}")


class DeskOrderSource(Protocol):
    """Where the desk's orders are read from, and what is on record of them."""

    @property
    def open_unit_of_work(self) -> Callable[[], AbstractContextManager[UnitOfWork]]:
        """Open our database."""
        ...

    @property
    def address_of(self) -> Callable[[str], DeskAddress]:
        """Say where a connection leads."""
        ...

    @property
    def clock(self) -> Callable[[], datetime]:
        """Tell the time."""
        ...


@dataclass(frozen=True, slots=True)
class OwnOrderPorts:
    """What verifying a desk's own orders needs of the outside world; ``worker`` names who is at work."""

    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    address_of: Callable[[str], DeskAddress]
    open_books: Callable[[Account], AbstractContextManager[OrderRecords]]
    clock: Callable[[], datetime]
    worker: str = "kraken_recon"


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """One of the desk's orders, how far its search has come, and Kraken's order if it was found."""

    order: DeskOrder
    state: OrderState
    report: ReportedOrder | None = None
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountLook:
    """What a look found of one account, which orders the desk has no more, and what kept it from more."""

    found: Sequence[FoundOrder] = ()
    gone: frozenset[str] = frozenset()
    problems: tuple[DeskProblem, ...] = ()

    @property
    def is_quiet(self) -> bool:
        """Say whether there is nothing to write of single orders."""
        return not self.found and not self.gone


@dataclass(slots=True)
class _Search:
    """The reports that a search gathered of one account, and of which orders they are all that there are."""

    reports: dict[str, ReportedOrder] = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)
    sure: set[str] = field(default_factory=set)
    problems: tuple[DeskProblem, ...] = ()

    def has_ended(self, order: DeskOrder) -> bool:
        """Say whether the order that an id names has ended at Kraken."""
        return any(
            report.status in ENDED_AT_EXCHANGE
            for report in self.reports.values()
            if (order.kraken_id and report.kraken_txid == order.kraken_id)
            or (not order.kraken_id and order.client_id and report.cl_ord_id == order.client_id)
        )


def look_for_orders(
    book: DeskBook,
    account: Account,
    reading: OrdersReading,
    unsettled: Mapping[str, KnownOrder],
    ports: OwnOrderPorts,
) -> AccountLook:
    """Look for an account's orders that were just read, as far as they are new, changed or not found yet."""
    orders = list(reading.by_account.get(account.name, ()))
    read = {order.order_id for order in orders}
    if not orders:
        return AccountLook(gone=frozenset(unsettled))
    with ports.open_unit_of_work() as unit:
        known = OwnOrderStore(unit).known(book.name, account.account_id, read)
    wanted = [order for order in orders if _is_wanted(order, known.get(order.order_id))]
    gone = frozenset(unsettled.keys() - read)
    if not wanted:
        return AccountLook(gone=gone)
    now = ports.clock()
    given_up = {order.order_id for order in wanted if _is_given_up(order, known.get(order.order_id), now)}
    search = _gather(book, account, wanted, given_up, ports)
    ids = {order.order_id for order in wanted}
    matched = match_orders(
        wanted,
        search.reports.values(),
        late_by=timedelta(seconds=book.late_by),
        now=now,
        decimals=reading.decimals,
        taken={txid: number for txid, number in search.taken.items() if number not in ids},
    )
    late = timedelta(seconds=book.late_by)
    found = [
        _found(one, known.get(one.order.order_id), search, is_late=now - one.order.changed_at >= late)
        for one in matched
    ]
    return AccountLook(found, gone, search.problems)


def _is_wanted(order: DeskOrder, known: KnownOrder | None) -> bool:
    """Say whether an order is new, still looked for, or says something else than when it was found."""
    return known is None or known.state in UNSETTLED or as_said(known.order) != as_said(order)


def _is_given_up(order: DeskOrder, known: KnownOrder | None, now: datetime) -> bool:
    """Say whether Kraken was asked for an order for long enough, as the desk tells it now."""
    if known is None or known.state not in (OrderState.UNMATCHED, OrderState.AMBIGUOUS):
        return False
    is_old = now - max(known.first_seen_at, order.changed_at) >= ASKED_FOR
    return is_old and as_said(known.order) == as_said(order)


def _gather(
    book: DeskBook,
    account: Account,
    wanted: Sequence[DeskOrder],
    given_up: Collection[str],
    ports: OwnOrderPorts,
) -> _Search:
    """Bring together what is on record of orders and, where that is not all, what Kraken says of them."""
    ids = {order.kraken_id for order in wanted if order.kraken_id}
    client_ids = {order.client_id for order in wanted if order.client_id}
    since = min(opened_after(order) for order in wanted)
    with ports.open_unit_of_work() as unit:
        store = OwnOrderStore(unit)
        search = _Search(store.on_record(account.account_id, ids, client_ids, since))
        complete = store.complete(account.account_id)
    late_by = timedelta(seconds=book.late_by)
    for order in wanted:
        is_covered = complete is not None and (
            complete[0] <= opened_after(order) and order.changed_at + late_by <= complete[1]
        )
        if search.has_ended(order) or (is_covered and not order.kraken_id):
            search.sure.add(order.order_id)
    asked = [order for order in wanted if order.order_id not in search.sure | {*given_up}]
    if asked:
        try:
            with ports.open_books(account) as books:
                _ask(books, asked, search)
        except (ExchangeError, ConfigurationError) as error:
            what = one_line(f"Kraken could not be asked for the orders of {account.name}: {error}")
            remedy = "The next run looks for them again; with kraken_id declared, one by one."
            search.problems = (DeskProblem(f"{book.name} orders", what, remedy),)
    with ports.open_unit_of_work() as unit:
        search.taken = OwnOrderStore(unit).taken(book.name, account.account_id, search.reports)
    return search


def _ask(books: OrderRecords, orders: Sequence[DeskOrder], search: _Search) -> None:
    """Ask Kraken for single orders by its ids, then once for everything since the oldest of the others."""
    named = [order for order in orders if order.kraken_id]
    txids = {order.kraken_id for order in named if order.kraken_id}
    for found in _known_of(books, sorted(txid for txid in txids if _KRAKEN_ID.fullmatch(txid))):
        search.reports |= found
    search.sure |= {order.order_id for order in named}
    others = [order for order in orders if not order.kraken_id]
    if others:
        # The open ones first: an order that ends between the two readings is then in one of them.
        search.reports |= books.open_orders()
        search.reports |= books.closed_orders(after=min(_ended_after(order) for order in others))
        search.sure |= {order.order_id for order in others}


def _ended_after(order: DeskOrder) -> datetime:
    """Say since when Kraken is asked: a desk that learns of an end a day late is not waited for by months."""
    return max(opened_after(order), order.changed_at - WITHOUT_CREATION)


def _known_of(books: OrderRecords, txids: Sequence[str]) -> Iterator[Mapping[str, ReportedOrder]]:
    """Read orders by id; one that Kraken refuses to be asked for keeps no other from being found."""
    if not txids:
        return
    try:
        yield books.query_orders(txids)
    except RequestRefusedError:
        if len(txids) > 1:
            middle = len(txids) // 2
            yield from _known_of(books, txids[:middle])
            yield from _known_of(books, txids[middle:])


def _found(matched: MatchedOrder, known: KnownOrder | None, search: _Search, *, is_late: bool) -> FoundOrder:
    order, report = matched.order, matched.report
    if order.order_id not in search.sure and not search.has_ended(order):
        state = known.state if known and known.state in UNSETTLED else OrderState.WAITING
        return FoundOrder(order, state, candidates=known.candidates if known else ())
    if report is not None:
        if report.status in ENDED_AT_EXCHANGE:
            return FoundOrder(order, OrderState.MATCHED, report)
        return FoundOrder(
            order,
            OrderState.OPEN if is_late else OrderState.WAITING,
            candidates=(report.kraken_txid,),
        )
    if matched.problem:
        return FoundOrder(order, OrderState(matched.problem), candidates=matched.candidates)
    is_nothing = is_late and not order.has_fills
    return FoundOrder(order, OrderState.ABSENT if is_nothing else OrderState.WAITING)

"""Which order at Kraken is which of the desk's own.

Invariants:
1. An id decides: Kraken's own, else the client's. What it does not name is looked for by what it is.
2. Without an id only the one order of its pair, side, volume and time is it; of several none is chosen, and
   no order at Kraken is taken for two of the desk's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.desk_books.rules.compare import agrees
from kraken_recon.desk_books.rules.records import OrderProblem
from kraken_recon.orders.rules.order import Side
from kraken_recon.orders.rules.sizing import assets_of
from kraken_recon.values.money import SCALE_MAX, ZERO

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from kraken_recon.orders.rules.reports import ReportedOrder

BEFORE_CREATION: Final = timedelta(minutes=1)
"""How much earlier than the desk says an order may have been opened: clocks differ."""
WITHOUT_CREATION: Final = timedelta(days=1)
_FILLED_WORDS: Final = ("fill", "clos", "done", "exec", "complet")
_NOT_FILLED_WORDS: Final = ("cancel", "expir", "reject", "fail", "part", "kill", "error")


class OrderState(StrEnum):
    """How far the search for one of the desk's orders has come."""

    WAITING = "waiting"  # it may still appear, or Kraken could not be asked
    MATCHED = "matched"
    AMBIGUOUS = "ambiguous"
    UNMATCHED = "unmatched"  # filled, says the desk, and unknown at Kraken
    OPEN = "open"  # ended, says the desk, and Kraken still shows it as open
    ABSENT = "absent"  # ended without a fill, and never at Kraken


UNSETTLED: Final = frozenset(
    {OrderState.WAITING, OrderState.AMBIGUOUS, OrderState.UNMATCHED, OrderState.OPEN}
)
PROBLEMS: Final = frozenset({OrderState.AMBIGUOUS, OrderState.UNMATCHED, OrderState.OPEN})
MISMATCH: Final = "mismatch"


class StatusWord(Enum):
    """What a desk's word for the end of an order means."""

    FILLED = auto()
    NOT_FILLED = auto()  # canceled, expired, refused: perhaps filled in part
    OTHER = auto()


def status_word(status: str) -> StatusWord:
    """Understand a desk's word for the end of an order."""
    word = status.strip().casefold().removeprefix("order").lstrip("_- ")
    if word.startswith(_FILLED_WORDS):
        return StatusWord.FILLED
    return StatusWord.NOT_FILLED if word.startswith(_NOT_FILLED_WORDS) else StatusWord.OTHER


def digits_of(amount: Decimal) -> int:
    """Say how many digits after the point an amount was written with."""
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


@dataclass(frozen=True, slots=True)
class DeskOrder:
    """One order as the desk's own table has it; None is what the desk does not keep.

    ``pair`` is named as Kraken's reports do, None where nobody knows the market; without ``has_quote`` only
    its base was said. Amounts are written with the digits that the desk's columns hold. Times are in UTC.
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
    has_quote: bool = True

    @property
    def has_fills(self) -> bool:
        """Whether the desk says that something of it was executed; without a volume its status tells."""
        if self.executed is not None:
            return self.executed > ZERO
        return status_word(self.status) is StatusWord.FILLED


def as_said(order: DeskOrder) -> dict[str, Any]:
    """Write what the desk says of an order, but for its id and the time of its change."""
    said = {field.name: getattr(order, field.name) for field in fields(DeskOrder)}
    del said["order_id"], said["changed_at"]
    return {name: _plain(value) for name, value in said.items()}


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, datetime) else value


def order_said(order_id: str, changed_at: datetime, said: Mapping[str, Any]) -> DeskOrder:
    """Read what ``as_said`` wrote."""
    read = dict(said)
    for name in ("volume", "executed", "price", "fee"):
        read[name] = None if read[name] is None else Decimal(read[name])
    read["side"] = read["side"] and Side(read["side"])
    read["created_at"] = read["created_at"] and datetime.fromisoformat(read["created_at"])
    return DeskOrder(order_id=order_id, changed_at=changed_at, **read)


@dataclass(frozen=True, slots=True)
class OrderInBook:
    """An order as one book has it."""

    book: str
    order: DeskOrder


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


def market_of(pair: str) -> str:
    """Name a market without its venue, which no desk names."""
    return "/".join(assets_of(pair))


def opened_after(order: DeskOrder) -> datetime:
    """Say since when an order may have been opened at Kraken."""
    if order.created_at is None:
        return order.changed_at - WITHOUT_CREATION
    return order.created_at - BEFORE_CREATION


def match_orders(  # noqa: PLR0913 - all but two by name
    orders: Sequence[DeskOrder],
    reports: Iterable[ReportedOrder],
    *,
    late_by: timedelta,
    now: datetime,
    decimals: int = SCALE_MAX,
    taken: Mapping[str, str] | None = None,
) -> list[MatchedOrder]:
    """Match orders of one account that ended with what Kraken shows of it, in the order of the desk's.

    Args:
        orders: of the desk's, ended.
        reports: all orders of the account at Kraken from the time that these span.
        late_by: of the book.
        now: until then an order that Kraken does not show may still appear.
        decimals: the digits of the desk's volume.
        taken: orders at Kraken that were found before, each with the desk's order that it is.
    """
    listed, given = list(reports), taken or {}
    named = {order.order_id: _named(order, listed) for order in orders}
    claims: dict[str, set[str]] = defaultdict(set)
    for number, report in named.items():
        if report is not None:
            claims[report.kraken_txid] |= {number, given.get(report.kraken_txid, number)}
    free = [report for report in listed if report.kraken_txid not in claims.keys() | given.keys()]
    fitting = {
        order.order_id: [report for report in free if _fits(order, report, late_by, decimals)]
        for order in orders
        if named[order.order_id] is None and order.kraken_id is None and order.client_id is None
    }
    for number, candidates in fitting.items():
        for report in candidates:
            claims[report.kraken_txid].add(number)
    found = []
    for order in orders:
        report = named[order.order_id]
        candidates = fitting.get(order.order_id, []) if report is None else [report]
        is_late = now - order.changed_at >= late_by
        found.append(_judged(order, candidates, claims, is_late=is_late))
    return found


def _named(order: DeskOrder, reports: Iterable[ReportedOrder]) -> ReportedOrder | None:
    """Find the order that an id names; an id of the client's may have been used again."""
    if order.kraken_id is not None:
        return next((report for report in reports if report.kraken_txid == order.kraken_id), None)
    if order.client_id is None:
        return None
    own = [report for report in reports if report.cl_ord_id == order.client_id]
    return own[0] if len(own) == 1 else None


def _judged(
    order: DeskOrder,
    candidates: Sequence[ReportedOrder],
    claims: Mapping[str, Collection[str]],
    *,
    is_late: bool,
) -> MatchedOrder:
    if len(candidates) == 1 and len(claims[candidates[0].kraken_txid]) == 1:
        return MatchedOrder(order, candidates[0])
    if candidates:
        found = tuple(sorted(report.kraken_txid for report in candidates))
        return MatchedOrder(order, None, OrderState.AMBIGUOUS, found)
    return MatchedOrder(order, None, OrderState.UNMATCHED if order.has_fills and is_late else "")


def _fits(order: DeskOrder, report: ReportedOrder, late_by: timedelta, decimals: int) -> bool:
    return (
        (market_of(report.pair), report.side) == (order.pair, order.side)
        and agrees(report.volume, order.volume, decimals)
        and opened_after(order) <= report.opened_at
        and (report.closed_at or report.opened_at) <= order.changed_at + late_by
    )


def order_problem(
    order_id: str, state: OrderState, candidates: Sequence[str], mismatch: str | None = None
) -> OrderProblem:
    """Say what is the matter with an order that was not found, or that Kraken tells otherwise."""
    if mismatch is not None:
        return OrderProblem(order_id, MISMATCH, mismatch)
    listed = ", ".join(candidates)
    match state:
        case OrderState.AMBIGUOUS:
            detail = f"may be any of several at Kraken: {listed}"
            if len(candidates) == 1:
                detail = f"is {listed} at Kraken, and so is another of the desk's orders"
        case OrderState.OPEN:
            detail = f"has ended for the desk, and is still open at Kraken: {listed}"
        case _:
            detail = "was filled for the desk, and Kraken does not know it"
    return OrderProblem(order_id, state.value, detail)

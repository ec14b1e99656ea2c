"""What Kraken's books say of an order that they do not show by its id: whether its absence may be believed.

Invariants:
1. One piece of evidence in any book is enough to doubt: an order is absent only if no book speaks of it. A
   balance speaks only where something is recorded that it can be compared with.
2. Nothing is booked from evidence, and no order is taken for ours without its id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.orders.rules.order import OrderStatus, Side
from kraken_recon.orders.rules.sizing import assets_of
from kraken_recon.orders.rules.which_were_filled import Ambiguous, Inference, Unique
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.orders.rules.order import Fill, Order
    from kraken_recon.orders.rules.reports import ReportedOrder

# Kraken and this machine may disagree on when something was sent.
SKEW: Final = timedelta(seconds=30)
# A hold may include the fee.
HOLD_LEAST: Final = Decimal("0.95")
HOLD_MOST: Final = Decimal("1.05")


@dataclass(frozen=True, slots=True)
class AbsenceEvidence:
    """What Kraken's books showed at one look.

    ``reports`` are all orders, ``strays`` trades whose order is not among them, ``strange_entries`` ledger
    entries of trades that neither Kraken's trades nor ours tell of. ``drifts`` are balances less what is
    recorded, by asset, and mean something only if the account ``is_open``; ``inference`` says which orders
    explain them. ``holds`` is what orders hold of each asset, less what the shown ones do.
    """

    reports: Mapping[str, ReportedOrder]
    strays: Sequence[Fill] = ()
    strange_entries: Sequence[LedgerEntry] = ()
    drifts: Mapping[str, Decimal] = field(default_factory=dict)
    is_open: bool = False
    inference: Inference | None = None
    holds: Mapping[str, Decimal] = field(default_factory=dict)


def may_be(order: Order, report: ReportedOrder) -> bool:
    """Say whether an order that Kraken shows without a client id may be ours, by its terms and its time."""
    if order.submitted_at is None or order.deadline is None or report.cl_ord_id is not None:
        return False
    return (
        (report.pair, report.side, report.order_type) == (order.pair, order.side, order.order_type)
        and report.volume == order.volume
        and (order.limit_price is None or report.limit_price == order.limit_price)
        and order.submitted_at - SKEW <= report.opened_at <= order.deadline + SKEW
    )


def doubts(order: Order, books: AbsenceEvidence) -> list[str]:
    """Name everything in Kraken's books that may come of an order that they do not show."""
    return [*spoken_of(order, books), *_moved(order, books), *_held(order, books.holds)]


def late_doubts(order: Order, books: AbsenceEvidence) -> list[str]:
    """Name what contradicts an absence that was believed; balances only if nothing else explains them."""
    is_only = isinstance(books.inference, Unique)
    return [*spoken_of(order, books), *(_moved(order, books) if is_only else ())]


def spoken_of(order: Order, books: AbsenceEvidence) -> list[str]:
    """Name the orders, trades and ledger entries that may be this order's."""
    return [
        *(
            f"Kraken shows {report.kraken_txid}, an order like it, without a client id"
            for report in books.reports.values()
            if may_be(order, report)
        ),
        *(
            f"trade {fill.trade_id} is of an order that Kraken does not show"
            for fill in books.strays
            if (fill.pair, fill.side) == (order.pair, order.side)
        ),
        *(
            f"ledger entry {entry.ledger_id} ({format_amount(entry.amount)} {entry.asset}) "
            "is of a trade that Kraken does not show"
            for entry in books.strange_entries
            if _is_leg(order, entry)
        ),
    ]


def _is_leg(order: Order, entry: LedgerEntry) -> bool:
    """Say whether a ledger entry of a trade may be one leg of this order."""
    if order.submitted_at is None or entry.entry_time < order.submitted_at - SKEW:
        return False
    received, paid = (order.base, order.quote) if order.side is Side.BUY else (order.quote, order.base)
    if entry.asset == order.base and abs(entry.amount) > (order.volume or ZERO):
        return False
    return (entry.asset == received and entry.amount > ZERO) or (entry.asset == paid and entry.amount < ZERO)


def _moved(order: Order, books: AbsenceEvidence) -> list[str]:
    """Compare the direction of what the balances moved by with that of the order.

    Where no set of orders filled whole explains them, this one may be filled in part, or something else is on
    its way as well: then one asset that moved as the order would move it is enough to doubt.
    """
    moved = {asset: drift for asset, drift in books.drifts.items() if drift}
    if not moved or books.inference is None or not books.is_open:
        return []
    match books.inference:
        case Unique(filled):
            is_part = str(order.order_id) in filled
        case Ambiguous(sets):
            is_part = any(str(order.order_id) in one for one in sets)
        case _:
            sign = 1 if order.side is Side.BUY else -1
            is_part = moved.get(order.base, ZERO) * sign > 0 or moved.get(order.quote, ZERO) * sign < 0
    told = ", ".join(f"{format_amount(drift)} {asset}" for asset, drift in sorted(moved.items()))
    return [f"the balances moved as by this order, without a ledger entry: {told}"] if is_part else []


@exact_arithmetic()
def _held(order: Order, holds: Mapping[str, Decimal]) -> list[str]:
    """Compare what no shown order holds with what this one would hold while it rests."""
    price = order.limit_price or order.trigger_price
    if order.volume is None or price is None:
        return []
    is_buy = order.side is Side.BUY
    asset, needed = (order.quote, order.volume * price) if is_buy else (order.base, order.volume)
    held = holds.get(asset, ZERO)
    if held < needed * HOLD_LEAST:
        return []
    return [f"{format_amount(held)} {asset} are held by an order that Kraken does not show"]


@exact_arithmetic()
def unexplained_holds(
    held: Mapping[str, Decimal], reports: Mapping[str, ReportedOrder]
) -> dict[str, Decimal]:
    """Take from what orders hold, by asset, what the shown ones may hold; never below zero."""
    left = dict(held)
    for report in reports.values():
        base, quote = assets_of(report.pair)
        remaining = report.volume - report.volume_executed
        price = max(report.limit_price or ZERO, report.trigger_price or ZERO) * HOLD_MOST
        asset, amount = (quote, remaining * price) if report.side is Side.BUY else (base, remaining)
        if asset in left and report.status is OrderStatus.OPEN:
            left[asset] = max(ZERO, left[asset] - amount)
    return left

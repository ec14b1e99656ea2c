"""When an order fills: one price per pair, as much of it as there is to be had, triggers on the way.

Invariants:
1. An order that arrives takes at the market's price; one that rests is filled at its own.
2. What was filled is used up for everybody, until more is put there.
3. ``at`` is a past moment, for what reached the engine before anybody looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from kraken_sim.amounts import ZERO
from kraken_sim.market.trading import Execution, close, draft, execute, fee_mode

if TYPE_CHECKING:
    from decimal import Decimal

    from kraken_sim.account.account import Account
    from kraken_sim.account.order import Order
    from kraken_sim.market.reference import Pair, Reference
    from kraken_sim.market.trading import OrderRequest

POST_ONLY: Final = "Post only order"
#: No recording shows these two.
REMAINDER: Final = "Immediate or cancel"
KILLED: Final = "Fill or kill"


def place(
    account: Account,
    reference: Reference,
    request: OrderRequest,
    source: Literal["api", "website"] = "api",
    at: Decimal | None = None,
) -> Order:
    """Accept a validated order, and fill it at once as far as it crosses the market."""
    order = draft(account, request, at)
    order.order_id, order.source = account.identifiers.order(), source
    account.orders[order.order_id] = order
    if at is None:
        account.clock.reach(order.opened)
    market = reference.prices.get(request.pair.pair_id, request.price)
    if order.kind.trigger and not is_reached(order, market):
        return order
    arrive(account, reference, order, market, order.opened, time_in_force=request.time_in_force, at=at)
    return order


def arrive(  # noqa: PLR0913 - one order at one market
    account: Account,
    reference: Reference,
    order: Order,
    market: Decimal,
    moment: Decimal,
    *,
    time_in_force: str = "GTC",
    at: Decimal | None = None,
) -> None:
    """Let an order meet the market: take what there is, then rest or go, as it was asked for."""
    if order.kind.trigger and order.triggered is None:
        order.triggered = moment
        account.clock.reach(moment)
    limited = order.kind.is_limited
    wanted = order.remaining if not limited or crosses(order, market) else ZERO
    if wanted and "post" in order.flags.split(","):
        close(account, order, moment, reason=POST_ONLY)
        return
    had = _available(reference, order, wanted)
    if time_in_force == "FOK" and had < order.remaining:
        close(account, order, moment, reason=KILLED)
        return
    if had:
        _fill(account, reference, order, Execution(had, market, fee_mode=fee_mode(order)), at)
    if order.is_open and (time_in_force == "IOC" or not limited):
        close(account, order, moment, reason=REMAINDER)


def crosses(order: Order, market: Decimal) -> bool:
    """Tell whether a limit order meets the market price."""
    return order.limit_price >= market if order.side == "buy" else order.limit_price <= market


def is_reached(order: Order, market: Decimal) -> bool:
    """Tell whether the market is at an order's trigger: a stop follows the price, a profit leaves it."""
    rises = (order.side == "buy") == (order.kind.trigger == "stopped")
    return market >= order.price if rises else market <= order.price


def match_resting(account: Account, reference: Reference, pair: Pair) -> None:
    """Let the market reach resting orders: set triggers off, and fill the others at their own price."""
    account.expire_orders(account.clock.now())
    market = reference.prices.get(pair.pair_id)
    if market is None:
        return
    for order in account.open_orders():
        if order.pair is not pair:
            continue
        if order.kind.trigger and order.triggered is None:
            if is_reached(order, market):
                arrive(account, reference, order, market, account.next_moment())
        elif crosses(order, market) and (had := _available(reference, order, order.remaining)):
            fill = Execution(had, order.limit_price, is_maker=True, fee_mode=fee_mode(order))
            _fill(account, reference, order, fill)


def _available(reference: Reference, order: Order, wanted: Decimal) -> Decimal:
    return reference.available(order.pair.pair_id, wanted) if order.pair is not None else ZERO


def _fill(
    account: Account, reference: Reference, order: Order, fill: Execution, at: Decimal | None = None
) -> None:
    trade = execute(account, order, fill, at)
    reference.use_up(trade.pair_id, trade.volume)

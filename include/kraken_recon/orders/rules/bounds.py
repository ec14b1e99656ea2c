"""What bounds a decision: how old it may be when its order leaves, and what may be paid.

Invariants:
1. Every order has an age beyond which it is not sent, and may not be executed if it was.
2. A price is judged by what the order would pay or get now; only what is worse than expected is too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.orders.rules.order import AT_ONCE, OrderType, Side, TimeInForce
from kraken_recon.values.money import exact_arithmetic, format_amount

if TYPE_CHECKING:
    from datetime import datetime

    from kraken_recon.orders.rules.order import Order

MINUTES_MAX: Final = Decimal(30 * 24 * 60)
_SHOWN: Final = Context(prec=20)


@dataclass(frozen=True, slots=True)
class DecisionBounds:
    """What holds where a decision itself does not say.

    ``market_age`` is of orders whose price the market makes: market orders, those that a trigger turns into
    one, and those that are filled at once or not at all. ``resting_age`` is of limit orders that may rest.
    """

    market_age: timedelta = timedelta(minutes=5)
    resting_age: timedelta = timedelta(days=1)
    deviation_percent: Decimal = Decimal(5)

    def valid_until(
        self,
        order_type: OrderType,
        time_in_force: TimeInForce,
        decided_at: datetime,
        *,
        minutes: Decimal | None = None,
        expires_at: datetime | None = None,
    ) -> datetime:
        """Say until when an order may be executed at first; ``minutes`` is what its decision says itself."""
        is_resting = order_type is OrderType.LIMIT and time_in_force not in AT_ONCE
        age = self.resting_age if is_resting else self.market_age
        if minutes is not None:
            age = timedelta(microseconds=int(minutes * 60_000_000))
        return min(decided_at + age, expires_at) if expires_at else decided_at + age


DEFAULT_BOUNDS: Final = DecisionBounds()


@dataclass(frozen=True, slots=True)
class MarketPrice:
    """A market as it stands: the last trade, what a buyer would pay, what a seller would get."""

    last: Decimal
    ask: Decimal
    bid: Decimal


@exact_arithmetic()
def too_far(order: Order, price: MarketPrice, bounds: DecisionBounds) -> str | None:
    """Say that an order would pay more, or get less, than it expected and may; None where it would not."""
    expected, is_buy = order.expected_price, order.side is Side.BUY
    if expected is None:
        return None
    faced = _faced(order, price)
    worse = faced - expected if is_buy else expected - faced
    if worse * 100 <= expected * bounds.deviation_percent:
        return None
    percent = f"{_SHOWN.divide(worse * 100, expected):.2f}"
    return (
        f"it would {'pay' if is_buy else 'get'} {format_amount(faced)} where {format_amount(expected)} was "
        f"expected: {percent} % worse, and at most {format_amount(bounds.deviation_percent)} % may be"
    )


def _faced(order: Order, price: MarketPrice) -> Decimal:
    """Say at which price an order would be executed, as the market stands.

    A limit makes the price better, never worse. A stop turns into a market order once the market has moved
    against it to its trigger, a take-profit once it has moved in its favour.
    """
    is_buy = order.side is Side.BUY
    now = price.ask if is_buy else price.bid
    level = order.limit_price or order.trigger_price
    if level is None:
        return now
    takes_higher = is_buy is (order.order_type is OrderType.STOP_LOSS)
    return max(level, now) if takes_higher else min(level, now)

"""One margin position at the exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_sim.amounts import ZERO, fixed, half_up

if TYPE_CHECKING:
    from kraken_sim.account.order import Order
    from kraken_sim.market.reference import Pair

ROLLOVER_SECONDS: Final = Decimal(14400)

#: Of the notional: when it is opened, and for each four hours that it stays open.
FEE_PERCENT: Final = Decimal("0.02")


@dataclass(frozen=True, slots=True)
class Closing:
    """A trade that closed part of a position, and when."""

    time: Decimal
    volume: Decimal


@dataclass(slots=True)
class MarginPosition:
    """One position, named by the trade that opened it; ``fee`` grows with each rollover."""

    position_id: str
    order: Order
    pair: Pair
    opened: Decimal
    volume: Decimal
    cost: Decimal
    fee: Decimal
    leverage: int
    closings: list[Closing] = field(default_factory=list)

    @property
    def is_long(self) -> bool:
        """Whether it gains when the price rises."""
        return self.order.side == "buy"

    @property
    def price(self) -> Decimal:
        """The price at which it was opened."""
        return self.cost / self.volume

    def closed(self, moment: Decimal) -> Decimal:
        """Tell how much of it was closed by a moment."""
        return sum((closing.volume for closing in self.closings if closing.time <= moment), ZERO)

    @property
    def left(self) -> Decimal:
        """Volume that is not closed by anything on file."""
        return self.volume - sum((closing.volume for closing in self.closings), ZERO)

    def is_open(self, moment: Decimal) -> bool:
        """Whether it is shown at a moment."""
        return self.opened <= moment and self.closed(moment) < self.volume

    def result(self, volume: Decimal, price: Decimal) -> Decimal:
        """Tell what closing this much at a price makes or loses, before fees."""
        gained = (price - self.price) * volume
        return gained if self.is_long else -gained

    def wire(self, moment: Decimal, price: Decimal | None) -> dict[str, Any]:
        """Shape the position as Kraken does; ``price`` adds its value and unrealised result."""
        decimals = self.pair.cost_decimals
        rollovers = (moment - self.opened) // ROLLOVER_SECONDS + 1
        body = {
            "ordertxid": self.order.order_id,
            "posstatus": "open",
            "pair": self.pair.pair_id,
            "time": self.opened,
            "type": self.order.side,
            "ordertype": self.order.order_type,
            "cost": fixed(self.cost, decimals),
            "fee": fixed(self.fee, decimals),
            "vol": fixed(self.volume, self.pair.lot_decimals),
            "vol_closed": fixed(self.closed(moment), self.pair.lot_decimals),
            "margin": fixed(self.cost / self.leverage, decimals),
        }
        if price is not None:
            left = self.volume - self.closed(moment)
            net = half_up(self.result(left, price), 4)
            body |= {"value": fixed(left * price, 1), "net": f"{'+' if net >= 0 else ''}{net:f}"}
        return body | {
            "terms": f"{FEE_PERCENT:.4f}% per 4 hours",
            "rollovertm": str(int(self.opened + rollovers * ROLLOVER_SECONDS)),
            "misc": "",
            "oflags": "",
        }

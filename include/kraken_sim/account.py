"""One account: its key, clock, ledger, orders, trades and counters.

Invariant: an order's executed volume, cost and fee are the sums of its trades, at any moment.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from kraken_sim.amounts import TENTH_MILLISECOND, ZERO, fixed, truncated
from kraken_sim.errors import ControlError

if TYPE_CHECKING:
    from kraken_sim.auth import ApiKey
    from kraken_sim.clock import Clock
    from kraken_sim.identifiers import Identifiers
    from kraken_sim.ledger import Ledger
    from kraken_sim.limits import Budget
    from kraken_sim.reference import Pair, Reference

#: What Kraken writes as the position of a trade that belongs to none.
NO_POSITION: Final = "TKH2SE-M7IF5-CFI7LT"
HUNDRED: Final = Decimal(100)


@dataclass(slots=True)
class Trade:
    """One fill; ``body`` is what Kraken would send."""

    trade_id: str
    order_id: str
    pair_id: str
    time: Decimal
    volume: Decimal
    cost: Decimal
    fee: Decimal
    body: dict[str, Any]
    ledger_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Order:
    """One order; a recorded one carries its reply and is sent back as it was."""

    order_id: str
    opened: Decimal
    pair: Pair | None = None
    side: Literal["buy", "sell"] = "buy"
    order_type: str = "limit"
    price: Decimal = ZERO
    volume: Decimal = ZERO
    flags: str = "fciq"
    userref: int | None = None
    client_id: str | None = None
    closed: Decimal | None = None
    canceled: bool = False
    reason: str | None = None
    trades: list[Trade] = field(default_factory=list)
    totals: Literal["full", "truncated"] = "full"
    source: Literal["api", "website", "recording"] = "api"
    recorded: dict[str, Any] | None = None

    @property
    def executed(self) -> Decimal:
        """Volume filled so far."""
        return sum((trade.volume for trade in self.trades), ZERO)

    @property
    def remaining(self) -> Decimal:
        """Volume still to be filled."""
        return self.volume - self.executed

    @property
    def is_open(self) -> bool:
        """Whether the order may still fill."""
        return self.closed is None and self.recorded is None

    @property
    def known_from(self) -> Decimal:
        """When the order can be shown: a recording only holds its final state."""
        return self.opened if self.recorded is None or self.closed is None else self.closed

    def status(self, moment: Decimal) -> str:
        """Tell the state at a moment."""
        if self.recorded is not None:
            return str(self.recorded["status"])
        if self.closed is None or self.closed > moment:
            return "open"
        return "canceled" if self.canceled else "closed"

    def describe(self) -> str:
        """Write the order as Kraken's one-line description does."""
        if self.pair is None:
            return ""
        volume = fixed(self.volume, self.pair.lot_decimals)
        what = f"{self.side} {volume} {self.pair.altname} @ {self.order_type}"
        if self.order_type == "market":
            return what
        return f"{what} {fixed(self.price, self.pair.price_decimals)}"

    def wire(self, moment: Decimal, *, with_trades: bool) -> dict[str, Any]:
        """Shape the order as it is seen at a moment."""
        if self.recorded is not None or self.pair is None:
            body = dict(self.recorded or {})
            if with_trades and self.trades:
                body["trades"] = [trade.trade_id for trade in self.trades]
            return body
        seen = [trade for trade in self.trades if trade.time <= moment]
        status = self.status(moment)
        body = {
            "refid": None,
            "userref": self.userref if self.userref is not None else 0,
            "cl_ord_id": self.client_id,
            "status": status,
            "opentm": self.opened,
            "starttm": 0,
            "expiretm": 0,
            "descr": self._description(self.pair),
            "vol": fixed(self.volume, self.pair.lot_decimals),
            **self._totals(self.pair, seen),
            "stopprice": fixed(ZERO, self.pair.cost_decimals),
            "limitprice": fixed(ZERO, self.pair.cost_decimals),
            "misc": "partial" if self.canceled and seen else "",
            "oflags": self.flags,
        }
        if with_trades and seen:
            body["trades"] = [trade.trade_id for trade in seen]
        if status != "open":
            body |= {"reason": self.reason, "closetm": self.closed}
        return body

    def _description(self, pair: Pair) -> dict[str, str]:
        return {
            "pair": pair.altname,
            "type": self.side,
            "ordertype": self.order_type,
            "price": "0" if self.order_type == "market" else fixed(self.price, pair.price_decimals),
            "price2": "0",
            "leverage": "none",
            "order": self.describe(),
            "close": "",
        }

    def _totals(self, pair: Pair, seen: list[Trade]) -> dict[str, str]:
        volume = sum((trade.volume for trade in seen), ZERO)
        cost = sum((trade.cost for trade in seen), ZERO)
        fee = sum((trade.fee for trade in seen), ZERO)
        average = cost / volume if volume else ZERO
        executed = fixed(volume, pair.lot_decimals)
        if self.totals == "truncated":  # ClosedOrders of 2020 cut off at the price's decimals
            cut = [format(truncated(value, pair.price_decimals), "f") for value in (cost, fee, average)]
            return dict(zip(("vol_exec", "cost", "fee", "price"), (executed, *cut), strict=True))
        decimals = pair.cost_decimals
        return {
            "vol_exec": executed,
            "cost": fixed(cost, decimals),
            "fee": fixed(fee, decimals),
            "price": fixed(average, pair.price_decimals if volume else decimals),
        }


@dataclass(slots=True)
class Account:
    """Everything that Kraken knows about one customer."""

    name: str
    key: ApiKey
    clock: Clock
    ledger: Ledger
    identifiers: Identifiers
    reference: Reference
    budget: Budget
    orders: dict[str, Order] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    residuals: dict[str, Decimal] = field(default_factory=dict)
    calls: Tally[str] = field(default_factory=Tally)
    has_own_clock: bool = False
    in_flight: int = 0
    order_totals: Literal["full", "truncated"] = "full"

    def next_moment(self, at: Decimal | None = None) -> Decimal:
        """Tell when the next thing may happen: now, but after everything on file.

        Raises:
            ControlError: when the book on file reaches past the account's clock.
        """
        now = self.clock.now()
        if at is None and self.clock.mode == "virtual" and self.ledger.last_time > now:
            raise ControlError(
                f"account {self.name} has rows on file after its clock {now}: advance it first"
            )
        moment = now if at is None else at
        return max(moment, self.ledger.last_time + TENTH_MILLISECOND)

    def holds(self) -> dict[str, Decimal]:
        """Tell what open orders hold: volume when selling, notional and a fee reserve when buying."""
        held: dict[str, Decimal] = {}
        for order in self.orders.values():
            if not order.is_open or order.pair is None:
                continue
            asset, amount = reserve(order.pair, order.side, order.remaining, order.price)
            held[asset] = held.get(asset, ZERO) + amount
        return held

    def available(self, asset: str) -> Decimal:
        """Tell what may be spent: the coin and its auto-earning ``.F`` balance, without holds."""
        family = [code for code in self.ledger.balances(self.clock.now()) if self._spendable_as(code, asset)]
        return sum((self.ledger.balance(code) for code in family), ZERO) - self.holds().get(asset, ZERO)

    def _spendable_as(self, code: str, asset: str) -> bool:
        return code == asset or (code.endswith(".F") and self.reference.family(code) == asset)


def reserve(pair: Pair, side: str, volume: Decimal, price: Decimal) -> tuple[str, Decimal]:
    """Tell which asset an order holds, and how much."""
    if side == "sell":
        return pair.base, volume
    return pair.quote, volume * price * (1 + pair.taker_percent / HUNDRED)

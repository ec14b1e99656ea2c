"""One account: its key, clock, ledger, orders, trades and counters.

Invariant: an order's executed volume, cost and fee are the sums of its trades, at any moment.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from kraken_sim.amounts import TENTH_MILLISECOND, ZERO, fixed, number, truncated
from kraken_sim.errors import ControlError

if TYPE_CHECKING:
    from kraken_sim.auth import ApiKey
    from kraken_sim.clock import Clock
    from kraken_sim.identifiers import Identifiers
    from kraken_sim.ledger import Ledger
    from kraken_sim.limits import Budget
    from kraken_sim.margin import MarginPosition
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
    leverage: str = "none"
    userref: int | None = None
    client_id: str | None = None
    closed: Decimal | None = None
    ending: Literal["closed", "canceled", "expired"] = "closed"
    expires: Decimal = ZERO
    is_liquidation: bool = False
    reason: str | None = None
    trades: list[Trade] = field(default_factory=list)
    totals: Literal["full", "truncated"] = "full"
    source: Literal["api", "website", "exchange", "recording"] = "api"
    recorded: dict[str, Any] | None = None

    @property
    def executed(self) -> Decimal:
        """Volume filled so far."""
        return sum((trade.volume for trade in self.trades), ZERO)

    @property
    def remaining(self) -> Decimal:
        """Volume still to be filled."""
        return self.volume - self.executed

    def reserved(self, moment: Decimal) -> Decimal:
        """Volume that is held for the order at a moment; a recording tells its own."""
        if self.opened > moment or self.status(moment) != "open":
            return ZERO
        if self.recorded is not None:
            return number(self.recorded["vol"]) - number(self.recorded["vol_exec"])
        return self.volume - sum((trade.volume for trade in self.trades if trade.time <= moment), ZERO)

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
        return self.ending

    def describe(self) -> str:
        """Write the order as Kraken's one-line description does."""
        if self.pair is None:
            return ""
        volume = fixed(self.volume, self.pair.lot_decimals)
        what = f"{self.side} {volume} {self.pair.altname} @ {self.order_type}"
        if self.order_type != "market":
            what = f"{what} {fixed(self.price, self.pair.price_decimals)}"
        return what if self.leverage == "none" else f"{what} with {self.leverage} leverage"

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
            "userref": 0 if self.userref is None and self.source == "api" else self.userref,
            "cl_ord_id": self.client_id,
            "status": status,
            "opentm": self.opened,
            "starttm": 0,
            "expiretm": self.expires,
            "descr": self._description(self.pair),
            "vol": fixed(self.volume, self.pair.lot_decimals),
            **self._totals(self.pair, seen),
            "stopprice": fixed(ZERO, self.pair.cost_decimals),
            "limitprice": fixed(ZERO, self.pair.cost_decimals),
            "misc": self._remarks(status, seen),
            "oflags": self.flags,
        }
        if with_trades and seen:
            body["trades"] = [trade.trade_id for trade in seen]
        if status != "open":
            body |= {"reason": self.reason, "closetm": self.closed}
        return body

    def _remarks(self, status: str, seen: list[Trade]) -> str:
        partial = status in {"canceled", "expired"} and seen
        return ",".join(["liquidated"] * self.is_liquidation + ["partial"] * bool(partial))

    def _description(self, pair: Pair) -> dict[str, str]:
        return {
            "pair": pair.altname,
            "type": self.side,
            "ordertype": self.order_type,
            "price": "0" if self.order_type == "market" else fixed(self.price, pair.price_decimals),
            "price2": "0",
            "leverage": self.leverage,
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
class Transfer:
    """A deposit or withdrawal on its way; ``booked`` is the time of its ledger row, once there is one."""

    refid: str
    kind: Literal["deposit", "withdrawal"]
    asset: str
    amount: Decimal
    fee: Decimal
    requested: Decimal
    booked: Decimal | None = None
    state: Literal["pending", "done", "reversed", "failed"] = "pending"

    def debited(self, moment: Decimal) -> Decimal:
        """Tell what is gone from the balance although the ledger does not show it."""
        is_gone = self.state == "failed" and self.booked is None
        if self.kind == "deposit" or moment < self.requested or is_gone:
            return ZERO
        return ZERO if self.booked is not None and self.booked <= moment else self.amount + self.fee


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
    transfers: dict[str, Transfer] = field(default_factory=dict)
    positions: dict[str, MarginPosition] = field(default_factory=dict)
    residuals: dict[str, Decimal] = field(default_factory=dict)
    calls: Tally[str] = field(default_factory=Tally)
    has_own_clock: bool = False
    in_flight: int = 0
    concurrent_limit: int = 0
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

    def cash(self, moment: Decimal) -> dict[str, Decimal]:
        """Tell every balance at a moment: the ledger's, net of withdrawals that it does not show yet."""
        found = dict(self.ledger.balances(moment))
        for transfer in self.transfers.values():
            if debited := transfer.debited(moment):
                found[transfer.asset] = found.get(transfer.asset, ZERO) - debited
        return found

    def holds(self, moment: Decimal) -> dict[str, Decimal]:
        """Tell what open orders hold: volume when selling, notional and a fee reserve when buying."""
        held: dict[str, Decimal] = {}
        for order in self.orders.values():
            volume = order.reserved(moment)
            if not volume or order.pair is None:
                continue
            asset, amount = reserve(order.pair, order.side, volume, order.price)
            if order.recorded is not None:  # 1433.0939 were enough for a recorded buy of 1432.76
                amount = min(amount, self.ledger.balances(moment).get(asset, ZERO))
            held[asset] = held.get(asset, ZERO) + amount
        return held

    def available(self, asset: str) -> Decimal:
        """Tell what may be spent: the coin and its auto-earning ``.F`` balance, without holds."""
        now = max(self.clock.now(), self.ledger.last_time)  # a fill is spent before its rows are seen
        cash = sum(
            (amount for code, amount in self.cash(now).items() if self._spendable_as(code, asset)), ZERO
        )
        return cash - self.holds(now).get(asset, ZERO)

    def expire_orders(self, now: Decimal) -> None:
        """End the open orders whose time is up."""
        for order in self.orders.values():
            if order.is_open and ZERO < order.expires <= now:
                order.closed, order.ending = order.expires, "expired"

    def _spendable_as(self, code: str, asset: str) -> bool:
        return code == asset or (code.endswith(".F") and self.reference.family(code) == asset)


def reserve(pair: Pair, side: str, volume: Decimal, price: Decimal) -> tuple[str, Decimal]:
    """Tell which asset an order holds, and how much."""
    if side == "sell":
        return pair.base, volume
    return pair.quote, volume * price * (1 + pair.taker_percent / HUNDRED)

"""One account: its key, clock, ledger, orders, trades and counters.

Invariant: an order's executed volume, cost and fee are the sums of its trades, at any moment.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

from kraken_sim.amounts import TENTH_MILLISECOND, ZERO, fixed, number, truncated
from kraken_sim.errors import ControlError
from kraken_sim.order_types import ORDER_TYPES, UNKNOWN, OrderType

if TYPE_CHECKING:
    from kraken_sim.auth import ApiKey
    from kraken_sim.clock import Clock
    from kraken_sim.faults import Faults
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
    price2: Decimal = ZERO
    volume: Decimal = ZERO
    flags: str = "fciq"
    leverage: str = "none"
    userref: int | None = None
    client_id: str | None = None
    closed: Decimal | None = None
    ending: Literal["closed", "canceled", "expired"] = "closed"
    expires: Decimal = ZERO
    triggered: Decimal | None = None
    amended: Decimal | None = None
    is_liquidation: bool = False
    reason: str | None = None
    trades: list[Trade] = field(default_factory=list)
    totals: Literal["full", "truncated"] = "full"
    source: Literal["api", "website", "exchange", "recording"] = "api"
    recorded: dict[str, Any] | None = None

    @property
    def kind(self) -> OrderType:
        """What its ``ordertype`` means."""
        return ORDER_TYPES.get(self.order_type, UNKNOWN)

    @property
    def limit_price(self) -> Decimal:
        """The price that it fills at or better; the trigger's for an order without a limit."""
        return self.price2 if self.kind.trigger and self.kind.is_limited else self.price

    @property
    def names(self) -> set[str]:
        """Everything that the order may be called by."""
        return {self.order_id, self.client_id or "", "" if self.userref is None else str(self.userref)} - {""}

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
        what = f"{self.side} {volume} {self.pair.altname} @ {self.kind.words or self.order_type}"
        if self.order_type != "market":
            what = f"{what} {fixed(self.price, self.pair.price_decimals)}"
        if self.price2:
            what = f"{what} -> limit {fixed(self.price2, self.pair.price_decimals)}"
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
            **self._trigger(self.pair, moment),
            "misc": self._remarks(status, seen, moment),
            "oflags": self.flags,
        }
        if with_trades and seen:
            body["trades"] = [trade.trade_id for trade in seen]
        if status != "open":
            body |= {"reason": self.reason, "closetm": self.closed}
        return body

    def _is_triggered(self, moment: Decimal) -> bool:
        return self.triggered is not None and self.triggered <= moment

    def _trigger(self, pair: Pair, moment: Decimal) -> dict[str, str]:
        """Tell the trigger's price, and the limit once that was reached."""
        nothing = fixed(ZERO, pair.cost_decimals)
        if not self.kind.trigger:
            return {"stopprice": nothing, "limitprice": nothing}
        limited = self.price2 and self._is_triggered(moment)
        return {
            "stopprice": fixed(self.price, pair.price_decimals),
            "limitprice": fixed(self.price2, pair.price_decimals) if limited else nothing,
            "trigger": "last",
        }

    def _remarks(self, status: str, seen: list[Trade], moment: Decimal) -> str:
        remarks = {
            self.kind.trigger: self._is_triggered(moment),
            "liquidated": self.is_liquidation,
            "partial": status in {"canceled", "expired"} and bool(seen),
            "amended": self.amended is not None and self.amended <= moment,
        }
        return ",".join(remark for remark, applies in remarks.items() if applies)

    def _description(self, pair: Pair) -> dict[str, str]:
        return {
            "pair": pair.altname,
            "type": self.side,
            "ordertype": self.order_type,
            "price": "0" if self.order_type == "market" else fixed(self.price, pair.price_decimals),
            "price2": fixed(self.price2, pair.price_decimals) if self.price2 else "0",
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
    state: Literal["pending", "done", "reversed"] = "pending"

    def debited(self, moment: Decimal) -> Decimal:
        """Tell what is gone from the balance although the ledger does not show it."""
        if self.kind == "deposit" or moment < self.requested:
            return ZERO
        return ZERO if self.booked is not None and self.booked <= moment else self.amount + self.fee


@dataclass(frozen=True, slots=True)
class LateCall:
    """A write that was let in, but has not reached the engine yet; ``records`` learn what comes of it."""

    due: Decimal
    arrived: Decimal
    endpoint: str
    parameters: dict[str, str]
    records: list[dict[str, Any]]


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
    faults: Faults
    neighbours: dict[str, Account]
    orders: dict[str, Order] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    residuals: dict[str, Decimal] = field(default_factory=dict)
    calls: Tally[str] = field(default_factory=Tally)
    late: list[LateCall] = field(default_factory=list)
    cancel_all_at: Decimal | None = None
    has_own_clock: bool = False
    answers_at_once: bool = False
    in_flight: int = 0
    concurrent_limit: int = 0
    order_totals: Literal["full", "truncated"] = "full"
    _open: dict[str, Order] = field(default_factory=dict)
    _orders_looked_at: int = 0

    def open_orders(self) -> list[Order]:
        """List the orders that may still fill, without looking at every closed one each time."""
        new = islice(self.orders.values(), self._orders_looked_at, None)
        self._open |= {order.order_id: order for order in new}
        self._orders_looked_at = len(self.orders)
        self._open = {name: order for name, order in self._open.items() if order.is_open}
        return list(self._open.values())

    def reopen(self, order: Order) -> None:
        """Take back that an order has ended."""
        order.closed, order.ending, order.reason = None, "closed", None
        self._open[order.order_id] = order

    def next_moment(self, at: Decimal | None = None) -> Decimal:
        """Tell when the next thing may happen: now, and by a virtual clock after everything on file.

        By a real clock a fill does not wait for the rows of the one before: the ledger keeps their order.

        Raises:
            ControlError: when the book on file reaches past the account's clock.
        """
        now = self.clock.now()
        if at is None and self.clock.mode == "virtual" and self.ledger.last_time > now:
            raise ControlError(
                f"account {self.name} has rows on file after its clock {now}: advance it first"
            )
        if at is None and self.clock.mode == "real":
            return now
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
            if order.closed is not None and order.closed <= moment and order.recorded is None:
                continue
            volume = order.reserved(moment)
            if not volume or order.pair is None:
                continue
            asset, amount = reserve(order.pair, order.side, volume, order.limit_price)
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
        for order in self.open_orders():
            if ZERO < order.expires <= now:
                order.closed, order.ending = order.expires, "expired"

    def _spendable_as(self, code: str, asset: str) -> bool:
        return code == asset or (code.endswith(".F") and self.reference.family(code) == asset)


def reserve(pair: Pair, side: str, volume: Decimal, price: Decimal) -> tuple[str, Decimal]:
    """Tell which asset an order holds, and how much."""
    if side == "sell":
        return pair.base, volume
    return pair.quote, volume * price * (1 + pair.taker_percent / HUNDRED)

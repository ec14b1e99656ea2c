"""One account: its key, clock, ledger, orders, trades and counters.

Invariant: an order's executed volume, cost and fee are the sums of its trades, at any moment.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from kraken_sim.account.order import HUNDRED, Order, Trade
from kraken_sim.amounts import TENTH_MILLISECOND, ZERO
from kraken_sim.errors import ControlError

if TYPE_CHECKING:
    from decimal import Decimal

    from kraken_sim.account.ledger import Ledger
    from kraken_sim.account.margin_position import MarginPosition
    from kraken_sim.clock import Clock
    from kraken_sim.faults.named import Faults
    from kraken_sim.http.auth import ApiKey
    from kraken_sim.http.call_budgets import Budget
    from kraken_sim.identifiers import Identifiers
    from kraken_sim.market.reference import Pair, Reference


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
    is_held: bool = False

    def debited(self, moment: Decimal) -> Decimal:
        """Tell what is gone from the balance although the ledger does not show it."""
        is_gone = self.state == "failed" and self.booked is None
        if self.kind == "deposit" or moment < self.requested or is_gone:
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
    positions: dict[str, MarginPosition] = field(default_factory=dict)
    residuals: dict[str, Decimal] = field(default_factory=dict)
    calls: Tally[str] = field(default_factory=Tally)
    refusals: Tally[str] = field(default_factory=Tally)
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

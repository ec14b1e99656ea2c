"""Place decided orders: size under the account's lock, commit the intent, send once, record what came of it.

Invariants:
1. An order is sent by whoever moved it from ``decided`` to ``submitting``, and by nobody else, ever: the move
   is committed with the order's own id and deadline before the request leaves.
2. It is sent again only while Kraken itself said that the request before was not executed; where its deadline
   had passed by then, it is decided again, and keeps its age.
3. Whatever else happens, a crash included, leaves an order that only Kraken's books can settle.
4. An order is executed within its decision's age or not at all: its deadline never lies beyond it.
5. Orders are sized one after the other under the account's lock; what an earlier one may still take counts.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.errors import (
    ConfigurationError,
    ExchangeError,
    ExchangeUnavailableError,
    NonceRejectedError,
    NotNowError,
    PayloadInvalidError,
    RateLimitedError,
    RequestRefusedError,
    StoreError,
)
from kraken_recon.orders.adopting import lock_with_twins, merge_twins
from kraken_recon.orders.alerts import order_alert
from kraken_recon.orders.balance_readings import BalanceReadings
from kraken_recon.orders.clocks import LEAD, check_clock, is_deadline_elapsed
from kraken_recon.orders.one_by_one import Troubles
from kraken_recon.orders.refusing import refuse_expired, refuse_order, too_old
from kraken_recon.orders.rules.bounds import too_far
from kraken_recon.orders.rules.order import OrderStatus, may_become
from kraken_recon.orders.rules.sizing import Market, Sized, Undecidable, Unfit
from kraken_recon.orders.store import OrderStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.orders.exchange import OrderPorts, OrderSettings, TradingExchange
    from kraken_recon.orders.rules.bounds import MarketPrice
    from kraken_recon.orders.rules.order import Order

log = logging.getLogger(__name__)

_OF_ONE_ORDER: Final = (RequestRefusedError, PayloadInvalidError, ValueError, LookupError, ArithmeticError)
PRICE_AGE_MAX: Final = timedelta(seconds=5)
_TOLD_OF: Final = {
    OrderStatus.REJECTED: AlertKind.ORDER_REFUSED,
    OrderStatus.NOT_PLACED: AlertKind.ORDER_NOT_PLACED,
}
"""Ends that a person must hear of: what was decided came to nothing."""


@dataclass(slots=True)
class Placer:
    """Places one account's decided orders, one after the other."""

    account: Account
    exchange: TradingExchange
    ports: OrderPorts
    settings: OrderSettings
    put_off: set[int] = field(default_factory=set)
    told: Callable[[Order], None] = lambda _: None
    _may_trade: bool = False
    _prices: dict[str, tuple[datetime, MarketPrice | None]] = field(default_factory=dict)
    _readings: BalanceReadings = field(init=False)

    def __post_init__(self) -> None:
        self._readings = BalanceReadings(self.exchange, self.ports, self.settings)

    def place_all(self) -> int:
        """Place every order that can be placed now; return how many requests left.

        An order that cannot be sized yet, because of what earlier ones may still take, stays decided.

        Raises:
            ConfigurationError: the key may not trade, or the clock is off; nothing was claimed.
        """
        sent = 0
        tries: dict[int, int] = {}
        troubles = Troubles()
        while (found := self._find()) is not None:
            order_id, pair = found
            if not self._may_trade:
                check_clock(self.exchange, self.ports, self.settings)
                refuse_expired(self.ports, self.account.account_id)
                self.exchange.check_trading_key()
                self._may_trade = True
            is_fresh = self._readings.read(again=order_id in tries)
            try:
                outcome = self._take(order_id, self._market(pair), is_fresh=is_fresh)
            except _OF_ONE_ORDER as error:
                # What is wrong with one order, or with its market, keeps no other from being placed.
                self.put_off.add(order_id)
                troubles.add(f"order {order_id}", error)
                continue
            if isinstance(outcome, Undecidable):
                tries[order_id] = tries.get(order_id, 0) + 1
                if tries[order_id] >= self.settings.sizing_tries_max:
                    self._put_off(order_id, outcome.reason)
                elif is_fresh:
                    self.ports.pause(self.settings.wait_seconds)
            elif outcome is None:
                # Refused, or held by somebody else, who places it: to ask for it again would be in vain.
                self.put_off.add(order_id)
            else:
                self.told(outcome)
                self._send(outcome)
                sent += 1
        troubles.tell()
        return sent

    def _market(self, pair: str) -> Market | Unfit:
        """Find a market and read what it costs now, or say why there is none."""
        markets = self.exchange.markets(pair)
        market = markets.find(pair)
        if market is None:
            return Unfit(markets.why_not(pair))
        self._price(pair)
        return market

    def _put_off(self, order_id: int, reason: str) -> None:
        """Leave an order for the next execution, with a word on why."""
        self.put_off.add(order_id)
        log.info("order %d waits for the next execution: %s", order_id, reason)
        with self.ports.open_unit_of_work() as unit:
            order = OrderStore(unit).take_decided(order_id)
            waiting = f"waits: {reason}"
            if order is not None and order.status_reason != waiting:
                OrderStore(unit).save(
                    order, replace(order, status_reason=waiting), waiting, by=self.ports.worker
                )
                unit.commit()

    def _find(self) -> tuple[int, str] | None:
        with self.ports.open_unit_of_work() as unit:
            return OrderStore(unit).find_decided(self.account.account_id, self.put_off)

    def _price(self, pair: str) -> None:
        now = self.ports.clock()
        if pair not in self._prices or now - self._prices[pair][0] > PRICE_AGE_MAX:
            self._prices[pair] = (now, self.exchange.price(pair))

    def _take(self, order_id: int, market: Market | Unfit, *, is_fresh: bool) -> Order | Undecidable | None:
        """Commit the intent to send, or the refusal; None where nothing is left to do."""
        with self.ports.open_unit_of_work() as unit:
            OrderStore(unit).lock_account(self.account.account_id)
            order = OrderStore(unit).take_decided(order_id)
            if order is None:
                return None
            now = self.ports.clock()
            sized = self._sized(OrderStore(unit), order, market, now, is_fresh=is_fresh)
            if isinstance(sized, Undecidable):
                return sized
            if isinstance(sized, Unfit):
                refuse_order(unit, order, sized.reason, now=now, by=self.ports.worker)
                unit.commit()
                return None
            deadline = now + self.settings.deadline
            intent = replace(
                order,
                status=OrderStatus.SUBMITTING,
                status_reason=None,
                volume=sized.volume,
                reserved=sized.reserved,
                cl_ord_id=order.cl_ord_id or str(uuid4()),
                deadline=min(deadline, order.valid_until) if order.valid_until else deadline,
                submitted_at=now,
            )
            OrderStore(unit).save(
                order, intent, "intent committed", by=self.ports.worker, detail=_intent(intent)
            )
            unit.commit()
        return intent

    def _sized(
        self, store: OrderStore, order: Order, market: Market | Unfit, now: datetime, *, is_fresh: bool
    ) -> Sized | Unfit | Undecidable:
        """Say what may leave of a taken order, if anything: its age and its price come before its funds."""
        if order.valid_until is not None and order.valid_until - now < LEAD:
            return Unfit(too_old(order.decided_at, order.valid_until))
        if isinstance(market, Unfit):
            return market
        price = self._prices[order.pair][1]
        if order.expected_price is not None:
            if price is None:
                return Undecidable(f"no price of {market.name} is known")
            if far := too_far(order, price, self.ports.bounds):
                return Unfit(far)
        last = price.last if price else None
        return self._readings.judge(store, order, market, last, is_fresh=is_fresh)

    def _send(self, order: Order) -> None:
        """Send an order whose intent is committed, and record the answer if there is one to trust."""
        refusal = ""
        for attempt in range(1, self.settings.sends_max + 1):
            if order.deadline is None or order.deadline - self.ports.clock() < LEAD:
                reason = f"its deadline came before it could be sent{refusal and ': '}{refusal}"
                self._end(order, OrderStatus.NOT_PLACED, reason)
                return
            try:
                txid = self.exchange.add_order(order)
            except (ExchangeUnavailableError, PayloadInvalidError) as error:
                self._record(order, OrderStatus.UNKNOWN, f"outcome unknown: {error}")
                return
            except NotNowError as error:
                if not is_deadline_elapsed(error):
                    self._end(order, OrderStatus.REJECTED, _told(error))
                    return
                self._put_back(order, error)
                check_clock(self.exchange, self.ports, self.settings)
                raise
            except ExchangeError as error:
                if not isinstance(error, (NonceRejectedError, RateLimitedError)):
                    self._end(order, OrderStatus.REJECTED, _told(error))
                    return
                log.warning("order %d: attempt %d was not executed: %s", order.order_id, attempt, error)
                refusal = str(error)
                self._wait(order, error, attempt)
            except (StoreError, ConfigurationError) as error:
                # The call slot or the pair could not be had: nothing left this machine.
                self._end(order, OrderStatus.NOT_PLACED, f"it was not sent: {error}")
                return
            else:
                self._answered(order, txid)
                return
        reason = f"it was refused {self.settings.sends_max} times, at last with {refusal}"
        self._end(order, OrderStatus.NOT_PLACED, reason)

    def _put_back(self, order: Order, error: ExchangeError) -> None:
        """Keep an order for later whose request was certainly not executed."""
        self._record(
            order,
            OrderStatus.DECIDED,
            f"certainly not executed, kept for later: {error}",
            volume=order.volume if order.portion is None else None,
            **dict.fromkeys(("deadline", "submitted_at", "reserved")),
        )

    def _wait(self, order: Order, error: ExchangeError, attempt: int) -> None:
        """Wait as long as Kraken asks for, but not past the order's deadline."""
        now = self.ports.clock()
        seconds = self.settings.wait_seconds * attempt
        if error.not_before is not None and order.deadline is not None:
            asked = min(error.not_before, order.deadline) - now
            seconds = max(seconds, asked.total_seconds())
        self.ports.pause(seconds)

    def _answered(self, order: Order, txid: str | None) -> None:
        now = self.ports.clock()
        if txid is None:
            if order.is_dry_run:
                self._end(order, OrderStatus.VALIDATED, None)
            else:
                self._record(order, OrderStatus.UNKNOWN, "Kraken accepted it without naming it")
            return
        self._record(order, OrderStatus.OPEN, "accepted by Kraken", kraken_txid=txid, answered_at=now)

    def _end(self, order: Order, status: OrderStatus, reason: str | None) -> None:
        now = self.ports.clock()
        what = reason or status.value
        self._record(order, status, what, status_reason=reason, ended_at=now, settled_at=now)

    def _record(self, order: Order, status: OrderStatus, what: str, **changes: Any) -> None:  # noqa: ANN401 - columns
        """Write the outcome, unless Kraken's books have told more about the order meanwhile."""
        with self.ports.open_unit_of_work() as unit:
            now, twins = lock_with_twins(OrderStore(unit), order, changes.get("kraken_txid"))
            is_news = now.kraken_txid is None and may_become(now.status, status)
            if not is_news or (status is not OrderStatus.OPEN and now.status is not OrderStatus.SUBMITTING):
                return
            # Whoever looked through Kraken's orders meanwhile may have taken it for somebody else's.
            merge_twins(OrderStore(unit), now, twins, by=self.ports.worker, now=self.ports.clock())
            OrderStore(unit).save(now, replace(now, status=status, **changes), what, by=self.ports.worker)
            if status in _TOLD_OF:
                AlertStore(unit).raise_alerts(
                    [order_alert(_TOLD_OF[status], order, f"{status.value}: {what}")]
                )
            unit.commit()


def _told(error: ExchangeError) -> str:
    return ", ".join(error.codes) or str(error)


def _intent(order: Order) -> dict[str, Any]:
    return {
        "cl_ord_id": order.cl_ord_id,
        "volume": order.volume,
        "reserved": order.reserved,
        "deadline": order.deadline.isoformat() if order.deadline else None,
    }

"""Cancel and amend orders, and get through where nothing was executed.

Invariants:
1. A change is sent again only within bounds, and does no harm when it is made twice: a cancellation ends an
   order once, and an amendment names its new terms, not a difference.
2. Whatever the answer was, what the order's own report then says is the result.
3. Where a change was sent and its outcome is not seen, that is what is told, with the order.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.errors import (
    ConfigurationError,
    ExchangeError,
    ExchangeUnavailableError,
    KrakenReconError,
    OrderFollowedError,
    PayloadInvalidError,
)
from kraken_recon.orders.clocks import check_clock
from kraken_recon.orders.exchange import DEFAULTS
from kraken_recon.orders.finding import OrderFinder
from kraken_recon.orders.following import OrderFollower
from kraken_recon.orders.ordering import taken_back
from kraken_recon.orders.rules.order import ENDED, IN_DOUBT, OrderStatus
from kraken_recon.orders.store import OrderStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from kraken_recon.accounts.account import Account
    from kraken_recon.orders.exchange import OrderPorts, OrderSettings, TradingExchange
    from kraken_recon.orders.rules.order import Order

log = logging.getLogger(__name__)

# Kraken is at it already; its report will say so.
CANCEL_PENDING: Final = "EOrder:Cancel pending"
WAIT_SECONDS_MAX: Final = 10.0


def cancel_order(order_id: int, ports: OrderPorts, settings: OrderSettings = DEFAULTS) -> Order:
    """Cancel an order: take it back before it left, or have Kraken cancel the rest of it.

    Raises:
        ConfigurationError: it has ended, or its outcome is not known yet; nothing was sent.
        OrderFollowedError: it was asked for, and the order is not seen to have ended yet.
        ExchangeError: Kraken refused; the order is as it was.
    """
    _look_for(order_id, ports, settings)
    with ports.open_unit_of_work() as unit:
        account = OrderStore(unit).account_of(order_id)
        order = OrderStore(unit).lock_orders([order_id])[0]
        if order.status is OrderStatus.DECIDED:
            ended = taken_back(order, None, ports)
            OrderStore(unit).save(order, ended, "taken back before it was sent", by=ports.worker)
            unit.commit()
            return ended
        txid = _open_txid(order)
        OrderStore(unit).add_event(
            order_id, order.status, order.status, "cancellation asked for", by=ports.worker
        )
        unit.commit()
    return _Change(account, order, ports, settings, lambda _: False).make(
        lambda exchange: exchange.cancel_order(txid)
    )


def amend_order(  # noqa: PLR0913 - all but three by name
    order_id: int,
    ports: OrderPorts,
    settings: OrderSettings = DEFAULTS,
    *,
    volume: Decimal | None = None,
    limit_price: Decimal | None = None,
    trigger_price: Decimal | None = None,
) -> Order:
    """Change an open order's volume or price in place; its new terms are what Kraken then reports.

    Raises:
        ConfigurationError: it is not open, or nothing is to be changed; nothing was sent.
        OrderFollowedError: it was asked for, and the order is not seen to have these terms yet.
        ExchangeError: Kraken refused; the order is as it was.
    """
    changes = {"volume": volume, "limit_price": limit_price, "trigger_price": trigger_price}
    asked: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if not asked:
        raise ConfigurationError("say what to change: a volume, a limit price or a trigger price")
    _look_for(order_id, ports, settings)
    with ports.open_unit_of_work() as unit:
        account = OrderStore(unit).account_of(order_id)
        order = OrderStore(unit).lock_orders([order_id])[0]
        txid = _open_txid(order)
        OrderStore(unit).add_event(
            order_id, order.status, order.status, "amendment asked for", by=ports.worker, detail=asked
        )
        unit.commit()

    def amend(exchange: TradingExchange) -> None:
        exchange.amend_order(txid, **changes, deadline=ports.clock() + settings.deadline)

    def is_amended(seen: Order) -> bool:
        return all(getattr(seen, name) == value for name, value in asked.items())

    return _Change(account, order, ports, settings, is_amended, has_deadline=True).make(amend)


def _look_for(order_id: int, ports: OrderPorts, settings: OrderSettings) -> None:
    """Look an order up whose answer was lost: only what is known to be at Kraken can be changed there."""
    with ports.open_unit_of_work() as unit:
        account = OrderStore(unit).account_of(order_id)
        [order] = OrderStore(unit).orders([order_id])
    if order.status in IN_DOUBT:
        with ports.open_exchange(account) as exchange:
            OrderFinder(account, exchange, ports, settings).resolve()


@dataclass(slots=True)
class _Change:
    """One change of one open order, on its way."""

    account: Account
    order: Order
    ports: OrderPorts
    settings: OrderSettings
    is_made: Callable[[Order], bool]
    has_deadline: bool = False
    may_be_made: bool = False

    def make(self, send: Callable[[TradingExchange], None]) -> Order:
        """Send the change until it is seen, refused for good, or was sent often enough."""
        try:
            with self.ports.open_exchange(self.account) as exchange:
                if self.has_deadline:
                    check_clock(exchange, self.ports, self.settings)
                return self._make(send, exchange)
        except OrderFollowedError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if not self.may_be_made:
                raise
            if not isinstance(error, (KrakenReconError, KeyboardInterrupt)):
                log.exception("order %d: unexpected failure", self.order.order_id)
            raise self._followed(_told(error)) from error

    def _make(self, send: Callable[[TradingExchange], None], exchange: TradingExchange) -> Order:
        failure: ExchangeError | None = None
        for attempt in range(1, self.settings.sends_max + 1):
            # From here on an interruption leaves it open whether the request left.
            was_open, self.may_be_made = self.may_be_made, True
            try:
                send(exchange)
                failure = None
            except ExchangeError as error:
                failure = error
                is_pending = any(code.startswith(CANCEL_PENDING) for code in error.codes)
                is_doubtful = isinstance(error, (ExchangeUnavailableError, PayloadInvalidError)) or is_pending
                self.may_be_made = was_open or is_doubtful
            except BaseException as error:
                # The call slot could not be had: nothing left this machine.
                self.may_be_made = was_open or not isinstance(error, KrakenReconError)
                raise
            is_last = failure is None or attempt == self.settings.sends_max
            if (
                seen := self._seen(exchange, looks=self.settings.follow_passes if is_last else 1)
            ) is not None:
                return seen
            if failure is None:
                raise self._followed("Kraken took it, and does not show it yet")
            if not (failure.retryable or isinstance(failure, PayloadInvalidError)) or (
                attempt == self.settings.sends_max
            ):
                break
            log.warning("order %d: attempt %d: %s", self.order.order_id, attempt, failure)
            self._wait(failure, attempt)
        assert failure is not None  # noqa: S101 - for the type checker
        if self.may_be_made:
            raise self._followed(_told(failure))
        raise failure

    def _seen(self, exchange: TradingExchange, *, looks: int) -> Order | None:
        """Follow the order until it has ended or has its new terms; None where that is not seen."""
        bookkeeper = OrderFollower(self.account, exchange, self.ports, self.settings)
        for look in range(looks + 1):
            if look:
                self.ports.pause(self.settings.wait_seconds)
            try:
                bookkeeper.follow()
            except KrakenReconError as error:
                log.warning("account %s: %s", self.account.name, error)
            with self.ports.open_unit_of_work() as unit:
                [self.order] = OrderStore(unit).orders([self.order.order_id])
            if self.order.status in ENDED or self.is_made(self.order):
                return self.order
            if not self.may_be_made:
                # It was certainly not executed: there is nothing to wait for.
                return None
        return None

    def _wait(self, failure: ExchangeError, attempt: int) -> None:
        seconds = self.settings.wait_seconds * attempt
        if failure.not_before is not None:
            seconds = max(seconds, (failure.not_before - self.ports.clock()).total_seconds())
        self.ports.pause(min(seconds, WAIT_SECONDS_MAX))

    def _followed(self, reason: str) -> OrderFollowedError:
        return OrderFollowedError(f"it was asked for, and is not seen to be done: {reason}", order=self.order)


def _open_txid(order: Order) -> str:
    if order.status is not OrderStatus.OPEN or order.kraken_txid is None:
        raise ConfigurationError(f"expected order {order.order_id} to be open, was {order.status.value}")
    return order.kraken_txid


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, KrakenReconError) else type(error).__name__

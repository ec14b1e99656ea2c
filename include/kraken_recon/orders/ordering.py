"""Decide an order, place it at once and wait for its end: what one command does, whatever fails meanwhile.

Invariants:
1. Once a decision is recorded, whoever gave it learns what may come of it: nothing, because it is taken back;
   or the order's number, because it was sent or may be.
2. A failure is told as such only where nothing was sent and nothing will be.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from kraken_recon.errors import (
    ConfigurationError,
    DecisionRefusedError,
    KrakenReconError,
    OrderFollowedError,
    OrderStuckError,
    StoreError,
)
from kraken_recon.orders.deciding import accept_decisions, submit_decision, take_back
from kraken_recon.orders.exchange import DEFAULTS
from kraken_recon.orders.executing import work_account
from kraken_recon.orders.rules.order import ENDED, IN_DOUBT, OrderStatus
from kraken_recon.orders.store import OrderStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from kraken_recon.accounts.account import Account
    from kraken_recon.orders.exchange import OrderPorts, OrderSettings, TradingExchange
    from kraken_recon.orders.rules.order import Order

log = logging.getLogger(__name__)

VIA: Final = "command line"
# So often in a row may the books of a placed order not be readable before its command leaves it to others.
TROUBLES_MAX: Final = 3


@dataclass(slots=True)
class Ordering:
    """One decision on its way, and what is known of it."""

    ports: OrderPorts
    settings: OrderSettings = DEFAULTS
    key: str | None = None
    decision_id: int | None = None
    order: Order | None = None
    is_sent: bool = False

    def place(self, values: Mapping[str, Any], *, seconds: float) -> Order:
        """Record a decision, place it, and wait until its order has ended and its fills are here.

        A resting order is waited for at most ``seconds``; one of unknown outcome as long as a proof takes.

        Raises:
            OrderFollowedError: something was sent or may be, and what came of it is not known.
            DecisionRefusedError: the decision is refused.
            KrakenReconError: it failed before anything was sent, and nothing will be.
        """
        self._submit(values)
        try:
            self._accept(str(values.get("account")))
            return self._wait(seconds)
        except (DecisionRefusedError, OrderFollowedError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if not isinstance(error, (KrakenReconError, KeyboardInterrupt)):
                log.exception("unexpected failure")
            return self._leave(error)

    def _submit(self, values: Mapping[str, Any]) -> None:
        """Record the decision under a key, so that a lost answer of the database cannot make two of it."""
        key = self.key or f"{VIA} {uuid4()}"
        try:
            self.decision_id = submit_decision(values, self.ports, key=key, via=VIA)
        except StoreError as error:
            log.warning("the decision is recorded again, under the same key: %s", error)
            try:
                self.decision_id = submit_decision(values, self.ports, key=key, via=VIA)
            except StoreError as again:
                message = (
                    f"it is not known whether the decision was recorded ({again}); only with --key '{key}' "
                    "may it be given again, and is the same decision then"
                )
                raise OrderFollowedError(message) from again

    def _accept(self, account: str) -> None:
        assert self.decision_id is not None  # noqa: S101 - for the type checker
        failures = accept_decisions(self.ports)
        with self.ports.open_unit_of_work() as unit:
            _, refusal, order_id = OrderStore(unit).decision(self.decision_id)
            if order_id is not None:
                [self.order] = OrderStore(unit).orders([order_id])
        if refusal is not None:
            raise DecisionRefusedError(f"decision {self.decision_id} is refused: {refusal}")
        if self.order is None:
            raise ConfigurationError(failures.get(account, "another worker is at it"))

    def _wait(self, seconds: float) -> Order:
        assert self.order is not None  # noqa: S101 - for the type checker
        with self.ports.open_unit_of_work() as unit:
            account = OrderStore(unit).account_of(self.order.order_id)
        started = self.ports.clock()
        troubles = 0
        with self.ports.open_exchange(account) as exchange:
            while True:
                trouble = self._work(account, exchange)
                troubles = troubles + 1 if trouble else 0
                if trouble and (not self.is_sent or troubles >= TROUBLES_MAX):
                    raise trouble
                waited = self.ports.clock() - started
                if self._is_over(waited, seconds) and not trouble:
                    return self._known()
                if trouble and waited.total_seconds() >= seconds:
                    raise trouble
                self.ports.pause(self.settings.wait_seconds)

    def _work(self, account: Account, exchange: TradingExchange) -> KrakenReconError | None:
        """Work on the account once and read the order; say what failed that may concern it."""
        trouble: KrakenReconError | None = None
        try:
            work_account(account, exchange, self.ports, self.settings, told=self._sent)
        except KrakenReconError as error:
            trouble = error
        order = self._read()
        is_of_others = isinstance(trouble, OrderStuckError) and f"order {order.order_id}:" not in str(trouble)
        return None if is_of_others or (order.status in ENDED and order.settled_at) else trouble

    def _read(self) -> Order:
        assert self.order is not None  # noqa: S101 - for the type checker
        with self.ports.open_unit_of_work() as unit:
            [self.order] = OrderStore(unit).orders([self.order.order_id])
        self.is_sent = self.order.submitted_at is not None
        return self.order

    def _sent(self, intent: Order) -> None:
        if self.order is not None and intent.order_id == self.order.order_id:
            self.order, self.is_sent = intent, True

    def _is_over(self, waited: timedelta, seconds: float) -> bool:
        order, settings = self.order, self.settings
        assert order is not None  # noqa: S101 - for the type checker
        if order.status in ENDED and order.settled_at:
            return True
        if order.status not in IN_DOUBT:
            return waited.total_seconds() >= seconds
        # A look may come just too early, twice.
        proof = settings.deadline + settings.absence_margin + 3 * settings.absence_gap
        return waited >= proof and waited.total_seconds() >= seconds

    def _known(self) -> Order:
        """Return the order if it is known where it stands."""
        order = self.order
        assert order is not None  # noqa: S101 - for the type checker
        if order.status in IN_DOUBT:
            raise OrderFollowedError("Kraken's books do not settle yet whether it was placed", order=order)
        if order.status in ENDED and not order.settled_at:
            raise OrderFollowedError("it has ended, and its fills are not all here yet", order=order)
        if order.status is OrderStatus.DECIDED:
            reason = order.status_reason or "it waits for the next execution"
            raise OrderFollowedError(f"it is kept, and not sent yet: {reason}", order=order)
        return order

    def _leave(self, error: BaseException) -> Order:
        """Take back what was not sent; where that cannot be, or is not wanted, say what is followed.

        Raises:
            OrderFollowedError: something was sent, or may be.
            ConfigurationError: it is taken back.
        """
        reason = _told(error)
        if not self.is_sent and self.key is None and self._taken_back(reason):
            raise ConfigurationError(
                f"nothing is ordered, decision {self.decision_id} is taken back: {reason}"
            ) from error
        if self.is_sent:
            with suppress(KrakenReconError):
                self._read()
        if self.order is not None and self.order.status in ENDED and self.order.settled_at:
            return self.order
        kept = f"decision {self.decision_id} is kept and waits for the next execution: {reason}"
        message = reason if self.is_sent else kept
        raise OrderFollowedError(message, order=self.order, decision_id=self.decision_id) from error

    def _taken_back(self, reason: str) -> bool:
        """Take back a decision or an order that nobody has sent; False where that is not sure."""
        assert self.decision_id is not None  # noqa: S101 - for the type checker
        try:
            if self.order is None and take_back(self.decision_id, reason, self.ports):
                return True
            return self._order_taken_back(reason)
        except KrakenReconError:
            log.warning("decision %s could not be taken back", self.decision_id)
            return False

    def _order_taken_back(self, reason: str) -> bool:
        with self.ports.open_unit_of_work() as unit:
            _, _, order_id = OrderStore(unit).decision(self.decision_id or 0)
            if order_id is None:
                return False
            [order] = OrderStore(unit).lock_orders([order_id])
            self.order, self.is_sent = order, order.submitted_at is not None
            if order.status is OrderStatus.DECIDED:
                OrderStore(unit).save(
                    order, taken_back(order, reason, self.ports), "taken back", by=self.ports.worker
                )
                unit.commit()
                return True
        return False


def taken_back(order: Order, reason: str | None, ports: OrderPorts) -> Order:
    """Write a decided order as taken back before it was sent."""
    told = f"taken back: {reason}" if reason else "taken back"
    return order.ended(OrderStatus.REFUSED, told, ports.clock())


def _told(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    if isinstance(error, ConfigurationError):
        return str(error)
    if isinstance(error, KrakenReconError):
        return f"{type(error).__name__}: {error}"
    return f"unexpected {type(error).__name__}, see the log"

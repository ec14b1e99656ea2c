"""What placing and following orders needs from the outside world."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from kraken_recon.orders.rules.bounds import DEFAULT_BOUNDS, DecisionBounds
from kraken_recon.values.threads import keep_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerEntry
    from kraken_recon.orders.rules.bounds import MarketPrice
    from kraken_recon.orders.rules.order import Fill, Order
    from kraken_recon.orders.rules.reports import ReportedOrder
    from kraken_recon.orders.rules.sizing import Markets


class OrderRecords(Protocol):
    """The orders and trades of one account at Kraken, read only. Not thread-safe: one object per thread."""

    def markets(self, name: str | None = None) -> Markets:
        """Read Kraken's markets, from a copy of the last minutes if there is one that has this one."""
        ...

    def balances(self) -> Mapping[HoldingKey, Balance]:
        """Read ``BalanceEx``."""
        ...

    def query_orders(self, txids: Collection[str]) -> Mapping[str, ReportedOrder]:
        """Read orders by Kraken's id; one that is not shown yet is left out."""
        ...

    def open_orders(self) -> Mapping[str, ReportedOrder]:
        """Read every open order."""
        ...

    def closed_orders(self, *, after: datetime) -> Mapping[str, ReportedOrder]:
        """Read every order opened or closed later than ``after`` that is no longer open."""
        ...

    def trades(self, *, after: datetime) -> Mapping[str, Fill]:
        """Read every trade later than ``after``."""
        ...

    def trades_of(self, trade_ids: Collection[str]) -> Mapping[str, Fill]:
        """Read trades by id; one that is not shown yet is left out."""
        ...

    def ledger_entries(
        self, refids: Collection[str], *, after: datetime, until: datetime
    ) -> tuple[LedgerEntry, ...]:
        """Read the ledger entries of trades within a window of time."""
        ...

    def ledger_between(self, after: datetime, until: datetime) -> tuple[LedgerEntry, ...]:
        """Read every ledger entry later than ``after`` and not later than ``until``."""
        ...


class TradingExchange(OrderRecords, Protocol):
    """One account at Kraken, with the right to trade."""

    def check_trading_key(self) -> None:
        """Refuse a key that may not trade (``ConfigurationError`` with what to change)."""
        ...

    def server_time(self) -> datetime:
        """Read Kraken's clock, in whole seconds."""
        ...

    def price(self, pair: str) -> MarketPrice | None:
        """Read what a pair costs now; None where it never traded."""
        ...

    def add_order(self, order: Order) -> str | None:
        """Send an order once and return Kraken's id; None for a dry run.

        After ``ExchangeUnavailableError`` and ``PayloadInvalidError`` the outcome is unknown; after any other
        error of this project nothing was executed.
        """
        ...

    def cancel_order(self, txid: str) -> None:
        """Ask for an order's cancellation, once."""
        ...

    def amend_order(
        self,
        txid: str,
        *,
        volume: Decimal | None,
        limit_price: Decimal | None,
        trigger_price: Decimal | None,
        deadline: datetime,
    ) -> None:
        """Change an open order in place, once."""
        ...


@dataclass(frozen=True, slots=True)
class OrderPorts:
    """The outside world, wired by the caller; ``worker`` names who is at work in every event.

    ``keep_open`` keeps what so many accounts take that are asked at a time for those that come next.
    """

    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    open_exchange: Callable[[Account], AbstractContextManager[TradingExchange]]
    clock: Callable[[], datetime]
    pause: Callable[[float], None] = time.sleep
    stop: Callable[[], None] = lambda: None
    worker: str = "kraken_recon"
    bounds: DecisionBounds = DEFAULT_BOUNDS
    keep_open: Callable[[int], AbstractContextManager[None]] = keep_nothing


@dataclass(frozen=True, slots=True)
class OrderSettings:
    """How long things may take.

    An order can be accepted until its deadline, and Kraken's books were seen up to two minutes late: an order
    is declared not placed only when they were found without it twice, ``absence_gap`` apart, the first time
    ``absence_margin`` after its deadline.
    """

    deadline: timedelta = timedelta(seconds=10)
    absence_margin: timedelta = timedelta(seconds=90)
    absence_gap: timedelta = timedelta(seconds=30)
    # Balances younger than this may not show what the newest orders took.
    balance_lag: timedelta = timedelta(seconds=3)
    # Clocks differ; an order's intent is older than anything Kraken knows of it.
    clock_skew: timedelta = timedelta(minutes=1)
    settle_patience: timedelta = timedelta(minutes=10)
    look_every: timedelta = timedelta(minutes=5)
    first_look_back: timedelta = timedelta(hours=1)
    # So long is an order that was declared not placed still looked for.
    late_look_back: timedelta = timedelta(days=1)
    sends_max: int = 4
    sizing_tries_max: int = 8
    wait_seconds: float = 1.0
    follow_passes: int = 4
    concurrency: int = 4


DEFAULTS = OrderSettings()

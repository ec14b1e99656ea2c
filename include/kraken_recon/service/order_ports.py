"""What placing and following orders needs from the outside world."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from kraken_recon.domain.bounds import DEFAULT_BOUNDS, DecisionBounds
from kraken_recon.service.lock_patience import LockingUnit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.domain.alert_kinds import AlertKind
    from kraken_recon.domain.bounds import MarketPrice
    from kraken_recon.domain.ledger import Balance, HoldingKey, LedgerEntry
    from kraken_recon.domain.markets import Markets
    from kraken_recon.domain.orders import Fill, NewDecision, Order, OrderStatus
    from kraken_recon.domain.records import Account
    from kraken_recon.domain.reported_orders import ReportedOrder
    from kraken_recon.service.costing import CostStore
    from kraken_recon.service.ports import SyncStore


class OrderBooks(Protocol):
    """The orders and trades of one account at Kraken, read only. Not thread-safe: one object per thread."""

    def markets(self) -> Markets:
        """Read Kraken's markets, from a copy of the last minutes if there is one."""
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


class TradingExchange(OrderBooks, Protocol):
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


class OrderStore(Protocol):
    """The rows of orders, inside one transaction."""

    def add_decision(self, payload: str, *, key: str | None, via: str, received_at: datetime) -> int:
        """Keep a decision as it came; return its id."""
        ...

    def first_of_key(self, key: str, *, judging: int | None = None) -> NewDecision | None:
        """Keep others from using a key until the transaction ends, and find what it stands for."""
        ...

    def new_decisions(self, *, after: int | None, limit: int) -> list[NewDecision]:
        """List decisions that nobody has judged yet."""
        ...

    def lock_decision(self, decision_id: int) -> bool:
        """Take a decision to judge it; False when somebody else does or did."""
        ...

    def judge_decision(
        self,
        decision_id: int,
        *,
        order_id: int | None = None,
        refusal: str | None = None,
        first: int | None = None,
        key: str | None = None,
    ) -> None:
        """Say what came of a locked decision: an order, a refusal, or nothing new under its key."""
        ...

    def decision(self, decision_id: int) -> tuple[str, str | None, int | None]:
        """Read a decision's status, refusal and order; of one that repeats another, that one's."""
        ...

    def insert_order(self, values: Mapping[str, Any]) -> int | None:
        """Write a new order, columns by name; None where Kraken's id is known already."""
        ...

    def accounts_at_work(self) -> list[Account]:
        """Name the active accounts that have orders to place or to follow."""
        ...

    def account_of(self, order_id: int) -> Account:
        """Find the account of an order (``ConfigurationError`` for an unknown one)."""
        ...

    def lock_account(self, account_id: int) -> None:
        """Become the only one who sizes orders of this account."""
        ...

    def find_decided(self, account_id: int, put_off: Collection[int]) -> tuple[int, str] | None:
        """Find the oldest decided order, and its pair, without taking it."""
        ...

    def lock_expired(self, now: datetime, account_id: int | None = None) -> list[Order]:
        """Take the decided orders, of an account or of all, that may no longer leave; skip others' own."""
        ...

    def take_decided(self, order_id: int) -> Order | None:
        """Take a decided order; None when somebody else has taken it."""
        ...

    def claimed(self, account_id: int, asset: str, read_from: datetime) -> Decimal:
        """Sum what orders may take of an asset that a reading begun at ``read_from`` may not show."""
        ...

    def orders(self, order_ids: Collection[int]) -> list[Order]:
        """Read orders by id."""
        ...

    def lock_orders(self, order_ids: Collection[int]) -> list[Order]:
        """Lock orders in key order and read them as they are now."""
        ...

    def unresolved(self, account_id: int) -> list[Order]:
        """Read the orders whose request left and whose outcome is not known."""
        ...

    def followed(self, account_id: int) -> list[Order]:
        """Read the orders that are open, or have ended while their fills are not complete here."""
        ...

    def known_at_kraken(
        self, account_id: int, *, txids: Collection[str], cl_ord_ids: Collection[str]
    ) -> list[Order]:
        """Read the orders that bear one of these ids."""
        ...

    def save(
        self, before: Order, after: Order, what: str, *, by: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Write what became of a locked order, and why, as the next event of its story."""
        ...

    def add_event(  # noqa: PLR0913 - each is one column
        self,
        order_id: int,
        before: OrderStatus | None,
        after: OrderStatus,
        what: str,
        *,
        by: str,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Append to an order's story."""
        ...

    def record_fills(self, account_id: int, fills: Mapping[str, tuple[int, Fill]]) -> set[str]:
        """Record fills by trade id, each with its order's id; return those that are new."""
        ...

    def fills_of(self, order_ids: Collection[int]) -> dict[int, list[tuple[Fill, int]]]:
        """Read the fills of orders by order, each with the number of its ledger entries here."""
        ...

    def notify_ended(self) -> None:
        """Wake whoever verifies orders, once this transaction commits."""
        ...

    def take_looks(
        self, names: Collection[str] | None, *, now: datetime, due_before: datetime
    ) -> dict[int, datetime | None]:
        """Take the accounts whose orders are due to be looked through; return up to when that was done."""
        ...

    def looked_through(self, account_id: int, read_until: datetime) -> None:
        """Say up to when an account's orders at Kraken were looked through."""
        ...

    def recorded_holdings(
        self, account_id: int, assets: Collection[str], *, before: datetime
    ) -> dict[str, Decimal]:
        """Read what should be in the wallets that trading draws on, by asset; empty for an unopened account.

        Recorded quantities, and what they were known before a moment to differ by.
        """
        ...

    def under_way(self, account_id: int, asset: str) -> Decimal:
        """Sum what orders that are open, or whose fills are not all here, may have taken of an asset."""
        ...

    def recorded_trades(self, account_id: int, trade_ids: Collection[str]) -> set[str]:
        """Name those of these trades that are recorded as fills."""
        ...

    def lately_absent(self, account_id: int, *, after: datetime) -> list[Order]:
        """Read the orders that were declared not placed since, because Kraken's books did not show them."""
        ...

    def give_fills(self, order_id: int, to_order_id: int) -> None:
        """Let the fills of one order be another's, and give up what was to be verified of the first."""
        ...

    def resolve_alerts_about(self, account_id: int, subject: str, kinds: Collection[AlertKind]) -> None:
        """Resolve the open alerts of some kinds about one thing of an account."""
        ...

    def trace(self, order_id: int) -> dict[str, Any]:
        """Read everything on record of an order; empty for an unknown one."""
        ...


class OrderUnitOfWork(LockingUnit, Protocol):
    """One database session and transaction; rolled back unless committed, always closed."""

    @property
    def orders(self) -> OrderStore:
        """Orders, decisions and fills."""
        ...

    @property
    def sync(self) -> SyncStore:
        """Ledger entries and positions."""
        ...

    @property
    def costs(self) -> CostStore:
        """Average costs and realised results."""
        ...

    def commit(self) -> None:
        """Make the work permanent."""
        ...


@dataclass(frozen=True, slots=True)
class OrderPorts:
    """The outside world, wired by the caller; ``worker`` names who is at work in every event."""

    open_unit_of_work: Callable[[], AbstractContextManager[OrderUnitOfWork]]
    open_exchange: Callable[[Account], AbstractContextManager[TradingExchange]]
    clock: Callable[[], datetime]
    pause: Callable[[float], None] = time.sleep
    stop: Callable[[], None] = lambda: None
    worker: str = "kraken_recon"
    bounds: DecisionBounds = DEFAULT_BOUNDS


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

"""A desk that trades: accounts at the simulator and in the trading database, on a clock that tests move."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from desks.logins import as_writer
from desks.pooled_sessions import pooled_engine
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.kraken.client import RetryPolicy
from kraken_recon.kraken.credentials import credentials_from_connection
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.order_reading_client import MarketCache
from kraken_recon.kraken.trading_client import TradingClient
from kraken_recon.orders.deciding import submit_decision
from kraken_recon.orders.exchange import OrderPorts, OrderSettings
from kraken_recon.orders.executing import Executed, execute_orders
from kraken_recon.orders.rules.bounds import DEFAULT_BOUNDS, DecisionBounds
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncPorts, SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.connection_fields import ConnectionFields
from kraken_recon.values.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy as sa

    from conftest import Simulator
    from kraken_recon.accounts.account import Account

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
QUICK = RetryPolicy(wait_first_seconds=0.01, wait_max_seconds=0.05, wait_rate_limited_seconds=0.05)
READING = ["query-funds", "query-ledger", "query-open-trades", "query-closed-trades"]
TRADING = [*READING, "modify-trades", "close-trades"]
SECRET = base64.b64encode(b"a trading desk's secret".ljust(64)).decode()


@dataclass
class TradingDesk:
    """Accounts whose orders go to the simulator; ``pause`` moves its virtual clock."""

    simulator: Simulator
    database_url: str
    timeout_seconds: tuple[float, float] = (1.0, 0.3)
    settings: OrderSettings = field(default_factory=OrderSettings)
    engine: sa.Engine = field(init=False)
    _administrator: sa.Engine = field(init=False)
    markets: MarketCache = field(default_factory=MarketCache)
    slots: dict[str, InProcessCallSlots] = field(default_factory=dict)
    clock_error: timedelta = timedelta(0)
    bounds: DecisionBounds = DEFAULT_BOUNDS

    def __post_init__(self) -> None:
        self.engine = pooled_engine(as_writer(self.database_url), owner=self)
        self._administrator = pooled_engine(self.database_url, owner=self)
        self.simulator.control.post("clock", {"mode": "virtual", "now": str(NOON.timestamp())})

    def close(self) -> None:
        """End the pooled sessions."""
        self.engine.dispose()
        self._administrator.dispose()

    def account(
        self,
        name: str = "desk",
        *,
        tier: str = "unlimited",
        permissions: Sequence[str] = TRADING,
        **opening: str,
    ) -> None:
        """Open an account at the simulator and in the database."""
        self.simulator.control.post(
            "accounts",
            {
                "name": name,
                "api_key": f"key-of-{name}",
                "api_secret": SECRET,
                "tier": tier,
                "answers_at_once": True,
                "permissions": list(permissions),
                "opening": opening or {"XXBT": "10", "XETH": "100", "ZUSD": "1000000"},
            },
        )
        self.execute("insert into trading.accounts (name, kraken_conn_id) values (%s, %s)", name, name)

    def now(self) -> datetime:
        """Read the simulator's clock."""
        reading = self.simulator.control.get("clock")["now"]
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(Decimal(reading) * 1_000_000))

    def pause(self, seconds: float) -> None:
        """Let time pass at the exchange."""
        self.simulator.control.post("clock", {"advance_seconds": f"{seconds:f}"})

    @contextmanager
    def open_exchange(self, account: Account) -> Iterator[TradingClient]:
        """Open a real client on the simulator, with timeouts that keep tests short."""
        fields = ConnectionFields(
            login=f"key-of-{account.name}",
            password=SECRET,
            host=self.simulator.base_url,
            extra={"tier": "unlimited"},
        )
        credentials = credentials_from_connection(account.kraken_conn_id, fields, allowed_hosts={"127.0.0.1"})
        with TradingClient(
            credentials,
            account=account.name,
            slots=self.slots.setdefault(account.name, InProcessCallSlots()),
            timeout_seconds=self.timeout_seconds,
            retries=QUICK,
            sleep=lambda _: None,
            markets=self.markets,
        ) as client:
            yield client

    @property
    def ports(self) -> OrderPorts:
        """The outside world of this desk's orders."""
        return OrderPorts(
            lambda: UnitOfWork(self.engine),
            self.open_exchange,
            lambda: self.now() + self.clock_error,
            self.pause,
            worker="test",
            bounds=self.bounds,
        )

    def decide(self, account: str = "desk", *, key: str | None = None, **values: Any) -> int:
        """Put a decision into the table."""
        given = {"account": account, "pair": "BTC/USD", "side": "buy", **values}
        return submit_decision(given, self.ports, key=key, via="row")

    def execute_orders(self, **settings: Any) -> Executed:
        """Run one execution."""
        return execute_orders(self.ports, replace(self.settings, **settings))

    def run_until_settled(self, rounds: int = 30, step_seconds: float = 20) -> int:
        """Execute while time passes, until no order is left to place, find or follow; return the rounds."""
        for number in range(rounds):
            self.execute_orders()
            left = self.rows(
                "select status from trading.orders where status in ('decided', 'submitting', 'unknown')"
                " or (ended_at is not null and settled_at is null)"
            )
            if not left:
                return number
            self.pause(step_seconds)
        raise AssertionError(f"after {rounds} rounds there are still orders {left}")

    def sync(self, *names: str) -> None:
        """Reconcile accounts now."""
        now = self.now()
        ports = SyncPorts(lambda: UnitOfWork(self.engine), self.open_exchange, self.now, self.pause)
        with UnitOfWork(self.engine) as unit:
            accounts = AccountStore(unit).find_accounts(names or None)
        request = SyncRequest(Interval(now - timedelta(minutes=15), now), Mode.REPAIR, Policy())
        sync_accounts(accounts, request, ports)

    def prices(self, **prices: str) -> None:
        """Move the market."""
        self.simulator.control.post("prices", prices)

    def fault(self, name: str, **options: Any) -> None:
        """Set a fault at the exchange."""
        self.simulator.control.post("faults", {"name": name, **options})

    def truth(self, account: str = "desk") -> dict[str, Any]:
        """Read what really happened at the exchange."""
        statement: dict[str, Any] = self.simulator.control.get(f"accounts/{account}/statement")
        return statement

    def true_orders(self, account: str = "desk") -> list[dict[str, Any]]:
        """Read every order that the exchange has, whoever placed it."""
        orders: list[dict[str, Any]] = self.truth(account)["orders"]
        return orders

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Read rows of the trading database."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.exec_driver_sql(query, values).mappings()]

    def execute(self, statement: str, *values: object) -> None:
        """Run SQL as the administrator and commit."""
        with self._administrator.begin() as connection:
            connection.exec_driver_sql(statement, values)

    def orders(self) -> list[dict[str, Any]]:
        """Read all orders, oldest first."""
        return self.rows("select * from trading.orders order by order_id")

    def order(self) -> dict[str, Any]:
        """Read the only order."""
        [order] = self.orders()
        return order

    def story(self, order_id: int) -> list[str]:
        """Read what happened to an order."""
        return [
            row["what"]
            for row in self.rows(
                "select what from trading.order_events where order_id = %s order by event_id", order_id
            )
        ]

    def positions(self, account: str = "desk") -> dict[str, Decimal]:
        """Read an account's recorded spot quantities that are not zero."""
        return {
            row["asset"]: row["quantity"]
            for row in self.rows(
                "select asset, quantity from trading.positions join trading.accounts using (account_id)"
                " where name = %s and wallet = 'spot' and quantity <> 0",
                account,
            )
        }

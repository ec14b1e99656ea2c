"""Where cells are played one by one: a simulator and a database, on one clock that only cells move."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

import requests
import sqlalchemy as sa

from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import DRIVER, SessionLimits, UnitOfWork, begin_within
from kraken_recon.kraken.client import RetryPolicy
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.order_reading_client import MarketCache
from kraken_recon.kraken.trading_client import TradingClient
from local_stack.processes import dying_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kraken_recon.accounts.account import Account

START: Final = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
SECRET: Final = base64.b64encode(b"an account of the fault matrix".ljust(64)).decode()
PERMISSIONS: Final = (
    *("query-funds", "query-ledger", "query-open-trades", "query-closed-trades"),
    *("modify-trades", "close-trades"),
)
#: A silence of the exchange that is longer is given up; every hang of the matrix is.
TIMEOUT_SECONDS: Final = (1.0, 0.8)
#: Two tries tell what passes by itself from what does not; nobody waits between them.
RETRIES: Final = RetryPolicy(attempts_max=2, nonce_attempts_max=2, wait_first_seconds=0.001)


@dataclass
class Lane:
    """One simulator, one database, and the accounts of the cell that is played.

    Attributes:
        url: of the database, as who owns it.
        desk_url: of a bot's own database.
        place: a folder for files.
        simulator_url: where the simulator answers.
        exchange_url: where the product is told that Kraken is; a cell may lead it astray.
        now: the time at the exchange.
        clock_error: by how much this machine's clock is wrong.
    """

    url: str
    desk_url: str
    simulator_url: str
    place: Path
    now: datetime = START
    clock_error: timedelta = timedelta(0)
    exchange_url: str = ""
    proxy: str = ""
    markets: MarketCache = field(default_factory=MarketCache)
    _slots: dict[str, InProcessCallSlots] = field(default_factory=dict)
    _moving: threading.RLock = field(default_factory=threading.RLock)
    _cells: int = 0

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(self.url.replace("postgresql://", DRIVER, 1))
        begin_within(self.engine, SessionLimits())
        self._control = requests.Session()

    def close(self) -> None:
        """End the sessions."""
        self.engine.dispose()
        self._control.close()

    def begin(self) -> str:
        """Forget what the last cell left, and name this one's accounts apart from all others."""
        self._cells += 1
        self.control("POST", "reset")
        self.execute("update trading.accounts set is_active = false where is_active")
        self.now, self.clock_error = START, timedelta(0)
        self.exchange_url, self.proxy = self.simulator_url, ""
        self.markets = MarketCache()
        self._slots.clear()
        self.advance(0)
        return f"{os.getpid()}-{self._cells}"

    def control(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        """Speak to the simulator's control interface."""
        reply = self._control.request(method, f"{self.simulator_url}/_sim/{path}", json=body, timeout=30)
        assert reply.ok, f"{method} /_sim/{path} answered {reply.status_code}: {reply.text[:2000]}"
        return reply.json() if reply.content else None

    def advance(self, seconds: float) -> None:
        """Let time pass at the exchange; it is a pause of the product's, too."""
        with self._moving:
            self.now += timedelta(seconds=seconds)
            self.control("POST", "clock", {"mode": "virtual", "now": f"{self.now.timestamp():.6f}"})

    def clock(self) -> datetime:
        """Read this machine's clock."""
        return self.now + self.clock_error

    def account(self, name: str, opening: dict[str, str], entries: list[dict[str, str]] | None = None) -> int:
        """Open an account at the simulator and in the database; return its id there."""
        self.control(
            "POST",
            "accounts",
            {
                "name": name,
                "api_key": f"key-of-{name}",
                "api_secret": SECRET,
                "tier": "unlimited",
                "answers_at_once": True,
                "permissions": list(PERMISSIONS),
                "opening": opening,
                "entries": entries or [],
            },
        )
        [row] = self.rows(
            "insert into trading.accounts (name, kraken_conn_id) values (%s, %s) returning account_id",
            name,
            name,
        )
        return int(row["account_id"])

    def accounts(self, *names: str) -> list[Account]:
        """Read accounts as the product does."""
        with UnitOfWork(self.engine) as unit:
            return AccountStore(unit).find_accounts(names)

    def unit_of_work(self) -> UnitOfWork:
        """Give a transaction of the trading database."""
        return UnitOfWork(self.engine)

    def credentials(self, name: str) -> KrakenCredentials:
        """Give an account's key."""
        return KrakenCredentials(f"key-of-{name}", SECRET, self.exchange_url, "unlimited", self.proxy)

    @contextmanager
    def open_exchange(self, account: Account) -> Iterator[TradingClient]:
        """Open an account with the product's own client, which is not patient here."""
        with TradingClient(
            self.credentials(account.name),
            account=account.name,
            slots=self._slots.setdefault(account.name, InProcessCallSlots()),
            timeout_seconds=TIMEOUT_SECONDS,
            retries=RETRIES,
            sleep=lambda _: None,
            now=self.clock,
            markets=self.markets,
        ) as client:
            yield client

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Read rows, and commit what a statement that returns them has written."""
        with self.engine.begin() as connection:
            return [dict(row) for row in connection.exec_driver_sql(query, values).mappings()]

    def execute(self, statement: str, *values: object) -> None:
        """Run a statement and commit."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement, values)

    def fault(self, name: str, **options: Any) -> None:  # noqa: ANN401 - whatever the fault takes
        """Set a fault at the exchange."""
        self.control("POST", "faults", {"name": name, **options})

    def end_faults(self) -> None:
        """Take every fault back."""
        self.control("DELETE", "faults")

    def struck(self) -> int:
        """Count how often faults struck."""
        return len(self.control("GET", "truth")["faults"])

    def astray(self) -> list[str]:
        """Say who followed a redirect to where nobody has business."""
        return [f"followed a redirect: {one}" for one in self.control("GET", "truth")["landed"]]

    def statement(self, name: str) -> dict[str, Any]:
        """Read the truth about an account."""
        told: dict[str, Any] = self.control("GET", f"accounts/{name}/statement")
        return told


@dataclass
class RunningSimulator:
    """A simulator in a process of its own, which dies with this one."""

    seed: int = 1

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "kraken_sim", "--port", "0", "--seed", str(self.seed)]
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=dying_with_parent(),  # noqa: PLW1509
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

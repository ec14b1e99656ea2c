"""Call slots of one API key, shared through Postgres by every worker that uses the key.

Invariants:
1. A session advisory lock is held from before a nonce is made until its call is answered: nonces arrive at
   Kraken in the order of their making. Without it a quarter of concurrent calls had an invalid nonce.
2. Nobody waits for call budget while holding that lock.
3. A killed worker frees the lock at once; a hung one when the server ends its idle session. The call that it
   might still send then carries a nonce below its successor's, and Kraken refuses it.
4. Nonces are microseconds and never fall behind the clock, whatever commits a crash of the server loses. The
   unit must never change: Kraken would refuse every smaller nonce of the key for good.
5. Neither the key nor its secret is stored, only a fingerprint of the public key.
"""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import psycopg

from kraken_recon.database.addresses import connection_parameters
from kraken_recon.database.connecting import connect
from kraken_recon.database.driver_errors import right_missing
from kraken_recon.database.named_sql import load
from kraken_recon.database.poolers import no_direct_dsn, note_lent, own_session_address
from kraken_recon.database.session_registry import Declaration, registered_connection
from kraken_recon.database.statement_spans import place_of, stating
from kraken_recon.errors import (
    LockUnavailableError,
    RateLimitedError,
    SchemaMismatchError,
    StoreError,
)
from kraken_recon.kraken.rate_limits import TIERS, CallBudget
from kraken_recon.values.usage_meter import UseMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from types import TracebackType

    from kraken_recon.values.task_identity import TaskIdentity
    from kraken_recon.values.usage_meter import KeyMeter

QUERIES: Final = load(__file__, "call_slots")
# Our level starts to fall when a call leaves, Kraken's when it arrives: without a margin of at least half a
# call, one call in six over the burst was refused.
MARGIN: Final = Decimal(1)
# Longer than the longest call of the client, so that only a hung worker loses its session.
IDLE_SESSION_TIMEOUT_SECONDS: Final = 60.0
LOCK_TIMEOUT_SECONDS: Final = 90.0
WAIT_LIMIT_SECONDS: Final = 300.0
_FIRST_QUERIES: Final = frozenset({"lock_key", "needs_check", "mark_checked"})


def fingerprint(api_key: str) -> str:
    """Name a key without disclosing it."""
    return hashlib.sha256(api_key.encode()).hexdigest()


class PostgresCallSlots:
    """Call slots in Postgres; a context manager that owns one connection.

    The connection is opened at the first use and closed at the end of the ``with`` block. A pooler that pools
    by transaction would lose its lock: then ``direct_dsn`` leads past it, or the slots refuse to work.
    """

    def __init__(  # noqa: PLR0913 - all but one by name, and most with a default
        self,
        dsn: str,
        *,
        api_key: str,
        tier: str | CallBudget,
        direct_dsn: Callable[[], str | None] = no_direct_dsn,
        application_name: str = "kraken_recon:api_slots",
        task: TaskIdentity | None = None,
        idle_session_timeout_seconds: float = IDLE_SESSION_TIMEOUT_SECONDS,
        lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
        wait_limit_seconds: float = WAIT_LIMIT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        meter: KeyMeter | None = None,
    ) -> None:
        connection_parameters(dsn)  # refused here, not at the first use
        self._dsn, self._direct_dsn = dsn, direct_dsn
        self._meter = meter or UseMeter().of_key("")
        self._key_fingerprint = fingerprint(api_key)
        self._lock_number = int.from_bytes(bytes.fromhex(self._key_fingerprint)[:8], signed=True)
        self._budget = tier if isinstance(tier, CallBudget) else TIERS[tier]
        # One session, which idles between calls outside of any transaction, as the one place of a pool does.
        self._declaration = Declaration(
            application_name, round(idle_session_timeout_seconds), pool_size=1, connections_max=1, task=task
        )
        self._settings = {
            "idle_session_timeout_ms": str(round(idle_session_timeout_seconds * 1000)),
            "lock_timeout_ms": str(round(lock_timeout_seconds * 1000)),
        }
        self._wait_limit_seconds = wait_limit_seconds
        self._sleep = sleep
        self._connection: psycopg.Connection | None = None
        self._session: int | None = None
        self._is_entered = False

    def __enter__(self) -> Self:
        self._is_entered = True
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_entered = False
        self._disconnect()

    @contextmanager
    def take(self, cost: int) -> Iterator[int]:
        """Wait for budget, then yield a nonce; the call must be sent and answered inside the block.

        Raises:
            LockUnavailableError: another worker held the key for longer than the lock timeout.
            RateLimitedError: the key had no budget within the wait limit.
            StoreError: the database could not be asked.
        """
        nonce = self._wait_for_nonce(cost)
        try:
            yield nonce
        except RateLimitedError:
            self._meter.limit_met()
            with suppress(StoreError):
                self._fill_counter()
            raise
        finally:
            self._unlock()

    def needs_check(self, max_age: timedelta) -> bool:
        """Tell whether the key's permissions were last checked longer ago than ``max_age``, or never."""
        return bool(self._value("needs_check", max_age=max_age))

    def mark_checked(self) -> None:
        """Note that the key's permissions were just checked."""
        self._value("mark_checked")

    def _wait_for_nonce(self, cost: int) -> int:
        """Return with the lock held and the call charged."""
        budget = self._charge(cost)
        deadline = time.monotonic() + self._wait_limit_seconds
        room_seconds = turn_seconds = 0.0
        while True:
            asked = time.monotonic()
            self._lock_key()
            turn_seconds += time.monotonic() - asked
            slot = None
            try:
                slot = self._row("take_slot", **budget)
                wait_seconds = 0.0 if slot else float(self._value("seconds_until_room", **budget))
            finally:
                if slot is None:
                    self._unlock()
            if slot is not None:
                nonce, level = slot
                self._meter.slot_taken(self._percent(level), room_seconds, turn_seconds)
                return int(nonce)
            asked = time.monotonic()
            if asked + wait_seconds > deadline:
                raise RateLimitedError(f"no call budget for the key within {self._wait_limit_seconds:g} s")
            # Spread, or all workers of a key would wake up together.
            self._sleep(max(0.01, wait_seconds) * random.uniform(1, 1.2))  # noqa: S311 - not for secrecy
            room_seconds += time.monotonic() - asked

    def _lock_key(self) -> None:
        """Become the only one who sends, in the session in which this connection began."""
        if not self._value("lock_key", lock_number=self._lock_number):
            self._disconnect()
            note_lent(self._dsn)
            raise LockUnavailableError("a pooler has lent the session of a key's lock to others; ask again")

    def _percent(self, level: Decimal) -> float | None:
        return float(100 * level / self._budget.capacity) if self._budget else None

    def _charge(self, cost: int) -> Mapping[str, Decimal]:
        if self._budget is None:
            return {"cost": Decimal(0), "ceiling": Decimal("Infinity"), "decay_per_second": Decimal(0)}
        ceiling = self._budget.capacity - MARGIN
        if cost > ceiling:
            raise ValueError(f"expected a cost of at most {ceiling}, was {cost}")
        decay_per_second = self._budget.decay_per_second
        return {"cost": Decimal(cost), "ceiling": ceiling, "decay_per_second": decay_per_second}

    def _fill_counter(self) -> None:
        if self._budget is not None:
            self._value("fill_counter", capacity=self._budget.capacity)

    def _unlock(self) -> None:
        """Free the lock, by closing the session if it can't be done otherwise; the call itself has ended."""
        try:
            if self._connection is not None:
                _execute(self._connection, "unlock_key", {"lock_number": self._lock_number})
        except psycopg.Error:
            self._disconnect()

    def _value(self, query: str, **values: object) -> Any:  # noqa: ANN401 - a value of any SQL type
        """Run a query on the key and return its first value, if it has one."""
        row = self._row(query, **values)
        return row[0] if row else None

    def _row(self, query: str, **values: object) -> tuple[Any, ...] | None:
        """Run a query on the key and return its first row, if it has one."""
        # The server ends sessions that idle between two calls, so a first statement may need a new one. Later
        # statements may not: the lock went with the old session.
        may_reconnect = self._connection is not None and query in _FIRST_QUERIES
        try:
            return self._first_row(query, values)
        except psycopg.Error as error:
            is_closed = self._connection is not None and self._connection.closed
            if not (may_reconnect and is_closed):
                raise _store_error(error) from error
        self._disconnect()
        return self._row(query, **values)

    def _first_row(self, query: str, values: Mapping[str, object]) -> tuple[Any, ...] | None:
        if self._connection is None:
            self._connection = self._connect()
        parameters = {"key_fingerprint": self._key_fingerprint, "session": self._session, **values}
        cursor = _execute(self._connection, query, parameters)
        return cursor.fetchone() if cursor.description else None

    def _connect(self) -> psycopg.Connection:
        if not self._is_entered:
            raise RuntimeError("expected PostgresCallSlots to be used inside its with block")
        address = connection_parameters(own_session_address(self._dsn, self._direct_dsn))
        connection = registered_connection(lambda name: connect(address, name), self._declaration, address)
        try:
            configured = _execute(connection, "configure_session", self._settings).fetchone()
            self._session = configured[0] if configured else None
            _execute(connection, "register_key", {"key_fingerprint": self._key_fingerprint})
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _execute(
    connection: psycopg.Connection, query: str, parameters: Mapping[str, object]
) -> psycopg.Cursor[tuple[Any, ...]]:
    with stating(f"call_slots.{query}", QUERIES[query], lambda: place_of(connection)):
        return connection.execute(QUERIES[query], parameters)


def _store_error(error: psycopg.Error) -> StoreError:
    """Sort a database error; its text names host and role at most, never a password."""
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return LockUnavailableError("another worker held the API key for longer than the lock timeout")
    if isinstance(error, (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)):
        return SchemaMismatchError("trading.api_keys is missing or old: run `python -m kraken_recon migrate`")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return right_missing(f"call slots: {error}")
    return StoreError(f"call slots: {error}")


class CallSlots(Protocol):
    """The nonce stream and call budget of one API key, shared by every worker that uses the key."""

    def take(self, cost: int) -> AbstractContextManager[int]:
        """Wait for budget, then yield a nonce; the call must be sent and answered inside the block."""
        ...

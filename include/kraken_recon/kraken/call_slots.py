"""Call slots of one API key, shared through Postgres by every worker that uses the key.

Invariants:
1. A session advisory lock is held from before a nonce is made until its call is answered: nonces arrive at
   Kraken in the order of their making. Without it a quarter of concurrent calls had an invalid nonce.
2. Nobody waits for call budget while holding that lock.
3. A killed worker frees the lock at once; a hung one when the server ends its idle session. The call that it
   might still send then carries a nonce below its successor's, and Kraken refuses it.
4. Nonces are microseconds and never fall behind the clock, whatever commits a crash of the server loses. The
   unit must never change: Kraken would refuse every smaller nonce of the key for good.
   That is why the disk need not be waited for.
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

from kraken_recon.database.driver_errors import right_missing
from kraken_recon.errors import (
    LockUnavailableError,
    RateLimitedError,
    SchemaMismatchError,
    StoreError,
)
from kraken_recon.kraken.rate_limits import TIERS, CallBudget
from kraken_recon.kraken.slot_sessions import execute
from kraken_recon.values.usage_meter import UseMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from types import TracebackType

    from kraken_recon.kraken.slot_sessions import SlotSession, SlotSessions
    from kraken_recon.values.usage_meter import KeyMeter

# Our level starts to fall when a call leaves, Kraken's when it arrives: without a margin of at least half a
# call, one call in six over the burst was refused.
MARGIN: Final = Decimal(1)
WAIT_LIMIT_SECONDS: Final = 300.0
_FIRST_QUERIES: Final = frozenset(
    {"take_slot", "register_key", "checked_keys", "needs_check", "mark_checked"}
)


def fingerprint(api_key: str) -> str:
    """Name a key without disclosing it."""
    return hashlib.sha256(api_key.encode()).hexdigest()


class PostgresCallSlots:
    """Call slots in Postgres; a context manager that borrows a session at its first use, until its end.

    A pooler that pools by transaction would lose its lock: the sessions lead past it, or are refused.
    """

    def __init__(  # noqa: PLR0913 - all but one by name, and most with a default
        self,
        sessions: SlotSessions,
        *,
        api_key: str,
        tier: str | CallBudget,
        wait_limit_seconds: float = WAIT_LIMIT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        meter: KeyMeter | None = None,
    ) -> None:
        self._sessions = sessions
        self._meter = meter or UseMeter().of_key("")
        self._key_fingerprint = fingerprint(api_key)
        self._lock_number = int.from_bytes(bytes.fromhex(self._key_fingerprint)[:8], signed=True)
        self._budget = tier if isinstance(tier, CallBudget) else TIERS[tier]
        self._wait_limit_seconds = wait_limit_seconds
        self._sleep = sleep
        self._session: SlotSession | None = None
        self._is_registered = False
        self._may_hold_lock = False
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
        if self._may_hold_lock:
            self._drop_session()
        session, self._session = self._session, None
        if session is not None:
            self._sessions.give_back(session)

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
        checked = self._sessions.checked_keys(max_age, lambda: self._checked_keys(max_age))
        if self._key_fingerprint in checked:
            self._is_registered = True
            return False
        self._register()
        return bool(self._value("needs_check", max_age=max_age))

    def mark_checked(self) -> None:
        """Note that the key's permissions were just checked."""
        self._value("mark_checked")

    def _wait_for_nonce(self, cost: int) -> int:
        """Return with the lock held and the call charged."""
        budget = self._charge(cost)
        self._register()
        deadline = time.monotonic() + self._wait_limit_seconds
        room_seconds = turn_seconds = 0.0
        while True:
            asked = time.monotonic()
            slot = None
            try:
                slot = self._take_in_turn(budget)
                turn_seconds += time.monotonic() - asked
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

    def _take_in_turn(self, budget: Mapping[str, Decimal]) -> tuple[Any, ...] | None:
        """Become the only one who sends, in the session as it began, and charge the call if there is room."""
        self._may_hold_lock = True
        told = self._told("take_slot", {"lock_number": self._lock_number, **budget}, "lock_key")
        [is_held] = told.fetchone() or (False,)
        if not is_held:
            self._drop_session()
            self._sessions.note_lent()
            raise LockUnavailableError("a pooler has lent the session of a key's lock to others; ask again")
        told.nextset()
        return told.fetchone()

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
            if self._session is not None:
                execute(self._session.connection, "unlock_key", {"lock_number": self._lock_number})
            self._may_hold_lock = False
        except psycopg.Error:
            self._drop_session()

    def _checked_keys(self, max_age: timedelta) -> frozenset[str]:
        return frozenset(row[0] for row in self._told("checked_keys", {"max_age": max_age}).fetchall())

    def _register(self) -> None:
        """Make the key's row, unless it is known that there is one."""
        if not self._is_registered:
            self._told("register_key", {})
            self._is_registered = True

    def _value(self, query: str, **values: object) -> Any:  # noqa: ANN401 - a value of any SQL type
        """Run a query on the key and return its first value, if it has one."""
        told = self._told(query, values)
        row = told.fetchone() if told.description else None
        return row[0] if row else None

    def _told(
        self, query: str, values: Mapping[str, object], *before: str
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a query on the key, in a new session if the one that was borrowed is gone by now."""
        while True:
            try:
                return self._ask(query, values, *before)
            except psycopg.Error as error:
                # The server ends sessions that idle between two calls, so a first statement may need a new
                # one. Later statements may not: the lock went with the old session.
                session = self._session
                is_gone = session is not None and session.was_used and session.connection.closed
                if not (is_gone and query in _FIRST_QUERIES):
                    raise _store_error(error) from error
            self._drop_session()

    def _ask(self, query: str, values: Mapping[str, object], *before: str) -> psycopg.Cursor[tuple[Any, ...]]:
        if not self._is_entered:
            raise RuntimeError("expected PostgresCallSlots to be used inside its with block")
        if self._session is None:
            self._session = self._sessions.borrow()
        session = self._session
        of_key = {"key_fingerprint": self._key_fingerprint, "session": session.number}
        told = execute(session.connection, query, {**of_key, **values}, *before)
        session.was_used = True
        return told

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        self._may_hold_lock = False
        if session is not None:
            session.connection.close()


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

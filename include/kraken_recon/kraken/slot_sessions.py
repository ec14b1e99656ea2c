"""Sessions of the trading database in which call slots are taken, lent to one account after another.

A session for each account would cost more than its call: a handshake here, and a process of the server there.

Invariants:
1. A session is lent to one caller at a time. What it keeps from one to the next are limits, the same for all.
2. While many accounts are asked at least as many sessions are kept as ask at a time; else none is.
3. A session is the server's own, past a pooler where need be, and registered with how many are kept.
4. A process that was forked borrows none of its parent's.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from kraken_recon.database.addresses import connection_parameters
from kraken_recon.database.connecting import connect
from kraken_recon.database.named_sql import load
from kraken_recon.database.poolers import no_direct_dsn, note_lent, own_session_address
from kraken_recon.database.session_registry import Declaration, registered_connection
from kraken_recon.database.statement_spans import place_of, stating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import timedelta
    from typing import Any

    from kraken_recon.values.task_identity import TaskIdentity

QUERIES: Final = load(__file__, "call_slots")
# Longer than the longest call of the client, so that only a hung worker loses its session.
IDLE_SESSION_TIMEOUT_SECONDS: Final = 60.0
LOCK_TIMEOUT_SECONDS: Final = 90.0


@dataclass(slots=True, eq=False)
class SlotSession:
    """One session; ``number`` is its process's at the server, ``was_used`` whether a statement succeeded."""

    connection: psycopg.Connection
    number: int
    process_id: int
    was_used: bool = False


class SlotSessions:
    """Opens and keeps the sessions of one process at work."""

    def __init__(  # noqa: PLR0913 - all but one by name, and with a default
        self,
        dsn: str,
        *,
        direct_dsn: Callable[[], str | None] = no_direct_dsn,
        application_name: str = "kraken_recon:api_slots",
        task: TaskIdentity | None = None,
        idle_session_timeout_seconds: float = IDLE_SESSION_TIMEOUT_SECONDS,
        lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    ) -> None:
        connection_parameters(dsn)  # refused here, not at the first use
        self._dsn, self._direct_dsn = dsn, direct_dsn
        self._application_name, self._task = application_name, task
        self._idle_seconds = idle_session_timeout_seconds
        self._settings = {
            "idle_session_timeout_ms": str(round(idle_session_timeout_seconds * 1000)),
            "lock_timeout_ms": str(round(lock_timeout_seconds * 1000)),
        }
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._kept_max = 0
        self._kept: list[SlotSession] = []
        self._checked: dict[timedelta, frozenset[str]] = {}

    @contextmanager
    def keep_open(self, most: int) -> Iterator[None]:
        """Keep up to so many sessions for the next account, until the block ends."""
        with self._lock:
            self._kept_max += most
        try:
            yield
        finally:
            with self._lock:
                self._kept_max -= most
                surplus, self._kept = self._kept[self._kept_max :], self._kept[: self._kept_max]
                if not self._kept_max:
                    self._checked = {}
            for session in surplus:
                _close(session)

    def borrow(self) -> SlotSession:
        """Lend a session that is kept, or a new one; it must be given back.

        Raises:
            psycopg.Error: none could be opened.
            StoreError: the database cannot be asked whether a session stays its client's, or it does not.
        """
        with self._lock:
            own = [session for session in self._kept if session.process_id == os.getpid()]
            if own:
                self._kept.remove(own[-1])
                return own[-1]
        return self._open()

    def give_back(self, session: SlotSession) -> None:
        """Take a session back that holds no lock."""
        with self._lock:
            is_kept = len(self._kept) < self._kept_max and not session.connection.closed
            if is_kept:
                self._kept.append(session)
        if not is_kept:
            session.connection.close()

    def note_lent(self) -> None:
        """Remember that a pooler exchanged the session of a client between two transactions."""
        note_lent(self._dsn)

    def checked_keys(self, max_age: timedelta, read: Callable[[], frozenset[str]]) -> frozenset[str]:
        """Name the keys that need no check, read once while sessions are kept; else none is known."""
        if not self._kept_max:
            return frozenset()
        with self._looking:
            if max_age not in self._checked:
                self._checked[max_age] = read()
            return self._checked[max_age]

    def _open(self) -> SlotSession:
        address = connection_parameters(own_session_address(self._dsn, self._direct_dsn))
        # It idles between calls outside of any transaction, as the places of a pool do.
        places = max(1, self._kept_max)
        declaration = Declaration(
            self._application_name,
            round(self._idle_seconds),
            pool_size=places,
            connections_max=places,
            task=self._task,
        )
        connection = registered_connection(lambda name: connect(address, name), declaration, address)
        try:
            configured = execute(connection, "configure_session", self._settings).fetchone()
        except BaseException:
            connection.close()
            raise
        return SlotSession(connection, configured[0] if configured else 0, os.getpid())


def execute(
    connection: psycopg.Connection, query: str, values: Mapping[str, object], *also: str
) -> psycopg.Cursor[tuple[Any, ...]]:
    """Run a query, after others by their names in the same message; each has a result of its own.

    Args:
        connection: which commits each message.
        query: by its name; the span is called so.
        values: of all these queries.
        also: what comes before it.
    """
    text = ";".join(QUERIES[name] for name in (*also, query))
    with stating(f"call_slots.{query}", text, lambda: place_of(connection)):
        # What is put together here leaves as it is: the server need not be told of parameters first.
        return psycopg.ClientCursor(connection).execute(text.encode(), values)


def _close(session: SlotSession) -> None:
    """Close a session, unless it is a parent's, who goes on with it."""
    if session.process_id == os.getpid():
        session.connection.close()

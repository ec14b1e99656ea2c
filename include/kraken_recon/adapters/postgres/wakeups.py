"""Wake-ups from the trading database: one listening session for code that runs on an event loop.

Invariants:
1. A wake-up says only that there may be work; whether there is, is asked of the tables.
2. The session commits every statement at once, has its limits set by the server, and is closed when its block
   is left.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from kraken_recon.adapters.postgres.named_sql import load
from kraken_recon.adapters.postgres.unit_of_work import SessionLimits

if TYPE_CHECKING:
    from types import TracebackType

CHANNEL: Final = "kraken_recon_orders_ended"
# Orders adopted long after their end are left to a claim, which looks at all of them.
ENDED_LATELY: Final = timedelta(hours=1)
# SQLAlchemy names the bound values the way that psycopg, used by itself here, writes them.
_DIALECT: Final = PGDialect_psycopg()  # type: ignore[no-untyped-call]
_WAITING: Final = str(sa.text(load("verification")["waiting"]).compile(dialect=_DIALECT))


class WakeupListener:
    """Listen for orders that ended, as an asynchronous context manager.

    Args:
        dsn: the trading database, as a ``postgresql://`` address.
        application_name: what the session is called in the database.
    """

    def __init__(self, dsn: str, *, application_name: str = "kraken_recon:orders_ended") -> None:
        self._dsn = dsn
        self._application_name = application_name
        self._session: psycopg.AsyncConnection | None = None

    async def __aenter__(self) -> Self:
        self._session = await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            application_name=self._application_name,
            options=SessionLimits().options(),
            connect_timeout=10,
        )
        await self._session.execute(f"listen {CHANNEL}".encode())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def orders_are_waiting(self) -> bool:
        """Say whether orders are due for verification that nobody works on."""
        now = datetime.now(UTC)
        values = {"now": now, "due_before": now, "ended_after": now - ENDED_LATELY}
        row = await (await self._open.execute(_WAITING.encode(), values)).fetchone()
        return bool(row and row[0])

    async def is_notified(self, *, within_seconds: float) -> bool:
        """Wait for a notification; say whether one came in time."""
        return await self._next(within_seconds)

    async def drop_notifications(self) -> None:
        """Take what else has arrived by now as the same wake-up."""
        while await self._next(0):
            pass

    async def _next(self, timeout_seconds: float) -> bool:
        async for _ in self._open.notifies(timeout=timeout_seconds, stop_after=1):
            return True
        return False

    @property
    def _open(self) -> psycopg.AsyncConnection:
        if self._session is None:
            raise RuntimeError("expected an open listener; use it in an `async with` block")
        return self._session

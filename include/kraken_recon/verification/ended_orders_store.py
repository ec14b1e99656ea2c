"""Wake-ups from the trading database: one listening session for code that runs on an event loop.

Invariants:
1. A wake-up says only that there may be work; whether there is, is asked of the tables.
2. The session commits every statement at once, has its limits set by the server, and is closed when its block
   is left.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from kraken_recon.database.named_sql import load
from kraken_recon.database.unit_of_work import listening_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg

CHANNEL: Final = "kraken_recon_orders_ended"
# Orders adopted long after their end are left to a claim, which looks at all of them.
ENDED_LATELY: Final = timedelta(hours=1)
# SQLAlchemy names the bound values the way that psycopg, used by itself here, writes them.
_DIALECT: Final = PGDialect_psycopg()  # type: ignore[no-untyped-call]
_WAITING: Final = str(sa.text(load(__file__, "verification")["waiting"]).compile(dialect=_DIALECT))


@asynccontextmanager
async def listen_for_ended_orders(
    dsn: str, *, application_name: str = "kraken_recon:orders_ended"
) -> AsyncIterator[WakeupListener]:
    """Listen for orders that end, for as long as the block lasts.

    Args:
        dsn: the trading database, where a session stays its client's.
        application_name: what the session is called in the database.
    """
    async with listening_session(dsn, CHANNEL, application_name=application_name) as session:
        yield WakeupListener(session)


class WakeupListener:
    """What a listening session has heard, and what the tables say."""

    def __init__(self, session: psycopg.AsyncConnection) -> None:
        self._session = session

    async def orders_are_waiting(self) -> bool:
        """Say whether orders are due for verification that nobody works on."""
        now = datetime.now(UTC)
        values = {"now": now, "due_before": now, "ended_after": now - ENDED_LATELY}
        row = await (await self._session.execute(_WAITING.encode(), values)).fetchone()
        return bool(row and row[0])

    async def is_notified(self, *, within_seconds: float) -> bool:
        """Wait for a notification; say whether one came in time."""
        async for _ in self._session.notifies(timeout=within_seconds, stop_after=1):
            return True
        return False

    async def drop_notifications(self) -> None:
        """Take what else has arrived by now as the same wake-up."""
        while await self.is_notified(within_seconds=0):
            pass

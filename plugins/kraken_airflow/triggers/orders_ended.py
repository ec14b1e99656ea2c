"""Wake the verification of orders within seconds of an order's end.

An event only wakes: Airflow folds events into runs and may strand the last ones of a burst, so the work
itself is claimed from the table, and this trigger goes on waking while unclaimed work is left.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_airflow.triggers.kept_arguments import KeptArguments
from kraken_recon.verification.ended_orders_store import listen_for_ended_orders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class OrdersEndedTrigger(KeptArguments, BaseEventTrigger):
    """Fire one event while orders wait for their verification and nobody works on them.

    Args:
        trading_conn_id: connection of the trading database.
        sweep_seconds: how often to look without being notified.
        debounce_seconds: how long to let notifications gather after the first.
        gap_seconds: the least between two events, in which a run can claim what the first was about.
    """

    def __init__(
        self,
        *,
        trading_conn_id: str = "trading_db",
        sweep_seconds: float = 3.0,
        debounce_seconds: float = 0.2,
        gap_seconds: float = 1.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trading_conn_id = trading_conn_id
        self.sweep_seconds = sweep_seconds
        self.debounce_seconds = debounce_seconds
        self.gap_seconds = gap_seconds

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Listen as long as this trigger is wanted; Airflow restarts it when the database goes away."""
        # In a thread: reading a connection may block, and so may a look for a pooler.
        dsn = await asyncio.to_thread(lambda: TradingDbHook(self.trading_conn_id).wiring().own_session_dsn())
        async with listen_for_ended_orders(dsn) as listener:
            while True:
                if await listener.orders_are_waiting():
                    yield TriggerEvent({"at": datetime.now(UTC).isoformat()})  # type: ignore[no-untyped-call]
                    await asyncio.sleep(self.gap_seconds)
                if await listener.is_notified(within_seconds=self.sweep_seconds):
                    await asyncio.sleep(self.debounce_seconds)
                    await listener.drop_notifications()

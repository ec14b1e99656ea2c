"""Watch Kraken's books for a whole batch of orders, without a worker slot."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from airflow.triggers.base import BaseTrigger, TriggerEvent

from kraken_airflow.dag_parts.failures import may_pass
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_airflow.telemetry.metrics import metered
from kraken_airflow.triggers.kept_arguments import KeptArguments
from kraken_recon.errors import KrakenReconError
from kraken_recon.verification.run import VerifyingRules
from kraken_recon.verification.verifying import let_go, look_at, waiting_orders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import TypeVar

    from kraken_recon.verification.evidence import SeenBooks
    from kraken_recon.verification.run import VerifyingPorts
    from kraken_recon.wiring import Wiring

    Found = TypeVar("Found")

PAUSE_GROWTH: Final = 1.5
# The run that an event starts takes new orders at once; a batch that is watched takes those it missed.
LEFT_OVER_AFTER: Final = timedelta(seconds=3)
RULES: Final = VerifyingRules()


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look came to: orders that can be judged, and whether that or new orders call for a worker."""

    ready: list[int]
    is_worth_a_worker: bool


@dataclass(slots=True)
class BooksWatch:
    """A claimed batch whose books at Kraken are not all there yet."""

    wiring: Wiring
    token: str
    ports: VerifyingPorts = field(init=False)
    seen: dict[int, SeenBooks] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = self.wiring.verifying_ports()

    def look(self) -> Sight:
        """Look at Kraken's books once, and renew the lease of the batch."""
        with metered(self.wiring):
            cases = look_at(self.ports, RULES, self.token, self.seen)
        ready = [case.order_id for case in cases if not case.verification.awaits_kraken]
        left_over = waiting_orders(self.ports, for_at_least=LEFT_OVER_AFTER)
        return Sight(ready, is_worth_a_worker=bool(ready or left_over or not cases))


class OrderVerificationTrigger(KeptArguments, BaseTrigger):
    """Fire when an order of a claimed batch can be judged, when new orders were left over, or at an end.

    One trigger watches a batch of any size, with one reading per account and look. Everything that may wait
    (a call slot of the key, Kraken, the database) happens in one thread of the trigger's own, so that neither
    the triggerer's event loop nor its shared threads are held up; a look opens and closes its own sessions.

    Args:
        token: under which the batch is claimed; the rows say which orders it holds.
        watch_until: when to fire in any case, as ISO text.
        trading_conn_id: connection of the trading database.
        first_pause_seconds: between the first two looks; later pauses grow.
        longest_pause_seconds: between looks; a look that had to wait for call slots is followed by a pause of
            the same length, so that watching never takes more than half of a key's calls.
    """

    def __init__(
        self,
        *,
        token: str,
        watch_until: str,
        trading_conn_id: str = "trading_db",
        first_pause_seconds: float = 1.0,
        longest_pause_seconds: float = 5.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.token = token
        self.watch_until = watch_until
        self.trading_conn_id = trading_conn_id
        self.first_pause_seconds = first_pause_seconds
        self.longest_pause_seconds = longest_pause_seconds

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again, then fire once."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="order-verification")
        watch = None
        try:
            watch = await _within(thread, self._open)
            pause = self.first_pause_seconds
            while True:
                await asyncio.sleep(pause)
                started = asyncio.get_running_loop().time()
                sight = await _within(thread, partial(self._look, watch))
                if sight.is_worth_a_worker:
                    break
                looked_seconds = asyncio.get_running_loop().time() - started
                pause = max(min(pause * PAUSE_GROWTH, self.longest_pause_seconds), looked_seconds)
            yield TriggerEvent({"token": self.token, "ready": sight.ready})  # type: ignore[no-untyped-call]
        finally:
            if watch is not None:
                watch.ports.stop()
            thread.shutdown(wait=False, cancel_futures=True)

    async def on_kill(self) -> None:
        """Give the batch up, when a person ends the task, so that others may claim it at once."""
        await asyncio.to_thread(lambda: let_go(self._open().ports, self.token))

    def _open(self) -> BooksWatch:
        hook = TradingDbHook(self.trading_conn_id, application_name="kraken_recon:order_verification")
        return BooksWatch(hook.wiring(), self.token)

    def _look(self, watch: BooksWatch) -> Sight:
        is_over = datetime.now(UTC) >= datetime.fromisoformat(self.watch_until)
        try:
            sight = watch.look()
        except KrakenReconError as error:
            if not may_pass(error):
                raise
            self.log.warning("A look failed and is repeated: %s: %s", type(error).__name__, error)
            sight = Sight([], is_worth_a_worker=False)
        return replace(sight, is_worth_a_worker=sight.is_worth_a_worker or is_over)


async def _within(thread: ThreadPoolExecutor, work: Callable[[], Found]) -> Found:
    return await asyncio.get_running_loop().run_in_executor(thread, copy_context().run, work)

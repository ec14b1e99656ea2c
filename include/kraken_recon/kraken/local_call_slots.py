"""Call slots without a database, for a single process such as the connection's Test button."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class InProcessCallSlots:
    """One key's calls in order within this process; nonces in microseconds, no call budget."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nonce = 0

    @contextmanager
    def take(self, cost: int) -> Iterator[int]:  # noqa: ARG002 - the port's signature; there is no budget here
        """Yield a nonce; the call must be sent and answered inside the block."""
        with self._lock:
            self._nonce = max(self._nonce + 1, time.time_ns() // 1_000)
            yield self._nonce

"""What a run takes of what is scarce: an API key's calls, and locks that others hold."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Calls of one account's key, and what they waited for.

    ``level_percent`` is the highest level that the key's call counter had, as far as we know, in percent of
    where Kraken refuses; None for a key without a limit. ``room_seconds`` is what was waited for room in the
    counter, ``turn_seconds`` for other workers' calls with the same key to end.
    """

    calls: int = 0
    level_percent: float | None = None
    room_seconds: float = 0.0
    turn_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Use:
    """What was taken since the last look: by each account's key, and locks that were not had."""

    keys: Mapping[str, KeyUse] = field(default_factory=dict)
    locks_refused: int = 0


class UseMeter:
    """Counts what every thread of a run takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: defaultdict[str, KeyUse] = defaultdict(KeyUse)
        self._locks_refused = 0

    def of_key(self, account: str) -> KeyMeter:
        """Give the meter of one account's key."""
        return KeyMeter(self, account)

    def add(self, account: str, use: KeyUse) -> None:
        """Add to what an account's key has used."""
        with self._lock:
            had = self._keys[account]
            levels = [level for level in (had.level_percent, use.level_percent) if level is not None]
            self._keys[account] = KeyUse(
                had.calls + use.calls,
                max(levels, default=None),
                had.room_seconds + use.room_seconds,
                had.turn_seconds + use.turn_seconds,
            )

    def lock_refused(self) -> None:
        """Count a statement that waited too long for a lock, or gave way in a deadlock."""
        with self._lock:
            self._locks_refused += 1

    def drain(self) -> Use:
        """Return what was counted, and begin anew."""
        with self._lock:
            use = Use(dict(self._keys), self._locks_refused)
            self._keys.clear()
            self._locks_refused = 0
        return use


@dataclass(frozen=True, slots=True)
class KeyMeter:
    """Counts for one account's key."""

    meter: UseMeter
    account: str

    def slot_taken(self, level_percent: float | None, room_seconds: float, turn_seconds: float) -> None:
        """Count a call, and what it waited for before it left."""
        self.meter.add(self.account, KeyUse(1, level_percent, room_seconds, turn_seconds))

    def limit_met(self) -> None:
        """Note that Kraken refused a call because the counter is full."""
        self.meter.add(self.account, KeyUse(level_percent=100.0))

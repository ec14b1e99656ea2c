"""The stretch of time that a run answers for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

RUN_INTERVAL: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """A half-open stretch ``[start, end)`` in UTC.

    Raises:
        ValueError: when a bound has no time zone or the interval is empty.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("expected interval bounds with a time zone, such as 2026-01-01T00:00:00Z")
        if self.start >= self.end:
            raise ValueError(f"expected an interval that ends after it starts, was {self}")

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"


def interval_ending_now(now: datetime) -> Interval:
    """Give a run that was started by hand an interval of its own: from the last quarter of an hour to now.

    Two runs by hand never share an interval, because each ends at its own moment.
    """
    floor = datetime.fromtimestamp(
        now.timestamp() // RUN_INTERVAL.total_seconds() * RUN_INTERVAL.total_seconds(), tz=UTC
    )
    return Interval(floor if floor < now else floor - RUN_INTERVAL, now)

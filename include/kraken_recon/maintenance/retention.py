"""How long rows are kept: the one table of what is forgotten, thinned or dropped, and after how long.

Whatever is not named here is kept for ever: ledger entries, position events, orders, fills, verdicts, alerts,
and runs with their discrepancies, which certificates of past moments are built on, unless a desk says for how
long it keeps those in which nothing happened. The audit of sessions forgets its own rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

SNAPSHOT_MONTHS_KEPT: Final = 36
MONTHS_AHEAD: Final = 2


@dataclass(frozen=True, slots=True)
class Retention:
    """What a rule does with rows older than ``after``; ``name`` is also that of its query."""

    name: str
    after: timedelta
    meaning: str


POLICY: Final = (
    Retention("thin_snapshots", timedelta(days=30), "of asset snapshots, the last of each day is kept"),
    Retention("thin_session_samples", timedelta(days=2), "of session samples, the last of each hour is kept"),
    Retention("forget_dry_runs", timedelta(days=30), "what dry runs planned is forgotten"),
    Retention("forget_notifications", timedelta(days=90), "messages that were sent are forgotten"),
    Retention("forget_rates", timedelta(days=400), "failure rates of windows are forgotten; verdicts stay"),
)
QUIET_RUNS_DAYS_MIN: Final = 30
QUIET_RUNS_HOUR: Final = 3
"""Of a day, in UTC: whether there are any to thin is asked of each account."""


def quiet_runs(days_kept: int) -> Retention:
    """Make the rule of a desk that does not keep every run for ever."""
    meaning = "of runs in which nothing happened, the last proof of each day is kept"
    return Retention("thin_runs", timedelta(days=days_kept), meaning)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month of UTC, and the partition that holds its rows."""

    year: int
    number: int

    @classmethod
    def of(cls, moment: datetime) -> Month:
        """Name the month of a moment."""
        there = moment.astimezone(UTC)
        return cls(there.year, there.month)

    def later(self, months: int) -> Month:
        """Name the month that is so many later."""
        years, index = divmod(self.number - 1 + months, 12)
        return Month(self.year + years, index + 1)

    @property
    def start(self) -> datetime:
        """When it begins."""
        return datetime(self.year, self.number, 1, tzinfo=UTC)


def months_missing(now: datetime, existing: Collection[Month]) -> list[Month]:
    """Name the months that need a partition: this one, and those ahead."""
    wanted = (Month.of(now).later(ahead) for ahead in range(MONTHS_AHEAD + 1))
    return [month for month in wanted if month not in existing]


def months_to_drop(now: datetime, existing: Collection[Month]) -> list[Month]:
    """Name the months beyond the time that snapshots are kept, oldest first."""
    oldest_kept = Month.of(now).later(-SNAPSHOT_MONTHS_KEPT)
    return sorted(month for month in existing if month < oldest_kept)

"""Say before a run whether its accounts will be done in time, and which will not.

Invariants:
1. Groups start in their order, each as soon as a task before it has ended. Nothing is taken to be quicker
   than it was lately, or than the key's call budget allows.
2. An account counts as done when its group is: only then may all of it be booked.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.reconciliation.rules.grouping import AccountCost, Group

# Until a task works, and after it: Airflow starts a process and takes note of its end.
TASK_SECONDS: Final = 2.0
# Before the first task of the groups, and after the last: who is listed, what is published.
RUN_SECONDS: Final = 6.0


@dataclass(frozen=True, slots=True)
class LateAccount:
    """An account that will not be done in time: when it will be, in seconds from now, and why."""

    name: str
    done_after_seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will take, in seconds from now, and what it has; ``late`` is who will miss the deadline."""

    accounts: int
    groups: int
    slots: int
    seconds: float
    seconds_left: float
    late: tuple[LateAccount, ...]

    @property
    def told(self) -> str:
        """Say it in one sentence."""
        count = f"{self.accounts} account{'' if self.accounts == 1 else 's'}"
        groups = f"{self.groups} task{'' if self.groups == 1 else 's'}, {self.slots} at a time"
        what = f"{count} in {groups}: about {self.seconds:.0f} s, of {max(0.0, self.seconds_left):.0f} s left"
        if not self.late:
            return f"{what}; all fit"
        return f"{what}; {len(self.late)} will not fit"


def forecast(
    groups: Sequence[Group],
    *,
    side_by_side: int,
    slots: int,
    seconds_left: float,
    budget_seconds: Mapping[str, float] | None = None,
) -> Forecast:
    """Play a run's tasks through, and compare with the time that is left.

    Args:
        groups: in the order in which their tasks start.
        side_by_side: how many accounts a task works on at the same time.
        slots: how many of the tasks run at the same time.
        seconds_left: until the deadline; below zero where it has passed.
        budget_seconds: how long the call budget of a key makes its account take, by the account's name.
    """
    limits = budget_seconds or {}
    free = [RUN_SECONDS / 2] * slots
    late: list[LateAccount] = []
    last = 0.0
    for group in groups:
        begin = heapq.heappop(free) + TASK_SECONDS
        end = begin + max(group.seconds(side_by_side), *(limits.get(name, 0.0) for name in group.names))
        heapq.heappush(free, end)
        last = max(last, end)
        if end > seconds_left:
            late += [
                LateAccount(one.name, end, _why(one, limits.get(one.name, 0.0), begin, seconds_left))
                for one in group.accounts
            ]
    total = last + RUN_SECONDS / 2
    accounts = sum(len(group.accounts) for group in groups)
    return Forecast(accounts, len(groups), slots, total, seconds_left, tuple(late))


def _why(account: AccountCost, limit: float, begin: float, seconds_left: float) -> str:
    if limit > seconds_left:
        return f"its key's call budget alone takes {limit:.0f} s"
    if account.expected_seconds > seconds_left:
        return f"it took {account.expected_seconds:.0f} s lately"
    return f"its task starts after {begin:.0f} s"

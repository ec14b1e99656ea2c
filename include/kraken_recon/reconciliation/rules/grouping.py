"""Deal the accounts of a run out to tasks, by what each account took lately.

Invariants:
1. Every account is in exactly one group, and the order of need is kept within each.
2. Groups are balanced: none is expected to take longer than another by more than the costliest account of it,
   nor much longer than ``GROUP_SECONDS`` while there may be more groups.
3. An account that alone takes as long as a group should shares its group with nobody, as long as there may be
   more groups; and such groups come last: whoever is slow keeps nobody waiting.
4. There are as few groups as the bounds allow, because each costs a process; never more than ``GROUPS_MAX``.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a group should take. Measured: each task costs about a second of processor before and after its work.
GROUP_SECONDS: Final = 10.0
GROUPS_MAX: Final = 100
ACCOUNTS_MAX: Final = 1_000
# What an account takes of which nothing is on record: it is opened, and its whole ledger is read.
NEW_ACCOUNT_SECONDS: Final = 5.0
ACCOUNT_SECONDS_MIN: Final = 0.001


@dataclass(frozen=True, slots=True)
class AccountCost:
    """What an account took in its newest runs, in seconds and calls to Kraken, the middle one of each.

    None where it has no run yet.
    """

    name: str
    seconds: float | None = None
    calls: int | None = None

    @property
    def expected_seconds(self) -> float:
        """How long its next run will take, by what is on record."""
        return NEW_ACCOUNT_SECONDS if self.seconds is None else max(self.seconds, ACCOUNT_SECONDS_MIN)


@dataclass(frozen=True, slots=True)
class Group:
    """The accounts of one task, the most pressing first."""

    accounts: tuple[AccountCost, ...]

    @property
    def names(self) -> list[str]:
        """Name the accounts."""
        return [account.name for account in self.accounts]

    def seconds(self, side_by_side: int) -> float:
        """Say how long its task works, with so many accounts side by side."""
        costs = [account.expected_seconds for account in self.accounts]
        return max(*costs, sum(costs) / side_by_side)


def in_groups(accounts: Sequence[AccountCost], side_by_side: int) -> list[Group]:
    """Deal accounts out, given in the order of their need, of which a task works on some side by side."""
    slow = [account for account in accounts if account.expected_seconds >= GROUP_SECONDS]
    others = [account for account in accounts if account.expected_seconds < GROUP_SECONDS]
    total = math.fsum(account.expected_seconds for account in others)
    wanted = max(math.ceil(total / side_by_side / GROUP_SECONDS), math.ceil(len(others) / ACCOUNTS_MAX))
    # Who is slow gets what is left, and the last group of the others never goes to them.
    count = min(wanted, GROUPS_MAX - min(len(slow), GROUPS_MAX // 2))
    return [*_dealt(others, count), *_dealt(slow, min(len(slow), GROUPS_MAX - count))]


def _dealt(accounts: Sequence[AccountCost], count: int) -> list[Group]:
    """Give each account, the costliest first, to the group that has least so far and is not full."""
    size_max = max(ACCOUNTS_MAX, math.ceil(len(accounts) / count)) if count else 0
    places: list[list[int]] = [[] for _ in range(count)]
    loads = [(0.0, number) for number in range(count)]
    for place in sorted(range(len(accounts)), key=lambda place: -accounts[place].expected_seconds):
        load, number = heapq.heappop(loads)
        places[number].append(place)
        if len(places[number]) < size_max:
            heapq.heappush(loads, (load + accounts[place].expected_seconds, number))
    return [Group(tuple(accounts[place] for place in sorted(taken))) for taken in places if taken]

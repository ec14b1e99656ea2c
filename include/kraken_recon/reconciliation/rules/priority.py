"""Decide which accounts come first, and whose ledger is read although its balances agree.

Invariants:
1. Whoever has something open or has moved comes first; whoever waits moves up, so nobody waits for ever.
2. No ledger goes unread for longer than the age that was asked for, as long as runs come; and few are read
   in one run, so that an account in which nothing changed goes on costing a single call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.values.intervals import RUN_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SWEEP_AGE: Final = timedelta(hours=24)
ACTIVE_FOR: Final = timedelta(hours=24)
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
# How many runs of waiting it counts as, to have something open, to have moved lately, to be unproved.
OPEN_COUNTS_AS: Final = 12
ACTIVE_COUNTS_AS: Final = 8
UNPROVED_COUNTS_AS: Final = 4


@dataclass(frozen=True, slots=True)
class Need:
    """Why an account may have to come before others.

    ``has_open_findings`` says that a residual or a held repair waits; ``moved_at`` is the time of the newest
    entry on record, ``differed_at`` of the newest run that found a difference. ``waits_since`` is when it was
    last looked at, or first known; ``read_until`` how far its ledger is read without a gap.
    """

    account_id: int
    has_open_findings: bool
    moved_at: datetime | None
    differed_at: datetime | None
    waits_since: datetime
    read_until: datetime | None


def in_order_of_need(needs: Iterable[Need], now: datetime) -> list[int]:
    """Sort accounts, the most pressing first; among equals the one whose ledger was read longest ago."""

    def urgency(need: Need) -> tuple[int, datetime, int]:
        newest = max(need.moved_at or LONG_AGO, need.differed_at or LONG_AGO)
        counted = (now - need.waits_since) // RUN_INTERVAL
        if need.has_open_findings:
            counted += OPEN_COUNTS_AS
        elif now - newest < ACTIVE_FOR:
            counted += ACTIVE_COUNTS_AS
        elif need.read_until is None:
            counted += UNPROVED_COUNTS_AS
        return -counted, need.read_until or LONG_AGO, need.account_id

    return [need.account_id for need in sorted(needs, key=urgency)]


def due_for_sweep(
    read_until: Mapping[int, datetime | None], now: datetime, age_max: timedelta
) -> frozenset[int]:
    """Choose the accounts whose ledger this run reads in any case.

    From half the age on an account may be chosen, the oldest first and only so many that all have their turn
    in the half that remains. Who would be too old at the next run is chosen whatever the number.
    """
    ages = {account: now - (until or LONG_AGO) for account, until in read_until.items()}
    share = math.ceil(len(ages) / max(1, age_max / 2 // RUN_INTERVAL))
    ripe = sorted((a for a in ages if ages[a] > age_max / 2), key=lambda a: (-ages[a], a))
    overdue = {account for account, age in ages.items() if age + RUN_INTERVAL > age_max}
    return frozenset(ripe[:share]) | overdue

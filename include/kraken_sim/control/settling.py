"""Wait until what was just written has happened.

A fill's rows are dated some milliseconds after it; by a real clock they become visible only then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from kraken_sim.amounts import ZERO

if TYPE_CHECKING:
    from kraken_sim.account.account import Account

LONGEST_SECONDS: Final = 1


async def settle(account: Account) -> None:
    """Let a real clock pass the account's newest row; a virtual one was moved already."""
    if account.clock.mode == "virtual":
        return
    ahead = account.ledger.last_time - account.clock.now()
    if ZERO < ahead < LONGEST_SECONDS:
        await asyncio.sleep(float(ahead))

"""What time it is: the machine's time, or a virtual one that moves only when it is told to.

Invariant: a virtual clock never goes backwards unless it is set.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

from kraken_sim.amounts import TENTH_MILLISECOND, ZERO

NANOSECOND: Final = Decimal("1e-9")


@dataclass(slots=True)
class Clock:
    """Unix seconds; quantised to a tenth of a millisecond like Kraken's ledger times."""

    mode: Literal["real", "virtual"] = "real"
    virtual_now: Decimal = field(default=ZERO)
    behind: Decimal = field(default=ZERO)

    def now(self) -> Decimal:
        """Read the clock, in unix seconds."""
        if self.mode == "virtual":
            return self.virtual_now
        return (time.time_ns() * NANOSECOND - self.behind).quantize(TENTH_MILLISECOND)

    def use_real(self, behind: Decimal = ZERO) -> None:
        """Follow the machine's clock, some seconds behind it."""
        self.mode, self.behind = "real", behind

    def set(self, now: Decimal) -> None:
        """Stop at a time."""
        self.mode, self.virtual_now = "virtual", now

    def advance(self, seconds: Decimal) -> None:
        """Move on from the present reading; a real clock becomes virtual."""
        self.set(self.now() + seconds)

    def reach(self, moment: Decimal) -> None:
        """Let a virtual clock pass while work is done; a real one passes by itself."""
        if self.mode == "virtual":
            self.virtual_now = max(self.virtual_now, moment)

"""Kraken-shaped identifiers from a seeded stream, so that the same script writes the same books."""

from __future__ import annotations

import random
import string
from typing import Final

_BASE32: Final = string.ascii_uppercase + "234567"
_MIXED: Final = string.ascii_letters + string.digits


class Identifiers:
    """One reproducible stream of ids and jitter."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)  # noqa: S311 - must be reproducible, guards nothing

    def _groups(self, first: str, *lengths: int) -> str:
        groups = ["".join(self.random.choices(_BASE32, k=length)) for length in lengths]
        groups[0] = first + groups[0][len(first) :]
        return "-".join(groups)

    def order(self) -> str:
        """Make an order id, 6-5-6."""
        return self._groups("O", 6, 5, 6)

    def trade(self) -> str:
        """Make a trade id, 6-5-6."""
        return self._groups("T", 6, 5, 6)

    def ledger(self) -> str:
        """Make a ledger id, 6-5-6."""
        return self._groups("L", 6, 5, 6)

    def reference(self, first: str) -> str:
        """Make the refid of something that is not a trade, 7-6-6."""
        return self._groups(first, 7, 6, 6)

    def funding(self) -> str:
        """Make a funding refid of the newer, mixed-case kind."""
        return f"FT{''.join(self.random.choices(_MIXED, k=5))}-{''.join(self.random.choices(_MIXED, k=22))}"

    def milliseconds(self, low: float, high: float) -> str:
        """Draw a delay, as the text of seconds with four decimals."""
        return f"{self.random.uniform(low, high) / 1000:.4f}"

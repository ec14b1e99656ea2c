"""What the use cases need from the outside world, as protocols that the adapters satisfy structurally."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.domain.ledger import Balance, HoldingKey, LedgerPage


class CallSlots(Protocol):
    """The nonce stream and call budget of one API key, shared by every worker that uses the key."""

    def take(self, cost: int) -> AbstractContextManager[int]:
        """Wait for budget, then yield a nonce; the call must be sent and answered inside the block."""
        ...


class Exchange(Protocol):
    """One account at Kraken, through one API key. Not thread-safe: one object per thread."""

    @property
    def calls(self) -> int:
        """Private requests sent so far, retries included."""
        ...

    def check_key(self) -> None:
        """Refuse a key that may withdraw, that lacks a read permission, or that sees only a date window.

        Raises ``ConfigurationError`` with what to change.
        """
        ...

    def balances(self) -> Mapping[HoldingKey, Balance]:
        """Read ``BalanceEx``; empty when Kraken answered without an error and without any balance."""
        ...

    def ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Read one page of ``Ledgers``, newest first.

        Args:
            after: only entries later than this (Kraken's ``start``, exclusive); None for all.
            until: id of the newest entry to include (Kraken's ``end``, inclusive); None for the head.
            offset: how many entries to skip.
        """
        ...

    def prices(self, quote: str) -> Mapping[str, Decimal]:
        """Read last prices of every asset that trades against ``quote``, by normalised asset name."""
        ...

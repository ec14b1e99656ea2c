"""What a reconciliation needs of Kraken; a client of its REST API is one, a fake of the tests another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerPage
    from kraken_recon.ledger.transfers import Transfer
    from kraken_recon.reconciliation.margin.rules import MarginPosition


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

    def tokenized_ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Read one page of the ledger of tokenized assets, which no page of the other has."""
        ...

    def open_positions(self) -> Mapping[str, MarginPosition]:
        """Read ``OpenPositions`` by position id; empty when none is open, never for want of an answer."""
        ...

    def transfers(self) -> tuple[Transfer, ...]:
        """Read the newest deposits and withdrawals with their state, newest first of each kind."""
        ...

    def prices(self, quote: str) -> Mapping[str, Decimal]:
        """Read last prices of every asset that trades against ``quote``, by normalised asset name."""
        ...

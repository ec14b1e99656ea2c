"""Kraken's own exports as values, each row with its place in its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import LedgerEntry


@dataclass(frozen=True, slots=True)
class LedgerExport:
    """One ``ledgers.csv``: its final rows, and how many were left out for which reason.

    ``lines`` are the line numbers of ``entries``; ``pending`` counts the announcements without an id,
    ``other_class`` the rows of assets that the account's currency ledger does not hold. ``unplaced`` are the
    ids of rows that earn and do not say in which wallet; earning wallets have the names of ``WALLET_NAMES``.
    """

    name: str
    entries: tuple[LedgerEntry, ...]
    lines: tuple[int, ...]
    pending: int = 0
    other_class: int = 0
    unplaced: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ExportedTrade:
    """One fill of ``trades.csv``; volume in units of the base asset, cost in units of the quote."""

    txid: str
    pair: str
    time: datetime
    side: str
    volume: Decimal
    cost: Decimal
    margin: Decimal
    ledger_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TradesExport:
    """One ``trades.csv``, with the line number of every trade."""

    name: str
    trades: tuple[ExportedTrade, ...]
    lines: tuple[int, ...]

"""The values that travel between the costing of an account and the trading database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.domain.ledger import HoldingKey


class CostKey(NamedTuple):
    """One asset of an account, and the currency that the account counts in."""

    account_id: int
    asset: str
    quote: str


@dataclass(frozen=True, slots=True)
class CostScope:
    """What is to be recomputed: the assets, and the existing positions of all their wallets."""

    keys: Sequence[CostKey] = ()
    positions: Sequence[tuple[int, HoldingKey]] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows a recomputation changed; rows that were right already are not written."""

    costs: int = 0
    results: int = 0
    positions: int = 0

    @property
    def anything(self) -> bool:
        """Say whether any figure was not what it should be."""
        return bool(self.costs or self.results or self.positions)


class QuoteTotal(NamedTuple):
    """The quote currency of an account over all its wallets."""

    quantity: Decimal
    moving: Decimal
    as_of: datetime | None

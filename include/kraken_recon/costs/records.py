"""The values that travel between the costing of an account and the trading database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kraken_recon.costs.average_cost import AssetCost
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey


class CostKey(NamedTuple):
    """One asset of an account, and the currency that the account counts in."""

    account_id: int
    asset: str
    quote: str


@dataclass(frozen=True, slots=True)
class CostScope:
    """What is to be recomputed: the assets, and the existing positions of all their wallets.

    ``continues`` are accounts whose new entries are all later than what their figures were made from, so that
    they can be added to them.
    """

    keys: Sequence[CostKey] = ()
    positions: Sequence[tuple[int, HoldingKey]] = ()
    continues: frozenset[int] = frozenset()


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
    opening: Decimal
    entries: int


@dataclass(frozen=True, slots=True)
class CountedCost:
    """An asset's figures, and what they were made from: so many entries, after such an opening."""

    cost: AssetCost = field(default_factory=AssetCost)
    entries: int = 0
    opening: Decimal = ZERO


class CostProgress(NamedTuple):
    """The stored figures of an asset, and how many entries and what opening are on record by now."""

    stored: CountedCost
    entries: int
    opening: Decimal

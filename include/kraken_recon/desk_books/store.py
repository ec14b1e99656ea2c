"""What judges a desk book, from our own database; every statement is a query of ``desk_books.sql``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kraken_recon.database.store import Store, named_queries
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from decimal import Decimal

AccountAsset = tuple[int, str]


@dataclass(frozen=True, slots=True)
class ProvenAccount:
    """An account with its newest proof; ``proven_at`` is None, and it is not fresh, where there is none."""

    account_id: int
    name: str
    kraken_conn_id: str
    quote_currency: str
    is_active: bool
    proven_at: datetime | None
    is_fresh: bool
    freshness_limit_minutes: int


class DeskBookStore(Store):
    """What the books of desks are judged by."""

    queries = named_queries(__file__, "desk_books")

    def proofs(self, names: Collection[str] | None, now: datetime) -> list[ProvenAccount]:
        """Read accounts by name with their newest proof; all of them, or those named."""
        rows = self._rows("proofs", names=sorted(names) if names is not None else None, now=now)
        return [ProvenAccount(**{**row, "is_fresh": bool(row["is_fresh"])}) for row in rows]

    def positions(self, account_ids: Collection[int]) -> dict[int, dict[HoldingKey, Decimal]]:
        """Read what is proven, by account."""
        found: dict[int, dict[HoldingKey, Decimal]] = defaultdict(dict)
        for row in self._run("positions", account_ids=list(account_ids)):
            found[row.account_id][HoldingKey(row.asset, row.wallet)] = row.quantity
        return found

    def entries(self, wanted: Collection[AccountAsset]) -> dict[AccountAsset, list[LedgerEntry]]:
        """Read all ledger entries of assets, each of an account."""
        found: dict[AccountAsset, list[LedgerEntry]] = defaultdict(list)
        for row in self._run("entries", **_columns(wanted)):
            found[row.account_id, row.asset].append(LedgerEntry(*tuple(row)[1:]))
        return found

    def ever_held(self, wanted: Collection[AccountAsset]) -> set[AccountAsset]:
        """Say which of these assets an account ever had."""
        return {(row.account_id, row.asset) for row in self._run("ever_held", **_columns(wanted))}

    def orders_of_trades(self, wanted: Collection[AccountAsset]) -> dict[int, dict[str, str]]:
        """Name the order of each trade of these assets, by account and the trade's id."""
        found: dict[int, dict[str, str]] = defaultdict(dict)
        for row in self._run("orders_of_trades", **_columns(wanted)):
            found[row.account_id][row.trade_id] = row.kraken_txid
        return found

    def average_costs(self, account_ids: Collection[int]) -> dict[int, dict[str, Decimal]]:
        """Read average costs by account and asset, where they are known for the whole quantity."""
        found: dict[int, dict[str, Decimal]] = defaultdict(dict)
        for row in self._run("average_costs", account_ids=list(account_ids)):
            found[row.account_id][row.asset] = row.avg_cost
        return found

    def recorded_assets(self) -> set[str]:
        """Name every asset that is on record."""
        return {row.asset for row in self._run("recorded_assets")}


def _columns(wanted: Collection[AccountAsset]) -> dict[str, list[object]]:
    ordered = sorted(wanted)
    return {"account_ids": [a for a, _ in ordered], "assets": [asset for _, asset in ordered]}

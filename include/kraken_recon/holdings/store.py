"""The newest price of every asset, by currency; every statement is a query of ``holdings.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon.database.store import Store, named_queries

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from decimal import Decimal


class PriceStore(Store):
    """Prices over one connection."""

    queries = named_queries(__file__, "holdings")

    def keep(self, quote: str, prices: Mapping[str, Decimal], taken_at: datetime) -> None:
        """Keep prices in a currency, held or not, where none newer is on record."""
        assets = sorted(prices)
        self._execute(
            "keep_prices",
            quote_currency=quote,
            assets=assets,
            prices=[prices[asset] for asset in assets],
            taken_at=taken_at,
        )

    def newest(
        self, wanted: Collection[tuple[str, str]], since: datetime
    ) -> dict[tuple[str, str], tuple[Decimal, datetime]]:
        """Read prices and their times by currency and asset, none older than a moment."""
        rows = self._execute(
            "newest_prices",
            currencies=[currency for currency, _ in wanted],
            assets=[asset for _, asset in wanted],
            since=since,
        )
        return {(row.quote_currency, row.asset): (row.price, row.taken_at) for row in rows}

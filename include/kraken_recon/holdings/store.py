"""The newest price of every asset, by currency; every statement is a query of ``holdings.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from kraken_recon.database.named_sql import load
from kraken_recon.database.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from decimal import Decimal


QUERIES: Final = {name: sa.text(query) for name, query in load(__file__, "holdings").items()}


class PriceStore(Store):
    """Prices over one connection."""

    def keep(self, quote: str, prices: Mapping[str, Decimal], taken_at: datetime) -> None:
        """Keep prices in a currency, held or not, where none newer is on record."""
        assets = sorted(prices)
        self._connection.execute(
            QUERIES["keep_prices"],
            {
                "quote_currency": quote,
                "assets": assets,
                "prices": [prices[asset] for asset in assets],
                "taken_at": taken_at,
            },
        )

    def newest(
        self, wanted: Collection[tuple[str, str]], since: datetime
    ) -> dict[tuple[str, str], tuple[Decimal, datetime]]:
        """Read prices and their times by currency and asset, none older than a moment."""
        rows = self._connection.execute(
            QUERIES["newest_prices"],
            {
                "currencies": [currency for currency, _ in wanted],
                "assets": [asset for _, asset in wanted],
                "since": since,
            },
        ).mappings()
        return {(row["quote_currency"], row["asset"]): (row["price"], row["taken_at"]) for row in rows}

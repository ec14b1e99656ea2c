"""What is at risk: drift that nobody can explain, and books that nobody could prove; and what was put right.

Invariants:
1. Drift of opposite signs does not cancel out: the value at risk is that of the absolute amounts.
2. What has no value is named, never dropped: an asset without a price, an account without books.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.holdings.pricing import PriceList, Worth, price_list
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.holdings.store import PriceStore
    from kraken_recon.reports.page_store import PageStore

PUT_RIGHT_WITHIN: Final = timedelta(hours=24)
_UNPRICED_FIRST: Final = Decimal("Infinity")


def drift_view(
    store: PageStore, prices: PriceStore, run_ids: Collection[UUID], now: datetime
) -> dict[str, Any]:
    """Value the drift that runs left standing: ``values`` by currency, ``assets`` the costliest first."""
    rows = store.outstanding_drift(run_ids) if run_ids else []
    priced = price_list(prices, _pairs(rows), now)
    assets = [(priced.worth(row["quote_currency"], {row["asset"]: row["total"]}).value, row) for row in rows]
    assets.sort(key=lambda pair: _UNPRICED_FIRST if pair[0] is None else pair[0], reverse=True)
    return {
        "values": [worth.as_view() for worth in _worths(rows, "total", priced)],
        "assets": [
            {
                "currency": row["quote_currency"],
                "asset": row["asset"],
                "accounts": row["accounts"],
                "net": format_amount(row["net"]),
                "total": format_amount(row["total"]),
                "value": None if value is None else format_amount(value),
            }
            for value, row in assets
        ],
    }


def unproven_view(
    store: PageStore, prices: PriceStore, account_ids: Collection[int], now: datetime
) -> dict[str, Any]:
    """Value what accounts without a fresh proof hold on record; ``unknown`` of them have no books at all."""
    rows = store.holdings(account_ids) if account_ids else []
    priced = price_list(prices, _pairs(rows), now)
    return {
        "accounts": len(account_ids),
        "unknown": store.without_books(account_ids) if account_ids else 0,
        "values": [worth.as_view() for worth in _worths(rows, "total", priced)],
    }


def put_right_view(store: PageStore, prices: PriceStore, now: datetime) -> dict[str, Any]:
    """Value what the last 24 hours wrote: from ledger entries that were missed, and without any entry."""
    rows = store.put_right(now - PUT_RIGHT_WITHIN)
    priced = price_list(prices, _pairs(rows), now)
    return {
        name: [worth.as_view() for worth in _worths(rows, name, priced)] for name in ("explained", "repaired")
    }


def _pairs(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(row["quote_currency"], row["asset"]) for row in rows]


def _worths(rows: Iterable[Mapping[str, Any]], amount: str, prices: PriceList) -> list[Worth]:
    by_currency: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for row in rows:
        if row[amount]:
            by_currency[row["quote_currency"]][row["asset"]] = row[amount]
    return [prices.worth(currency, amounts) for currency, amounts in sorted(by_currency.items())]

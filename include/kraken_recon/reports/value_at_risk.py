"""What is at risk: drift that nobody can explain, and books that nobody could prove; and what was put right.

Invariants:
1. Drift of opposite signs does not cancel out: the value at risk is that of the absolute amounts.
2. What has no value is named, never dropped: an asset without a price, an account without books.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kraken_recon.holdings.pricing import PriceList, price_list
from kraken_recon.reports.page_store import WRITTEN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.holdings.store import PriceStore
    from kraken_recon.reports.page_store import PageStore

PUT_RIGHT_WITHIN: Final = timedelta(hours=24)
_UNPRICED_FIRST: Final = Decimal("Infinity")

# A currency, an asset, and how much of it.
Sum: TypeAlias = tuple[str, str, Decimal]


def drift_view(
    store: PageStore, prices: PriceStore, run_ids: Collection[UUID], now: datetime
) -> dict[str, Any]:
    """Value the drift that runs left standing: ``values`` by currency, ``assets`` the costliest first."""
    rows = store.outstanding_drift(run_ids) if run_ids else []
    sums = [(row.currency, row.asset, row.total) for row in rows]
    priced = _prices(sums, prices, now)
    valued = [replace(row, value=priced.worth(row.currency, {row.asset: row.total}).value) for row in rows]
    valued.sort(key=lambda row: _UNPRICED_FIRST if row.value is None else row.value, reverse=True)
    return {"values": _worths(sums, priced), "assets": valued}


def unproven_view(
    store: PageStore, prices: PriceStore, account_ids: Collection[int], now: datetime
) -> dict[str, Any]:
    """Value what accounts without a fresh proof hold on record; ``unknown`` of them have no books at all."""
    of_accounts = {"account_ids": list(account_ids)}
    sums = store.rows("accounts.holdings", _sum, **of_accounts) if account_ids else []
    return {
        "accounts": len(account_ids),
        "unknown": store.count("accounts.without_books", **of_accounts) if account_ids else 0,
        "values": _worths(sums, _prices(sums, prices, now)),
    }


def put_right_view(store: PageStore, prices: PriceStore, now: datetime) -> dict[str, Any]:
    """Value what the last 24 hours wrote: from ledger entries that were missed, and without any entry."""
    rows: list[dict[str, Any]] = store.rows(
        "accounts.put_right", dict, since=now - PUT_RIGHT_WITHIN, written=WRITTEN
    )
    sums = {
        name: [_sum(row["currency"], row["asset"], row[name]) for row in rows if row[name]]
        for name in ("explained", "repaired")
    }
    priced = _prices(chain(*sums.values()), prices, now)
    return {name: _worths(of_name, priced) for name, of_name in sums.items()}


def _sum(currency: str, asset: str, total: Decimal) -> Sum:
    return currency, asset, total


def _prices(sums: Iterable[Sum], store: PriceStore, now: datetime) -> PriceList:
    return price_list(store, [(currency, asset) for currency, asset, _ in sums], now)


def _worths(sums: Iterable[Sum], prices: PriceList) -> list[dict[str, Any]]:
    by_currency: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for currency, asset, total in sums:
        by_currency[currency][asset] = total
    return [prices.worth(currency, amounts).as_view() for currency, amounts in sorted(by_currency.items())]

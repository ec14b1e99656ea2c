"""What the drift that nobody can explain is worth, at the newest prices that maintenance keeps.

Invariants:
1. Drift of opposite signs does not cancel out: the value at risk is that of the absolute amounts.
2. Values in different currencies are never added; an asset without a fresh price is named, never dropped.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from kraken_recon.domain.money import format_amount
from kraken_recon.domain.valuation import value_holdings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

PRICE_AGE_MAX: Final = timedelta(hours=24)
_UNPRICED_FIRST: Final = Decimal("Infinity")


class DriftStore(Protocol):
    """What is read of drift and prices."""

    def outstanding_drift(self, run_ids: Collection[UUID]) -> Sequence[Mapping[str, Any]]:
        """Sum what runs found that no entry explains and that was not written, by currency and asset."""
        ...

    def newest_prices(
        self, wanted: Collection[tuple[str, str]], since: datetime
    ) -> Mapping[tuple[str, str], tuple[Decimal, datetime]]:
        """Read prices and their times by currency and asset, none older than a moment."""
        ...


def drift_view(store: DriftStore, run_ids: Collection[UUID], now: datetime) -> dict[str, Any]:
    """Value the drift that runs left standing: ``values`` by currency, ``assets`` the costliest first."""
    rows = store.outstanding_drift(run_ids) if run_ids else []
    priced = store.newest_prices([(row["quote_currency"], row["asset"]) for row in rows], now - PRICE_AGE_MAX)
    by_currency: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_currency[row["quote_currency"]].append(row)
    values, assets = [], []
    for currency, of_currency in sorted(by_currency.items()):
        prices = {asset: price for (quote, asset), (price, _) in priced.items() if quote == currency}
        times = [time for (quote, _), (_, time) in priced.items() if quote == currency]
        valued = value_holdings({row["asset"]: row["total"] for row in of_currency}, prices)
        values.append(
            {
                "currency": currency,
                "value": format_amount(valued.value),
                "unpriced": [asset.asset for asset in valued.assets if asset.value is None],
                "priced_at": min(times).isoformat(timespec="seconds") if times else None,
            }
        )
        by_asset = {asset.asset: asset for asset in valued.assets}
        assets += [(by_asset[row["asset"]].value, row) for row in of_currency]
    assets.sort(key=lambda pair: _UNPRICED_FIRST if pair[0] is None else pair[0], reverse=True)
    return {
        "values": values,
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

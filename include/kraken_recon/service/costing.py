"""Keep average costs and realised results in step with the ledger entries.

Invariants:
1. The figures are made from ``ledger_entries`` and openings alone, the same way each time; what is stored is
   only a copy of what they say.
2. An asset is recomputed together with every asset that it was exchanged with, because cost is carried over;
   the quote currency ends that chain, because one of it costs one.
3. Whoever books entries locks the positions of all wallets of these assets first, and so waits for whoever
   books others of them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, Protocol

from kraken_recon.domain.cost import MOVES, AssetCost, CostBook, grouped
from kraken_recon.domain.cost_records import CostKey, CostScope, Written
from kraken_recon.domain.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from decimal import Decimal

    from kraken_recon.domain.cost import RealisedResult
    from kraken_recon.domain.cost_records import QuoteTotal
    from kraken_recon.domain.ledger import HoldingKey, LedgerEntry

FIGURES: Final = ("avg_cost", "quantity_known", "quantity_unknown", "quantity_moving", "cost", "realised")


class CostStore(Protocol):
    """The rows of average costs, inside one transaction."""

    def account(self, name: str) -> tuple[int, str]:
        """Find an account's id and quote currency (``ConfigurationError`` for an unknown name)."""
        ...

    def assets(self, account_id: int) -> list[str]:
        """Name the assets that an account has or had."""
        ...

    def linked(self, keys: Collection[CostKey], paid: Collection[tuple[CostKey, str]]) -> CostScope:
        """Add the assets that these were exchanged with, directly or not, and find all their positions.

        Args:
            keys: the assets with new entries.
            paid: quote currencies with the ``refid`` of a new entry in them; the other assets under that
                ``refid`` are added.
        """
        ...

    def lock(self, positions: Sequence[tuple[int, HoldingKey]]) -> None:
        """Lock these positions in key order."""
        ...

    def entries(self, keys: Collection[CostKey]) -> Mapping[int, Sequence[LedgerEntry]]:
        """Read the entries of these assets and the quote legs of their trades, by account."""
        ...

    def openings(self, keys: Collection[CostKey]) -> Mapping[int, Mapping[str, Decimal]]:
        """Sum what these assets opened with, by account and asset."""
        ...

    def quote_totals(
        self, keys: Collection[CostKey], moves: Collection[tuple[str, str]]
    ) -> Mapping[int, QuoteTotal]:
        """Sum openings and entries of these quote currencies, by account."""
        ...

    def write(
        self,
        costs: Mapping[CostKey, AssetCost],
        results: Collection[tuple[int, RealisedResult]],
    ) -> Written:
        """Bring costs, results and the positions' averages of these assets up to date where they differ."""
        ...

    def costs(self, account_id: int, asset: str | None) -> list[Mapping[str, Any]]:
        """Read the stored figures of an account's assets, or of one."""
        ...


def scope_of(
    store: CostStore, touched: Iterable[CostKey], paid: Collection[tuple[CostKey, str]] = ()
) -> CostScope:
    """Find what must be recomputed, and which positions to lock first, once these assets have new entries.

    ``paid`` names new entries in the quote currency: a trade's leg in it may come later than the other.
    """
    keys = sorted(set(touched))
    return store.linked(keys, paid) if keys else CostScope()


@exact_arithmetic()
def recompute(store: CostStore, scope: CostScope) -> Written:
    """Rebuild the figures of locked assets from their entries, and write those that are not right."""
    if not scope.keys:
        return Written()
    money = [key for key in scope.keys if key.asset == key.quote]
    others = [key for key in scope.keys if key.asset != key.quote]
    entries, openings = store.entries(others), store.openings(others)
    by_account: dict[int, list[CostKey]] = defaultdict(list)
    for key in others:
        by_account[key.account_id].append(key)
    costs: dict[CostKey, AssetCost] = {}
    results: list[tuple[int, RealisedResult]] = []
    for account_id, keys in by_account.items():
        quote = keys[0].quote
        book = CostBook(quote, openings.get(account_id, {}))
        book.apply(grouped(entries.get(account_id, ()), quote))
        made = book.costs
        costs |= {key: made.get(key.asset, AssetCost()) for key in keys}
        results += [(account_id, result) for result in book.results]
    if money:
        totals = store.quote_totals(money, MOVES)
        costs |= {key: _money_cost(totals[key.account_id]) for key in money}
    return store.write(costs, results)


def _money_cost(total: QuoteTotal) -> AssetCost:
    known = total.quantity - total.moving
    return AssetCost(known, ZERO, total.moving, known, ZERO, total.as_of)


def recompute_account(store: CostStore, name: str) -> Written:
    """Rebuild every figure of an account under the locks of all its positions.

    Raises:
        ConfigurationError: there is no such account.
    """
    account_id, quote = store.account(name)
    scope = scope_of(store, (CostKey(account_id, asset, quote) for asset in store.assets(account_id)))
    store.lock(scope.positions)
    return recompute(store, scope)


def cost_view(store: CostStore, name: str, asset: str | None) -> dict[str, Any]:
    """Show what an account's assets, or one of them, cost; amounts as text.

    Raises:
        ConfigurationError: there is no such account.
    """
    account_id, quote = store.account(name)
    return {
        "account": name,
        "quote_currency": quote,
        "assets": [
            {
                "asset": row["asset"],
                **{
                    figure: format_amount(row[figure]) if row[figure] is not None else None
                    for figure in FIGURES
                },
                "as_of": row["as_of"].isoformat() if row["as_of"] else None,
            }
            for row in store.costs(account_id, asset)
        ],
    }

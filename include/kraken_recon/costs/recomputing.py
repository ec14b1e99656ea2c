"""Keep average costs and realised results in step with the ledger entries.

Invariants:
1. The figures are made from ``ledger_entries`` and openings alone, the same way each time; what is stored is
   only a copy of what they say.
2. An asset is recomputed together with every asset that it was exchanged with, because cost is carried over;
   the quote currency ends that chain, because one of it costs one.
3. Where all new entries are later than those counted, they alone are added to the stored figures, which comes
   to the same (``continuing.py``).
4. Whoever books entries locks the positions of all wallets of these assets first, and so waits for whoever
   books others of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.costs.average_cost import AssetCost, CostBook
from kraken_recon.costs.continuing import continuations, looks_back
from kraken_recon.costs.records import CostKey, CostScope, CountedCost, Written
from kraken_recon.errors import LockUnavailableError
from kraken_recon.ledger.conversions import unpaired_legs
from kraken_recon.ledger.entry_kinds import PLACES, RENAMES, as_columns, kind_of
from kraken_recon.ledger.operations import lying_elsewhere
from kraken_recon.ledger.sequence import grouped
from kraken_recon.values.cycle_search import no_cycle_search
from kraken_recon.values.money import ZERO, exact_arithmetic
from kraken_recon.values.plain import plain
from kraken_recon.values.shown_figures import covered_share

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from decimal import Decimal

    from kraken_recon.costs.average_cost import RealisedResult
    from kraken_recon.costs.records import QuoteTotal
    from kraken_recon.costs.store import CostStore
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry


class HistoryNeededError(LockUnavailableError):
    """Figures need more than the new entries that were taken for all there is; look first, and lock more."""


FIGURES: Final = ("avg_cost", "quantity_known", "quantity_unknown", "quantity_moving", "cost", "realised")


def scope_of(
    store: CostStore,
    touched: Iterable[CostKey],
    paid: Collection[tuple[CostKey, str]] = (),
    *,
    opening: Collection[int] = (),
    trusted: Collection[int] = (),
) -> CostScope:
    """Find what must be recomputed, and which positions to lock first, once these assets have new entries.

    Args:
        store: the rows.
        touched: the assets with new entries.
        paid: new entries in the quote currency: a trade's leg in it may come later than the other.
        opening: accounts whose opening is written after this; they are computed as a whole.
        trusted: accounts whose new entries are taken for all there is; that is checked under the locks.
    """
    keys = sorted(set(touched))
    if not keys:
        return CostScope()
    found = continuations(store, [key for key in keys if key.account_id not in {*opening, *trusted}])
    continued = {account for account, news in found.items() if news}.union(trusted)
    whole = [key for key in keys if key.account_id not in continued]
    kept = [key for news in found.values() if news for key in news.progress]
    kept += [key for key in keys if key.account_id in trusted]
    linked = CostScope()
    if whole:
        linked = store.linked(whole, [(key, refid) for key, refid in paid if key.account_id not in continued])
    return CostScope(
        (*linked.keys, *kept),
        (*linked.positions, *(store.wallets(kept) if kept else ())),
        frozenset(continued),
    )


def scope_of_news(
    store: CostStore,
    quotes: Mapping[int, str],
    news: Mapping[int, Mapping[HoldingKey, Sequence[LedgerEntry]]],
    openings: Mapping[int, Collection[HoldingKey]] | None = None,
    *,
    trusts_news: bool = False,
) -> CostScope:
    """Find the scope of new entries, and of openings that are written after this, by account.

    Args:
        store: the rows.
        quotes: the currencies that the accounts count in.
        news: the new entries.
        openings: the holdings that are opened.
        trusts_news: asks nothing where the new entries are likely to be all that is not counted yet; after a
            ``HistoryNeededError`` it is to be tried without.
    """
    openings = openings or {}
    trusted = [
        account
        for account, by_key in news.items()
        if trusts_news and account not in openings and not any(map(looks_back, chain(*by_key.values())))
    ]
    touched, paid = set(), set()
    for account, by_key in news.items():
        quote = quotes[account]
        touched |= {CostKey(account, key.asset, quote) for key in (*by_key, *openings.get(account, ()))}
        paid |= {
            (CostKey(account, quote, quote), entry.refid)
            for key, of in by_key.items()
            if key.asset == quote
            for entry in of
            if entry.operation
        }
    return scope_of(store, touched, paid, opening=openings.keys(), trusted=trusted)


@exact_arithmetic()
def recompute(store: CostStore, scope: CostScope) -> Written:
    """Bring the figures of locked assets up to date, and write those that are not right.

    Raises:
        HistoryNeededError: the new entries are not all there is, or somebody booked older ones meanwhile; try
            again.
    """
    if not scope.keys:
        return Written()
    rebuilt = [key for key in scope.keys if key.account_id not in scope.continues]
    costs, results = _rebuilt(store, rebuilt) if rebuilt else ({}, [])
    continued = [key for key in scope.keys if key.account_id in scope.continues]
    for account_id, found in continuations(store, continued).items():
        if found is None or not found.progress.keys() <= set(continued):
            raise HistoryNeededError("other entries of the account were booked meanwhile")
        figures, sales = found.figures()
        costs |= figures
        results += [(account_id, sale) for sale in sales]
    return store.write(costs, results, rebuilt)


def _by_account(keys: Iterable[CostKey]) -> dict[int, list[CostKey]]:
    by_account: dict[int, list[CostKey]] = defaultdict(list)
    for key in keys:
        by_account[key.account_id].append(key)
    return by_account


def _rebuilt(
    store: CostStore, keys: Sequence[CostKey]
) -> tuple[dict[CostKey, CountedCost], list[tuple[int, RealisedResult]]]:
    """Compute figures from the first entry on."""
    money = [key for key in keys if key.asset == key.quote]
    others = [key for key in keys if key.asset != key.quote]
    entries, openings = store.entries(others), store.openings(others)
    costs: dict[CostKey, CountedCost] = {}
    results: list[tuple[int, RealisedResult]] = []
    for account_id, its_keys in _by_account(others).items():
        quote, before = its_keys[0].quote, openings.get(account_id, {})
        opened: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for holding, quantity in before.items():
            opened[holding.asset] += quantity
        book = CostBook(quote, opened)
        book.apply(grouped(entries.get(account_id, ()), quote, before))
        made = book.costs
        counted = Counter(entry.asset for entry in entries.get(account_id, ()))
        for key in its_keys:
            cost = made.get(key.asset, AssetCost())
            costs[key] = CountedCost(cost, counted[key.asset], opened.get(key.asset, ZERO))
        results += [(account_id, result) for result in book.results]
    if money:
        totals = store.quote_totals(money)
        costs |= {key: _money_cost(totals[key.account_id]) for key in money}
    return costs, results


def _money_cost(total: QuoteTotal) -> CountedCost:
    known = total.quantity - total.moving
    cost = AssetCost(known, ZERO, total.moving, known, ZERO, total.as_of)
    return CountedCost(cost, total.entries, total.opening)


@no_cycle_search()
def recompute_account(store: CostStore, name: str) -> Written:
    """Rebuild every figure of an account under the locks of all its positions.

    Raises:
        ConfigurationError: there is no such account.
    """
    account_id, quote = store.account(name)
    keys = [CostKey(account_id, asset, quote) for asset in store.assets(account_id)]
    scope = store.linked(keys, ()) if keys else CostScope()
    store.lock(scope.positions)
    return recompute(store, scope)


def cost_view(store: CostStore, name: str, asset: str | None) -> dict[str, Any]:
    """Show what an account's assets, or one of them, cost; amounts as text.

    Raises:
        ConfigurationError: there is no such account.
    """
    account_id, quote = store.account(name)
    elsewhere, unpaired = what_lies_elsewhere(store, account_id), unpaired_of(store, account_id)
    return {
        "account": name,
        "quote_currency": quote,
        "assets": [
            {
                "asset": row["asset"],
                **plain({figure: row[figure] for figure in FIGURES}),
                "covers": covered_share(row["quantity_known"], row["quantity_unknown"]),
                "as_of": plain(row["as_of"]),
            }
            for row in store.costs(account_id, asset)
        ],
        "elsewhere": [row for row in elsewhere if asset in {None, row["asset"]}],
        "unpaired": [
            {
                "asset": leg.asset,
                "amount": plain(leg.amount),
                "ledger_id": leg.ledger_id,
                "time": plain(leg.entry_time),
                "kind": kind_of(leg),
            }
            for leg in unpaired
            if asset in {None, leg.asset}
        ],
    }


def what_lies_elsewhere(store: CostStore, account_id: int) -> list[dict[str, str]]:
    """List what an account brought to products of Kraken's that no balance shows, and did not take back."""
    lying = lying_elsewhere(store.entries_of_kinds(account_id, PLACES))
    return [
        {"asset": asset, "place": place, "quantity": plain(quantity)}
        for (place, asset), quantity in lying.items()
    ]


def unpaired_of(store: CostStore, account_id: int) -> list[LedgerEntry]:
    """List the legs of an account's renames and delistings that have no certain other leg."""
    return unpaired_legs(store.entries_of_kinds(account_id, as_columns(RENAMES)))

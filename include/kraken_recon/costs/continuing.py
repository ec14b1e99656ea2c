"""Go on with an account's average costs from where they stand, with its newest entries alone.

Invariants:
1. What comes out is, to the last digit, what all entries from the first on would give; where that is not
   certain nothing is concluded here, and the whole is computed.
2. Entries are only ever added. So if an asset has as many as were counted and as are new, and all new ones
   are later than all that were counted, nothing else has come.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kraken_recon.costs.average_cost import CostBook
from kraken_recon.costs.records import CostKey, CountedCost
from kraken_recon.ledger.entry_kinds import CONVERSIONS
from kraken_recon.ledger.operations import EntryGroup, in_time, place_of
from kraken_recon.ledger.sequence import connects, in_order, undecided_holdings
from kraken_recon.values.money import exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.costs.average_cost import RealisedResult
    from kraken_recon.costs.records import CostProgress
    from kraken_recon.costs.store import CostStore
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry


@dataclass(frozen=True, slots=True)
class Continuation:
    """The new entries of one account in order, and the figures of every asset that they touch."""

    groups: Sequence[EntryGroup]
    progress: Mapping[CostKey, CostProgress]

    @exact_arithmetic()
    def figures(self) -> tuple[dict[CostKey, CountedCost], list[RealisedResult]]:
        """Add the new entries to the figures; return them, and what new sales brought."""
        quote = next(iter(self.progress)).quote
        book = CostBook(quote, costs={key.asset: at.stored.cost for key, at in self.progress.items()})
        book.apply(self.groups)
        made = book.costs
        return {
            key: CountedCost(made[key.asset], at.entries, at.opening) for key, at in self.progress.items()
        }, book.results


def continuations(store: CostStore, keys: Collection[CostKey]) -> dict[int, Continuation | None]:
    """Collect, by account, what is new of these assets and of those exchanged with them since.

    None stands for an account whose whole history is needed: an entry is not later than what was counted,
    belongs to an older exchange, or the opening has changed.
    """
    if not keys:
        return {}
    quotes = {key.account_id: key.quote for key in keys}
    wanted, found = set(keys), set[CostKey]()
    while wanted != found:
        wanted |= found
        news = store.news(wanted)
        found = wanted | {
            CostKey(account, entry.asset, quotes[account])
            for account, entries in news.items()
            for entry in entries
        }
    progress: dict[int, dict[CostKey, CostProgress]] = defaultdict(dict)
    for key, at in store.progress(wanted).items():
        progress[key.account_id][key] = at
    return {
        account: _continuation(store, account, quotes[account], news.get(account, ()), progress[account])
        for account in quotes
    }


def _continuation(
    store: CostStore,
    account_id: int,
    quote: str,
    news: Sequence[LedgerEntry],
    progress: Mapping[CostKey, CostProgress],
) -> Continuation | None:
    if not _are_all(news, progress):
        return None
    if any(map(looks_back, news)):
        return None
    groups = in_time(news)
    places = undecided_holdings(groups, quote)
    before: Mapping[HoldingKey, Decimal] = {}
    if places:
        as_of = {key.asset: at.stored.cost.as_of for key, at in progress.items()}
        before = store.balances_before(account_id, {key: as_of[key.asset] for key in places})
        if not connects(groups, before):
            return None
    groups = in_order(groups, quote, before)
    return Continuation(groups, progress) if _are_later(groups, progress, quote) else None


def looks_back(entry: LedgerEntry) -> bool:
    """Say whether an entry's cost depends on an older one that shares no name with it.

    The other leg of a conversion may have been counted already, and so may one that Kraken did not name;
    what comes back from elsewhere brings the cost that it left with.
    """
    return entry.kind in CONVERSIONS or entry.operation is None or place_of(entry) is not None


def _are_all(news: Collection[LedgerEntry], progress: Mapping[CostKey, CostProgress]) -> bool:
    """Say whether the news and what was counted are all there is, and the openings are still the same."""
    fresh = Counter(entry.asset for entry in news)
    return all(
        at.entries == at.stored.entries + fresh[key.asset] and at.opening == at.stored.opening
        for key, at in progress.items()
    )


def _are_later(groups: Sequence[EntryGroup], progress: Mapping[CostKey, CostProgress], quote: str) -> bool:
    """Say whether each group happened after everything that was counted of its assets.

    The order in which the quote currency comes and goes makes no difference: each entry of it counts alone.
    """
    as_of: dict[str, datetime | None] = defaultdict(lambda: None)
    as_of |= {key.asset: at.stored.cost.as_of for key, at in progress.items()}
    for group in groups:
        for entry in group.entries:
            counted_until = as_of[entry.asset]
            moment = entry.entry_time if entry.asset == quote else group.effective_at
            if counted_until is not None and moment <= counted_until:
                return False
    return True

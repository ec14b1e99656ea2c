"""Average costs that go on from where they stand are those of the whole history, wherever it is cut."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from desks.cost_books import QUOTE
from desks.cost_histories import ASSETS, KINDS, Happening, amounts, happenings, write
from desks.fakes import START, FakeBooks
from kraken_recon.costs.average_cost import AssetCost, CostBook
from kraken_recon.costs.continuing import continuations
from kraken_recon.costs.records import CostKey, CostProgress, CountedCost
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
from kraken_recon.ledger.sequence import grouped
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from decimal import Decimal


@dataclass
class MemoryCosts:
    """The rows that a continuation reads, and the figures that were stored."""

    openings: Mapping[HoldingKey, Decimal]
    entries: list[LedgerEntry] = field(default_factory=list)
    stored: dict[str, CountedCost] = field(default_factory=dict)
    results: list[Any] = field(default_factory=list)

    def opening_of(self, asset: str) -> Decimal:
        return sum((q for key, q in self.openings.items() if key.asset == asset), ZERO)

    def progress(self, keys: Collection[CostKey]) -> dict[CostKey, CostProgress]:
        counted = Counter(entry.asset for entry in self.entries)
        return {
            key: CostProgress(
                self.stored.get(key.asset, CountedCost()), counted[key.asset], self.opening_of(key.asset)
            )
            for key in keys
        }

    def news(self, keys: Collection[CostKey]) -> dict[int, list[LedgerEntry]]:
        assets = {key.asset for key in keys}
        new = {e.ledger_id: e for e in self.entries if e.asset in assets and self.is_later(e)}
        names = {e.operation for e in new.values() if e.operation}
        return {1: list((new | {e.ledger_id: e for e in self.entries if e.operation in names}).values())}

    def is_later(self, entry: LedgerEntry) -> bool:
        until = self.stored.get(entry.asset, CountedCost()).cost.as_of
        return until is None or entry.entry_time > until

    @exact_arithmetic()
    def balances_before(
        self, _: int, places: Mapping[HoldingKey, datetime | None]
    ) -> dict[HoldingKey, Decimal]:
        return {
            key: self.openings.get(key, ZERO)
            + sum((e.change for e in self.entries if e.key == key and until and e.entry_time <= until), ZERO)
            for key, until in places.items()
        }

    def whole(self) -> tuple[dict[str, AssetCost], list[Any]]:
        opened = {asset: self.opening_of(asset) for asset in {key.asset for key in self.openings}}
        book = CostBook(QUOTE, opened)
        book.apply(grouped(self.entries, QUOTE, self.openings))
        return book.costs, book.results

    def add(self, batch: list[LedgerEntry]) -> bool:
        """Bring a batch and its costs; say whether they could be added to what was there."""
        self.entries += batch
        found = continuations(self, {CostKey(1, entry.asset, QUOTE) for entry in batch})[1]  # type: ignore[arg-type]
        if found is None:
            costs, self.results = self.whole()
            counted = Counter(entry.asset for entry in self.entries)
            self.stored = {a: CountedCost(c, counted[a], self.opening_of(a)) for a, c in costs.items()}
            return False
        figures, results = found.figures()
        self.stored |= {key.asset: figure for key, figure in figures.items()}
        self.results += results
        return True


def in_order(results: list[Any]) -> list[Any]:
    return sorted(results, key=lambda result: (result.refid, result.asset))


@given(
    happenings(*KINDS),
    st.lists(st.integers(1, 6), max_size=6),
    st.dictionaries(st.builds(HoldingKey, st.sampled_from(ASSETS), st.just("spot")), amounts),
    st.randoms(use_true_random=False),
)
def test_figures_are_those_of_the_whole_wherever_the_history_is_cut(
    history: list[Happening], sizes: list[int], openings: dict[HoldingKey, Decimal], dice: Any
) -> None:
    books = FakeBooks(openings=dict(openings), now=START)
    for thing in history:
        write(books, thing)
    costs = MemoryCosts(openings)
    costs.stored = {key.asset: CountedCost(c, 0, costs.opening_of(key.asset)) for key in openings
                    for asset, c in costs.whole()[0].items() if asset == key.asset}  # fmt: skip
    left = list(books.entries)
    for size in [*sizes, len(left)]:
        batch, left = left[:size], left[size:]
        dice.shuffle(batch)
        if batch:
            costs.add(batch)
            figures, results = costs.whole()
            assert {asset: at.cost for asset, at in costs.stored.items()} == figures
            assert in_order(costs.results) == in_order(results)


@given(happenings("buy", "sell", "swap"))
def test_what_follows_in_time_is_added_and_not_computed_anew(history: list[Happening]) -> None:
    """The shortcut is taken wherever it is meant to be: exchanges that follow each other, one by one."""
    books, costs = FakeBooks(), MemoryCosts({})
    for thing in history:
        before = len(books.entries)
        write(books, thing._replace(together=False))
        assert costs.add(books.entries[before:])


@given(happenings(*KINDS), st.data())
def test_what_comes_late_is_never_lost(history: list[Happening], data: st.DataObject) -> None:
    books, costs = FakeBooks(), MemoryCosts({})
    for thing in history:
        write(books, thing)
    entries = list(books.entries)
    late = data.draw(st.sets(st.sampled_from(range(len(entries)))))
    for batch in ([e for n, e in enumerate(entries) if n not in late], [entries[n] for n in sorted(late)]):
        if batch:
            costs.add(batch)
    assert {asset: at.cost for asset, at in costs.stored.items()} == costs.whole()[0]

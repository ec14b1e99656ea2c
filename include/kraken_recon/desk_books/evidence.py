"""What our own database says of the accounts of a book, for all of them at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kraken_recon.desk_books.rules.compare import ProvenPositions
from kraken_recon.desk_books.rules.memory import AssetMemory, declaration_ids, remembered
from kraken_recon.desk_books.store import DeskBookStore
from kraken_recon.holdings.pricing import PriceList, price_list
from kraken_recon.holdings.store import PriceStore

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.reading import BookReading
    from kraken_recon.desk_books.rules.memory import AssetStanding, JudgedBefore
    from kraken_recon.desk_books.store import AccountAsset, ProvenAccount
    from kraken_recon.ledger.entries import LedgerEntry


@dataclass(slots=True)
class BookEvidence:
    """What our database says of the accounts of a book, and of their assets that differ."""

    positions: Mapping[int, ProvenPositions]
    ledger_heads: Mapping[int, int]
    declared: Mapping[str, UUID]
    before: Mapping[int, JudgedBefore]
    standings: Mapping[AccountAsset, AssetStanding]
    approved: Mapping[int, tuple[UUID, Mapping[str, Decimal]]]
    memories: Mapping[AccountAsset, AssetMemory] = field(default_factory=dict)
    entries: Mapping[AccountAsset, Sequence[LedgerEntry]] = field(default_factory=dict)
    held: Collection[AccountAsset] = frozenset()
    orders: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    costs: Mapping[int, Mapping[str, Decimal]] = field(default_factory=dict)
    available: Mapping[int, Mapping[str, Decimal]] = field(default_factory=dict)
    prices: PriceList = field(default_factory=PriceList)

    def proven(self, account_id: int) -> ProvenPositions:
        """Say what is proven of an account."""
        return self.positions.get(account_id) or ProvenPositions()

    def memory(self, account_id: int, asset: str) -> AssetMemory:
        """Say what is remembered of an asset that does not agree."""
        one = (account_id, asset)
        known = self.memories.get(one)
        return known or remembered(self.standings.get(one), self.before.get(account_id), None)

    def explain(
        self,
        unit: UnitOfWork,
        book: DeskBook,
        wanted: set[AccountAsset],
        accounts: Iterable[ProvenAccount],
        now: datetime,
    ) -> None:
        """Add what explains differences of these assets, and nothing about what agrees."""
        store = DeskBookStore(unit)
        writes = store.last_writes(book.name, wanted)
        forward = {one: write.ledger_ids for one, write in writes.items() if write.was_booked_for_the_bot}
        booked = store.entries_named({(i, ledger_id) for (i, _), own in forward.items() for ledger_id in own})
        self.memories = {
            one: remembered(
                self.standings.get(one),
                self.before.get(one[0]),
                writes.get(one),
                [entry for entry in booked.get(one, ()) if entry.ledger_id in forward.get(one, ())],
            )
            for one in wanted
        }
        agreements = {one: memory.agreement for one, memory in self.memories.items()}
        self.entries = store.entries(
            {one: known.ledger_seq if known else 0 for one, known in agreements.items()}
        )
        self.held = store.ever_held(wanted)
        self.orders = store.orders_of_trades(wanted)
        self.costs = store.average_costs(wanted)
        self.available = store.available(wanted)
        self.read_prices(unit, wanted, accounts, now)

    def read_prices(
        self, unit: UnitOfWork, wanted: set[AccountAsset], accounts: Iterable[ProvenAccount], now: datetime
    ) -> None:
        """Read what assets that differ are worth, and whatever else their accounts hold."""
        quoted = {account.account_id: account.quote_currency for account in accounts}
        held = {(i, asset) for i in {i for i, _ in wanted} for asset in self.proven(i).assets}
        self.prices = price_list(PriceStore(unit), {(quoted[i], asset) for i, asset in wanted | held}, now)

    def unpriced(
        self, wanted: Iterable[AccountAsset], accounts: Iterable[ProvenAccount]
    ) -> dict[str, tuple[ProvenAccount, set[str]]]:
        """Say by currency which assets that differ have no price, and of what account one of them is."""
        named = {account.account_id: account for account in accounts}
        found: dict[str, tuple[ProvenAccount, set[str]]] = {}
        for account_id, asset in wanted:
            account = named[account_id]
            if self.prices.of(account.quote_currency, asset)[0] is None:
                found.setdefault(account.quote_currency, (account, set()))[1].add(asset)
        return found


def read_memory(
    unit: UnitOfWork, book: DeskBook, accounts: Sequence[ProvenAccount], reading: BookReading
) -> BookEvidence:
    """Read what is proven, and what the last run left; under another declaration nothing agreed."""
    store = DeskBookStore(unit)
    named = {account.account_id: account.name for account in accounts}
    declared = declaration_ids(book, reading.values)
    # The ledger before what it led to: what is booked between the two is rather looked at twice than never.
    heads = store.ledger_heads(named)
    before = store.judged_before(book.name, named)
    return BookEvidence(
        store.positions(named),
        heads,
        declared,
        {i: one for i, one in before.items() if one.declaration == declared.get(named[i])},
        store.standings(book.name, named),
        store.approved(book.name, named),
    )

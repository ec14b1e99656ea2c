"""Groups of ledger entries for tests of average cost, and short ways to cost them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kraken_recon.costs.average_cost import CostBook
from kraken_recon.ledger.sequence import grouped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from decimal import Decimal

    from desks.fakes import FakeBooks
    from kraken_recon.ledger.entries import LedgerEntry

QUOTE = "USD"


def happen(
    books: FakeBooks,
    *legs: tuple[str, ...],
    kind: str = "trade",
    subtype: str = "",
    refid: str = "",
    at: datetime | None = None,
) -> list[LedgerEntry]:
    """Write one group; a leg is asset, amount, and optionally fee and wallet."""
    written = []
    for asset, amount, *rest in legs:
        fee, wallet = rest[0] if rest else "0", rest[1] if len(rest) > 1 else "spot"
        entry = books.add(asset, amount, fee=fee, wallet=wallet, entry_type=kind, at=at)
        books.entries[-1] = replace(entry, subtype=subtype, refid=refid or f"R{books.made:05d}")
        refid = books.entries[-1].refid
        written.append(books.entries[-1])
    return written


def costed(entries: Iterable[LedgerEntry], openings: Mapping[str, Decimal] | None = None) -> CostBook:
    """Cost all entries at once."""
    book = CostBook(QUOTE, openings)
    book.apply(grouped(entries, QUOTE))
    return book

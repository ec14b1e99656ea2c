"""Book ledger entries beside a sync, under the same locks and by the same rules: fills, and missed ones.

Invariants:
1. An entry moves its position once: only those really inserted do, whoever else brings them.
2. Everybody locks in the same order: ledger entries, then positions, with those whose average cost moves.
3. An entry that cannot be is refused, as a sync refuses it.
4. Nothing is proved by it: watermark and coverage stay, so the next sync reads what a fill brought again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from kraken_recon.books.steps import Steps
from kraken_recon.books.store import BookStore
from kraken_recon.costs.recomputing import recompute, scope_of_news
from kraken_recon.costs.store import CostStore
from kraken_recon.ledger.chain import in_chain_order
from kraken_recon.ledger.plausible import refuse_implausible
from kraken_recon.values.money import exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.books.events import Step
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry


@exact_arithmetic()
def book_entries(
    unit: UnitOfWork,
    entries: Mapping[Account, Sequence[LedgerEntry]],
    now: datetime,
    *,
    run_id: UUID | None = None,
) -> int:
    """Insert entries and move positions by those that are new; return how many were.

    The caller commits. Entries may come again, in any order, and beside a sync.

    Raises:
        PayloadInvalidError: an entry cannot be; nothing is written.
    """
    for of in entries.values():
        refuse_implausible(of, now)
    news = move_by_new(unit, entries, run_id or uuid4())
    return sum(len(of) for by_key in news.values() for of in by_key.values())


def move_by_new(
    unit: UnitOfWork,
    entries: Mapping[Account, Sequence[LedgerEntry]],
    run_id: UUID,
    *,
    found_at: datetime | None = None,
) -> dict[int, dict[HoldingKey, list[LedgerEntry]]]:
    """Insert plausible entries and move positions by those that are new; return these.

    ``found_at`` is as of when positions are read that somebody changed; by default when the first entry was.
    """
    books, costs = BookStore(unit), CostStore(unit)
    listed = {account.account_id: of for account, of in entries.items()}
    run_ids = dict.fromkeys(listed, run_id)
    news = inserted_in_order(
        {number: in_chain_order(of) for number, of in listed.items()}, books.ingest(listed, run_ids)
    )
    places = sorted((number, key) for number, by_key in news.items() for key in by_key)
    if not places:
        return news
    scope = scope_of_news(costs, {a.account_id: a.quote_currency for a in entries}, news)
    books.lock_positions(sorted({*places, *scope.positions}))
    recorded = books.recorded(places)
    steps: dict[int, list[Step]] = {number: [] for number in listed}
    for number, key in places:
        new = news[number][key]
        moving = Steps.begin(key, recorded[number, key], found_at or new[0].entry_time)
        moving.book(new)
        steps[number] += moving.made
    books.write_steps(steps, run_ids)
    recompute(costs, scope)
    return news


def inserted_in_order(
    chained: Mapping[int, Mapping[HoldingKey, Sequence[LedgerEntry]]], inserted: Collection[tuple[int, str]]
) -> dict[int, dict[HoldingKey, list[LedgerEntry]]]:
    """Keep those of an account's entries, by holding, that were really inserted."""
    return {
        account: {
            key: new
            for key, of in by_key.items()
            if (new := [entry for entry in of if (account, entry.ledger_id) in inserted])
        }
        for account, by_key in chained.items()
    }

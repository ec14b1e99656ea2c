"""Book ledger entries that fills bring, under the same locks and by the same rules as a sync.

Invariants:
1. An entry moves its position once: only those really inserted do, whoever else brings them.
2. Everybody locks in the same order: ledger entries, then positions, with those whose average cost moves.
3. An entry that cannot be is refused, as a sync refuses it.
4. Nothing is proved by a fill: watermark and coverage stay, so the next sync reads the same stretch again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from kraken_recon.books.events import Cause, Reason, Step
from kraken_recon.books.store import BookStore
from kraken_recon.costs.recomputing import recompute, scope_of
from kraken_recon.costs.records import CostKey
from kraken_recon.costs.store import CostStore
from kraken_recon.ledger.chain import by_holding, prove_chain
from kraken_recon.ledger.plausible import refuse_implausible
from kraken_recon.values.money import exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.books.events import RecordedPosition
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
    by_id = {account.account_id: account for account in entries}
    listed = {account.account_id: tuple(of) for account, of in entries.items()}
    run_ids = dict.fromkeys(listed, run_id or uuid4())
    inserted = BookStore(unit).ingest(listed, run_ids)
    fresh = {
        (account_id, key): in_order
        for account_id, of in listed.items()
        for key, in_order in _in_order([e for e in of if (account_id, e.ledger_id) in inserted]).items()
    }
    if not fresh:
        return 0
    touched = {CostKey(account, key.asset, by_id[account].quote_currency) for account, key in fresh}
    paid = {
        (CostKey(account, key.asset, key.asset), entry.refid)
        for (account, key), of in fresh.items()
        for entry in of
        if key.asset == by_id[account].quote_currency and entry.operation
    }
    scope = scope_of(CostStore(unit), touched, paid)
    BookStore(unit).lock_positions(sorted({*fresh, *scope.positions}))
    recorded = BookStore(unit).recorded(sorted(fresh))
    steps: dict[int, list[Step]] = {account: [] for account in listed}
    for (account, key), of in sorted(fresh.items()):
        steps[account] += _steps(key, recorded[account, key], of)
    BookStore(unit).write_steps(steps, run_ids)
    recompute(CostStore(unit), scope)
    return len(inserted)


def _in_order(entries: Sequence[LedgerEntry]) -> dict[HoldingKey, tuple[LedgerEntry, ...]]:
    return {
        key: prove_chain(key, of, known_balance=None).entries if len(of) > 1 else tuple(of)
        for key, of in by_holding(entries).items()
    }


def _steps(key: HoldingKey, row: RecordedPosition, entries: Sequence[LedgerEntry]) -> list[Step]:
    steps: list[Step] = []
    if row.quantity != row.event_total:
        # Somebody changed it without an event; the next sync judges it, with both facts on record.
        at = entries[0].entry_time
        steps.append(Step(key, row.event_total, row.quantity, Cause.ADJUSTMENT, at, Reason.FOUND_CHANGED))
    quantity = row.quantity
    for entry in entries:
        after = quantity + entry.change
        steps.append(Step(key, quantity, after, Cause.LEDGER, entry.entry_time, ledger_id=entry.ledger_id))
        quantity = after
    return steps

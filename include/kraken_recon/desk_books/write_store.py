"""What is about to be written to desks, and what became of it, in our own database.

Every statement is a query of ``write.sql``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kraken_recon.database.arrays import json_rows
from kraken_recon.database.store import Store, named_queries
from kraken_recon.desk_books.rules.judged import WriteState
from kraken_recon.desk_books.rules.records import WriteKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.desk_books.rules.kept_values import Kept


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """One row that is to be written, with values as they are kept.

    ``change`` is of the desk's quantity, in units of the asset. ``refusal`` says why it cannot be written.
    """

    table: str
    asset: str
    is_cash: bool
    kind: WriteKind
    key: Kept
    before: Kept
    after: Kept
    change: Decimal
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """The writes of one plan to one account's rows of a book; an undo has no run."""

    plan_id: UUID
    book: str
    connection: str
    account_id: int
    writes: Sequence[PlannedWrite]
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class RecordedWrite:
    """One write as it is on record."""

    write_id: int
    plan_id: UUID
    book: str
    connection: str
    table: str
    account_id: int
    asset: str
    kind: WriteKind
    key: Kept
    before: Kept
    after: Kept


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What became of a write; ``after`` is what the row holds now, None where it is as intended."""

    write_id: int
    state: WriteState
    reason: str = ""
    after: Kept | None = field(default=None)


class WriteStore(Store):
    """Writes to desks, as they are on record."""

    queries = named_queries(__file__, "write")

    def take_turn(self, book: str, account_id: int) -> bool:
        """Claim an account's rows of a book until this session ends; False if somebody else has."""
        return self._value(bool, "take_turn", book=book, account_id=str(account_id))

    def intend(self, intent: Intent) -> list[int]:
        """Keep what is about to be written; return the numbers of the writes, in order."""
        rows = [
            {
                "plan_id": intent.plan_id,
                "run_id": intent.run_id,
                "book": intent.book,
                "connection": intent.connection,
                "table_name": one.table,
                "account_id": intent.account_id,
                "asset": one.asset,
                "is_cash": one.is_cash,
                "kind": one.kind,
                "key": one.key,
                "before": one.before,
                "after": one.after,
                "change": one.change,
                "state": WriteState.SKIPPED if one.refusal else WriteState.WRITING,
                "reason": one.refusal or None,
            }
            for one in intent.writes
        ]
        return [row.write_id for row in self._run("intend", writes=json_rows(rows))] if rows else []

    def conclude(self, conclusions: Iterable[Conclusion]) -> None:
        """Say what became of writes."""
        rows = [
            {
                "write_id": one.write_id,
                "state": one.state,
                "reason": one.reason or None,
                "after": one.after,
            }
            for one in conclusions
        ]
        if rows:
            self._run("conclude", ended=json_rows(rows))

    def unfinished(self, book: str | None = None, account_id: int | None = None) -> list[RecordedWrite]:
        """Read the writes of which nobody knows yet what became of them; all, or an account's in a book."""
        rows = self._run("unfinished", book=book, account_id=account_id)
        return [_recorded(row) for row in rows]

    def written_by(self, plan_id: UUID) -> list[dict[str, Any]]:
        """Read what a plan has written, in order."""
        return self._rows("written_by", plan_id=plan_id)


def _recorded(row: Any) -> RecordedWrite:  # noqa: ANN401 - a row of the query
    return RecordedWrite(
        row.write_id,
        row.plan_id,
        row.book,
        row.connection,
        row.table_name,
        row.account_id,
        row.asset,
        WriteKind(row.kind),
        row.key,
        row.before,
        row.after,
    )

"""Change rows of a desk's own database, each only while it is what was judged.

Invariants:
1. All rows of one account change in one short transaction: a lock of our own, the account's row where one is
   named, then exactly the rows to change, in the order of their keys. Nothing else happens inside of it.
2. A row that is no longer what was judged, or that somebody keeps locked, is left as it is, with the reason.
3. Only named columns change, and what was written is read again: a row that holds something else is left.
4. What the database said is final, except of a commit that was not answered: then nobody knows yet.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from kraken_recon.desk_books.address import Dialect
from kraken_recon.desk_books.rules.judged import WriteState
from kraken_recon.desk_books.rules.kept_values import Kept, differing, keep
from kraken_recon.desk_books.rules.records import WriteKind
from kraken_recon.desk_books.schema_store import split_name
from kraken_recon.desk_books.session_store import LOCKED, DeskLimits, changing_session, kind_of, said_by
from kraken_recon.errors import DeskUnreadableError
from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.desk_books.session_store import DeskSession

# Others wait for what is locked here, so this is shorter than what a reading may take.
WRITE_LIMITS: Final = DeskLimits(statement_timeout_seconds=10, lock_timeout_seconds=3)
_REFUSALS_MAX: Final = 1


@dataclass(frozen=True, slots=True)
class RowLocks:
    """What is locked before any row: a name of our own, and the account's row in another table."""

    name: str
    parent_table: str | None = None
    parent_key: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowChange:
    """One change of one row, with values as the database takes them.

    Attributes:
        table: as declared.
        kind: what is done.
        key: the columns by which the row is found; of an insert those that say what it stands for.
        before: what the row has to hold; of an insert nothing.
        after: what is written, by column; of a removal nothing.
        quantity: the column that has to read as it was written; none is looked at for a removal.
        owner: the columns that say whose row it is; of an insert they are among ``key``.
        stands_for: whether a name in ``name_column`` stands for the same asset.
        name_column: the column with the name of the asset; of cash, which is only updated, empty.
    """

    table: str
    kind: WriteKind
    key: Mapping[str, Any]
    before: Kept
    after: Mapping[str, Any]
    quantity: str
    owner: tuple[str, ...]
    stands_for: Callable[[str], bool]
    name_column: str


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of one change; ``after`` is what the row holds now."""

    state: WriteState
    reason: str = ""
    after: Kept = field(default_factory=dict)


class _LeftError(Exception):
    """A row is left as it is; the message says why."""


def change_rows(
    address: DeskAddress,
    changes: Sequence[RowChange],
    locks: RowLocks,
    *,
    limits: DeskLimits | None = None,
    is_whole: bool = False,
) -> list[Changed] | None:
    """Change rows in one transaction, in the order of their keys; None where the commit was not answered.

    ``is_whole`` says that all of them change, or none.

    Raises:
        DeskUnreadableError: the database refused, and nothing was written.
    """
    in_order = sorted(range(len(changes)), key=lambda place: _order(changes[place]))
    found: dict[int, Changed] = {}
    with changing_session(address, limits or WRITE_LIMITS) as session:
        changing = _Changing(session)
        changing.lock(locks)
        for place in in_order:
            found[place] = changing.change(changes[place])
        changed = [found[place] for place in range(len(changes))]
        if not _may_commit(changed, is_whole=is_whole):
            return [one if one.reason else Changed(WriteState.SKIPPED, _NOT_WHOLE) for one in changed]
        try:
            session.connection.commit()
        except sa.exc.DBAPIError:
            return None
    return changed


_NOT_WHOLE: Final = "another row of the same plan could not be written"


def _may_commit(changed: Sequence[Changed], *, is_whole: bool) -> bool:
    written = [one.state is WriteState.WRITTEN for one in changed]
    return all(written) if is_whole else any(written)


def _order(change: RowChange) -> tuple[object, ...]:
    """Order rows by table and key, numbers before text; what is inserted comes last."""
    parts = tuple((not isinstance(v, int), v if isinstance(v, int) else str(v)) for v in change.key.values())
    return (change.kind is WriteKind.INSERT, change.table, parts)


def rows_at(
    address: DeskAddress,
    wanted: Sequence[tuple[str, Mapping[str, Any], Sequence[str]]],
    locks: RowLocks,
    *,
    limits: DeskLimits | None = None,
) -> list[list[dict[str, Any]]]:
    """Read the rows at keys, each with a table and columns, once nobody of ours is writing there any more.

    Raises:
        DeskUnreadableError: they could not be read.
    """
    with changing_session(address, limits or WRITE_LIMITS) as session:
        changing = _Changing(session)
        # Whoever was killed may have sent a commit that is still being worked on.
        changing.lock(RowLocks(locks.name))
        return [changing.rows(table, key, columns) for table, key, columns in wanted]


def whole_row(
    session: DeskSession, table: str, key: Mapping[str, Any], columns: Sequence[str]
) -> dict[str, Any]:
    """Read all columns of a row in a session that only looks; none where it is gone."""
    rows = _Changing(session).rows(table, key, columns)
    return rows[0] if rows else {}


@dataclass(slots=True)
class _Changing:
    """One transaction that changes rows."""

    session: DeskSession
    refusals: int = 0

    def lock(self, locks: RowLocks) -> None:
        """Lock what says that this account is being written."""
        connection, name = self.session.connection, hashlib.sha256(locks.name.encode()).hexdigest()[:40]
        if self.session.dialect is Dialect.POSTGRESQL:
            connection.execute(
                sa.text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}
            )
        elif self.session.dialect is Dialect.MYSQL:
            seconds = WRITE_LIMITS.lock_timeout_seconds
            got = connection.execute(sa.text("select get_lock(:name, :s)"), {"name": name, "s": seconds})
            if not got.scalar():
                what = "another run is writing the same account's rows"
                raise DeskUnreadableError(f"connection {self.session.address.connection}", what, _LATER)
        if locks.parent_table is None:
            return
        columns = list(locks.parent_key)
        if not self.rows(locks.parent_table, locks.parent_key, columns, is_locked=True):
            shown = one_line(" and ".join(f"{name} {value}" for name, value in locks.parent_key.items()))
            what = f"there is no row of {locks.parent_table} with {shown} to lock"
            raise DeskUnreadableError(f"connection {self.session.address.connection}", what, _PARENT)

    def rows(
        self, table: str, key: Mapping[str, Any], columns: Sequence[str], *, is_locked: bool = False
    ) -> list[dict[str, Any]]:
        """Read the rows at a key, two at most, under a lock of them where wanted."""
        of = _table(table, [*key, *columns])
        statement = sa.select(*(of.c[name] for name in columns)).where(*_at(of, key))
        if is_locked:
            statement = statement.with_for_update()
        return [dict(zip(columns, row, strict=True)) for row in self.session.fetch(statement, 1)]

    def change(self, change: RowChange) -> Changed:
        """Change one row; whatever keeps it from being changed takes nothing back of the others."""
        execute = self.session.connection.exec_driver_sql
        execute("savepoint one_row")
        try:
            after = self._changed(change)
        except _LeftError as left:
            execute("rollback to savepoint one_row")
            return Changed(WriteState.SKIPPED, str(left))
        except sa.exc.DBAPIError as error:
            self.refusals += kind_of(self.session.dialect, error) == LOCKED
            if self.refusals > _REFUSALS_MAX:
                raise
            execute("rollback to savepoint one_row")
            return Changed(WriteState.SKIPPED, one_line(said_by(self.session.address, error)))
        execute("release savepoint one_row")
        return Changed(WriteState.WRITTEN, after=after)

    def _changed(self, change: RowChange) -> Kept:
        of = _table(change.table, [*change.key, *change.before, *change.after])
        if change.kind is WriteKind.INSERT:
            self._refuse_if_there(change)
            values = {name: _bound(value) for name, value in change.after.items()}
            self.session.connection.execute(sa.insert(of).values(values))
            return self._read_again(change, change.key)
        self._refuse_if_moved(change)
        if change.kind is WriteKind.REMOVE:
            self._run(sa.delete(of).where(*_at(of, change.key)))
            return {}
        values = {name: _bound(value) for name, value in change.after.items()}
        self._run(sa.update(of).where(*_at(of, change.key)).values(values))
        return self._read_again(change, change.key)

    def _refuse_if_moved(self, change: RowChange) -> None:
        rows = self.rows(change.table, change.key, [*change.key, *change.before], is_locked=True)
        if not rows:
            raise _LeftError("the row is gone")
        if len(rows) > 1:
            raise _LeftError("its key names several rows")
        if moved := differing(rows[0], change.before):
            raise _LeftError(
                f"the row was written meanwhile: {', '.join(moved)} is no longer as it was judged"
            )

    def _refuse_if_there(self, change: RowChange) -> None:
        """Look again, under the lock, whether somebody has added the row meanwhile."""
        owner = {name: change.key[name] for name in change.owner}
        of = _table(change.table, [*owner, change.name_column])
        names = self.session.connection.execute(sa.select(of.c[change.name_column]).where(*_at(of, owner)))
        if any(change.stands_for(str(name)) for name in names.scalars() if name is not None):
            raise _LeftError("a row for it was added meanwhile")

    def _read_again(self, change: RowChange, key: Mapping[str, Any]) -> Kept:
        """Read what the row holds now: a column, or a trigger, may have made something else of it."""
        rows = self.rows(change.table, key, [*change.after])
        if len(rows) != 1:
            raise _LeftError("what was written is not found again")
        if differing(rows[0], keep({change.quantity: change.after[change.quantity]})):
            kept, written = rows[0][change.quantity], change.after[change.quantity]
            raise _LeftError(
                one_line(f"the database keeps {kept} in {change.quantity} where {written} is written")
            )
        return keep(rows[0])

    def _run(self, statement: sa.Update | sa.Delete) -> None:
        if self.session.connection.execute(statement).rowcount != 1:
            raise _LeftError("the statement did not change exactly one row")


_LATER: Final = "Nothing: the next run tries again."
_PARENT: Final = "Put locked_by in the declaration right, or add the account's row."


def _table(table: str, columns: Sequence[str]) -> sa.TableClause:
    schema, name = split_name(table)
    return sa.table(name, *(sa.column(column) for column in dict.fromkeys(columns)), schema=schema)


def _at(of: sa.TableClause, key: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [
        of.c[name].is_(None) if value is None else of.c[name] == _bound(value) for name, value in key.items()
    ]


def _bound(value: Any) -> sa.ColumnElement[Any]:  # noqa: ANN401 - whatever a column holds
    """Bind a value without a type of ours: the server knows the column's."""
    return sa.literal(value, sa.types.NullType())

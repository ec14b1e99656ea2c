"""Turn what was decided about a book into rows to write, as the desk's columns hold them.

Nothing is locked and nothing is written here. Of a row that is to be removed everything is read, so that it
can be put back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kraken_recon.desk_books.change_store import RowChange, RowLocks, whole_row
from kraken_recon.desk_books.declaration import Positions
from kraken_recon.desk_books.rules.compare import quantity_of
from kraken_recon.desk_books.rules.kept_values import keep, put_back
from kraken_recon.desk_books.rules.records import WriteKind
from kraken_recon.desk_books.rules.writes import writes_of
from kraken_recon.desk_books.schema_store import column_value, find_table
from kraken_recon.desk_books.session_store import desk_session
from kraken_recon.desk_books.write_store import PlannedWrite
from kraken_recon.errors import DeskUnreadableError
from kraken_recon.plain_text import one_line
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.desk_books.declaration import Cash, DeskBook
    from kraken_recon.desk_books.rules.judged import JudgedAccount
    from kraken_recon.desk_books.rules.names import Names
    from kraken_recon.desk_books.rules.records import Difference, RowWrite
    from kraken_recon.desk_books.rules.writes import WriteTerms
    from kraken_recon.desk_books.schema_store import TableShape
    from kraken_recon.desk_books.session_store import DeskSession


@exact_arithmetic()
def planned_writes(address: DeskAddress, judged: JudgedAccount) -> list[PlannedWrite]:
    """Say what is to be written to which row.

    Raises:
        DeskUnreadableError: the desk's database could not be looked at.
    """
    planned: list[PlannedWrite] = []
    with desk_session(address) as session:
        shapes: dict[str, TableShape] = {}
        for difference in judged.to_write:
            terms = judged.terms[difference.compared.is_cash]
            table = terms.part.table or ""
            if table not in shapes:
                shapes[table] = _shape(session, table)
            terms = _to_the_digit(terms, shapes[table])
            planned += [
                _planned(session, shapes[table], difference, write, terms)
                for write in writes_of(difference.compared, terms)
            ]
    return planned


def _shape(session: DeskSession, table: str) -> TableShape:
    shape = find_table(session, table)
    if shape is None:
        where = f"connection {session.address.connection}"
        raise DeskUnreadableError(where, f"the table {table} is gone", "Run `book check`.")
    return shape


def _to_the_digit(terms: WriteTerms, shape: TableShape) -> WriteTerms:
    """Let an average cost have the digits of its column."""
    cost = terms.part.average_cost if isinstance(terms.part, Positions) else None
    digits = shape.scale_of(cost) if cost is not None else None
    return terms if digits is None else replace(terms, cost_decimals=digits)


def _planned(
    session: DeskSession, shape: TableShape, difference: Difference, write: RowWrite, terms: WriteTerms
) -> PlannedWrite:
    part = terms.part
    row = next((row for row in difference.compared.rows if row.key == write.key), None)
    held = row.quantity or ZERO if row else ZERO
    draft = PlannedWrite(
        part.table or "",
        write.asset,
        difference.compared.is_cash,
        write.kind,
        {},
        keep(write.before),
        {},
        _quantity_after(write, terms) - held,
    )
    column = ""
    try:
        values = {}
        for column, value in write.after.items():
            values[column] = column_value(value, shape.types[column], session.dialect)
        key = _key(shape, write, terms, row.name if row else None)
        for column in {*key} - {*shape.key_of(part)}:
            key[column] = column_value(key[column], shape.types[column], session.dialect)
        put_back(keep(key))
    except ValueError as error:
        return replace(draft, refusal=one_line(f"{column}: {error}"))
    if write.kind is WriteKind.REMOVE:
        whole = whole_row(session, draft.table, key, [*shape.types])
        # What was judged is what it has to hold still; the rest is kept to be put back.
        draft = replace(draft, before=keep({**whole, **write.before}))
    return replace(draft, key=keep(key), after=keep(values))


def _quantity_after(write: RowWrite, terms: WriteTerms) -> Decimal:
    if write.kind is WriteKind.REMOVE:
        return ZERO
    return quantity_of(write.after[terms.part.quantity], terms.decimals, terms.part.scaled_by) or ZERO


def _key(shape: TableShape, write: RowWrite, terms: WriteTerms, name: str | None) -> dict[str, Any]:
    """Name the columns by which a row is found: its key, whose it is, and what it stands for."""
    part = terms.part
    key: dict[str, Any] = dict(zip(shape.key_of(part), write.key or (), strict=write.key is not None))
    key.setdefault(part.account, terms.account_value)
    if isinstance(part, Positions):
        asset = part.asset.column
        key.setdefault(asset, write.after[asset] if name is None else name)
    if write.kind is WriteKind.INSERT:
        key |= part.only
    return key


def lock_name(book: str, account_id: int) -> str:
    """Name the lock in the desk's database that whoever writes an account's rows there takes first."""
    return f"kraken_recon desk book {book} of {account_id}"


def locks_of(book: DeskBook, account_id: int, writes: Sequence[PlannedWrite]) -> RowLocks:
    """Say what is locked before the rows of an account."""
    name = lock_name(book.name, account_id)
    for write in writes:
        part = part_of(book, is_cash=write.is_cash)
        if part.locked_by.table is not None and part.locked_by.key is not None:
            value = put_back(write.key)[part.account]
            return RowLocks(name, part.locked_by.table, {part.locked_by.key: value})
    return RowLocks(name)


def part_of(book: DeskBook, *, is_cash: bool) -> Positions | Cash:
    """Find the part of a book that a write is about."""
    return book.cash if is_cash and book.cash is not None else book.positions


def row_change(write: PlannedWrite, part: Positions | Cash, names: Names | None = None) -> RowChange:
    """Turn a planned write into what the desk's database is told.

    Without ``names`` only a row of exactly the same name stands for the same asset.
    """
    judged = {*write.before} if write.kind is not WriteKind.REMOVE else _judged_columns(part)
    key = put_back(write.key)
    name_column = part.asset.column if isinstance(part, Positions) else ""

    def stands_for(name: str) -> bool:
        meant = names.read(name) if names else None
        return name == key.get(name_column) or (meant is not None and meant.asset == write.asset)

    return RowChange(
        write.table,
        write.kind,
        key,
        {column: value for column, value in write.before.items() if column in judged},
        put_back(write.after),
        part.quantity,
        (part.account, *part.only),
        stands_for,
        name_column,
    )


def _judged_columns(part: Positions | Cash) -> set[str]:
    cost = part.average_cost if isinstance(part, Positions) else None
    return {name for name in (part.quantity, part.available, cost) if name is not None}

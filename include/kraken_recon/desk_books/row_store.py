"""Read the rows of a book for many accounts, each part of it by one select.

Invariants:
1. Values come as the database gives them: no type of ours rounds or refuses what a row holds.
2. What is compared in the database (the account, ``only``) is bound in the column's own type.
3. A declaration that does not fit the tables is told column by column; nothing is read of that part.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from kraken_recon.desk_books.address import Dialect
from kraken_recon.desk_books.declaration import Cash, Orders, Positions, RowSource, WriteBack
from kraken_recon.desk_books.reading import BookReading, PartReading
from kraken_recon.desk_books.rules.accounts import match_accounts
from kraken_recon.desk_books.rules.compare import quantity_of
from kraken_recon.desk_books.rules.records import LOCK, DeskProblem, DeskRow
from kraken_recon.desk_books.rules.writes import columns_read
from kraken_recon.desk_books.schema_store import (
    TableShape,
    find_table,
    rights_on,
    table_names,
    takes_no_writes,
    typed_value,
)
from kraken_recon.desk_books.session_store import desk_session, problem_of
from kraken_recon.errors import DeskUnreadableError
from kraken_recon.orders.decisions import nearest
from kraken_recon.plain_text import one_line
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.session_store import DeskLimits, DeskSession

ROWS_MAX: Final = 500_000
_OTHER_COLONS: Final = re.compile(r"(?<![:\w\\]):(?!account\b)(?=\w)")
_ORDER_COLUMNS: Final = (
    *("account", "id", "kraken_id", "client_id", "pair", "side", "volume", "executed"),
    *("price", "fee", "created_at", "changed_at"),
)


class MisfitError(Exception):
    """A part of a declaration does not fit the desk's tables."""

    def __init__(self, problems: Sequence[DeskProblem]) -> None:
        self.problems = tuple(problems)


_INTEGER_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class DeskSource:
    """One part of a declaration, the session in which it is read, and the desk's value of each account."""

    where: str
    declared: RowSource
    session: DeskSession
    values: Mapping[str, Any]

    def misfit(self, what: str, remedy: str) -> MisfitError:
        """Say what does not fit the desk's tables."""
        return MisfitError([DeskProblem(self.where, one_line(what), remedy)])


@dataclass(frozen=True, slots=True)
class _Part(DeskSource):
    """A part with quantities; ``rights`` is filled with what the role may do, as soon as that is known."""

    declared: Positions | Cash
    rights: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _ReadRows:
    """Rows as they were read; ``accounts`` are ours by how the account's column spells them."""

    names: Sequence[str]
    rows: Sequence[Any]
    accounts: Mapping[str, str]
    key: tuple[str, ...] = ()


def read_book(
    address: DeskAddress, book: DeskBook, ours: Collection[str], limits: DeskLimits | None = None
) -> BookReading:
    """Read a book for these accounts of ours, in one transaction; whatever fails is among the problems."""
    read_at = datetime.now(UTC)
    try:
        with desk_session(address, limits) as session:
            return _read(session, book, ours, read_at)
    except DeskUnreadableError as error:
        return BookReading(read_at, problems=(problem_of(error, book.name),))


def _read(session: DeskSession, book: DeskBook, ours: Collection[str], read_at: datetime) -> BookReading:
    matched = match_accounts(book, ours, looked_up(session, book, ours))
    problems: list[DeskProblem] = []
    readings: dict[str, PartReading] = {}
    rights: dict[str, dict[str, bool]] = {}
    for name, declared in (("positions", book.positions), ("cash", book.cash)):
        if declared is None:
            continue
        part = _Part(f"{book.name} {name}", declared, session, matched.values)
        rights[name] = part.rights
        try:
            readings[name] = _read_part(part)
        except MisfitError as error:
            problems += error.problems
    if book.orders is not None:
        problems += _orders_misfits(session, book.orders, f"{book.name} orders")
    return BookReading(
        read_at,
        matched.values,
        readings.get("positions"),
        readings.get("cash"),
        tuple(problems),
        matched.problems,
        rights,
        takes_no_writes(session),
    )


def looked_up(session: DeskSession, book: DeskBook, ours: Collection[str]) -> dict[str, list[Any]]:
    """Ask ``accounts.by`` for each account; a colon that names nothing of ours is the query's own."""
    if book.accounts.by is None:
        return {}
    query = sa.text(_OTHER_COLONS.sub(r"\\:", book.accounts.by))
    given = {}
    for account in sorted(ours):
        rows = session.fetch(query.bindparams(account=account), 1)
        given[account] = [row[0] for row in rows]
    return given


def _read_part(part: _Part) -> PartReading:
    if part.declared.query is not None:
        return _read_query(part, part.declared.query)
    shape = shape_of(part.session, part.declared.table or "", part.where)
    part.rights.update(rights_on(part.session, shape))
    misfits = [
        *missing_columns(shape.types, _columns_of(part.declared), part.where),
        *_key_misfits(part, shape),
    ]
    if misfits:
        raise MisfitError(misfits)
    decimals = _decimals_of(part, shape)
    # Asked first: a select that is refused would end the transaction.
    if part.session.dialect is Dialect.POSTGRESQL and not part.rights["select"]:
        raise part.misfit(f"the role may not select from {shape.name}", "Grant the role select on it.")
    if not part.values:
        return PartReading(decimals, {}, shape.required)
    names = _names_read(part, shape)
    account = part.declared.account
    values = {ours: in_column(part, shape, account, value) for ours, value in part.values.items()}
    accounts = accounts_by_value(part, values)
    rows = part.session.fetch(_select(part, shape, names), ROWS_MAX)
    read = _ReadRows(names, rows, accounts, shape.key_of(part.declared))
    return PartReading(decimals, _sorted_rows(part, decimals, read), shape.required)


def _read_query(part: _Part, query: str) -> PartReading:
    """Run the query whole and keep what is of our accounts: what it is made of is the desk's own affair."""
    declared = part.declared
    if declared.decimals is None:
        raise part.misfit("a query has no digits of its own", "Add decimals: the digits of the quantity.")
    names, rows = part.session.fetch_written(query, ROWS_MAX)
    if misfits := list(missing_columns(names, _columns_of(declared), part.where)):
        raise MisfitError(misfits)
    read = _ReadRows(names, rows, accounts_by_value(part, part.values))
    found = _sorted_rows(part, declared.decimals, read)
    part.rights["select"] = True
    return PartReading(declared.decimals, found)


def shape_of(session: DeskSession, table: str, where: str) -> TableShape:
    """Describe a table that a declaration names."""
    shape = find_table(session, table)
    if shape is None:
        what = f"there is no table {table}{nearest(table, table_names(session))}"
        raise MisfitError([DeskProblem(where, one_line(what), "Name a table that the role may see.")])
    return shape


def _columns_of(declared: Positions | Cash) -> dict[str, str]:
    """Name the columns that a part is about, by the field that names them."""
    columns = {"account": declared.account, "quantity": declared.quantity}
    if isinstance(declared, Positions):
        columns["asset"] = declared.asset.column
        columns |= {"average_cost": declared.average_cost} if declared.average_cost else {}
        columns |= {f"on_insert.{name}": name for name in declared.on_insert}
    columns |= {"available": declared.available} if declared.available else {}
    columns |= {f"only.{name}": name for name in declared.only}
    columns |= {f"on_update.{name}": name for name in declared.on_update}
    if declared.locked_by.table is None:
        columns |= {f"locked_by {name}": name for name in declared.locked_by.columns}
    return columns


def missing_columns(known: Collection[str], columns: Mapping[str, str], where: str) -> Iterator[DeskProblem]:
    """Tell of the columns, by the field that names them, that a table or query does not have."""
    for place, column in columns.items():
        if column not in known:
            what = f"there is no column {column}{nearest(column, known)}"
            yield DeskProblem(f"{where}.{place}", one_line(what), "Name a column of the table or query.")


def _orders_misfits(session: DeskSession, orders: Orders, where: str) -> list[DeskProblem]:
    """See whether the desk's orders could be read."""
    if orders.table is None:
        return []
    try:
        shape = shape_of(session, orders.table, where)
    except MisfitError as error:
        return list(error.problems)
    return list(missing_columns(shape.types, columns_of_orders(orders), where))


def columns_of_orders(orders: Orders) -> dict[str, str]:
    """Name the columns that the desk's orders are read from, by the field that names them."""
    columns = {name: getattr(orders, name) for name in _ORDER_COLUMNS if getattr(orders, name)}
    return {**columns, "status.column": orders.status.column, **{f"only.{n}": n for n in orders.only}}


def _key_misfits(part: _Part, shape: TableShape) -> Iterator[DeskProblem]:
    """See whether rows can be named, and found by their names."""
    lock, where = part.declared.locked_by, f"{part.where}.locked_by"
    if lock.table is not None and lock.key is not None:
        try:
            parent = shape_of(part.session, lock.table, where)
        except MisfitError as error:
            yield from error.problems
        else:
            yield from missing_columns(parent.types, {"key": lock.key}, where)
            part.rights[LOCK] = rights_on(part.session, parent)["update"]
            if lock.key in parent.types and lock.key not in parent.indexed:
                yield DeskProblem(where, f"{lock.table}.{lock.key} has no index", "Make one, or name a key.")
    key = shape.key_of(part.declared)
    if not key and part.declared.write_back is not WriteBack.NONE:
        what = f"{shape.name} has no primary key: no row of it can be written for itself"
        yield DeskProblem(where, what, "Name the columns of a key, or leave write_back out.")
    elif lock.columns and not shape.indexed & {*key} and shape.types.keys() >= {*key}:
        what = f"the key {', '.join(key)} has no index: every row would be locked to find one"
        yield DeskProblem(where, one_line(what), "Make an index on it, or name another key.")


def _decimals_of(part: _Part, shape: TableShape) -> int:
    """Say how many digits the real quantity has."""
    declared, own = part.declared, shape.scale_of(part.declared.quantity)
    if declared.decimals is None:
        if own is None:
            what = (
                f"the column {declared.quantity} ({shape.types[declared.quantity]}) has no digits of its own"
            )
            raise part.misfit(what, "Add decimals: the digits of the quantity that count.")
        return own
    if own is not None and declared.scaled_by is None and declared.decimals > own:
        what = f"decimals is {declared.decimals}, and the column {declared.quantity} holds {own} digits"
        raise part.misfit(what, "Leave decimals out, or name scaled_by for whole numbers.")
    return declared.decimals


def _names_read(part: _Part, shape: TableShape) -> list[str]:
    declared = part.declared
    asset = (declared.asset.column,) if isinstance(declared, Positions) else ()
    key = shape.key_of(part.declared)
    return list(dict.fromkeys((declared.account, *key, *asset, *columns_read(declared))))


def _select(part: _Part, shape: TableShape, names: Sequence[str]) -> sa.Select[Any]:
    """Select the rows of all accounts, in the order of their keys."""
    table = sa.table(shape.name, *(sa.column(name) for name in names), schema=shape.schema)
    statement = sa.select(*(table.c[name] for name in names)).where(*rows_that_count(part, shape))
    return statement.order_by(*(table.c[name] for name in shape.key_of(part.declared))).limit(ROWS_MAX + 1)


def rows_that_count(part: DeskSource, shape: TableShape) -> Iterator[sa.ColumnElement[bool]]:
    """Say which rows of a table are of the accounts, and count.

    Raises:
        MisfitError: a value of the declaration is none that the column can hold.
    """
    account = part.declared.account
    keys = [in_column(part, shape, account, value) for value in part.values.values()]
    wanted: Any
    if keys and all(type(key) is int and abs(key) <= _INTEGER_MAX for key in keys):
        # One parameter, however many accounts there are: each of its own costs as much as several rows.
        wanted = sa.bindparam("accounts", keys, sa.Integer(), expanding=True)
    else:
        wanted = [_bound(part, shape, account, value) for value in part.values.values()]
    yield _searched(part, shape, account).in_(wanted)
    for column, value in part.declared.only.items():
        typed = _searched(part, shape, column)
        yield typed.is_(None) if value is None else typed == _bound(part, shape, column, value)


def _searched(part: DeskSource, shape: TableShape, column: str) -> sa.ColumnElement[Any]:
    """Name a column in a condition; one of SQLite's without any type finds no number by a text."""
    kind = shape.types[column]
    found = sa.column(column, kind)
    is_untyped = part.session.dialect is Dialect.SQLITE and isinstance(kind, sa.types.NullType)
    return sa.cast(found, sa.Text) if is_untyped else found


def in_column(part: DeskSource, shape: TableShape, column: str, value: object) -> object:
    """Read a value of the declaration, or of the desk's own query, as a column's type has it."""
    kind = shape.types[column]
    try:
        return typed_value(value, kind) if isinstance(value, str) else value
    except (ValueError, InvalidOperation):
        if isinstance(kind, sa.Numeric) and part.session.dialect is Dialect.SQLITE:
            # A type that SQLite does not know, such as STRING, is a number's to it; anything may stand there.
            return value
        what = f"{value} is no value that the column {column} ({kind}) can hold"
        raise part.misfit(what, "Write a value of the column's type.") from None


def _bound(part: DeskSource, shape: TableShape, column: str, value: object) -> sa.ColumnElement[Any]:
    """Bind a value as a column's type has it.

    Text without a type of ours is the server's to understand, such as an enumeration's.
    """
    typed = in_column(part, shape, column, value)
    if isinstance(typed, Decimal) and part.session.dialect is Dialect.SQLITE:
        typed = str(typed)
    is_text = isinstance(typed, str)
    return sa.literal(typed, sa.types.NullType()) if is_text else sa.literal(typed)


def _sorted_rows(part: _Part, decimals: int, read: _ReadRows) -> dict[str, list[DeskRow]]:
    """Make rows of what was read, each under the account of ours that it is of."""
    if len(read.rows) > ROWS_MAX:
        raise part.misfit(f"there are more than {ROWS_MAX:,} rows", "Declare a table or a query with fewer.")
    declared, place = part.declared, {name: number for number, name in enumerate(read.names)}
    key_of, columns_of = _values_at(read.key, place), _columns_at(columns_read(declared), place)
    account_at, quantity_at = place[declared.account], place[declared.quantity]
    name_at = place[declared.asset.column] if isinstance(declared, Positions) else None
    name = declared.currency if isinstance(declared, Cash) else ""
    account_of = _account_reader(read.accounts, is_folded=declared.query is None)
    found: dict[str, list[DeskRow]] = defaultdict(list)
    for row in read.rows:
        account = account_of(row[account_at])
        if account is None:
            continue
        if name_at is not None:
            name = "" if row[name_at] is None else str(row[name_at])
        quantity = quantity_of(row[quantity_at], decimals, declared.scaled_by)
        found[account].append(DeskRow(key_of(row), name, quantity, columns_of(row)))
    return dict(found)


def _values_at(names: Sequence[str], place: Mapping[str, int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Make what picks the values of these columns out of a row."""
    if not names:
        return lambda _: ()
    picked = itemgetter(*(place[name] for name in names))
    return picked if len(names) > 1 else lambda row: (picked(row),)  # of one column it picks no tuple


def _columns_at(
    names: Sequence[str], place: Mapping[str, int]
) -> Callable[[Sequence[Any]], Mapping[str, Any]]:
    """Make what keeps the values of these columns by name; most declarations name one."""
    if len(names) == 1:
        [name] = names
        number = place[name]
        return lambda row: {name: row[number]}
    picked = _values_at(names, place)
    return lambda row: dict(zip(names, picked(row), strict=True))


def _account_reader(accounts: Mapping[str, str], *, is_folded: bool) -> Callable[[object], str | None]:
    """Make what says of which account of ours a row is, by its value; few values come in many rows.

    A table was searched by the database's own rules, which may not tell capitals from small letters.
    """
    folded = {value.casefold(): account for value, account in accounts.items()} if is_folded else {}
    known: dict[object, str | None] = {}

    def read(value: object) -> str | None:
        if type(value) is int and value in known:
            return known[value]
        text = spelled(value)
        account = accounts.get(text) or folded.get(text.casefold())
        if type(value) is int:
            known[value] = account
        return account

    return read


def accounts_by_value(part: DeskSource, values: Mapping[str, object]) -> dict[str, str]:
    """Name our account of each value of the account's column."""
    accounts = {spelled(value): account for account, value in values.items()}
    if len(accounts) < len(values):
        raise part.misfit(
            f"two accounts are the same value of {part.declared.account}", "Give each account its own."
        )
    return accounts


def spelled(value: object) -> str:
    """Write a value so that what is equal in any database is the same text: 1, 1.00 and 1.0 are."""
    if isinstance(value, float | Decimal):
        number = Decimal(str(value))
        return format_amount(number) if number.is_finite() else str(number)
    return str(value).lower() if isinstance(value, bool) else str(value).strip()

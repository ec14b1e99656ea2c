"""Read the desk's own orders that changed since a moment, for many accounts by one select.

Invariants:
1. Values come as the database gives them; what is strange is told row by row.
2. A table is asked for what changed lately alone, and for single orders that are looked for; what its
   database cannot compare is read and judged here.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from kraken_recon.desk_books.address import Dialect
from kraken_recon.desk_books.row_store import (
    DeskSource,
    MisfitError,
    accounts_by_value,
    columns_of_orders,
    in_column,
    looked_up,
    missing_columns,
    rows_that_count,
    shape_of,
    spelled,
)
from kraken_recon.desk_books.rules.accounts import match_accounts
from kraken_recon.desk_books.rules.order_rows import (
    EPOCH,
    SECONDS_MAX,
    UNITS_PER_SECOND,
    OrderTerms,
    is_ended,
    moment_of,
    problems_of_rows,
    read_order,
)
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.desk_books.session_store import desk_session, problem_of
from kraken_recon.errors import DeskUnreadableError
from kraken_recon.values.money import SCALE_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.desk_books.declaration import DeskBook, Orders
    from kraken_recon.desk_books.rules.names import Names
    from kraken_recon.desk_books.rules.orders import DeskOrder
    from kraken_recon.desk_books.schema_store import TableShape
    from kraken_recon.desk_books.session_store import DeskLimits

ORDERS_MAX: Final = 100_000
DIGITS_OF_FRACTIONS: Final = 8
"""Digits of amounts whose column has none of its own and whose declaration says nothing."""
_A_DAY: Final = timedelta(days=1)
_AMOUNTS: Final = ("volume", "executed", "price", "fee")


@dataclass(frozen=True, slots=True)
class WantedOrders:
    """What is read of one account: what changed since, and orders that are looked for by their ids."""

    quote_currency: str
    since: datetime
    order_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OrdersReading:
    """The desk's ended orders by account of ours, oldest change first; ``decimals`` are those of volumes.

    ``accounts`` are those that could be looked at. ``complete_until`` is up to when everything that changed
    was read, None where it is up to now.
    """

    by_account: Mapping[str, Sequence[DeskOrder]] = field(default_factory=dict)
    accounts: frozenset[str] = frozenset()
    decimals: int = SCALE_MAX
    complete_until: datetime | None = None
    problems: tuple[DeskProblem, ...] = ()


def read_orders(
    address: DeskAddress,
    book: DeskBook,
    wanted: Mapping[str, WantedOrders],
    names: Names,
    limits: DeskLimits | None = None,
) -> OrdersReading:
    """Read a book's orders for these accounts of ours; whatever fails is among the problems."""
    if book.orders is None:
        return OrdersReading()
    where = f"{book.name} orders"
    try:
        with desk_session(address, limits) as session:
            values = match_accounts(book, wanted, looked_up(session, book, wanted)).values
            reading = _Reading(DeskSource(where, book.orders, session, values), book.orders)
            rows = reading.rows(wanted, names)
    except DeskUnreadableError as error:
        return OrdersReading(problems=(problem_of(error, where),))
    except MisfitError as error:
        return OrdersReading(problems=error.problems)
    return _understood(rows, wanted)


@dataclass(frozen=True, slots=True)
class _ReadRows:
    """Rows by column, what they mean, and our accounts by how the account's column spells them."""

    rows: Sequence[Mapping[str, Any]]
    terms: OrderTerms
    accounts: Mapping[str, str]


def _understood(read: _ReadRows, wanted: Mapping[str, WantedOrders]) -> OrdersReading:
    """Sort the rows by account, keep what ended and is wanted, and tell what is strange."""
    rows, terms, orders = read.rows, read.terms, read.terms.orders
    # A table was searched by the database's own rules, which may not tell capitals from small letters.
    folded = {} if orders.query else {value.casefold(): account for value, account in read.accounts.items()}
    found: dict[str, dict[str, DeskOrder]] = {account: {} for account in read.accounts.values()}
    strange = []
    for row in rows[:ORDERS_MAX]:
        value = spelled(row[orders.account])
        account = read.accounts.get(value) or folded.get(value.casefold())
        if account is None or not is_ended(row, orders):
            continue
        order, problems = read_order(row, terms, wanted[account].quote_currency)
        if order is None:
            strange += problems
            continue
        if order.changed_at >= wanted[account].since or order.order_id in wanted[account].order_ids:
            strange += problems
            found[account][order.order_id] = order
    until, strange_rows = _complete_until(read, wanted), problems_of_rows(terms.where, strange)
    return OrdersReading(
        {a: sorted(o.values(), key=lambda one: (one.changed_at, one.order_id)) for a, o in found.items()},
        frozenset(found),
        terms.digits["volume"],
        until,
        (*strange_rows, *(_too_many(terms.where, until) if until else ())),
    )


def _complete_until(read: _ReadRows, wanted: Mapping[str, WantedOrders]) -> datetime | None:
    """Say how far a reading came that found more than it may take."""
    if len(read.rows) <= ORDERS_MAX:
        return None
    orders = read.terms.orders
    last = moment_of(read.rows[ORDERS_MAX - 1][orders.changed_at], orders.zone)
    return last or min(wanted[account].since for account in read.accounts.values())


def _too_many(where: str, until: datetime) -> Iterator[DeskProblem]:
    what = f"more than {ORDERS_MAX:,} orders changed; those after {until.isoformat()} were not read yet"
    remedy = "Later runs read on from there; should that moment stand still, leave rows out by orders.only."
    yield DeskProblem(where, what, remedy)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One look at the orders of one book."""

    source: DeskSource
    orders: Orders

    def rows(self, wanted: Mapping[str, WantedOrders], names: Names) -> _ReadRows:
        """Read rows by column, of a table one more than allowed at most, and say what they mean."""
        source, session = self.source, self.source.session
        values = source.values
        if self.orders.query is not None:
            columns, rows = session.fetch_written(self.orders.query, ORDERS_MAX)
            self._check(columns)
            if len(rows) > ORDERS_MAX:
                what = f"the query gives more than {ORDERS_MAX:,} orders"
                raise source.misfit(what, "Let it give those of the last days alone.")
            digits = dict.fromkeys(_AMOUNTS, self.orders.decimals)
        else:
            shape = shape_of(session, self.orders.table or "", source.where)
            self._check(shape.types)
            columns = list(dict.fromkeys(columns_of_orders(self.orders).values()))
            rows = session.fetch(self._select(shape, columns, wanted), ORDERS_MAX) if values else ()
            digits = {name: self._digits(shape, name) for name in _AMOUNTS}
            account = self.orders.account
            values = {ours: in_column(source, shape, account, value) for ours, value in values.items()}
        known = {name: DIGITS_OF_FRACTIONS if own is None else own for name, own in digits.items()}
        terms = OrderTerms(source.where, self.orders, names, known)
        named = [dict(zip(columns, row, strict=True)) for row in rows]
        return _ReadRows(named, terms, accounts_by_value(source, values))

    def _check(self, known: Collection[str]) -> None:
        if misfits := list(missing_columns(known, columns_of_orders(self.orders), self.source.where)):
            raise MisfitError(misfits)

    def _digits(self, shape: TableShape, name: str) -> int | None:
        """Say how many digits an amount has: as its column, else as declared."""
        column = getattr(self.orders, name)
        own = shape.scale_of(column) if column else None
        is_scaled = self.orders.scaled_by is not None and own == 0
        return self.orders.decimals if own is None or is_scaled else own

    def _select(
        self, shape: TableShape, columns: Sequence[str], wanted: Mapping[str, WantedOrders]
    ) -> sa.Select[Any]:
        """Select what changed since the earliest moment of any account, and what is looked for by id."""
        table = sa.table(shape.name, *(sa.column(name) for name in columns), schema=shape.schema)
        orders = self.orders
        since = min(wanted[account].since for account in self.source.values)
        ids = sorted({order_id for account in self.source.values for order_id in wanted[account].order_ids})
        lately = [*self._lately(shape, orders.changed_at, since), sa.column(orders.changed_at).is_(None)]
        if ids:
            lately.append(self._as_text(orders.id).in_(ids))
        statement = sa.select(*(table.c[name] for name in columns))
        statement = statement.where(*rows_that_count(self.source, shape), sa.or_(*lately))
        order = (table.c[orders.changed_at], table.c[orders.id])
        return statement.order_by(*order).limit(ORDERS_MAX + 1)

    def _as_text(self, column: str) -> sa.ColumnElement[Any]:
        kind = sa.CHAR(200) if self.source.session.dialect is Dialect.MYSQL else sa.Text()
        return sa.cast(sa.column(column), kind)

    def _lately(self, shape: TableShape, column: str, since: datetime) -> Iterator[sa.ColumnElement[bool]]:
        """Say which rows may have changed since a moment, as the column's type tells time."""
        kind = shape.types[column]
        changed: sa.ColumnClause[Any] = sa.column(column)
        if self.source.session.dialect is Dialect.SQLITE:
            # A column of SQLite's holds values of any type.
            yield sa.and_(sa.func.typeof(changed) != "text", sa.or_(*_as_numbers(changed, since)))
            yield sa.and_(sa.func.typeof(changed) == "text", _as_text_of(changed, since))
        elif isinstance(kind, (sa.Integer, sa.Numeric, sa.Float)):
            yield from _as_numbers(changed, since)
        elif isinstance(kind, sa.DateTime):
            yield changed >= sa.literal(self._bound(kind, since))
        elif isinstance(kind, sa.Date):
            yield changed >= sa.literal((since - _A_DAY).date())
        elif isinstance(kind, sa.String):
            yield _as_text_of(changed, since)
        else:
            what = f"the column {column} ({kind}) tells no time"
            raise self.source.misfit(what, "Name a column with a time, or write a query.")

    def _bound(self, kind: sa.types.TypeEngine[Any], since: datetime) -> dt.datetime:
        if getattr(kind, "timezone", False):
            return since
        return since.astimezone(ZoneInfo(self.orders.zone)).replace(tzinfo=None)


def _as_numbers(column: sa.ColumnClause[Any], since: datetime) -> Iterator[sa.ColumnElement[bool]]:
    """Compare a number with a moment in each unit that it may be in."""
    seconds = Decimal((since - EPOCH) // timedelta(seconds=1))
    for unit in UNITS_PER_SECOND:
        least: sa.ColumnElement[Any] = sa.literal_column(str(int(seconds * unit)))
        yield sa.and_(column >= least, column < sa.literal_column(str(SECONDS_MAX * unit)))


def _as_text_of(column: sa.ColumnClause[Any], since: datetime) -> sa.ColumnElement[bool]:
    """Compare dates as they are written; what is no date is read and judged later."""
    day = (since.astimezone(UTC) - _A_DAY).date().isoformat()
    return sa.or_(column >= sa.literal(day), column.notlike("____-__-__%"))

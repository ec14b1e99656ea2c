"""What a desk's database looks like: tables, columns, keys, indexes, and what the role may do."""

from __future__ import annotations

import os
import uuid
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from kraken_recon.desk_books.address import Dialect
from kraken_recon.desk_books.guessing import SeenColumn, SeenTable
from kraken_recon.desk_books.rules.records import RIGHTS
from kraken_recon.values.money import SCALE_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kraken_recon.desk_books.declaration import Amounts
    from kraken_recon.desk_books.session_store import DeskSession

_TRUTHS: Final = {"true": True, "t": True, "yes": True, "false": False, "f": False, "no": False}
_LONG_MOMENT_CHARACTERS: Final = 25
_OF_THE_SERVER: Final = ("pg_", "information_schema")
_TABLE_RIGHT: Final = sa.text(
    "select has_table_privilege(cast(:table as regclass), :right)"
    " or (:right <> 'delete' and has_any_column_privilege(cast(:table as regclass), :right))"
)
_READ_ONLY: Final = (
    "select pg_is_in_recovery() or cast(current_setting('default_transaction_read_only') as boolean)"
)
_GRANTS_OF_ALL: Final = sa.text(
    "select lower(privilege_type) from information_schema.user_privileges where grantee = :me"
)
_GRANTS_OF_SCHEMA: Final = sa.text(
    "select lower(privilege_type) from information_schema.schema_privileges"
    " where grantee = :me and :schema like table_schema"
)
_GRANTS_OF_TABLE: Final = sa.text(
    "select lower(privilege_type) from information_schema.table_privileges"
    " where grantee = :me and table_schema = :schema and table_name = :table"
    " union select lower(privilege_type) from information_schema.column_privileges"
    " where grantee = :me and table_schema = :schema and table_name = :table"
)


@dataclass(frozen=True, slots=True)
class TableShape:
    """One table as its database describes it.

    ``types`` are by column; ``required`` columns may not be null and are filled by nothing; ``indexed`` are
    the columns by which rows are found without looking at all of them.
    """

    name: str
    schema: str | None
    types: Mapping[str, sa.types.TypeEngine[Any]]
    primary_key: tuple[str, ...]
    required: frozenset[str]
    indexed: frozenset[str]

    def scale_of(self, column: str) -> int | None:
        """Say how many digits after the point a column holds, None where it is bound to none."""
        kind = self.types[column]
        if isinstance(kind, sa.Integer):
            return 0
        if isinstance(kind, sa.Float) or not isinstance(kind, sa.Numeric):
            return None
        return None if kind.scale is None else min(max(kind.scale, 0), SCALE_MAX)

    def key_of(self, part: Amounts) -> tuple[str, ...]:
        """Name the columns of a declared part's key."""
        return part.locked_by.columns or self.primary_key


def split_name(table: str) -> tuple[str | None, str]:
    """Split ``schema.table``; a name without a point is of the default schema."""
    schema, _, name = table.rpartition(".")
    return schema or None, name


def typed_value(value: str, kind: sa.types.TypeEngine[Any]) -> object:
    """Read a text as a column's type has it; some databases keep a truth as a number."""
    truth = _TRUTHS.get(value.strip().lower())
    if isinstance(kind, sa.Boolean):
        return truth if truth is not None else bool(("0", "1").index(value.strip()))
    if isinstance(kind, sa.Integer):
        return int(value if truth is None else truth)
    if isinstance(kind, sa.Numeric):
        return Decimal(value)
    return str(uuid.UUID(value)) if isinstance(kind, sa.Uuid) else value


def column_value(value: Any, kind: sa.types.TypeEngine[Any], dialect: Dialect) -> Any:  # noqa: ANN401 - any column's
    """Turn a value into what a driver takes for a column of this type.

    Raises:
        ValueError: the column cannot hold it.
    """
    if isinstance(value, datetime):
        return _moment_value(value, kind, dialect)
    try:
        typed = typed_value(value, kind) if isinstance(value, str) else value
    except (ValueError, ArithmeticError):
        raise ValueError(f"{value} is no value of the type {kind}") from None
    if isinstance(typed, Decimal) and (dialect is Dialect.SQLITE or isinstance(kind, sa.String)):
        return f"{typed:f}"
    return typed


def _moment_value(moment: datetime, kind: sa.types.TypeEngine[Any], dialect: Dialect) -> Any:  # noqa: ANN401
    """Write a moment in the zone that the column means; MySQL would round a fraction into the future."""
    local = moment.replace(tzinfo=None)
    if isinstance(kind, sa.DateTime):
        if dialect is Dialect.SQLITE:
            return local.isoformat(sep=" ", timespec="microseconds")
        if dialect is Dialect.MYSQL and not getattr(kind, "fsp", None):
            return local.replace(microsecond=0)
        return moment if kind.timezone else local
    if isinstance(kind, sa.Date):
        return local.date().isoformat() if dialect is Dialect.SQLITE else local.date()
    if isinstance(kind, (sa.String, sa.types.NullType)):
        length = getattr(kind, "length", None)
        is_long = length is None or length >= _LONG_MOMENT_CHARACTERS
        return (moment if is_long else local).isoformat(sep=" ", timespec="seconds")
    raise ValueError(f"a column of the type {kind} holds no moment")


@contextmanager
def _types_unknown_to_us() -> Iterator[None]:
    """Look at tables with types that nobody here knows: they are columns like any other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        yield


def find_table(session: DeskSession, table: str) -> TableShape | None:
    """Describe a table or a view; None where there is none of that name."""
    inspector = session.inspector()
    for schema, name in dict.fromkeys([split_name(table), (None, table)]):
        try:
            with _types_unknown_to_us():
                columns = inspector.get_columns(name, schema)
            # Some databases find columns by a name in other capitals, and nothing else.
            key = tuple(inspector.get_pk_constraint(name, schema)["constrained_columns"] or ())
        except sa.exc.NoSuchTableError:
            continue
        if not columns:
            continue
        indexes = [index["column_names"][0] for index in inspector.get_indexes(name, schema)]
        unique = [one["column_names"][0] for one in inspector.get_unique_constraints(name, schema)]
        return TableShape(
            name,
            schema,
            {str(column["name"]): column["type"] for column in columns},
            key,
            frozenset(
                str(column["name"]) for column in columns if _is_required(column, key, session.dialect)
            ),
            frozenset(str(column) for column in (*key[:1], *indexes, *unique) if column),
        )
    return None


def _is_required(column: Mapping[str, Any], key: tuple[str, ...], dialect: Dialect) -> bool:
    """Say whether an insert has to fill a column; SQLite fills a key that is an INTEGER and no other."""
    if column["nullable"] or column.get("default") is not None:
        return False
    if column.get("identity") or column.get("computed") or column.get("autoincrement") is True:
        return False
    is_row_number = key == (column["name"],) and type(column["type"]) is sa.INTEGER
    return not (is_row_number and dialect is Dialect.SQLITE)


def table_names(session: DeskSession) -> list[str]:
    """Name all tables and views, those outside of the default schema with their schema."""
    inspector = session.inspector()
    names = [*inspector.get_table_names(), *inspector.get_view_names()]
    if session.dialect is Dialect.POSTGRESQL:
        for schema in inspector.get_schema_names():
            if schema != inspector.default_schema_name and not schema.startswith(_OF_THE_SERVER):
                inside = (*inspector.get_table_names(schema), *inspector.get_view_names(schema))
                names += [f"{schema}.{name}" for name in inside]
    return sorted(names)


def seen_tables(session: DeskSession) -> list[SeenTable]:
    """Describe every table for a guess; a view over a table that is gone is left out."""
    shapes = {name: _described(session, name) for name in table_names(session)}
    return [_seen(name, shape) for name, shape in shapes.items() if shape]


def _described(session: DeskSession, name: str) -> TableShape | None:
    try:
        return find_table(session, name)
    except sa.exc.UnreflectableTableError:
        return None
    except sa.exc.OperationalError as error:
        if session.dialect is Dialect.SQLITE and "no such" in str(error.orig):
            return None
        raise


def _seen(name: str, shape: TableShape) -> SeenTable:
    columns = (
        SeenColumn(
            column,
            str(kind).lower() if not isinstance(kind, sa.types.NullType) else "unknown",
            shape.scale_of(column) if isinstance(kind, sa.Numeric) else None,
            column in shape.primary_key,
            column in shape.required,
        )
        for column, kind in shape.types.items()
    )
    return SeenTable(name, tuple(columns))


def takes_no_writes(session: DeskSession) -> bool:
    """Say whether nobody may write anything here, such as to a standby."""
    if session.dialect is Dialect.SQLITE:
        file = Path(session.address.file)
        return not (os.access(file, os.W_OK) and os.access(file.absolute().parent, os.W_OK))
    is_postgresql = session.dialect is Dialect.POSTGRESQL
    asked = session.connection.exec_driver_sql(_READ_ONLY if is_postgresql else "select @@global.read_only")
    return str(asked.scalar()).upper() not in ("0", "OFF", "FALSE")


def rights_on(session: DeskSession, shape: TableShape) -> dict[str, bool]:
    """Say what the role may do to a table: ``select``, ``update``, ``insert``, ``delete``."""
    if session.dialect is Dialect.SQLITE:
        return dict.fromkeys(RIGHTS, True)
    if session.dialect is Dialect.POSTGRESQL:
        quote = session.connection.dialect.identifier_preparer.quote
        table = ".".join(quote(part) for part in (shape.schema, shape.name) if part)
        return {right: _may(session, table, right) for right in RIGHTS}
    granted = _granted(session, shape)
    return {right: right in granted or "all privileges" in granted for right in RIGHTS}


def _may(session: DeskSession, table: str, right: str) -> bool:
    return bool(session.connection.execute(_TABLE_RIGHT, {"table": table, "right": right}).scalar())


def _granted(session: DeskSession, shape: TableShape) -> set[str]:
    connection = session.connection
    user, _, host = str(connection.exec_driver_sql("select current_user()").scalar()).rpartition("@")
    me = {"me": f"'{user}'@'{host}'", "schema": shape.schema or session.address.database}
    granted = {str(right) for right in connection.execute(_GRANTS_OF_ALL, {"me": me["me"]}).scalars()}
    granted |= {str(right) for right in connection.execute(_GRANTS_OF_SCHEMA, me).scalars()}
    of_table = connection.execute(_GRANTS_OF_TABLE, {**me, "table": shape.name})
    return granted | {str(right) for right in of_table.scalars()}

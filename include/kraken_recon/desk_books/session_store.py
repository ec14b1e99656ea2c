"""One session of a desk's own database: to look and never to touch, or to change what is named.

Invariants:
1. A session to look is one connection with one read-only transaction that sees one moment, and takes no lock.
   One to change is one short transaction at read committed, so that no gap is ever locked. Either is always
   closed, and none is kept. A file of SQLite's is never created.
2. Whatever takes longer than its limits is given up, on the server's side where the server can.
3. Whatever a driver says leaves as an error with what to do, and without a secret.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import psycopg
import sqlalchemy as sa
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader
from sqlalchemy.pool import NullPool

from kraken_recon.database.connecting import NOTICED_SILENCE
from kraken_recon.database.statement_spans import trace_statements
from kraken_recon.desk_books.address import DeskAddress, Dialect
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.errors import DeskUnreadableError
from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.abc import Buffer

_PROGRESS_STEPS: Final = 10_000
_OF_MOMENTS: Final = {"date": DateLoader, "timestamp": TimestampLoader, "timestamptz": TimestamptzLoader}
# Else a driver would hold all rows of a result in memory before the first one is looked at.
_STREAMED: Final = {"stream_results": True}
_DRIVERS: Final = {Dialect.POSTGRESQL: "postgresql+psycopg", Dialect.MYSQL: "mysql+pymysql"}

_DOWN: Final = "down"
_REFUSED: Final = "refused"
_NO_DATABASE: Final = "no database"
_SLOW: Final = "slow"
LOCKED: Final = "locked"
_NO_RIGHT: Final = "no right"
_NO_TABLE: Final = "no table"
_NO_COLUMN: Final = "no column"
_READ_ONLY: Final = "read only"
_OPTIONS: Final = "options"
_REMEDIES: Final = {
    _DOWN: "Look whether the desk's database is up and can be reached from here; the next run tries again.",
    _REFUSED: "Put the login and the password of the connection right.",
    _NO_DATABASE: "Put the database's name, or the file's path, in the connection right.",
    _SLOW: "Give the columns of account and only an index, or declare a smaller query.",
    LOCKED: "Find what holds the lock in the desk's database; the next run tries again.",
    _NO_RIGHT: "Grant the connection's role select on it.",
    _NO_TABLE: "Put the table's name in the declaration right, with its schema where it has one.",
    _NO_COLUMN: "Put the column's name in the declaration right.",
    _READ_ONLY: "Let the connection lead to the primary, or leave write_back out; the next run tries again.",
    _OPTIONS: "Put the fields of the connection right, and what its extra says of TLS and the like.",
}
_OTHER: Final = "Read what the database says; `book check` tries the declaration again."
_POSTGRESQL: Final = {
    "28": _REFUSED,
    "3D000": _NO_DATABASE,
    "57014": _SLOW,
    "55P03": LOCKED,
    "40P01": LOCKED,
    "42501": _NO_RIGHT,
    "42P01": _NO_TABLE,
    "3F000": _NO_TABLE,
    "42703": _NO_COLUMN,
    "25006": _READ_ONLY,
    "08": _DOWN,
    "53300": _DOWN,
    "57P": _DOWN,
}
_MYSQL: Final = {
    **dict.fromkeys((1040, 2002, 2003, 2006, 2013), _DOWN),
    **dict.fromkeys((1045, 1698), _REFUSED),
    **dict.fromkeys((1044, 1142, 1143, 1370), _NO_RIGHT),
    **dict.fromkeys((1969, 3024, 1317), _SLOW),
    **dict.fromkeys((1205, 1213), LOCKED),
    1049: _NO_DATABASE,
    1146: _NO_TABLE,
    1054: _NO_COLUMN,
    **dict.fromkeys((1290, 1792), _READ_ONLY),
}
_SQLITE: Final = (
    ("unable to open", _NO_DATABASE),
    ("not a database", _NO_DATABASE),
    ("malformed", _NO_DATABASE),
    ("disk i/o error", _NO_DATABASE),
    ("locked", LOCKED),
    ("interrupted", _SLOW),
    ("no such table", _NO_TABLE),
    ("unknown database", _NO_TABLE),
    ("no such column", _NO_COLUMN),
    ("readonly", _READ_ONLY),
)


@dataclass(frozen=True, slots=True)
class DeskLimits:
    """How long a session may take, in seconds."""

    connect_timeout_seconds: int = 10
    statement_timeout_seconds: int = 30
    lock_timeout_seconds: int = 5


@dataclass(frozen=True, slots=True)
class DeskSession:
    """One open session of a desk's database."""

    address: DeskAddress
    connection: sa.Connection

    @property
    def dialect(self) -> Dialect:
        """Which database it is of."""
        return self.address.dialect

    def inspector(self) -> sa.Inspector:
        """Look at the schema, inside of the same transaction."""
        return sa.inspect(self.connection)

    def fetch(self, statement: sa.Executable, rows_max: int) -> Sequence[Any]:
        """Read rows, one more than allowed at most."""
        with self.connection.execute(statement, execution_options=_STREAMED) as result:
            return result.fetchmany(rows_max + 1)

    def fetch_written(self, query: str, rows_max: int) -> tuple[list[str], Sequence[Any]]:
        """Run a query exactly as a person wrote it; return its columns' names and its rows."""
        options = {"no_parameters": True, **_STREAMED}
        with self.connection.exec_driver_sql(query, execution_options=options) as result:
            return list(result.keys()), result.fetchmany(rows_max + 1)


@contextmanager
def desk_session(address: DeskAddress, limits: DeskLimits | None = None) -> Iterator[DeskSession]:
    """Open a desk's database for reading.

    Raises:
        DeskUnreadableError: it could not be opened, or what was read in it failed.
    """
    limits = limits or DeskLimits()
    with translated(address):
        engine = _engine(address, limits)
        with _opened(engine, address) as connection:
            _begin_reading(connection, address, limits)
            yield DeskSession(address, connection)


@contextmanager
def changing_session(address: DeskAddress, limits: DeskLimits | None = None) -> Iterator[DeskSession]:
    """Open a desk's database to change rows; nothing is kept unless the block commits.

    Raises:
        DeskUnreadableError: it could not be opened, or what was done in it failed.
    """
    limits = limits or DeskLimits()
    with translated(address):
        engine = _engine(address, limits, mode="rw")
        with engine.connect() as connection:
            _begin_changing(connection, address, limits)
            yield DeskSession(address, connection)


@contextmanager
def translated(address: DeskAddress) -> Iterator[None]:
    """Turn whatever a driver raises into an error that says what to do."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise _unreadable(
            address,
            f"the driver {error.name} is not installed here",
            "Install the extra: pip install 'kraken-recon[mysql]'.",
        ) from None
    except sa.exc.DBAPIError as error:
        said = address.told(_said(error.orig))
        raise _unreadable(address, said, _REMEDIES.get(kind_of(address.dialect, error), _OTHER)) from None
    except (sa.exc.SQLAlchemyError, sqlite3.Error, OverflowError, UnicodeError) as error:
        raise _unreadable(address, address.told(str(error)) or type(error).__name__, _OTHER) from None


def _opened(engine: sa.Engine, address: DeskAddress) -> sa.Connection:
    """Open a connection; drivers stumble in many ways over options that are none."""
    try:
        return engine.connect()
    except (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        what = f"the driver cannot use what the connection says: {address.told(str(error))}"
        raise _unreadable(address, what, _REMEDIES[_OPTIONS]) from None


def _unreadable(address: DeskAddress, what: str, remedy: str) -> DeskUnreadableError:
    return DeskUnreadableError(f"connection {address.connection}", what, remedy)


def problem_of(error: DeskUnreadableError, book: str) -> DeskProblem:
    """Tell what kept a book from being read."""
    return DeskProblem(one_line(f"{book} {error.where}"), error.what, error.instruction)


def _said(error: BaseException | None) -> str:
    """Take the driver's words; MySQL's come as a pair of a number and words."""
    if error is None:
        return "the database refused"
    words = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], str) else str(error)
    return words or type(error).__name__


def said_by(address: DeskAddress, error: sa.exc.DBAPIError) -> str:
    """Take what a database says of a statement that failed, without a secret."""
    return address.told(_said(error.orig)) or type(error).__name__


def kind_of(dialect: Dialect, error: sa.exc.DBAPIError) -> str:
    """Say what kind of failure it was; empty for one that is not told apart."""
    cause: Any = error.orig
    if dialect is Dialect.POSTGRESQL:
        state = getattr(cause, "sqlstate", None)
        if state is None:
            return _kind_of_words(str(cause)) if isinstance(error, sa.exc.OperationalError) else ""
        return next((kind for prefix, kind in _POSTGRESQL.items() if state.startswith(prefix)), "")
    if dialect is Dialect.MYSQL:
        return _MYSQL.get(cause.args[0], "") if cause is not None and cause.args else ""
    words = str(cause).lower()
    return next((kind for part, kind in _SQLITE if part in words), "")


def _kind_of_words(words: str) -> str:
    """Tell what kept a session of PostgreSQL's from being opened: libpq gives no state then."""
    if "connection is bad" in words:
        return _OPTIONS
    if "password" in words or "authentication" in words or "role" in words:
        return _REFUSED
    return _NO_DATABASE if "does not exist" in words else _DOWN


def _engine(address: DeskAddress, limits: DeskLimits, *, mode: str = "ro") -> sa.Engine:
    if address.dialect is Dialect.SQLITE:
        return _engine_of_file(address.file, limits, mode)
    url = sa.URL.create(
        _DRIVERS[address.dialect],
        address.login,
        address.password,
        address.host,
        address.port,
        address.database,
    )
    options: dict[str, Any] = {**address.options, "connect_timeout": limits.connect_timeout_seconds}
    if address.dialect is Dialect.POSTGRESQL:
        options = {**NOTICED_SILENCE, **options, "application_name": "kraken_recon:desk_book"}
    else:
        options["read_timeout"] = limits.statement_timeout_seconds + limits.lock_timeout_seconds
    engine = sa.create_engine(url, poolclass=NullPool, connect_args=options)
    if address.dialect is Dialect.POSTGRESQL:
        sa.event.listen(engine, "connect", _read_any_moment)
    trace_statements(engine)
    return engine


def _read_any_moment(opened: psycopg.Connection[Any], _record: object) -> None:
    """Read moments that no calendar of Python's has, such as ``infinity``, as text."""
    for kind, own in _OF_MOMENTS.items():

        class Loader(own):  # type: ignore[valid-type, misc]
            def load(self, data: Buffer) -> Any:  # noqa: ANN401 - a moment, or its text
                try:
                    return super().load(data)
                except psycopg.DataError:
                    return bytes(data).decode()

        opened.adapters.register_loader(kind, Loader)


def _engine_of_file(file: str, limits: DeskLimits, mode: str) -> sa.Engine:
    """Open a file of SQLite's as it is; bytes that are no text are shown as such."""
    url = sa.URL.create("sqlite", database=f"file:{quote(file)}", query={"mode": mode, "uri": "true"})
    options = {"timeout": limits.lock_timeout_seconds, "isolation_level": None}
    engine = sa.create_engine(url, poolclass=NullPool, connect_args=options)

    @sa.event.listens_for(engine, "connect")
    def connected(opened: sqlite3.Connection, _record: object) -> None:
        ends_at = time.monotonic() + limits.statement_timeout_seconds + limits.lock_timeout_seconds
        opened.set_progress_handler(lambda: time.monotonic() > ends_at, _PROGRESS_STEPS)
        opened.text_factory = lambda read: read.decode(errors="replace")

    trace_statements(engine)
    return engine


def _begin_reading(connection: sa.Connection, address: DeskAddress, limits: DeskLimits) -> None:
    """Begin the one transaction; what is set in it ends with it."""
    statements: tuple[str, ...] = ("begin",)
    if address.dialect is Dialect.POSTGRESQL:
        isolation = "set transaction isolation level repeatable read read only"
        statements = (isolation, *_limits_of_postgresql(limits))
    elif address.dialect is Dialect.MYSQL:
        statements = (
            "set session transaction isolation level repeatable read",
            *_limits_of_mysql(connection, limits),
            "start transaction with consistent snapshot, read only",
        )
    for statement in statements:
        connection.exec_driver_sql(statement)


def _begin_changing(connection: sa.Connection, address: DeskAddress, limits: DeskLimits) -> None:
    """Begin the one transaction that changes rows; what it read was read under a lock."""
    statements: tuple[str, ...] = ("begin immediate",)
    if address.dialect is Dialect.POSTGRESQL:
        statements = (
            # Whether it may be written is the database's own: a standby, or one that is set so, may not.
            "set transaction isolation level read committed",
            *_limits_of_postgresql(limits),
            f"set local idle_in_transaction_session_timeout = {limits.statement_timeout_seconds * 1000}",
        )
    elif address.dialect is Dialect.MYSQL:
        statements = (
            "set session transaction isolation level read committed",
            *_limits_of_mysql(connection, limits),
            f"set session wait_timeout = {limits.statement_timeout_seconds}",
            "start transaction read write",
        )
    for statement in statements:
        connection.exec_driver_sql(statement)


def _limits_of_postgresql(limits: DeskLimits) -> tuple[str, ...]:
    return (
        f"set local statement_timeout = {limits.statement_timeout_seconds * 1000}",
        f"set local lock_timeout = {limits.lock_timeout_seconds * 1000}",
    )


def _limits_of_mysql(connection: sa.Connection, limits: DeskLimits) -> tuple[str, ...]:
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    return (
        f"set session lock_wait_timeout = {limits.lock_timeout_seconds}",
        f"set session innodb_lock_wait_timeout = {limits.lock_timeout_seconds}",
        f"set session max_statement_time = {limits.statement_timeout_seconds}"
        if is_mariadb
        else f"set session max_execution_time = {limits.statement_timeout_seconds * 1000}",
    )

"""The one way to a session of the trading database.

Invariants:
1. A unit of work is one connection and one transaction: rolled back unless committed, always closed.
2. Every session says who it is (``application_name``) and cannot outstay its limits on the server's side:
   statement, lock and idle-in-transaction timeouts are set before its first statement.
3. Driver errors leave as errors of this project.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from kraken_recon.database.named_sql import load
from kraken_recon.database.session_registry import Declaration, registered_connection
from kraken_recon.errors import (
    ConfigurationError,
    LockTimeoutError,
    LockUnavailableError,
    RightMissingError,
    SchemaMismatchError,
    StoreError,
    StoreUnreachableError,
    TextRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType
    from typing import Any, Self

    from sqlalchemy.engine import Connection, Dialect, Engine

    from kraken_recon.values.task_identity import TaskIdentity
    from kraken_recon.values.usage_meter import UseMeter


QUERIES: Final = {name: sa.text(query) for name, query in load(__file__, "locks").items()}


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session may wait and hold, in seconds; enforced by the server."""

    statement_timeout_seconds: int = 60
    lock_timeout_seconds: int = 10
    idle_in_transaction_timeout_seconds: int = 60

    def options(self) -> str:
        """Write the limits as libpq options.

        No statement here is long enough to be compiled by the server first: that costs more than it saves.
        """
        return (
            f"-c jit=off -c statement_timeout={self.statement_timeout_seconds * 1000} "
            f"-c lock_timeout={self.lock_timeout_seconds * 1000} "
            f"-c idle_in_transaction_session_timeout={self.idle_in_transaction_timeout_seconds * 1000}"
        )


def driver_dsn(dsn: str) -> str:
    """Name the driver in a ``postgresql://`` address.

    Raises:
        ConfigurationError: it is no PostgreSQL address.
    """
    try:
        url = sa.make_url(dsn)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError(
            "expected a database address such as postgresql://user@host:5432/trading"
        ) from error
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigurationError(f"expected a PostgreSQL database, was {url.get_backend_name()}")
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def create_engine(
    dsn: str,
    *,
    application_name: str = "kraken_recon",
    limits: SessionLimits | None = None,
    task: TaskIdentity | None = None,
) -> Engine:
    """Make an engine that keeps no idle sessions: each unit of work opens and closes its own.

    Raises:
        ConfigurationError: ``dsn`` is no PostgreSQL address.
    """
    limits = limits or SessionLimits()
    declaration = Declaration(application_name, limits.idle_in_transaction_timeout_seconds, task=task)
    engine = sa.create_engine(
        driver_dsn(dsn),
        poolclass=NullPool,
        connect_args={"options": limits.options(), "connect_timeout": 10},
    )

    @sa.event.listens_for(engine, "do_connect")
    def connect(
        _dialect: Dialect, _record: object, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> psycopg.Connection:
        return registered_connection(
            lambda name: psycopg.connect(*arguments, **options, application_name=name), declaration, options
        )

    return engine


@asynccontextmanager
async def listening_session(
    dsn: str, channel: str, *, application_name: str
) -> AsyncIterator[psycopg.AsyncConnection]:
    """Open a session that listens on a channel, for an event loop; every statement commits at once."""
    async with await psycopg.AsyncConnection.connect(
        dsn,
        autocommit=True,
        application_name=application_name,
        options=SessionLimits().options(),
        connect_timeout=10,
    ) as session:
        await session.execute(f"listen {channel}".encode())
        yield session


# Another session was in the way; the same work may succeed the next time.
_REFUSED_LOCKS: Final = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


# Without a state of its own the error came from the client's side: nothing answered. The others: connection
# exceptions, too many connections, and a server that is being shut down or started.
_NO_SESSION: Final = ("08", "53300", "57P")
_NO_RIGHT: Final = psycopg.errors.InsufficientPrivilege
_REFUSED_TEXTS: Final = (psycopg.errors.UntranslatableCharacter, psycopg.errors.CharacterNotInRepertoire)


def count_refused_locks(engine: Engine, meter: UseMeter) -> None:
    """Count every statement of an engine that did not get its locks, whoever repeats it."""

    @sa.event.listens_for(engine, "handle_error")
    def count(context: sa.engine.ExceptionContext) -> None:
        if isinstance(context.original_exception, _REFUSED_LOCKS):
            meter.lock_refused()


def _translated(error: sa.exc.DBAPIError) -> StoreError:
    cause = error.orig
    # The first line names what happened; later lines may quote values.
    text = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return LockTimeoutError(text)
    if isinstance(cause, _REFUSED_LOCKS):
        return LockUnavailableError(text)
    if isinstance(cause, psycopg.OperationalError) and (cause.sqlstate or "08").startswith(_NO_SESSION):
        return StoreUnreachableError(text)
    if isinstance(
        cause,
        (
            psycopg.errors.UndefinedTable,
            psycopg.errors.UndefinedColumn,
            psycopg.errors.InvalidSchemaName,
        ),
    ):
        return SchemaMismatchError(f"{text}; run `python -m kraken_recon migrate`")
    if isinstance(cause, _REFUSED_TEXTS) or (isinstance(cause, psycopg.DataError) and "NUL" in text):
        return TextRefusedError(text)
    return right_missing(text) if isinstance(cause, _NO_RIGHT) else StoreError(text)


def right_missing(text: str) -> RightMissingError:
    """Say what a login may not do, and where it is written what it needs."""
    return RightMissingError(f"{text}; its login needs another role: docs/how-to/least-privilege.md")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the driver's errors into this project's."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _translated(error) from error
    except UnicodeEncodeError as error:
        raise TextRefusedError(str(error)) from error


class UnitOfWork:
    """One session and transaction of the trading database, as a context manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        with translated_errors():
            self._connection = self._engine.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if isinstance(error, sa.exc.DBAPIError):
            raise _translated(error) from error
        # The driver's own, of a text that UTF-8 cannot carry; the statement did not leave.
        if isinstance(error, UnicodeEncodeError):
            raise TextRefusedError(str(error)) from error

    @property
    def connection(self) -> Connection:
        """The open connection."""
        if self._connection is None:
            raise StoreError("expected an open unit of work; use it in a `with` block")
        return self._connection

    def commit(self) -> None:
        """Make the work permanent; the unit stays usable for a next transaction."""
        with translated_errors():
            self.connection.commit()

    def wait_briefly(self) -> None:
        """Wait a tenth as long for every lock from here on."""
        with translated_errors():
            self.connection.execute(QUERIES["wait_briefly"])

    def locked_tables(self) -> list[str]:
        """Say which of our tables another session has locked as a whole, or waits to lock, and who it is."""
        with translated_errors():
            return list(self.connection.execute(QUERIES["locked_tables"]).scalars())

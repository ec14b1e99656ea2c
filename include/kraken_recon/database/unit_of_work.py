"""The one way to a session of the trading database.

Invariants:
1. A unit of work is one connection and one transaction: rolled back unless committed, always closed.
2. Every session says who it is (``application_name``). Every transaction begins with its limits (statement,
   lock and idle-in-transaction timeouts) in the same message, and what is set ends with it: a pooler may lend
   the session to others between two transactions, and would take no limits at the start.
3. Driver errors leave as errors of this project.
4. A schema of another revision than this release's is refused before anything is asked of it, unless any will
   do.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from kraken_recon.database.addresses import connection_parameters
from kraken_recon.database.connecting import connect, refuse_old_server, session_parameters
from kraken_recon.database.driver_errors import REFUSED_LOCKS, project_error
from kraken_recon.database.named_sql import load
from kraken_recon.database.revision import check_revision
from kraken_recon.database.session_registry import Declaration, registered_connection
from kraken_recon.database.statement_spans import named_clauses, trace_statements
from kraken_recon.errors import StoreError, TextRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType
    from typing import Self

    from sqlalchemy.engine import Connection, Dialect, Engine

    from kraken_recon.values.task_identity import TaskIdentity
    from kraken_recon.values.usage_meter import UseMeter


DRIVER: Final = "postgresql+psycopg://"
_LIMITS: Final = "session_limits"
QUERIES: Final = named_clauses("locks", load(__file__, "locks"))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session may wait and hold, in seconds; enforced by the server."""

    statement_timeout_seconds: float = 60
    lock_timeout_seconds: float = 10
    idle_in_transaction_timeout_seconds: int = 60

    def begin(self) -> str:
        """Write what begins a transaction within the limits, as one message.

        No statement here is long enough to be compiled by the server first: that costs more than it saves.
        """
        return (
            "begin; set local jit = off; "
            f"set local statement_timeout = {_milliseconds(self.statement_timeout_seconds)}; "
            f"set local lock_timeout = {_milliseconds(self.lock_timeout_seconds)}; "
            "set local idle_in_transaction_session_timeout = "
            f"{_milliseconds(self.idle_in_transaction_timeout_seconds)}"
        )

    def of_session(self) -> str:
        """Write what sets the limits of statements that commit one by one, in a session of their own."""
        return (
            f"set statement_timeout = {_milliseconds(self.statement_timeout_seconds)}; "
            f"set lock_timeout = {_milliseconds(self.lock_timeout_seconds)}"
        )


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
    parameters = connection_parameters(dsn)
    # session: allowed - an engine that keeps no connection
    engine = sa.create_engine(DRIVER, poolclass=NullPool)
    begin_within(engine, limits)

    @sa.event.listens_for(engine, "do_connect")
    def opened(
        _dialect: Dialect, _record: object, _arguments: object, _options: object
    ) -> psycopg.Connection:
        return registered_connection(lambda name: connect(parameters, name), declaration, parameters)

    trace_statements(engine)
    return engine


def begin_within(engine: Engine, limits: SessionLimits) -> None:
    """Let every transaction of an engine begin with its limits."""
    engine.update_execution_options(**{_LIMITS: limits})

    @sa.event.listens_for(engine, "connect")
    def leave_beginning_to_us(connection: psycopg.Connection, _record: object) -> None:
        connection.autocommit = True

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options()[_LIMITS].begin())


@asynccontextmanager
async def listening_session(
    dsn: str, channel: str, *, application_name: str
) -> AsyncIterator[psycopg.AsyncConnection]:
    """Open a session that listens on a channel, for an event loop; every statement commits at once.

    Args:
        dsn: where a session stays its client's.
        channel: to listen on.
        application_name: what the session is called in the database.
    """
    parameters = session_parameters(connection_parameters(dsn), application_name)
    try:
        opened = await psycopg.AsyncConnection.connect(**parameters)
    except BaseException as error:  # noqa: BLE001 - raised again
        # As `connect` does it: the driver's frames hold a line that is half open.
        raise error.with_traceback(None) from None
    async with opened as session:
        refuse_old_server(session.info.server_version)
        await session.execute(SessionLimits().of_session().encode())
        await session.execute(f"listen {channel}".encode())
        yield session


def count_refused_locks(engine: Engine, meter: UseMeter) -> None:
    """Count every statement of an engine that did not get its locks, whoever repeats it."""

    @sa.event.listens_for(engine, "handle_error")
    def count(context: sa.engine.ExceptionContext) -> None:
        if isinstance(context.original_exception, REFUSED_LOCKS):
            meter.lock_refused()


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the driver's errors into this project's."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise project_error(error.orig) from error
    except psycopg.Error as error:
        raise project_error(error) from error
    except UnicodeEncodeError as error:
        raise TextRefusedError(str(error)) from error


class UnitOfWork:
    """One session and transaction of the trading database, as a context manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._is_any_schema = False

    def on_any_schema(self) -> Self:
        """Work on the database whatever its schema is: somebody else's, or one that is examined."""
        self._is_any_schema = True
        return self

    def __enter__(self) -> Self:
        with translated_errors():
            connection = self._engine.connect()
            try:
                if not self._is_any_schema:
                    check_revision(connection)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if isinstance(error, sa.exc.DBAPIError):
            raise project_error(error.orig) from error
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

    def roll_back(self) -> None:
        """Forget the work since the last commit; the unit stays usable for a next transaction."""
        with translated_errors():
            self.connection.rollback()

    def wait_briefly(self) -> None:
        """Wait a tenth as long for every lock from here on."""
        limits = self.connection.get_execution_options().get(_LIMITS) or SessionLimits()
        brief = replace(limits, lock_timeout_seconds=max(0.001, limits.lock_timeout_seconds / 10))
        # Of this unit alone: whatever is set in the session may stay behind in a pooler's.
        self.connection.execution_options(**{_LIMITS: brief})
        if self.connection.in_transaction():
            with translated_errors():
                self.connection.exec_driver_sql(
                    f"set local lock_timeout = {_milliseconds(brief.lock_timeout_seconds)}"
                )

    def locked_tables(self) -> list[str]:
        """Say which of our tables another session has locked as a whole, or waits to lock, and who it is."""
        with translated_errors():
            return list(self.connection.execute(QUERIES["locked_tables"]).scalars())

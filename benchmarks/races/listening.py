"""Make every statement, and every end of a transaction or of a locking session, a step of who does it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import psycopg
import sqlalchemy as sa

from benchmarks.races.steps import ADVISORY, Step, step_of
from benchmarks.races.turns import ACTOR
from kraken_recon.database.statement_spans import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.races.turns import Turns

WRITTEN: Final = "written in this transaction"
OF_SESSION: Final = "holds a lock of the session"


@dataclass
class Listener:
    """What SQLAlchemy tells of any engine, in the threads of actors; of others it is passed on as it is.

    Attributes:
        turns: who may go on.
        altered: makes another statement of one, by its name: to take a lock away on purpose.
    """

    turns: Turns
    altered: Callable[[str, str], str] = field(default=lambda _, text: text)

    def before_statement(
        self,
        connection: sa.Connection,
        _cursor: object,
        text: str,
        parameters: object,
        context: sa.engine.ExecutionContext,
        _many: object,
    ) -> tuple[str, object]:
        """Stand before a statement; one that says how the session works is no step."""
        if ACTOR.get() is None:
            return text, parameters
        label = context.execution_options.get(NAME) or " ".join(text.split()[:3])  # type: ignore[attr-defined]
        step = step_of(text, label)
        if step is not None and step.touches:
            self.turns.before(step, _pid_of(connection))
            connection.info.setdefault(WRITTEN, set()).update(step.written)
            if "pg_try_advisory_lock" in text:
                connection.info[OF_SESSION] = True
        return self.altered(label, text), parameters

    def before_end(self, how: str) -> Callable[[sa.Connection], None]:
        """Make what stands before the end of a transaction; of one that only read, it is no step."""

        def before(connection: sa.Connection) -> None:
            if ACTOR.get() is not None and (written := connection.info.pop(WRITTEN, None)):
                self.turns.before(Step(how, let_go=frozenset(written)), _pid_of(connection))

        return before

    def before_close(self, session: psycopg.Connection[Any], record: sa.pool.ConnectionPoolEntry) -> None:
        """Stand before the end of a session that holds a lock as long as it lives."""
        if ACTOR.get() is not None and record.info.pop(OF_SESSION, None):
            self.turns.before(Step("end of session", let_go=frozenset({ADVISORY})))
            self.turns.closes(session.info.backend_pid)

    def notice(self, context: sa.engine.ExceptionContext) -> None:
        """Count deadlocks; whoever meets one begins again, and nobody else hears of it."""
        actor = ACTOR.get()
        if actor is not None and isinstance(context.original_exception, psycopg.errors.DeadlockDetected):
            actor.deadlocks += 1


@contextmanager
def step_through(listener: Listener) -> Iterator[None]:
    """Let a listener hear of every engine of this process."""
    listeners: list[tuple[Any, str, Callable[..., Any], dict[str, bool]]] = [
        (sa.Engine, "before_cursor_execute", listener.before_statement, {"retval": True}),
        (sa.Engine, "commit", listener.before_end("commit"), {}),
        (sa.Engine, "rollback", listener.before_end("rollback"), {}),
        (sa.Engine, "handle_error", listener.notice, {}),
        (sa.Pool, "close", listener.before_close, {}),
    ]
    for target, event, hears, options in listeners:
        sa.event.listen(target, event, hears, **options)
    try:
        yield
    finally:
        for target, event, hears, _ in listeners:
            sa.event.remove(target, event, hears)


def _pid_of(connection: sa.Connection) -> int:
    return int(connection.connection.dbapi_connection.info.backend_pid)  # type: ignore[union-attr]

"""The span of one statement, as OpenTelemetry's conventions for clients of databases name its parts.

A named statement's span has that name, so that slow ones are found; of any other the first word is told.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
import sqlalchemy as sa

from kraken_recon.values.spans import asking, fail, tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy.engine import Engine

# The execution option of a clause that was read from a file of named queries.
NAME: Final = "kraken_recon_statement"


def named_clauses(file: str, queries: Mapping[str, str]) -> dict[str, sa.TextClause]:
    """Make clauses of the queries of a file that know their names."""
    return {
        query: sa.text(text).execution_options(**{NAME: f"{file}.{query}"}) for query, text in queries.items()
    }


@contextmanager
def stating(name: str | None, text: str, place: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Make a span for as long as a statement runs.

    Args:
        name: of a named statement.
        text: of the statement; of any other its first word is told.
        place: gives the attributes that say which database it is.
    """
    if tracer() is None:
        yield
        return
    words = text.split(None, 1)
    operation = name.rpartition(".")[2] if name else words[0].upper() if words else ""
    summary = name or operation
    attributes = {**place(), "db.operation.name": operation, "db.query.summary": summary}
    with asking(summary, attributes) as span:
        try:
            yield
        except psycopg.Error as error:
            if span is not None and error.sqlstate:
                span.set_attribute("db.response.status_code", error.sqlstate)
                fail(span, error.sqlstate)
            raise


def place_of(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Say where a session of PostgreSQL's is, without asking."""
    info = connection.info
    return {
        "db.system.name": "postgresql",
        "db.namespace": info.dbname,
        "server.address": info.host,
        "server.port": info.port,
    }


def trace_statements(engine: Engine) -> None:
    """Make a span of every statement of an engine, as long as somebody collects them."""
    url, dialect = engine.url, engine.dialect

    def place(connection: Any) -> dict[str, Any]:  # noqa: ANN401 - of whichever driver
        if isinstance(connection, psycopg.Connection):
            return place_of(connection)
        return {
            "db.system.name": dialect.name,
            "db.namespace": url.database,
            "server.address": url.host,
            "server.port": url.port,
        }

    def listen(event: str, execute: Any) -> None:  # noqa: ANN401 - a method of the dialect
        @sa.event.listens_for(engine, event)
        def executed(cursor: Any, text: str, parameters: Any, context: Any) -> bool:  # noqa: ANN401 - SQLAlchemy's
            with stating(context.execution_options.get(NAME), text, lambda: place(cursor.connection)):
                execute(cursor, text, parameters, context)
            return True

    listen("do_execute", dialect.do_execute)
    listen("do_executemany", dialect.do_executemany)

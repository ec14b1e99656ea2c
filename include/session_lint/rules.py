"""The rules, in words: what each finds, why it matters and what to do instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that must not be done with a session.

    Attributes:
        code: stable; never used for something else.
        name: for people.
        reason: why it matters.
        remedy: what to do instead, as an order.
        bad: an example that is found.
        good: the same, done well.
    """

    code: str
    name: str
    reason: str
    remedy: str
    bad: str
    good: str


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """A place that breaks a rule; ``column`` counts from 1."""

    line: int
    column: int
    code: str
    message: str


OUTSIDE: Final = "KRS001"
ENGINE: Final = "KRS002"
NEVER_CLOSED: Final = "KRS003"
NOT_ON_EVERY_PATH: Final = "KRS004"
TEMPORARY: Final = "KRS005"
WITH_LEAVES_OPEN: Final = "KRS006"
KEPT: Final = "KRS007"
GENERATOR: Final = "KRS008"
WAITING: Final = "KRS009"
NESTED: Final = "KRS010"
NO_REASON: Final = "KRS011"

_RULES: Final = (
    Rule(
        OUTSIDE,
        "opened outside the one place",
        "Limits, attribution and closing are built into one unit of work. A session that is opened in any "
        "other way has none of them. Only checked when the one place is named with `--only-in`.",
        "go through the unit of work",
        "engine = sqlalchemy.create_engine(dsn)",
        "with unit_of_work() as unit:\n    unit.reports.newest()",
    ),
    Rule(
        ENGINE,
        "engine or pool that nobody disposes of",
        "Each engine keeps a pool. One that is made inside a function leaves its idle connections behind on "
        "every call, until the garbage collector comes by. An engine in a module's global or an object's "
        "attribute, one that is returned, and one with `NullPool` are fine.",
        "make it once for the process, use poolclass=NullPool, or dispose of it in a finally block",
        "def load(dsn):\n    engine = create_engine(dsn)\n    with engine.connect() as connection:\n      "
        "  ...",
        "ENGINE = create_engine(DSN)\n\n\ndef load():\n    with ENGINE.connect() as connection:\n        ...",
    ),
    Rule(
        NEVER_CLOSED,
        "never closed",
        "No path through the function closes it. The backend stays idle, in a transaction if anything was "
        "executed, and keeps its locks until the process ends or the garbage collector comes by.",
        "open it in a with block",
        "session = SessionLocal()\nsession.add(order)\nsession.commit()",
        "with SessionLocal() as session:\n    session.add(order)\n    session.commit()",
    ),
    Rule(
        NOT_ON_EVERY_PATH,
        "not closed on every path",
        "An exception, an early return or a second opening leaves without closing it. Of an engine or a pool "
        "only a return or an end without closing is reported, of a cursor neither.",
        "open it in a with block, or close it in a finally block",
        "connection = psycopg.connect(dsn)\nconnection.execute(QUERY)\nconnection.close()",
        "with psycopg.connect(dsn) as connection:\n    connection.execute(QUERY)",
    ),
    Rule(
        TEMPORARY,
        "opened as a temporary",
        "Nothing holds it, so nothing can close it.",
        "name it in a with block",
        "rows = Session(engine).scalars(QUERY).all()",
        "with Session(engine) as session:\n    rows = session.scalars(QUERY).all()",
    ),
    Rule(
        WITH_LEAVES_OPEN,
        "with block that does not close",
        "With psycopg2, sqlite3 and pyodbc `with connection:` ends the transaction and leaves the connection "
        "open. What `PostgresHook.get_conn()` gives is psycopg2's or psycopg 3's, depending on what is "
        "installed.",
        "wrap it in contextlib.closing",
        "with psycopg2.connect(dsn) as connection:\n    ...",
        "with closing(psycopg2.connect(dsn)) as connection, connection:\n    ...",
    ),
    Rule(
        KEPT,
        "kept beyond its use",
        "A session in a global, a class attribute, a default argument, a cache or an object that never "
        "closes it is shared by threads, inherited by forks, broken after the server restarts, and never "
        "ends.",
        "open it where it is used; keep an engine or a session factory instead",
        "SESSION = SessionLocal()",
        "SessionLocal = sessionmaker(ENGINE)",
    ),
    Rule(
        GENERATOR,
        "held open by a generator",
        "Whoever stops iterating early leaves the generator suspended, and its session open. A generator "
        "with a single yield outside of loops, or with a decorator (a context manager, a fixture), is fine. "
        "So is a web framework's dependency, where the framework drives it. Elsewhere `next(get_db())` lets "
        "go of the generator: Python ends it at once, its `finally` closes the session, and the next "
        "statement opens a transaction that nobody ends. A loop over it that is left by `return` or `break` "
        "leaves it to the garbage collector, an asynchronous one to the event loop.",
        "read the rows and return them, let the caller pass the session in, or make the generator a context "
        "manager: contextmanager(get_db)()",
        "def rows():\n    with engine.connect() as connection:\n        for row in "
        "connection.execute(QUERY):\n"
        "            yield row",
        "def rows(connection):\n    yield from connection.execute(QUERY)",
    ),
    Rule(
        WAITING,
        "held across a wait",
        "An HTTP call, a sleep or a child process takes as long as it likes. Meanwhile the session's "
        "transaction holds its locks, and keeps the database from cleaning up. A session that has done "
        "nothing yet, or was committed, and a connection with `autocommit=True` hold nothing.",
        "wait before the session is opened or after it is closed",
        "with Session(engine) as session:\n    order = session.get(Order, 1)\n    requests.get(order.url, "
        "timeout=5)",
        "with Session(engine) as session:\n    url = session.get(Order, 1).url\nrequests.get(url, timeout=5)",
    ),
    Rule(
        NESTED,
        "a second one inside the first",
        "One task then needs two connections at once: the two can wait for each other's locks, and enough "
        "such tasks wait for each other's place in the pool for ever.",
        "pass the open one on",
        "with unit_of_work() as unit:\n    with unit_of_work() as other:\n        ...",
        "with unit_of_work() as unit:\n    ...",
    ),
    Rule(
        NO_REASON,
        "allowed without a reason",
        "Whoever reads the line next has to know why it is an exception.",
        "write `# session: allowed - reason`",
        "connection = connect()  # session: allowed",
        "connection = connect()  # session: allowed - the process ends with it",
    ),
)
RULES: Final = {rule.code: rule for rule in _RULES}


def document_rules() -> str:
    """Write the reference page of all rules, as Markdown."""
    lines = [
        "# Session rules",
        "",
        "What `python -m kraken_recon lint-sessions` finds. How to run it, and how sure it is:",
        "[Lint your DAGs](../how-to/lint-your-dags.md). This page is made from the rules themselves.",
        "",
        "| code | finds |",
        "|---|---|",
        *(f"| [{rule.code}](#{rule.code.lower()}) | {rule.name} |" for rule in RULES.values()),
    ]
    for rule in RULES.values():
        lines += ["", f"## {rule.code}", "", f"**{rule.name.capitalize()}.** {rule.reason}", ""]
        lines += [f"Remedy: {rule.remedy}.", "", "```python", "# found", *rule.bad.split("\n"), "```", ""]
        lines += ["```python", "# instead", *rule.good.split("\n"), "```"]
    return "\n".join(lines) + "\n"

"""Sessions of every kind on a real server: leaks as they happen in DAG code, and sessions that only look so.

Each case opens real connections, from threads and processes, and says which rules ought to name them. A
connection's limits are those of nobody's unit of work: the server would end the project's own by itself.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.pool import QueuePool

from benchmarks.sessions.stage import DEFERRED, ENDED, OTHER_TEAM, name_of
from kraken_recon.database.unit_of_work import DRIVER
from kraken_recon.sessions.rules.records import AuditRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.sessions.stage import Stage

# A worker whose child inherits the socket: killing the worker leaves the session open.
KILLED_WORKER: Final = """
import os, sys, time, psycopg
connection = psycopg.connect(sys.argv[1], application_name=sys.argv[2])
connection.execute("select count(*) from trading.accounts for update".replace(" for update", ""))
pid = connection.info.backend_pid
child = os.fork()
if child == 0:
    time.sleep(600)
    os._exit(0)
print(pid, child, flush=True)
time.sleep(600)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of session: how to open one, and which rules ought to name it, if it is a leak."""

    name: str
    open: Callable[[Stage], list[int]]
    rules: frozenset[AuditRule] = frozenset()

    @property
    def is_leak(self) -> bool:
        """Tell whether any rule ought to name it."""
        return bool(self.rules)


def _pid(connection: psycopg.Connection) -> int:
    return connection.info.backend_pid


def _idle_in_transaction(stage: Stage) -> list[int]:
    connection = stage.raw(name_of(stage.task("idle_in_transaction")))
    connection.execute("select 'a secret', 4242 from trading.accounts")
    return [_pid(connection)]


def _never_closed(stage: Stage) -> list[int]:
    connection = stage.raw(name_of(stage.task("never_closed")), autocommit=True)
    connection.execute("select 1")
    return [_pid(connection)]


def _killed_worker(stage: Stage) -> list[int]:
    task = stage.task("killed_worker", ENDED)
    worker = subprocess.Popen(  # noqa: S603 - this very file's program
        [sys.executable, "-c", KILLED_WORKER, stage.url, name_of(task)], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    pid, child = map(int, worker.stdout.readline().split())
    stage.processes.append(child)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    return [pid]


def _thread_outlives_task(stage: Stage) -> list[int]:
    connection = stage.declared(stage.task("thread_outlives_task", ENDED))
    stage.in_thread(lambda: connection.execute("select pg_sleep(600)"))
    return [_pid(connection)]


def _generator(stage: Stage) -> list[int]:
    task, pids = stage.task("generator"), []

    def rows() -> Iterator[Any]:
        with stage.raw(name_of(task)) as connection:
            pids.append(_pid(connection))
            yield from connection.execute("select generate_series(1, 10)")

    unfinished = rows()
    next(unfinished)
    stage.kept.append(unfinished)
    return pids


def _pool_overflow(stage: Stage) -> list[int]:
    task = stage.task("pool_overflow")
    pool = QueuePool(
        lambda: stage.declared(task, pool_size=2), pool_size=2, max_overflow=6, reset_on_return=None
    )
    taken = [pool.connect() for _ in range(6)]
    stage.kept += [pool, *taken]
    # Two are the pool's; the rest were taken beyond it and never given back. The oldest are reported.
    return [_pid(one.driver_connection) for one in taken[:4]]  # type: ignore[arg-type]


def _advisory_lock(stage: Stage) -> list[int]:
    connection = stage.raw(name_of(stage.task("advisory_lock")), autocommit=True)
    connection.execute("select pg_advisory_lock(%s)", [len(stage.kept)])
    return [_pid(connection)]


def _listener(stage: Stage) -> list[int]:
    connection = stage.raw(name_of(stage.task("listener", ENDED)), autocommit=True)
    connection.execute("listen fills")
    return [_pid(connection)]


def _engine_per_call(stage: Stage) -> list[int]:
    name = name_of(stage.task("engine_per_call"))
    pids = []
    for _ in range(2):
        engine = sa.create_engine(
            stage.url.replace("postgresql://", DRIVER, 1), connect_args={"application_name": name}
        )
        with engine.connect() as connection:
            pids.append(int(connection.scalar(sa.text("select pg_backend_pid()")) or 0))
        stage.kept.append(engine)
    return pids


def _lock_holder(stage: Stage) -> list[int]:
    holder, number = stage.raw(name_of(stage.task("lock_holder"))), len(stage.kept)
    holder.execute("select pg_advisory_xact_lock(%s)", [number])
    victim = stage.declared(stage.task("lock_victim"))
    stage.in_thread(lambda: victim.execute("select pg_advisory_xact_lock(%s)", [number]))
    return [_pid(holder)]


def _short_gaps(stage: Stage) -> list[int]:
    """One transaction for ever, with a statement now and then: no timeout of idleness ends it."""
    connection = stage.raw("kraken_recon:old_script")

    def work() -> None:
        while True:
            connection.execute("select 1")
            time.sleep(0.2)

    stage.in_thread(work)
    return [_pid(connection)]


def _own_name(stage: Stage) -> list[int]:
    """Open a connection as a DAG's author does: the project's role, and a name of the author's choice."""
    reading = stage.raw("nightly_report")
    reading.execute("select count(*) from trading.accounts")
    writing = stage.raw("nightly_report")
    writing.execute("delete from trading.positions where false")
    return [_pid(reading), _pid(writing)]


def _silent_copy(stage: Stage) -> list[int]:
    """Begin to send rows, and stop: the server is at work, and waits for its client."""
    connection = stage.raw(name_of(stage.task("silent_copy")))
    connection.execute("create temporary table fetched (line text)")
    connection.pgconn.exec_(b"copy fetched from stdin")
    connection.pgconn.put_copy_data(b"one\n")
    connection.pgconn.flush()
    return [_pid(connection)]


def _copy_at_work(stage: Stage) -> list[int]:
    """Send rows slowly, for ever."""
    connection = stage.raw(name_of(stage.task("copy_at_work")))
    connection.execute("create temporary table fetched (line text)")

    def work() -> None:
        connection.pgconn.exec_(b"copy fetched from stdin")
        while True:
            connection.pgconn.put_copy_data(b"a line\n" * 20_000)
            connection.pgconn.flush()
            time.sleep(0.05)

    stage.in_thread(work)
    return [_pid(connection)]


def _poolers_connection(stage: Stage) -> list[int]:
    """What a pooler keeps under the name of a task that ended, and of one that runs."""
    return [
        stage.left_to_a_pooler(stage.task("pooled", ENDED)),
        stage.left_to_a_pooler(stage.task("pooled")),
    ]


def _inherited_name(stage: Stage) -> list[int]:
    """What a pooler of another machine keeps: only the name is there, and no registration of it."""
    connection = stage.raw("", autocommit=True)
    connection.execute(
        "select set_config('application_name', %s, false)", [name_of(stage.task("gone", ENDED))]
    )
    return [_pid(connection)]


def _own_pool(stage: Stage) -> list[int]:
    """Keep a connection at hand, in the project's role under a name of the author's choice."""
    connection = stage.raw("prices of the desk", autocommit=True)
    connection.execute("select 1")
    return [_pid(connection)]


def _long_report(stage: Stage) -> list[int]:
    connection = stage.declared(stage.task("long_report"))
    stage.in_thread(lambda: connection.execute("select pg_sleep(600)"))
    return [_pid(connection)]


def _backup(stage: Stage) -> list[int]:
    connection = stage.raw("pg_dump")
    connection.execute("set transaction isolation level repeatable read, read only")
    connection.execute("select count(*) from trading.accounts")
    return [_pid(connection)]


def _foreign_blocker(stage: Stage) -> list[int]:
    """Another team keeps ours waiting: reported, never ended."""
    holder, number = stage.raw("etl", user=OTHER_TEAM, password=OTHER_TEAM), len(stage.kept)
    holder.execute("select pg_advisory_lock(%s)", [number])
    victim = stage.declared(stage.task("waiting_lock"))
    stage.victims.append(_pid(victim))
    stage.in_thread(lambda: victim.execute("select pg_advisory_lock(%s)", [number]))
    return [_pid(holder)]


def _waiting_lock(stage: Stage) -> list[int]:
    """Who waits is never the culprit."""
    return [stage.victims.pop()]


def _pooled_idle(stage: Stage) -> list[int]:
    task = stage.task("pooled_idle")
    pool = QueuePool(lambda: stage.declared(task, pool_size=3), pool_size=3)
    taken = [pool.connect() for _ in range(3)]
    pids = [_pid(one.driver_connection) for one in taken]  # type: ignore[arg-type]
    for one in taken:
        one.close()
    stage.kept.append(pool)
    return pids


def _live_listener(stage: Stage) -> list[int]:
    connection = stage.raw(name_of(stage.task("live_listener")), autocommit=True)
    connection.execute("listen fills")
    return [_pid(connection)]


def _migration(stage: Stage) -> list[int]:
    connection = stage.raw("kraken_recon:cli:1")
    made = sql.Identifier(f"being_made_{len(stage.kept)}")
    connection.execute(sql.SQL("create table {} (x int)").format(made))
    stage.in_thread(lambda: connection.execute("select pg_sleep(600)"))
    return [_pid(connection)]


def _other_team(stage: Stage) -> list[int]:
    connection = stage.raw("reports of the other team", user=OTHER_TEAM, password=OTHER_TEAM)
    connection.execute("select 1")
    named = stage.raw("metabase")
    named.execute("select 1")
    return [_pid(connection), _pid(named)]


def _deferred(stage: Stage) -> list[int]:
    connection = stage.declared(stage.task("deferred", DEFERRED))
    connection.autocommit = True
    connection.execute("select 1")
    return [_pid(connection)]


def _person(stage: Stage) -> list[int]:
    connection = stage.raw("psql")
    connection.execute("select 1")
    return [_pid(connection)]


def _declared_hold(stage: Stage) -> list[int]:
    connection = stage.declared(stage.task("declared_hold"), hold_seconds=600)
    connection.execute("select 1")
    return [_pid(connection)]


def _replication(stage: Stage) -> list[int]:
    connection = stage.raw("standby", autocommit=True, replication="database")
    connection.execute("IDENTIFY_SYSTEM")
    return [_pid(connection)]


CASES: Final = (
    Case("idle in transaction", _idle_in_transaction, frozenset({AuditRule.IDLE_IN_TRANSACTION})),
    Case("never closed", _never_closed, frozenset({AuditRule.NEVER_CLOSED})),
    Case("killed worker", _killed_worker, frozenset({AuditRule.OWNER_ENDED, AuditRule.IDLE_IN_TRANSACTION})),
    Case("thread that outlives its task", _thread_outlives_task, frozenset({AuditRule.OWNER_ENDED})),
    Case("unfinished generator", _generator, frozenset({AuditRule.IDLE_IN_TRANSACTION})),
    Case("pool overflow", _pool_overflow, frozenset({AuditRule.OVER_POOL})),
    Case("advisory lock kept", _advisory_lock, frozenset({AuditRule.LOCK_KEPT})),
    Case("listener forgotten", _listener, frozenset({AuditRule.OWNER_ENDED})),
    Case("engine per call", _engine_per_call, frozenset({AuditRule.NEVER_CLOSED})),
    Case("lock holder", _lock_holder, frozenset({AuditRule.IDLE_IN_TRANSACTION, AuditRule.BLOCKS_OTHERS})),
    Case("short gaps", _short_gaps, frozenset({AuditRule.TRANSACTION_OUTLIVES_WORK})),
    Case("another team's lock", _foreign_blocker, frozenset({AuditRule.BLOCKS_OTHERS})),
    Case("a DAG's own name", _own_name, frozenset({AuditRule.IDLE_IN_TRANSACTION})),
    Case("COPY whose client is silent", _silent_copy, frozenset({AuditRule.IDLE_IN_TRANSACTION})),
    Case("COPY at work", _copy_at_work),
    Case("pooler's connection", _poolers_connection),
    Case("pooler's connection, by name", _inherited_name),
    Case("own pool under a name of its own", _own_pool),
    Case("long report", _long_report),
    Case("backup", _backup),
    Case("waiting lock", _waiting_lock),
    Case("pooled idle", _pooled_idle),
    Case("LISTEN connection", _live_listener),
    Case("migration", _migration),
    Case("another team's application", _other_team),
    Case("deferred task's connection", _deferred),
    Case("person in psql", _person),
    Case("declared hold", _declared_hold),
    Case("replication", _replication),
)

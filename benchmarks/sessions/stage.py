"""Where sessions of every kind are opened: real connections, from threads and processes, of made-up tasks."""

from __future__ import annotations

import base64
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import psycopg
from psycopg import sql

from benchmarks.sessions.pooler import Pooler
from kraken_recon.database.session_registry import Declaration, registered_connection
from kraken_recon.sessions.rules.leaks import Thresholds
from kraken_recon.sessions.rules.records import Progress, TaskState, TaskStates
from kraken_recon.values.task_identity import TaskIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

AT_WORK: Final = TaskState("running", Progress.AT_WORK)
DEFERRED: Final = TaskState("deferred", Progress.DEFERRED)
ENDED: Final = TaskState("failed", Progress.ENDED, 3600)
# The product's own, in seconds instead of minutes.
THRESHOLDS: Final = Thresholds(
    hold_seconds=1,
    idle_seconds=1.5,
    settle_seconds=0.3,
    transaction_seconds=1.5,
    wait_seconds=1,
    lock_seconds=1,
)
OTHER_TEAM: Final = "other_team"
MATURE_SECONDS: Final = 2.0


@dataclass
class Stage:
    """Where cases open their sessions, and what Airflow is said to know of their tasks."""

    url: str
    states: dict[Any, TaskState] = field(default_factory=dict)
    tasks: dict[str, TaskIdentity] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)
    victims: list[int] = field(default_factory=list)
    poolers: list[Pooler] = field(default_factory=list)

    def task(self, task_id: str, state: TaskState = AT_WORK) -> TaskIdentity:
        """Start a task: as every task of the project, it uses the one unit of work once."""
        identity = TaskIdentity(uuid4(), "leaky_dag", "manual__1", task_id, -1, 1)
        self.states[identity.task_instance_id] = state
        self.declared(identity).close()
        return identity

    def declared(
        self, task: TaskIdentity, *, hold_seconds: int = 60, pool_size: int = 0
    ) -> psycopg.Connection:
        """Open a session as the project's engines do, with what it declares of itself."""
        return self.opened(self._registered(self.url, task, hold_seconds=hold_seconds, pool_size=pool_size))

    def left_to_a_pooler(self, task: TaskIdentity) -> int:
        """Use a session through a pooler and leave; return the number of what the pooler keeps."""
        pooler = Pooler(self.url)
        self.poolers.append(pooler)
        connection = self._registered(pooler.url, task)
        (pid,) = connection.execute("select pg_backend_pid()").fetchone() or (0,)
        connection.rollback()
        connection.close()
        return int(pid)

    def _registered(
        self, url: str, task: TaskIdentity, *, hold_seconds: int = 60, pool_size: int = 0
    ) -> psycopg.Connection:
        declaration = Declaration(name_of(task), hold_seconds, pool_size, task=task)
        connection = registered_connection(
            lambda name: psycopg.connect(url, application_name=name, autocommit=True),
            declaration,
            {"host": url},
        )
        connection.autocommit = False
        return connection

    def raw(self, name: str, *, autocommit: bool = False, **options: str) -> psycopg.Connection:
        """Open a session past the one unit of work."""
        return self.opened(psycopg.connect(self.url, application_name=name, autocommit=autocommit, **options))

    def opened(self, connection: psycopg.Connection) -> psycopg.Connection:
        """Keep a connection open until the end."""
        self.kept.append(connection)
        return connection

    def in_thread(self, work: Callable[[], object]) -> None:
        """Do something that takes for ever."""

        def quiet() -> None:
            with suppress(psycopg.Error):
                work()

        thread = threading.Thread(target=quiet, daemon=True)
        thread.start()
        self.threads.append(thread)

    def end(self) -> None:
        """End every session from the server's side: another thread's connection must not be closed here."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        for pooler in self.poolers:
            pooler.close()
        for pid in self.processes:
            os.kill(pid, signal.SIGKILL)
        for thread in self.threads:
            thread.join(timeout=10)
        for kept in self.kept:
            if isinstance(kept, psycopg.Connection):
                kept.close()

    def task_states(self, tries: Collection[TaskIdentity]) -> TaskStates:
        """Answer as Airflow would."""
        return TaskStates(
            {one.task_instance_id: self.states[one.task_instance_id] for one in tries if self.states}, 0.5
        )


def name_of(task: TaskIdentity) -> str:
    """Write the session name that the project gives this task."""
    identity = base64.urlsafe_b64encode(task.task_instance_id.bytes).rstrip(b"=").decode()
    return f"af1|{identity}|{task.try_number}|{task.map_index}|{task.dag_id}.{task.task_id}"[:57]


def prepare(url: str) -> None:
    """Make the other team's role."""
    with psycopg.connect(url, autocommit=True) as connection:
        known = connection.execute("select from pg_roles where rolname = %s", [OTHER_TEAM]).fetchone()
        if known is None:
            create = sql.SQL("create role {} login password {}")
            connection.execute(create.format(sql.Identifier(OTHER_TEAM), sql.Literal(OTHER_TEAM)))

"""Every row of the matrix: what is done to the deployment, for how long, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psutil
import psycopg

from benchmarks.kills.deployment import API, EXCHANGE, POSTGRES, REDIS, Deployment, address
from benchmarks.kills.room import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.kills.desk import Desk

TRANSACTIONS_OF_OURS: Final = """
select pid from pg_stat_activity
where datname = 'trading' and usename = 'trading_writer' and backend_xid is not null
"""
PATIENCE_SECONDS: Final = 20
PIECE_BYTES: Final = 1 << 20


@dataclass
class Scene:
    """What a row may touch."""

    deployment: Deployment
    desk: Desk
    lines: Lines = field(default_factory=Lines)


@dataclass(frozen=True)
class Row:
    """One disturbance.

    Attributes:
        name: by which ``--only`` finds it.
        does: what happens, for people.
        strike: entered when work is under way, left when the disturbance ends by itself.
        seconds: how long it lasts; 0 for what is done once and undone by nobody.
        victim: the service that a person would restart where nothing comes back by itself.
    """

    name: str
    does: str
    strike: Callable[[Scene], AbstractContextManager[None]]
    seconds: float = 0
    victim: str = ""


def kill(service: str) -> Row:
    """Kill the first process of a service's container."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        os.kill(scene.deployment.pid(service), signal.SIGKILL)
        yield

    return Row(f"kill-{service}", f"SIGKILL of `{service}`", strike, victim=service)


def stop(service: str) -> Row:
    """Stop every process of a service, and let nobody wake them."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        scene.deployment.signal(service, signal.SIGSTOP)
        yield

    return Row(f"stop-{service}", f"SIGSTOP of `{service}`, for good", strike, victim=service)


def pause(service: str, seconds: float) -> Row:
    """Stop every process of a service for a while."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        stopped = scene.deployment.processes(service)
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    does = f"SIGSTOP of `{service}`, SIGCONT after {seconds:g} s"
    return Row(f"pause-{service}", does, strike, seconds, service)


@contextmanager
def _task_killed(scene: Scene) -> Iterator[None]:
    for process in _running_tasks(scene):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    yield


@contextmanager
def _task_paused(scene: Scene) -> Iterator[None]:
    stopped = _running_tasks(scene)
    for process in stopped:
        process.suspend()
    yield
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def _running_tasks(scene: Scene) -> list[psutil.Process]:
    """Wait until a process of a task is there.

    Celery's pool stands below the worker; what runs a task is a fork of one of the pool.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        worker = scene.deployment.pid("worker-exchange")
        found = []
        for process in scene.deployment.processes("worker-exchange"):
            with contextlib.suppress(psutil.NoSuchProcess):
                ancestors = [parent.pid for parent in process.parents()]
                if worker in ancestors and ancestors.index(worker) > 0 and not process.children():
                    found.append(process)
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("no task was running")


def _postgres_killed(how: signal.Signals) -> Callable[[Scene], AbstractContextManager[None]]:
    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        _wait_for_our_transaction(scene)
        os.kill(scene.deployment.pid(POSTGRES), how)
        yield

    return strike


@contextmanager
def _postgres_away(scene: Scene) -> Iterator[None]:
    scene.deployment.held_back.add(POSTGRES)
    scene.deployment.server.stop()
    yield
    scene.deployment.held_back.discard(POSTGRES)


@contextmanager
def _backend_killed(scene: Scene) -> Iterator[None]:
    os.kill(_wait_for_our_transaction(scene), signal.SIGKILL)
    yield


def _wait_for_our_transaction(scene: Scene) -> int:
    """Wait until a session of ours has written something that it has not committed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with psycopg.connect(scene.desk.url, autocommit=True) as session:
        while time.monotonic() < deadline:
            if found := session.execute(TRANSACTIONS_OF_OURS).fetchone():
                return int(found[0])
    raise AssertionError("no transaction of ours was met")


def _full(place: str, *, is_database: bool) -> Callable[[Scene], AbstractContextManager[None]]:
    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        filler = scene.deployment.place / place / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(PIECE_BYTES))
        if is_database:
            with contextlib.suppress(psycopg.Error), psycopg.connect(scene.desk.url) as session:
                session.execute("select pg_switch_wal()")
        yield
        filler.unlink()

    return strike


@contextmanager
def _exhausted(scene: Scene) -> Iterator[None]:
    """Take every connection that is left, again and again, as a colleague's broken pool would."""
    taken = ExitStack()
    with taken:
        url = scene.deployment.composed.secret("trading_database_url")
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.enter_context(psycopg.connect(url, application_name="a colleague's pool"))
        yield


def _locked(statement: str) -> Callable[[Scene], AbstractContextManager[None]]:
    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        with psycopg.connect(scene.desk.url, application_name="a colleague") as session:
            session.execute(statement.encode())
            yield
            session.rollback()

    return strike


def cut(service: str, server: str, seconds: float) -> Row:
    """Cut the line between a service and a server for a while."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        scene.lines.cut(address(service, server))
        yield
        scene.lines.mend()

    does = f"no packet between `{service}` and `{server}` for {seconds:g} s"
    return Row(f"cut-{service}-{server}", does, strike, seconds, service)


def every_row() -> list[Row]:
    """List the rows in the order in which they are done; none depends on another."""
    killed = ("scheduler", "triggerer", "dag-processor", API, "worker-exchange", "watch", REDIS, EXCHANGE)
    stopped = ("scheduler", "triggerer", "dag-processor", API, "worker-exchange", "watch")
    return [
        *(kill(service) for service in killed),
        Row("kill-task", "SIGKILL of the processes of the running tasks", _task_killed),
        Row(
            "kill-postgres",
            "SIGKILL of the postmaster inside a transaction of ours",
            _postgres_killed(signal.SIGKILL),
        ),
        Row(
            "restart-postgres",
            "immediate shutdown of PostgreSQL inside a transaction of ours",
            _postgres_killed(signal.SIGQUIT),
        ),
        Row("kill-backend", "SIGKILL of the server process inside a transaction of ours", _backend_killed),
        Row("away-postgres", "PostgreSQL down for 150 s", _postgres_away, 150),
        *(stop(service) for service in stopped),
        Row("pause-task", "SIGSTOP of the running tasks, SIGCONT after 15 s", _task_paused, 15),
        *(pause(server, 15) for server in (POSTGRES, EXCHANGE, REDIS)),
        Row("full-database", "PostgreSQL's disk full for 10 s", _full("postgres", is_database=True), 10),
        Row(
            "full-logs",
            "the disk of task logs full for 10 s",
            _full("volumes/airflow-logs", is_database=False),
            10,
        ),
        Row("no-connections", "all connections taken by somebody for 15 s", _exhausted, 15),
        Row(
            "lock-accounts",
            "`lock table trading.accounts` by a colleague for 15 s",
            _locked("lock table trading.accounts in access exclusive mode"),
            15,
        ),
        Row(
            "lock-positions",
            "a colleague's open transaction on all positions for 15 s",
            _locked("update trading.positions set updated_at = updated_at"),
            15,
        ),
        *(cut("worker-exchange", server, 15) for server in (POSTGRES, EXCHANGE, API, REDIS)),
        *(cut("scheduler", server, 15) for server in (POSTGRES, REDIS)),
        *(cut("triggerer", server, 15) for server in (POSTGRES, EXCHANGE)),
        *(cut(service, POSTGRES, 15) for service in ("dag-processor", API, "watch")),
    ]

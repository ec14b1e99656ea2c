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
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.kills.desk import Desk

TRANSACTIONS_OF_OURS: Final = """
select pid from pg_stat_activity
where datname = 'trading' and usename = 'trading_writer' and backend_xid is not null
"""
PATIENCE_SECONDS: Final = 20
PIECE_BYTES: Final = 1 << 20
CUT_SECONDS: Final = 12


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
        victims: the services that must be back in the end; a person would start them again if they are not.
        patience_seconds: how long it is waited for everything to come back by itself.
    """

    name: str
    does: str
    strike: Callable[[Scene], AbstractContextManager[None]]
    seconds: float = 0
    victims: tuple[str, ...] = ()
    patience_seconds: float = 300


def kill(service: str, patience: float = 300) -> Row:
    """Kill the first process of a service's container."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        os.kill(scene.deployment.pid(service), signal.SIGKILL)
        yield

    return Row(
        f"kill-{service}", f"SIGKILL of `{service}`", strike, victims=(service,), patience_seconds=patience
    )


def stop(*services: str) -> Row:
    """Stop every process of services, and let nobody wake them."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        for service in services:
            scene.deployment.signal(service, signal.SIGSTOP)
        yield

    return Row(
        f"stop-{services[0]}",
        f"SIGSTOP of {' and '.join(f'`{service}`' for service in services)}, for good",
        strike,
        victims=services,
    )


def pause(service: str, seconds: float) -> Row:
    """Stop every process of a service for a while."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        stopped = scene.deployment.processes(service)
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            _resume(stopped)

    does = f"SIGSTOP of `{service}`, SIGCONT after {seconds:g} s"
    return Row(f"pause-{service}", does, strike, seconds, (service,))


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
    try:
        yield
    finally:
        _resume(stopped)


def _resume(stopped: Sequence[psutil.Process]) -> None:
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


def _postgres_ended(how: signal.Signals) -> Callable[[Scene], AbstractContextManager[None]]:
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
    try:
        yield
    finally:
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
        try:
            yield
        finally:
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


def cut(name: str, *lines: tuple[str, str], seconds: float = CUT_SECONDS) -> Row:
    """Cut lines between services and servers for a while."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        scene.lines.cut(*(address(service, server) for service, server in lines))
        try:
            yield
        finally:
            scene.lines.mend()

    pairs = ", ".join(f"`{service}` and `{server}`" for service, server in lines)
    does = f"no packet between {pairs} for {seconds:g} s"
    return Row(f"cut-{name}", does, strike, seconds, tuple(service for service, _ in lines))


def every_row() -> list[Row]:
    """List the rows in the order in which they are done; none depends on another."""
    exchange_worker = "worker-exchange"
    return [
        *(kill(service) for service in ("scheduler", "triggerer", "dag-processor", API)),
        *(kill(service) for service in (exchange_worker, "watch", EXCHANGE)),
        # A message that is lost with the broker is sent again after TASK_QUEUED_TIMEOUT.
        kill(REDIS, patience=420),
        Row("kill-task", "SIGKILL of the processes of the running tasks", _task_killed),
        Row(
            "kill-postgres",
            "SIGKILL of the postmaster inside a transaction of ours",
            _postgres_ended(signal.SIGKILL),
            victims=(POSTGRES,),
        ),
        Row(
            "restart-postgres",
            "immediate shutdown of PostgreSQL inside a transaction of ours",
            _postgres_ended(signal.SIGQUIT),
            victims=(POSTGRES,),
        ),
        Row("kill-backend", "SIGKILL of the server process inside a transaction of ours", _backend_killed),
        Row("away-postgres", "PostgreSQL down for 140 s", _postgres_away, 140, (POSTGRES,)),
        *(stop(service) for service in ("scheduler", API, exchange_worker)),
        stop("watch", "dag-processor", "triggerer"),
        Row(
            "pause-task",
            f"SIGSTOP of the running tasks, SIGCONT after {CUT_SECONDS} s",
            _task_paused,
            CUT_SECONDS,
        ),
        *(pause(server, CUT_SECONDS) for server in (POSTGRES, EXCHANGE, REDIS)),
        Row(
            "full-database",
            f"PostgreSQL's disk full for {CUT_SECONDS} s",
            _full("postgres", is_database=True),
            CUT_SECONDS,
            (POSTGRES,),
        ),
        Row(
            "full-logs",
            f"the disk of task logs full for {CUT_SECONDS} s",
            _full("volumes/airflow-logs", is_database=False),
            CUT_SECONDS,
        ),
        Row(
            "no-connections",
            f"all connections taken by somebody for {CUT_SECONDS} s",
            _exhausted,
            CUT_SECONDS,
        ),
        Row(
            "lock-accounts",
            f"`lock table trading.accounts` by a colleague for {CUT_SECONDS} s",
            _locked("lock table trading.accounts in access exclusive mode"),
            CUT_SECONDS,
        ),
        Row(
            "lock-positions",
            f"a colleague's open transaction on all positions for {CUT_SECONDS} s",
            _locked("update trading.positions set updated_at = updated_at"),
            CUT_SECONDS,
        ),
        *(cut(f"worker-{server}", (exchange_worker, server)) for server in (POSTGRES, EXCHANGE, API, REDIS)),
        cut("scheduler-postgres", ("scheduler", POSTGRES)),
        cut("scheduler-redis", ("scheduler", REDIS)),
        cut("triggerer", ("triggerer", POSTGRES), ("triggerer", EXCHANGE)),
        cut("api-postgres", (API, POSTGRES)),
        cut("others-postgres", ("dag-processor", POSTGRES), ("watch", POSTGRES)),
    ]

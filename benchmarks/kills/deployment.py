"""The deployment of docker-compose.yaml as processes, with what Docker does: restarts and health checks.

1. A service whose process ended is started again with all that it had, as ``restart: unless-stopped`` says.
2. Health checks are asked with the file's own commands, `HASTE` times as often as the file says. As with
   Docker, being unwell has no consequence beyond what the check itself does.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import psutil

from benchmarks.figures import ROOT
from benchmarks.kills.room import mount_memory
from desks.compose_services import AIRFLOW_SERVICES, Composed
from local_stack.binaries import find_programs
from local_stack.errors import LocalStackError
from local_stack.ports import free_port
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import Service, Services, is_alive, poll_until

if TYPE_CHECKING:
    from pathlib import Path

HASTE: Final = 4
POSTGRES_DISK_MB: Final = 700
LOGS_DISK_MB: Final = 200
MAX_CONNECTIONS: Final = 90
POSTGRES, REDIS, EXCHANGE, API = "postgres", "redis", "exchange", "api-server"
CHANNEL: Final = "people"
CLIENTS: Final = (*AIRFLOW_SERVICES, "init")
SERVERS: Final = {POSTGRES: 10, EXCHANGE: 11, REDIS: 12, API: 13}
SECONDS: Final = {"s": 1, "m": 60, "h": 3600}


def address(service: str, server: str) -> str:
    """Name the address by which a service reaches a server."""
    return f"127.0.{SERVERS[server]}.{CLIENTS.index(service) + 1}"


class Wired(Composed):
    """The translation of the file in which every line between two services can be cut."""

    exchange_port: int

    def service(self, name: str) -> Service:
        """Translate one service, with addresses of its own for all that it calls."""
        made = super().service(name)
        for file in (self.state_dir / "homes" / name / "secrets").iterdir():
            file.write_text(self._routed(file.read_text(), name))
        environment = {key: self._routed(value, name) for key, value in made.environment.items()}
        self.started[name] = Service(made.name, made.command, environment)
        return self.started[name]

    def _routed(self, text: str, name: str) -> str:
        ports = {
            POSTGRES: self.postgres.rpartition(":")[2],
            EXCHANGE: str(self.exchange_port),
            REDIS: str(self.redis_port),
            API: str(self.api_port),
        }
        for server, port in ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"{address(name, server)}:{port}")
        return text


@dataclass
class Health:
    """What is known of a service's health, as Docker would."""

    every_seconds: float
    timeout_seconds: float
    retries: int
    next_at: float
    failures: int = 0
    asked: subprocess.Popen[bytes] | None = None
    asked_at: float = 0.0


@dataclass
class Deployment:
    """Everything that runs.

    Attributes:
        wired: how the file is translated.
        names_of_airflow: the services of Airflow that are started.
        happened: what a person would see of restarts and health, with the time.
        held_back: services that are not started again for now.
    """

    place: Path
    wired: type[Wired] = Wired
    names_of_airflow: tuple[str, ...] = AIRFLOW_SERVICES
    composed: Wired = field(init=False)
    server: EmbeddedPostgres = field(init=False)
    services: Services = field(init=False)
    simulator_port: int = field(default_factory=free_port)
    happened: list[tuple[float, str]] = field(default_factory=list)
    held_back: set[str] = field(default_factory=set)
    _described: dict[str, Service] = field(default_factory=dict)
    _kept_logs: dict[str, str] = field(default_factory=dict)
    _health: dict[str, Health] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def simulator_url(self) -> str:
        """Return where the exchange is, past its front door."""
        return f"http://127.0.0.1:{self.simulator_port}"

    def start(self) -> None:
        """Start PostgreSQL and the exchange; the rest follows when the desk has been opened."""
        mount_memory(self.place / "postgres", size_mb=POSTGRES_DISK_MB)
        mount_memory(self.place / "volumes" / "airflow-logs", size_mb=LOGS_DISK_MB)
        settings = {"max_connections": str(MAX_CONNECTIONS), "listen_addresses": "*"}
        settings |= {"max_wal_size": "128MB", "min_wal_size": "32MB"}
        self.server = EmbeddedPostgres(
            self.place / "postgres", durable=True, detached=True, settings=settings
        ).start()
        port = self.server.url("postgres").rpartition(":")[2].partition("/")[0]
        exchange_port = free_port()
        self.wired.exchange_port = exchange_port
        hosts = ",".join(["127.0.0.1", *(address(name, EXCHANGE) for name in AIRFLOW_SERVICES)])
        variables = {"KRAKEN_RECON_ALLOWED_HOSTS": hosts, "KRAKEN_RECON_ALERT_CHANNELS": CHANNEL}
        self.composed = self.wired(self.place, f"127.0.0.1:{port}", variables)
        self.services = Services(self.place)
        inherited = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
        simulator = (sys.executable, "-m", "kraken_sim", "--port", str(self.simulator_port))
        gate = (sys.executable, "-m", "benchmarks.kills.gateway", str(exchange_port))
        self._ensure(Service("simulator", simulator, inherited))
        self._ensure(Service(EXCHANGE, (*gate, str(self.simulator_port)), inherited))
        psql = [str(find_programs() / "psql"), "--set", "ON_ERROR_STOP=1", "--quiet"]
        subprocess.run(  # noqa: S603 - our own programs
            [*psql, self.server.url("postgres")], input=self.composed.roles(), text=True, check=True
        )
        broker = self.composed.redis()
        self._ensure(
            Service(
                REDIS,
                tuple("0.0.0.0" if word == "127.0.0.1" else word for word in broker.command),  # noqa: S104
                broker.environment,
            )
        )

    def start_airflow(self) -> None:
        """Do what the service ``init`` does, start the others, and look after all of them from then on."""
        init = self.composed.service("init")
        done = subprocess.run(  # noqa: S603 - the file's own
            init.command, env=dict(init.environment), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"init failed:\n{done.stdout}\n{done.stderr}")
        for name in self.names_of_airflow:
            self._ensure(self.composed.service(name), name)
            check = self.composed.document["services"][name]["healthcheck"]
            self._health[name] = Health(
                _seconds(check["interval"]) / HASTE,
                _seconds(check["timeout"]),
                int(check["retries"]),
                time.monotonic() + _seconds(check["start_period"]),
            )
        threading.Thread(target=self._look_after, daemon=True).start()

    def stop(self) -> None:
        """End everything."""
        self._over.set()
        for name in list(self._described):
            self.signal(name, signal.SIGCONT)
        self.services.stop(self.services.names())
        self.server.stop()

    def pid(self, name: str) -> int:
        """Return the process of a service, as its container has it."""
        is_server = name == POSTGRES
        found = self.server.pid if is_server else self.services.pid_of(self._described[name].name)
        if found is None:
            raise LocalStackError(f"{name} does not run")
        return found

    def processes(self, name: str) -> list[psutil.Process]:
        """Return all processes of a service's container."""
        try:
            leader = psutil.Process(self.pid(name))
            return [leader, *leader.children(recursive=True)]
        except (LocalStackError, psutil.NoSuchProcess):
            return []

    def signal(self, name: str, blow: signal.Signals) -> None:
        """Send every process of a service a signal."""
        for process in self.processes(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(blow)

    def is_stopped(self, name: str) -> bool:
        """Tell whether a service does not run, or has a process that is stopped."""
        found = self.processes(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            return not found or any(process.status() == psutil.STATUS_STOPPED for process in found)
        return True

    def log(self, name: str) -> str:
        """Return all that a service has said, its earlier lives included."""
        if name == POSTGRES:
            return self.server.log.read_text(errors="replace")
        current = self.services.log_of(self._described[name].name)
        text = current.read_text(errors="replace") if current.exists() else ""
        return self._kept_logs.get(name, "") + text

    def names(self) -> list[str]:
        """Name every service that may be looked at."""
        return [*self._described, POSTGRES]

    # --- what Docker does -------------------------------------------------------------------------------

    def _look_after(self) -> None:
        waits: dict[str, float] = {}
        while not self._over.wait(0.25):
            with contextlib.suppress(OSError, psutil.Error, LocalStackError):
                for name in self.names():
                    if name not in self.held_back and not self._runs(name):
                        self._start_again(name, waits)
                for name in self._health:
                    self._ask(name)

    def _runs(self, name: str) -> bool:
        if name == POSTGRES:
            return self.server.pid is not None
        return self.services.is_running(self._described[name].name)

    def _start_again(self, name: str, waits: dict[str, float]) -> None:
        waits[name] = min(2 * waits.get(name, 0.05), 10)
        self._over.wait(waits[name])
        if name == POSTGRES:
            _end_servers(self.server.data)
            self.server.start()
        else:
            service = self._described[name]
            _end_session(self.services, service.name)
            log = self.services.log_of(service.name)
            self._kept_logs[name] = self._kept_logs.get(name, "") + log.read_text(errors="replace")
            self.services.ensure(service)
        self.happened.append((time.time(), f"`{name}` started again"))
        if health := self._health.get(name):
            health.failures, health.next_at = 0, time.monotonic() + 60 / HASTE

    def _ask(self, name: str) -> None:
        health, now = self._health[name], time.monotonic()
        if health.asked is not None:
            status = health.asked.poll()
            if status is None and now - health.asked_at > health.timeout_seconds:
                health.asked.kill()
                status = health.asked.wait()
            if status is None:
                return
            health.asked = None
            health.failures = 0 if status == 0 else health.failures + 1
            if health.failures == health.retries:
                self.happened.append((time.time(), f"`{name}` unhealthy"))
        elif now >= health.next_at:
            command, environment = self.composed.health_check(name, self.pid(name))
            health.next_at, health.asked_at = now + health.every_seconds, now
            health.asked = subprocess.Popen(  # noqa: S603 - the file's own
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

    def _ensure(self, service: Service, name: str | None = None) -> None:
        self._described[name or service.name] = service
        self.services.ensure(service)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smh])", text)
    assert found, text
    return int(found[1]) * SECONDS[found[2]]


def _end_session(services: Services, name: str) -> None:
    """Kill what is left of a container whose first process has ended, at once, as the kernel does."""
    record: Any = services._read(name)  # noqa: SLF001 - of a service that no longer runs nothing else tells
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if record is not None and os.getsid(process.pid) == record.pid and is_alive(process):
                process.kill()


def _end_servers(data: Path) -> None:
    def left() -> bool:
        found = False
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                if process.info["name"] == "postgres" and is_alive(process) and process.cwd() == str(data):
                    process.kill()
                    found = True
        return found

    poll_until(lambda: not left(), timeout_seconds=5)

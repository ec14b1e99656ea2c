"""Hosts beside the one that everything else runs on: network name spaces, each with one cable.

A cable that is pulled says nothing to anybody: what is sent gets lost, in both directions.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from benchmarks.figures import ROOT
from benchmarks.kills.deployment import Deployment, Wired
from benchmarks.kills.disturbances import Row
from benchmarks.kills.room import mount_memory, run
from desks.compose_services import AIRFLOW_SERVICES
from local_stack.processes import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.kills.disturbances import Scene

# A worker must find its own name, as on a host of its own.
NAMED: Final = 'hostname "$1"; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Host:
    """A host: what runs there, and the net of its cable; ``.1`` is the host of everything else."""

    name: str
    worker: str
    net: str

    @property
    def cable(self) -> str:
        """Name the end of the cable that is plugged in at the host of everything else."""
        return f"to-{self.name}"

    def plug(self) -> None:
        """Make the host and connect it."""
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "addr", "add", f"{self.net}.1/24", "dev", self.cable)
        run("ip", "link", "set", self.cable, "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.net}.2/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", self.name, "link", "set", device, "up")

    def connect(self, state: str) -> None:
        """Pull the cable (``down``), or put it back (``up``)."""
        run("ip", "link", "set", self.cable, state)


HOSTS: Final = (Host("host-a", "worker-a", "10.77.1"), Host("host-b", "worker-b", "10.77.2"))
WORKERS: Final = {host.worker: host for host in HOSTS}
SERVICES: Final = (*(name for name in AIRFLOW_SERVICES if name != "worker-exchange"), *WORKERS)


class OnHosts(Wired):
    """The translation of the file with ``worker-exchange`` once on each host."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for worker in WORKERS:
            self.document["services"][worker] = copy.deepcopy(self.document["services"]["worker-exchange"])

    def service(self, name: str) -> Service:
        """Translate one service; a worker is started on its host."""
        made = super().service(name)
        if host := WORKERS.get(name):
            there = ("ip", "netns", "exec", host.name, "unshare", "--uts", "sh", "-c", NAMED, "sh", name)
            self.started[name] = Service(made.name, (*there, *made.command), made.environment)
        return self.started[name]

    def health_check(self, name: str, first: int) -> tuple[list[str], dict[str, str]]:
        """Translate how a container is asked; that of a worker is asked on its host."""
        command, environment = super().health_check(name, first)
        if host := WORKERS.get(name):
            command = ["ip", "netns", "exec", host.name, *command]
        return command, environment

    def _routed(self, text: str, name: str) -> str:
        if (host := WORKERS.get(name)) is None:
            return super()._routed(text, name)
        for port in (self.postgres.rpartition(":")[2], self.redis_port, self.api_port):
            text = text.replace(f"127.0.0.1:{port}", f"{host.net}.1:{port}")
        return text


class TwoHosts(Deployment):
    """The deployment of the kill matrix, its exchange's workers on two hosts."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, wired=OnHosts, names_of_airflow=SERVICES)

    def start(self) -> None:
        """Make the hosts, then start what is not on them, and let the database listen to them."""
        mount_memory(Path("/run/netns"), size_mb=1)
        for host in HOSTS:
            host.plug()
        super().start()
        with (self.server.data / "pg_hba.conf").open("a") as rules:
            rules.writelines(f"host all all {host.net}.0/24 scram-sha-256\n" for host in HOSTS)
        with psycopg.connect(self.server.url("postgres")) as session:
            session.execute("select pg_reload_conf()")
        # Without https the exchange must be on the very host: each has a door of its own to it.
        port = str(self.composed.exchange_port)
        inherited = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
        for host in HOSTS:
            there = ("ip", "netns", "exec", host.name, sys.executable, "-m", "benchmarks.kills.gateway")
            self._ensure(Service(f"way-out-{host.name}", (*there, port, port, f"{host.net}.1"), inherited))


def cut(host: Host, seconds: float) -> Row:
    """Pull a host's cable; 0 seconds leave it unplugged."""

    @contextmanager
    def strike(_: Scene) -> Iterator[None]:
        host.connect("down")
        yield
        if seconds:
            host.connect("up")

    how_long = f"for {seconds:g} s" if seconds else "and left off"
    name = f"cut-{host.name}-{seconds:g}s" if seconds else f"cut-{host.name}"
    return Row(name, f"`{host.name}` is cut off {how_long}", strike, seconds, patience_seconds=420)


def back(host: Host) -> Row:
    """Put a host's cable back."""

    @contextmanager
    def strike(_: Scene) -> Iterator[None]:
        host.connect("up")
        time.sleep(1)
        yield

    return Row(f"back-{host.name}", f"`{host.name}` is connected again", strike, patience_seconds=420)

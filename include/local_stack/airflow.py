"""A local Airflow: its settings, its four components, and its REST API."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from local_stack.errors import LocalStackError
from local_stack.processes import Service, poll_until
from local_stack.settings import REPOSITORY, code_version, kept_secret, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from local_stack.processes import Services
    from local_stack.settings import Settings

USER = "admin"
HEALTH_TIMEOUT_SECONDS = 90
PARSE_TIMEOUT_SECONDS = 60
REQUEST_TIMEOUT_SECONDS = 30
TASK_LOG_DAYS = 30
API_SERVER = "airflow-api-server"
COMPONENTS = (API_SERVER, "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
WATCH = "watch"
# What calls Kraken has the keys; with LocalExecutor that is the scheduler, too, whose children the tasks are.
KEYLESS = frozenset({"airflow-dag-processor", WATCH})
KEY_OF_KRAKEN = re.compile(r'kraken://|\{.*"conn_type": ?"kraken"')
HEALTH_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
ENDED_STATES = frozenset({"success", "failed"})

# Measured on two cores: ready in ten seconds, and a small DAG run in one instead of three.
TUNING = {
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "15",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "300",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "30",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    # A file that was changed is parsed at once; the others are not read again and again beside the tasks.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    # After a crash the next scheduler takes over at once, not after five minutes.
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
}


@dataclass(frozen=True, slots=True)
class Login:
    """How a person signs in to the UI."""

    url: str
    user: str
    password: str


def login_of(settings: Settings) -> Login:
    """Return the UI's address and the one user, whose password is made once per state directory."""
    password = kept_secret(settings.state_dir, "airflow_admin_password", length_bytes=12)
    return Login(f"http://{settings.airflow_host}:{settings.airflow_port}", USER, password)


def home_of(settings: Settings) -> Path:
    """Return where Airflow keeps its files, its logs among them."""
    return settings.state_dir / "airflow"


def airflow_environment(
    settings: Settings, *, metadata_url: str, connections: Mapping[str, str]
) -> dict[str, str]:
    """Return all that the components read; Airflow's own configuration file stays untouched.

    Args:
        settings: where and on which port.
        metadata_url: libpq URL of Airflow's own database.
        connections: ``AIRFLOW_CONN_*`` and further variables for the tasks.
    """
    home = home_of(settings)
    login = login_of(settings)
    passwords = home / "passwords.json"
    write_private(passwords, json.dumps({login.user: login.password}))
    secret = kept_secret(settings.state_dir, "airflow_fernet_seed", length_bytes=32)
    fernet_key = base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode()
    return {
        **settings.program_environment(),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__FERNET_KEY": fernet_key,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{settings.airflow_port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{login.user}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata_url.replace(
            "postgresql://", "postgresql+psycopg2://", 1
        ),
        "AIRFLOW__API__HOST": settings.airflow_host,
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        "AIRFLOW__API__BASE_URL": login.url,
        "AIRFLOW__API__SECRET_KEY": kept_secret(settings.state_dir, "airflow_api_secret", length_bytes=48),
        "AIRFLOW__API_AUTH__JWT_SECRET": kept_secret(settings.state_dir, "airflow_jwt", length_bytes=64),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        # Airflow sets these modes itself, whatever the umask is; logs tell accounts, amounts and orders.
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        **TUNING,
        **connections,
    }


def component_services(settings: Settings, environment: Mapping[str, str]) -> list[Service]:
    """Return Airflow's four components and the watch beside them; logs are read from disk, not over HTTP."""
    address = ("--host", settings.airflow_host, "--port", str(settings.airflow_port))
    commands = {
        API_SERVER: ("api-server", *address, "--workers", "1"),
        "airflow-scheduler": ("scheduler", "--skip-serve-logs"),
        "airflow-dag-processor": ("dag-processor",),
        "airflow-triggerer": ("triggerer", "--skip-serve-logs"),
    }
    version = code_version("include/kraken_recon", "plugins")
    keyless = {name: value for name, value in environment.items() if not KEY_OF_KRAKEN.match(value)}
    components = [
        Service(
            name,
            (sys.executable, "-m", "local_stack.component", *commands[name]),
            keyless if name in KEYLESS else environment,
            version,
        )
        for name in COMPONENTS
    ]
    # Airflow finds the plugins by itself; this program is none of its components.
    roots = os.pathsep.join((keyless["PYTHONPATH"], str(REPOSITORY / "plugins")))
    command = (sys.executable, "-m", "kraken_airflow.watch")
    return [*components, Service(WATCH, command, {**keyless, "PYTHONPATH": roots}, version)]


def forget_old_logs(settings: Settings) -> None:
    """Delete the logs of tasks that ran long ago; the logs of services begin anew with each start."""
    logs = settings.state_dir / "airflow" / "logs"
    oldest = time.time() - timedelta(days=TASK_LOG_DAYS).total_seconds()
    for path in sorted(logs.rglob("*"), reverse=True):  # what is in a directory before the directory
        with contextlib.suppress(OSError):  # not empty, or gone meanwhile
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif path.lstat().st_mtime < oldest:
                path.unlink()


def installed_version() -> str:
    """Return the release whose schema its database must have."""
    return f"apache-airflow {importlib.metadata.version('apache-airflow')}"


def migrate(environment: Mapping[str, str]) -> None:
    """Bring Airflow's own database up to date.

    Raises:
        LocalStackError: it failed; the message holds what Airflow said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LocalStackError(f"`airflow db migrate` failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


class AirflowApi:
    """Airflow's public REST API, as the admin."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between us and ourselves

    def wait_until_healthy(self, services: Services) -> None:
        """Wait for every component's heartbeat.

        Raises:
            LocalStackError: a component ended or stayed silent; the message holds the end of its log.
        """
        dead: list[str] = []

        def settled() -> bool:
            dead[:] = [name for name in COMPONENTS if not services.is_running(name)]
            return bool(dead) or not self._unhealthy_parts()

        poll_until(settled, timeout_seconds=HEALTH_TIMEOUT_SECONDS, pause_seconds=0.2)
        if dead:
            raise LocalStackError(f"{dead[0]} ended; its log says:\n{services.end_of_log(dead[0])}")
        if silent := self._unhealthy_parts():
            raise LocalStackError(
                f"Airflow is not healthy after {HEALTH_TIMEOUT_SECONDS} s ({', '.join(silent)}); "
                f"see {services.logs}."
            )
        self._sign_in()

    def ensure_pool(self, name: str, *, slots: int, description: str) -> None:
        """Create the pool: without it the tasks that name it wait for ever."""
        pool = {"name": name, "slots": slots, "description": description}
        self._call("POST", "/api/v2/pools", pool, accept=(409,))

    def wait_until_parsed(self, dag_id: str) -> None:
        """Wait until the DAG can be run.

        Raises:
            LocalStackError: its file cannot be imported, or it did not appear.
        """
        errors: list[dict[str, Any]] = []

        def settled() -> bool:
            errors[:] = self._call("GET", "/api/v2/importErrors")["import_errors"]
            return bool(errors) or self._call("GET", f"/api/v2/dags/{dag_id}", accept=(404,)) is not None

        if not poll_until(settled, timeout_seconds=PARSE_TIMEOUT_SECONDS, pause_seconds=0.3):
            raise LocalStackError(f"The DAG {dag_id} did not appear in {PARSE_TIMEOUT_SECONDS} s.")
        if errors:
            told = "\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors)
            raise LocalStackError(f"Airflow cannot import these DAG files:\n{told}")

    def dag_ids(self) -> list[str]:
        """Return the ids of all parsed DAGs."""
        return [dag["dag_id"] for dag in self._call("GET", "/api/v2/dags?limit=100")["dags"]]

    def unpause(self, dag_id: str) -> None:
        """Let the DAG's schedule run."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

    def fail_unfinished_runs(self, dag_id: str) -> None:
        """Fail the runs that a stop of the stack cut off: nobody works on them any more."""
        for state in ("running", "queued"):
            found = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns?limit=100&state={state}")
            for run in found["dag_runs"]:
                self._call("PATCH", self._run_path(dag_id, run["dag_run_id"]), {"state": "failed"})

    def run_under_way(self, dag_id: str, *, patience_seconds: float) -> str | None:
        """Return the run that is at work or next in line, giving the scheduler time to think of one."""
        found: list[str] = []

        def there_is_one() -> bool:
            for state in ("running", "queued"):
                runs = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns?limit=1&state={state}")["dag_runs"]
                found.extend(str(run["dag_run_id"]) for run in runs)
            return bool(found)

        poll_until(there_is_one, timeout_seconds=patience_seconds, pause_seconds=0.2)
        return found[0] if found else None

    def queued_at(self, dag_id: str, run_id: str) -> datetime:
        """Return when the run was asked for."""
        return datetime.fromisoformat(self._call("GET", self._run_path(dag_id, run_id))["queued_at"])

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Ask for a run now; return its id."""
        body = {"logical_date": None, "conf": dict(conf)}
        run = self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
        return str(run["dag_run_id"])

    def create_backfill(
        self, dag_id: str, *, first: datetime, last: datetime, max_active_runs: int, run_backwards: bool
    ) -> None:
        """Ask for every interval that starts from ``first`` to ``last``; a DAG has one backfill at a time."""
        body = {
            "dag_id": dag_id,
            "from_date": first.isoformat(),
            "to_date": last.isoformat(),
            "max_active_runs": max_active_runs,
            "run_backwards": run_backwards,
        }
        self._call("POST", "/api/v2/backfills", body)

    def wait_for_run(
        self, dag_id: str, run_id: str, *, timeout_seconds: float, on_change: Callable[[str], None]
    ) -> str:
        """Wait until the scheduler has brought the run to its end, or it waits for a person.

        Returns:
            ``success``, ``failed``, or ``awaiting approval``.

        Raises:
            LocalStackError: it took too long.
        """
        deadline = time.monotonic() + timeout_seconds
        last = ""
        while time.monotonic() < deadline:
            state = str(self._call("GET", self._run_path(dag_id, run_id))["state"])
            if state == "running" and self._awaits_a_person(dag_id, run_id):
                return "awaiting approval"
            if state in ENDED_STATES:
                return state
            if state != last:
                on_change(state)
                last = state
            time.sleep(0.3)
        raise LocalStackError(f"Run {run_id} of {dag_id} is still {last} after {timeout_seconds:.0f} s.")

    def failed_tasks(self, dag_id: str, run_id: str) -> list[str]:
        """Return the names of the run's failed tasks."""
        found = self._call("GET", f"{self._run_path(dag_id, run_id)}/taskInstances?limit=200")
        return [task["task_display_name"] for task in found["task_instances"] if task["state"] == "failed"]

    def task_states(self, dag_id: str) -> list[str]:
        """Return the states of the tasks of the DAG's runs that have not ended."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/~/taskInstances?limit=100&order_by=-id"
        found = self._call("GET", path)["task_instances"]
        return [str(task["state"]) for task in found if task["state"] not in ENDED_STATES]

    def _awaits_a_person(self, dag_id: str, run_id: str) -> bool:
        found = self._call("GET", f"{self._run_path(dag_id, run_id)}/taskInstances?limit=200")
        states = [task["state"] for task in found["task_instances"]]
        busy = {
            "running",
            "queued",
            "scheduled",
            "up_for_retry",
            "up_for_reschedule",
            "restarting",
            "deferred",
        }
        return "awaiting_input" in states and not busy.intersection(states)

    def _unhealthy_parts(self) -> list[str]:
        try:
            reply = self._session.get(f"{self._login.url}/api/v2/monitor/health", timeout=5)
            health = reply.json() if reply.ok else {}
        except (requests.RequestException, ValueError):
            health = {}
        return [part for part in HEALTH_PARTS if health.get(part, {}).get("status") != "healthy"]

    def _sign_in(self) -> None:
        credentials = {"username": self._login.user, "password": self._login.password}
        token = self._call("POST", "/auth/token", credentials)["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    @staticmethod
    def _run_path(dag_id: str, run_id: str) -> str:
        return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"

    def _call(self, method: str, path: str, body: object = None, *, accept: tuple[int, ...] = ()) -> Any:  # noqa: ANN401 - JSON
        try:
            reply = self._session.request(
                method, f"{self._login.url}{path}", json=body, timeout=REQUEST_TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise LocalStackError(f"Airflow did not answer {method} {path}: {error}") from error
        if reply.status_code in accept:
            return None
        if not reply.ok:
            raise LocalStackError(
                f"Airflow answered {reply.status_code} to {method} {path}: {reply.text[:500]}"
            )
        return reply.json()

"""Shared fixtures: a real database, a real simulator, and an Airflow that touches nothing of the user's.

Importing this file imports neither Airflow nor SQLAlchemy: the unit tests must stay fast.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from hypothesis import HealthCheck, settings

from desks import isolation  # noqa: F401 - before anything imports Airflow
from desks.airflow_processes import AirflowProcesses, MetadataDatabases, StartAirflow
from desks.logins import make_logins
from desks.memory import place_in_memory
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import dying_with_parent, poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile(
    "fast",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=50,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        # The databases are shared on purpose; every example works on an account of its own.
        HealthCheck.function_scoped_fixture,
    ],
)
settings.register_profile("thorough", settings.get_profile("fast"), max_examples=1000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

REPOSITORY = Path(__file__).resolve().parent.parent
SIMULATOR_START_TIMEOUT_SECONDS = 30
SERVER_BYTES = 2**30
SERVER_SETTINGS = {"max_connections": "300", "max_wal_size": "256MB"}


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def project_environment() -> dict[str, str]:
    """Return the environment for a subprocess that imports the project."""
    source_roots = os.pathsep.join(str(REPOSITORY / name) for name in ("include", "plugins"))
    return {**os.environ, "PYTHONPATH": source_roots, "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def kraken_data_dir() -> Path:
    """Return the directory of recorded Kraken replies, or skip."""
    directory = Path(os.environ.get("KRAKEN_DATA_DIR") or REPOSITORY.parent / "shared" / "kraken_data")
    if not directory.is_dir() or not any(directory.iterdir()):
        lacks = "is empty" if directory.is_dir() else "does not exist"
        pytest.skip(f"no recordings: {directory} {lacks} (set KRAKEN_DATA_DIR)")
    return directory


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Yield the administrator's URL of a running server: ours, or the one a variable names."""
    if given := os.environ.get("KRAKEN_RECON_TEST_POSTGRES_URL"):
        yield given
        return
    # Not pytest's tmp_path: that is closed to the unprivileged user who runs the server for root.
    with tempfile.TemporaryDirectory(
        prefix="kraken-recon-tests-", dir=place_in_memory(SERVER_BYTES), ignore_cleanup_errors=True
    ) as place:
        Path(place).chmod(0o711)
        with EmbeddedPostgres(Path(place) / "postgres", settings=SERVER_SETTINGS) as server:
            yield server.url("postgres")


def with_database(url: str, database: str) -> str:
    """Return the same URL for another database."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


@pytest.fixture(scope="session")
def postgres_admin(postgres_url: str) -> Iterator[psycopg.Connection]:
    """Yield an autocommitting session of the administrator."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def template_database(
    postgres_url: str, postgres_admin: psycopg.Connection, project_environment: dict[str, str]
) -> Iterator[str]:
    """Yield the name of a database with the newest schema and no rows, to copy from."""
    name = f"recon_template_{secrets.token_hex(4)}"
    postgres_admin.execute(f'create database "{name}"')
    migrated = subprocess.run(
        [sys.executable, "-m", "kraken_recon", "migrate"],
        env={**project_environment, "KRAKEN_RECON_DSN": with_database(postgres_url, name)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert migrated.returncode == 0, f"migrate failed:\n{migrated.stdout}\n{migrated.stderr}"
    make_logins(postgres_admin)
    yield name
    postgres_admin.execute(f'drop database "{name}" with (force)')


NewDatabase = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def new_database(
    postgres_url: str, postgres_admin: psycopg.Connection, template_database: str
) -> NewDatabase:
    """Return what makes a migrated, empty database for a ``with`` block, which gets its URL."""

    @contextmanager
    def make() -> Iterator[str]:
        name = f"recon_test_{secrets.token_hex(6)}"
        postgres_admin.execute(f'create database "{name}" template "{template_database}" strategy file_copy')
        yield with_database(postgres_url, name)
        postgres_admin.execute(f'drop database "{name}" with (force)')

    return make


@pytest.fixture
def database_url(new_database: NewDatabase) -> Iterator[str]:
    """Yield the URL of a fresh, migrated, empty database that no other test sees."""
    with new_database() as url:
        yield url


@pytest.fixture(scope="session")
def start_airflow(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> StartAirflow:
    """Return what starts an Airflow for a ``with`` block; arguments as for `AirflowProcesses`."""
    metadata = MetadataDatabases(postgres_url, tmp_path_factory.mktemp("airflow-tables"))

    @contextmanager
    def start(variables: dict[str, str], **options: Any) -> Iterator[AirflowProcesses]:
        airflow = AirflowProcesses(tmp_path_factory.mktemp("airflow"), metadata, variables, **options)
        try:
            airflow.start()
            yield airflow
        finally:
            airflow.stop()

    return start


class ControlClient:
    """Speak JSON to the simulator's control interface; a refusal is an error that shows the reply."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._session = requests.Session()

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, params=query)

    def post(self, path: str, body: Any = None) -> Any:
        return self._call("POST", path, json=body)

    def patch(self, path: str, body: Any = None) -> Any:
        return self._call("PATCH", path, json=body)

    def delete(self, path: str, body: Any = None) -> Any:
        return self._call("DELETE", path, json=body)

    def close(self) -> None:
        self._session.close()

    def _call(self, method: str, path: str, **options: Any) -> Any:
        reply = self._session.request(method, f"{self._base_url}/_sim/{path}", timeout=30, **options)
        assert reply.ok, f"{method} /_sim/{path} answered {reply.status_code}: {reply.text[:2000]}"
        return reply.json() if reply.content else None


@dataclass
class Simulator:
    """A running simulator.

    Attributes:
        base_url: where its Kraken answers, such as ``http://127.0.0.1:40123``.
        control: its control interface; paths are relative to ``/_sim/``, such as ``accounts``.
    """

    base_url: str
    process: subprocess.Popen[bytes]
    log: Path
    control: ControlClient = field(init=False)

    def __post_init__(self) -> None:
        self.control = ControlClient(self.base_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_simulator(log: Path, environment: dict[str, str], *arguments: str) -> Simulator:
    """Start a simulator on a free port, as a child that dies with this process."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kraken_sim", "--host", "127.0.0.1", "--port", "0", *arguments],
            env=environment,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=dying_with_parent(),  # noqa: PLW1509 - started from the main thread
        )

    def address() -> str:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("listening on "):
                return line.split()[2].rstrip("/")
        return ""

    poll_until(
        lambda: bool(address()) or process.poll() is not None, timeout_seconds=SIMULATOR_START_TIMEOUT_SECONDS
    )
    if not address():
        process.kill()
        process.wait()
        pytest.fail(f"the simulator did not start:\n{log.read_text(errors='replace')}")
    return Simulator(address(), process, log)


@pytest.fixture(scope="session")
def shared_simulator(
    tmp_path_factory: pytest.TempPathFactory, project_environment: dict[str, str]
) -> Iterator[Simulator]:
    """Yield the one simulator process of this test run; tests take `simulator` instead."""
    log = tmp_path_factory.mktemp("simulator") / "simulator.log"
    with start_simulator(log, project_environment) as simulator:
        yield simulator


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    """Return a simulator as good as new."""
    shared_simulator.control.post("reset")
    return shared_simulator

"""What the sync runs on: a durable PostgreSQL, the simulator as a process of its own, and a whole Airflow."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import requests

from benchmarks.servers import desk_databases, running_airflow
from benchmarks.sync_scale import desk, exchange, task_costs
from kraken_airflow.hooks.connections_file import ConnectionsFile
from local_stack import airflow
from local_stack.databases import Database, postgres_connection
from local_stack.demo import DESK_POOL, DESK_POOL_SLOTS, POOL, POOL_SLOTS
from local_stack.ports import free_port
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import Service, Services, poll_until
from local_stack.settings import REPOSITORY, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

DAG_ID: Final = "position_sync"
SIMULATOR: Final = "simulator"
POSTGRES: Final = "postgres"
START_TIMEOUT_SECONDS: Final = 60
# Runs are asked for one by one: none of the schedule's own may come between.
WITHOUT_SCHEDULE: Final = """
from airflow.sdk.definitions.timetables.simple import NullTimetable

for name, value in (("schedule", None), ("timetable", NullTimetable())):
    object.__setattr__(DAG, name, value)
"""
TASKS: Final = """
select task_id, map_index, start_date, end_date, state
from task_instance
where dag_id = %s and run_id = %s
order by start_date nulls last
"""
RUN: Final = "select queued_at, start_date, end_date, state from dag_run where dag_id = %s and run_id = %s"
STATUSES: Final = """
select status, count(*), sum(api_calls) from trading.reconciliation_runs where dag_run_id = %s group by status
"""


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """When one task ran, in seconds since the run was asked for."""

    task: str
    map_index: int
    begin: float
    end: float
    state: str


@dataclass
class SyncStack:
    """A running stack."""

    place: Path
    server: EmbeddedPostgres
    trading: Database
    metadata: Database
    services: Services
    api: airflow.AirflowApi
    exchange_url: str
    accounts: int = 0

    def grow(self, count: int) -> None:
        """Let the desk have so many accounts."""
        desk.grow(self.trading.url, self.accounts, count)
        self.accounts = count

    def roots(self) -> dict[str, int]:
        """Name the process that each kind of processes descends from."""
        found = {name: self.services.pid_of(name) for name in self.services.names()}
        return {name: pid for name, pid in {**found, POSTGRES: self.server.pid}.items() if pid}

    def news(self, share_percent: int, seed: int) -> list[str]:
        """Let something happen on some of the accounts, and name them."""
        query = {"accounts": self.accounts, "share_percent": share_percent, "seed": seed}
        named: list[str] = self._exchange("news", query)
        return named

    def calls(self) -> dict[str, Any]:
        """Count the calls to the exchange and its connections since the last time."""
        counted: dict[str, Any] = self._exchange("counts", {})
        return counted

    def _exchange(self, route: str, query: dict[str, int]) -> Any:  # noqa: ANN401 - JSON
        reply = requests.post(f"{self.exchange_url}{exchange.PATH}/{route}", params=query, timeout=60)
        reply.raise_for_status()
        return reply.json()

    def sessions(self) -> int:
        """Count the sessions of the trading database that were opened ever."""
        with psycopg.connect(self.server.url("postgres")) as session:
            row = session.execute(
                "select sessions from pg_stat_database where datname = %s", [self.trading.name]
            ).fetchone()
        return int(row[0]) if row else 0

    def open_sessions(self) -> int:
        """Count the sessions of the trading database that are open now."""
        with psycopg.connect(self.server.url("postgres")) as session:
            row = session.execute(
                "select count(*) from pg_stat_activity where datname = %s", [self.trading.name]
            ).fetchone()
        return int(row[0]) if row else 0

    def wait(self, run_id: str, patience_seconds: float) -> None:
        """Wait until a run has ended; Airflow's own database is asked, so that its API server is not."""
        with psycopg.connect(self.metadata.url, autocommit=True) as session:

            def has_ended() -> bool:
                row = session.execute(RUN, [DAG_ID, run_id]).fetchone()
                return bool(row and row[2])

            if not poll_until(has_ended, timeout_seconds=patience_seconds, pause_seconds=0.2):
                raise SystemExit(f"{run_id} has not ended after {patience_seconds:g} s")

    def times_of(self, run_id: str) -> tuple[float, float, str, list[TaskSpan]]:
        """Tell how long a run waited and took, in seconds, how it ended, and when its tasks ran."""
        with psycopg.connect(self.metadata.url) as session:
            queued_at, begin, end, state = session.execute(RUN, [DAG_ID, run_id]).fetchone() or (None,) * 4
            rows = session.execute(TASKS, [DAG_ID, run_id]).fetchall()
        if not (isinstance(queued_at, datetime) and begin and end):
            raise SystemExit(f"{run_id} has not ended")

        def since(moment: datetime) -> float:
            return (moment - queued_at).total_seconds()

        spans = [TaskSpan(row[0], row[1], since(row[2]), since(row[3]), row[4]) for row in rows if row[2]]
        return since(begin), (end - begin).total_seconds(), str(state), spans

    def statuses(self, run_id: str) -> dict[str, int]:
        """Count the accounts of a run by how they ended."""
        with psycopg.connect(self.trading.url) as session:
            return {str(row[0]): int(row[1]) for row in session.execute(STATUSES, [run_id])}

    def task_costs(self) -> list[dict[str, Any]]:
        """Read what the processes of tasks wrote of themselves, and begin anew."""
        file = self.place / "task-costs.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


@contextmanager
def running_stack(place: Path, accounts: int, delay_ms: float) -> Iterator[SyncStack]:
    """Run everything, with a desk of so many accounts at the exchange, and none in the database yet."""
    with EmbeddedPostgres(place / POSTGRES, durable=True) as server:
        trading, metadata = desk_databases(server.url("postgres"))
        port = free_port()
        settings = Settings(place, "127.0.0.1", free_port(), port, 0, server.url("postgres"), place)
        url = f"http://127.0.0.1:{port}"
        environment = _environment(settings, trading, metadata, url, accounts)
        program = (sys.executable, "-m", exchange.__name__, "--port", str(port))
        program += ("--accounts", str(accounts), "--delay-ms", str(delay_ms))
        simulator = Service(SIMULATOR, program, environment)
        pools = {POOL: POOL_SLOTS, DESK_POOL: DESK_POOL_SLOTS}
        with running_airflow(settings, environment, simulator, dag_id=DAG_ID, pools=pools) as (services, api):
            stack = SyncStack(place, server, trading, metadata, services, api, url)
            if not poll_until(lambda: _answers(url), timeout_seconds=START_TIMEOUT_SECONDS):
                raise SystemExit(f"the simulator does not answer:\n{services.end_of_log(SIMULATOR)}")
            stack.calls()
            yield stack


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/0/public/Time", timeout=5).ok
    except requests.RequestException:
        return False


def _environment(
    settings: Settings, trading: Database, metadata: Database, exchange_url: str, accounts: int
) -> dict[str, str]:
    """Return the environment of every component, as the services of docker-compose.yaml have theirs."""
    keys = settings.state_dir / "connections.json"
    desk.write_connections(keys, accounts, exchange_url, {"trading_db": postgres_connection(trading.url)})
    dags, plugins = settings.state_dir / "dags", settings.state_dir / "plugins"
    shutil.copytree(REPOSITORY / "dags", dags)
    with (dags / f"{DAG_ID}.py").open("a", encoding="utf-8") as file:
        file.write(WITHOUT_SCHEDULE)
    plugins.mkdir()
    shutil.copy(Path(task_costs.__file__), plugins / "task_costs.py")
    roots = [REPOSITORY / name for name in ("include", "plugins")]
    chosen = {
        "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
        "KRAKEN_RECON_DESK_BOOKS": str(settings.state_dir / "no-desk-books"),
        "AIRFLOW__SECRETS__BACKEND": f"{ConnectionsFile.__module__}.{ConnectionsFile.__qualname__}",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(keys)}),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "PYTHONPATH": os.pathsep.join(map(str, (*roots, REPOSITORY))),
        task_costs.FILE: str(settings.state_dir / "task-costs.jsonl"),
    }
    return airflow.airflow_environment(settings, metadata_url=metadata.url, connections=chosen)

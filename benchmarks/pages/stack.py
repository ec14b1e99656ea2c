"""What the pages are measured on: a durable PostgreSQL, and Airflow's API server alone."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psycopg
import requests

from local_stack import airflow
from local_stack.databases import Database, postgres_connection
from local_stack.ports import free_port
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import Services, poll_until
from local_stack.settings import REPOSITORY, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

START_TIMEOUT_SECONDS: Final = 120
SERVER_SETTINGS: Final = {
    "max_connections": "200",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",
}
PLANS_SETTINGS: Final = {
    "shared_preload_libraries": "pg_stat_statements,auto_explain",
    "auto_explain.log_min_duration": "20ms",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
}
STATEMENTS: Final = """
select s.query, s.calls, s.total_exec_time, s.shared_blks_hit + s.shared_blks_read
from pg_stat_statements s
join pg_database d on d.oid = s.dbid
where d.datname = %s
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One kind of statement since the last reset; ``ms`` of all its calls, and the 8 kB pages they read."""

    query: str
    calls: int
    ms: float
    pages_read: int

    @property
    def tables(self) -> set[str]:
        """Name the tables that it reads."""
        return set(re.findall(r"(?:from|join|into|update)\s+([a-z_.]+)", self.query, re.IGNORECASE))


@dataclass
class PageStack:
    """A running stack; Airflow's API server is started once the data stand."""

    server: EmbeddedPostgres
    trading: Database
    metadata: Database
    settings: Settings
    services: Services
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return where Airflow is."""
        return airflow.login_of(self.settings).url

    @property
    def trading_url(self) -> str:
        """Return the URL of the trading database."""
        return self.trading.url

    def start_airflow(self) -> None:
        """Start the API server, and none of the other components."""
        environment = _environment(self.settings, self.trading.url, self.metadata.url)
        airflow.migrate(environment)
        (server,) = (
            one
            for one in airflow.component_services(self.settings, environment)
            if one.name == airflow.API_SERVER
        )
        self.services.ensure(server)
        if not poll_until(self._answers, timeout_seconds=START_TIMEOUT_SECONDS, pause_seconds=0.2):
            raise SystemExit(
                f"Airflow does not answer; its log says:\n{self.services.end_of_log(airflow.API_SERVER)}"
            )

    def token(self) -> str:
        """Log in."""
        login = airflow.login_of(self.settings)
        credentials = {"username": login.user, "password": login.password}
        reply = requests.post(f"{login.url}/auth/token", json=credentials, timeout=30)
        reply.raise_for_status()
        return str(reply.json()["access_token"])

    def named_rows(self, queries: Mapping[str, str]) -> dict[str, str]:
        """Read the one value of each query."""
        with psycopg.connect(self.trading.url) as session:
            rows = {name: session.execute(query.encode()).fetchone() for name, query in queries.items()}
        return {name: str(row[0]) for name, row in rows.items() if row}

    def forget_statements(self) -> None:
        """Begin to count statements anew."""
        with psycopg.connect(self.server.url("postgres")) as session:
            session.execute("select pg_stat_statements_reset()")

    def statements(self, database: str) -> list[Statement]:
        """Return what a database was asked since then."""
        with psycopg.connect(self.server.url("postgres")) as session:
            return [Statement(*row) for row in session.execute(STATEMENTS, [database]).fetchall()]

    def server_log(self) -> str:
        """Return what the database server wrote."""
        return self.server.log.read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/v2/version", timeout=5).ok
        except requests.RequestException:
            return False


@contextmanager
def running_pages(place: Path, *, with_plans: bool) -> Iterator[PageStack]:
    """Run a database server of our own in a directory, and stop all that was started on it."""
    chosen = SERVER_SETTINGS | (PLANS_SETTINGS if with_plans else {})
    with EmbeddedPostgres(place / "postgres", durable=True, settings=chosen) as server:
        with psycopg.connect(server.url("postgres"), autocommit=True) as session:
            session.execute("create extension if not exists pg_stat_statements")
        trading, metadata = (Database(server.url("postgres"), name) for name in ("trading", "airflow"))
        metadata.ensure()
        settings = Settings(place, "127.0.0.1", free_port(), 0, 0, "", place)
        services = Services(place)
        try:
            yield PageStack(server, trading, metadata, settings, services)
        finally:
            services.stop(services.names())


def _environment(settings: Settings, trading_url: str, metadata_url: str) -> dict[str, str]:
    variables = {
        "AIRFLOW_CONN_TRADING_DB": postgres_connection(trading_url),
        # This checkout's, even where another one is installed.
        "PYTHONPATH": os.pathsep.join(str(REPOSITORY / name) for name in ("include", "plugins", "config")),
    }
    return airflow.airflow_environment(settings, metadata_url=metadata_url, connections=variables)

"""Database servers to measure on, and Airflow."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from kraken_recon.database.migrate import migrate
from kraken_recon.database.unit_of_work import create_engine
from local_stack import airflow
from local_stack.databases import Database
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import Services

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local_stack.processes import Service
    from local_stack.settings import Settings


@contextmanager
def running_server(given: str | None, *, durable: bool = True) -> Iterator[str]:
    """Yield a superuser's URL of the server that is given, or of one of our own."""
    if given:
        yield given
        return
    # Below a directory that the server's own, unprivileged user may enter.
    with tempfile.TemporaryDirectory(prefix="kraken-recon-bench-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o711)
        with EmbeddedPostgres(Path(place) / "postgres", durable=durable) as server:
            yield server.url("postgres")


@contextmanager
def empty_database(server_url: str) -> Iterator[str]:
    """Yield the URL of a database with the newest schema and no rows."""
    with scratch_database(server_url) as url:
        migrate(create_engine(url))
        yield url


@contextmanager
def scratch_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Yield the URL of an empty database, or of a copy of another one that nobody is using."""
    name = f"recon_bench_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as administrator:
        administrator.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        try:
            yield with_database(server_url, name)
        finally:
            administrator.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def with_database(url: str, database: str) -> str:
    """Return the same URL for another database."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def desk_databases(server_url: str) -> tuple[Database, Database]:
    """Make the trading database, with its newest schema, and Airflow's on one server."""
    trading, metadata = (Database(server_url, name) for name in ("trading", "airflow"))
    trading.ensure()
    metadata.ensure()
    migrate(create_engine(trading.url))
    return trading, metadata


@contextmanager
def running_airflow(
    settings: Settings,
    environment: dict[str, str],
    simulator: Service,
    *,
    dag_id: str,
    pools: Mapping[str, int],
) -> Iterator[tuple[Services, airflow.AirflowApi]]:
    """Run the exchange and Airflow's components with one DAG at work, and stop them in the end."""
    airflow.migrate(environment)
    services = Services(settings.state_dir)
    try:
        services.ensure(simulator)
        for service in airflow.component_services(settings, environment):
            services.ensure(service)
        api = airflow.AirflowApi(airflow.login_of(settings))
        api.wait_until_healthy(services)
        for pool, slots in pools.items():
            api.ensure_pool(pool, slots=slots, description="of the benchmark")
        api.wait_until_parsed(dag_id)
        api.unpause(dag_id)
        yield services, api
    finally:
        services.stop(services.names())

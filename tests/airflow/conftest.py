"""An Airflow with a metadata database of its own, and a desk whose accounts live on the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.api_fastapi.app import create_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.utils.db import initdb

from desks.airflow import AirflowDesk
from desks.dag_runs import read_dags, record_dags
from desks.logins import as_writer
from local_stack.databases import postgres_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from conftest import Simulator


@pytest.fixture(scope="session", autouse=True)
def airflow_tables() -> None:
    """Create Airflow's own tables, with our DAGs, in the SQLite file that the root conftest.py set aside."""
    initdb()
    record_dags(read_dags())


@pytest.fixture
def trading_db(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the fresh database the connection `trading_db`, and return its URL."""
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", postgres_connection(as_writer(database_url)))
    return database_url


@pytest.fixture
def desk(simulator: Simulator, trading_db: str, monkeypatch: pytest.MonkeyPatch) -> AirflowDesk:
    """Return a desk without accounts."""
    monkeypatch.setenv("KRAKEN_RECON_ALLOWED_HOSTS", "127.0.0.1")
    return AirflowDesk(simulator, trading_db, monkeypatch)


@pytest.fixture(scope="session")
def api_app() -> FastAPI:
    """Make Airflow's own API server, with its simple auth manager and our plugin."""
    return create_app(apps="core")


@pytest.fixture(scope="session")
def token_of(api_app: FastAPI) -> Callable[[str | None], str]:
    """Return a function that logs somebody in with a role of the simple auth manager, or without one."""

    def token(role: str | None) -> str:
        user = SimpleAuthManagerUser(username="somebody", role=role)
        signed: str = api_app.state.auth_manager.generate_jwt(user)
        return signed

    return token

"""An Airflow with a metadata database of its own, and a desk whose accounts live on the simulator."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
import uvicorn
from airflow.api_fastapi.app import create_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.utils.db import initdb

from desks.airflow import AirflowDesk
from desks.dag_runs import read_dags, record_dags
from desks.logins import as_writer
from kraken_recon.sessions.airflow_api import AirflowApi
from local_stack.databases import postgres_connection
from local_stack.ports import free_port
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.fixture(scope="session")
def api_url(api_app: FastAPI) -> Iterator[str]:
    """Serve Airflow's own API."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(api_app, port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert poll_until(lambda: server.started, timeout_seconds=20)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def api(api_url: str, token_of: Callable[[str | None], str], monkeypatch: pytest.MonkeyPatch) -> AirflowApi:
    """Return the API as a viewer; the login itself is the matter of the end-to-end tests."""
    monkeypatch.setattr(AirflowApi, "_token", lambda *_: token_of("viewer"))
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps({"conn_type": "http", "host": api_url}))
    return AirflowApi(api_url, "viewer", "")

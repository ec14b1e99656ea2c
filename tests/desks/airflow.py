"""A desk as Airflow sees it: accounts at the simulator, in the trading database and as connections."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.rows import dict_row

if TYPE_CHECKING:
    import pytest
    from airflow.sdk import DAG

    from conftest import Simulator


def _kraken_connection(base_url: str, api_key: str, api_secret: str) -> str:
    return json.dumps(
        {
            "conn_type": "kraken",
            "login": api_key,
            "password": api_secret,
            "host": base_url,
            "extra": {"tier": "unlimited"},
        }
    )


def trading_connection(url: str, **changes: Any) -> str:
    parts = urlsplit(url)
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": parts.hostname,
            "port": parts.port,
            "login": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "schema": parts.path.lstrip("/"),
            **changes,
        }
    )


def without_deadline(dag: DAG) -> DAG:
    """Take a DAG's deadline away: with one, ``dag.test()`` ends in an error (apache/airflow#73428)."""
    dag.deadline = None
    return dag


@dataclass
class AirflowDesk:
    """Accounts that exist at the simulator, in the trading database and as Airflow connections."""

    simulator: Simulator
    database_url: str
    monkeypatch: pytest.MonkeyPatch
    secrets: dict[str, str] = field(default_factory=dict)

    def account(self, name: str, *, has_right_key: bool = True, **opening: str) -> None:
        secret = base64.b64encode(f"secret of {name}".ljust(64).encode()).decode()
        self.simulator.control.post(
            "accounts",
            {
                "name": name,
                "api_key": f"key-of-{name}",
                "api_secret": secret,
                "tier": "unlimited",  # as the connection says
                "opening": opening,
            },
        )
        if not has_right_key:
            secret = base64.b64encode(b"some other secret".ljust(64)).decode()
        self.secrets[name] = secret
        self.monkeypatch.setenv(
            f"AIRFLOW_CONN_KRAKEN_{name.upper()}",
            _kraken_connection(self.simulator.base_url, f"key-of-{name}", secret),
        )
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "insert into trading.accounts (name, kraken_conn_id) values (%s, %s)",
                [name, f"kraken_{name}"],
            )

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def execute(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.database_url) as connection:
            connection.execute(statement, values)

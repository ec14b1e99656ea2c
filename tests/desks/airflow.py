"""A desk as Airflow sees it: accounts at the simulator, in the trading database and as connections."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from desks.logins import as_writer
from local_stack.databases import postgres_connection

if TYPE_CHECKING:
    import pytest

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
    return json.dumps(json.loads(postgres_connection(url)) | changes)


@dataclass
class AirflowDesk:
    """Accounts that exist at the simulator, in the trading database and as Airflow connections."""

    simulator: Simulator
    database_url: str
    monkeypatch: pytest.MonkeyPatch
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(init=False)
    """What an Airflow in other processes reads: the trading database and the accounts."""

    def __post_init__(self) -> None:
        self.variables = {
            "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
            "AIRFLOW_CONN_TRADING_DB": postgres_connection(as_writer(self.database_url)),
        }

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
        connection = _kraken_connection(self.simulator.base_url, f"key-of-{name}", secret)
        self.variables[variable := f"AIRFLOW_CONN_KRAKEN_{name.upper()}"] = connection
        self.monkeypatch.setenv(variable, connection)
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

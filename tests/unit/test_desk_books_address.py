"""Where a desk's database is, however its connection is written, and without its password in any text."""

from __future__ import annotations

import json

import pytest

from kraken_recon.desk_books.address import DeskAddress, Dialect, address_from_environment
from kraken_recon.errors import ConfigurationError

VARIABLE = "AIRFLOW_CONN_ARENA_DB"


def address(text: str) -> DeskAddress:
    return address_from_environment("arena_db", {VARIABLE: text})


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("postgres://ann:p%40ss@db:5433/arena", Dialect.POSTGRESQL),
        ("postgresql://ann:p%40ss@db:5433/arena", Dialect.POSTGRESQL),
        ("postgresql+psycopg2://ann:p%40ss@db:5433/arena", Dialect.POSTGRESQL),
        ("mysql://ann:p%40ss@db:5433/arena", Dialect.MYSQL),
        ("mariadb://ann:p%40ss@db:5433/arena?charset=utf8mb4", Dialect.MYSQL),
        (
            json.dumps(
                {"conn_type": "mysql", "login": "ann", "password": "p@ss", "host": "db", "port": "5433"}
                | {"schema": "arena", "extra": '{"charset": "utf8mb4", "unix_socket": null}'}
            ),
            Dialect.MYSQL,
        ),
    ],
)
def test_a_server_is_found(text: str, dialect: Dialect) -> None:
    found = address(text)
    assert (found.dialect, found.host, found.port, found.database) == (dialect, "db", 5433, "arena")
    assert (found.login, found.password) == ("ann", "p@ss")
    assert dict(found.options) in ({}, {"charset": "utf8mb4"})
    assert "p@ss" not in repr(found)
    assert found.told("refused for p@ss\nline two") == "refused for ***"


def test_a_postgresql_is_told_all_that_libpq_knows() -> None:
    extra = {"sslmode": "verify-full", "target_session_attrs": "read-write", "keepalives_idle": 30}
    found = address(json.dumps({"conn_type": "postgres", "host": "a,b", "schema": "arena", "extra": extra}))
    assert found.host == "a,b"
    assert found.options == extra | {"keepalives_idle": "30"}


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("sqlite:////srv/bot/desk.db", "/srv/bot/desk.db"),
        ("sqlite://%2Fsrv%2Fbot%2Fdesk.db", "/srv/bot/desk.db"),
        ("sqlite:///desk.db", "desk.db"),
        ('{"conn_type": "sqlite", "host": "/srv/bot/desk.db"}', "/srv/bot/desk.db"),
        ('{"conn_type": "sqlite", "schema": "/srv/bot/desk.db"}', "/srv/bot/desk.db"),
    ],
)
def test_a_file_is_found(text: str, file: str) -> None:
    found = address(text)
    assert (found.dialect, found.file) == (Dialect.SQLITE, file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", f"set {VARIABLE}"),
        ("hunter2", "neither Airflow's JSON nor a URI"),
        ('{"conn_type": "postgres", "password": "hunter2"', "neither Airflow's JSON nor a URI"),
        ("mssql://ann:hunter2@db/arena", "expected the type postgres"),
        ('{"login": "ann", "password": "hunter2"}', "expected the type postgres"),
        ("ann:hunter2@postgres://db/arena", "was no name of a type"),
        ('{"conn_type": "postgres ann hunter2"}', "was no name of a type"),
        ("postgres://ann:hunter2@db", "its schema must be the database's name"),
        ("postgres://ann:hunter2@db:port/arena", "neither Airflow's JSON nor a URI"),
        ("sqlite://", "expected the file of the database"),
        ('{"conn_type": "sqlite", "host": ":memory:"}', "expected the file of the database"),
        (
            '{"conn_type": "mysql", "host": "db", "schema": "a", "extra": "hunter2"}',
            "expected extra to be a JSON object",
        ),
        (
            '{"conn_type": "mysql", "schema": "a", "extra": {"unix_socket": 3, "ssl": {"ca": "hunter2"}}}',
            "extra unix_socket: expected text",
        ),
        (
            '{"conn_type": "mysql", "schema": "a", "extra": {"ssl": "hunter2"}}',
            "extra ssl: expected a JSON object",
        ),
        (
            '{"conn_type": "mysql", "schema": "a", "extra": {"cursor": "hunter2"}}',
            "extra cursor is read by nobody; leave it out. Of mysql is read: charset, unix_socket",
        ),
        ('{"conn_type": "sqlite", "host": "a.db", "extra": {"mode": "rw"}}', "extra mode is read by nobody"),
        (
            '{"conn_type": "postgres", "schema": "a", "extra": {"iam": "hunter2"}}',
            "extra iam is no parameter of libpq",
        ),
    ],
)
def test_what_leads_nowhere_is_refused_without_a_secret(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        address(text)
    assert told in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None

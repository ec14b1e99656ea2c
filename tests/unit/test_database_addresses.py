"""Where the trading database is, as an address or an Airflow connection says, and which server will do."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from kraken_recon.database.addresses import address_of_connection, connection_parameters
from kraken_recon.database.connecting import refuse_old_server
from kraken_recon.errors import ConfigurationError, ServerTooOldError
from kraken_recon.values.connection_fields import ConnectionFields


def parameters(**fields: Any) -> dict[str, Any]:
    """Read what libpq gets of a connection."""
    given: dict[str, Any] = {"host": "db", "login": "trading", "schema": "trading", **fields}
    return conninfo_to_dict(address_of_connection("trading_db", "postgres", ConnectionFields(**given)))


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://u@h:1/d", {"user": "u", "host": "h", "port": "1", "dbname": "d"}),
        ("postgres://h/d", {"host": "h", "dbname": "d"}),
        ("postgresql+psycopg2://h/d", {"host": "h", "dbname": "d"}),
        ("host=h dbname=d", {"host": "h", "dbname": "d"}),
        (
            "postgresql://a:1,b:2/d?target_session_attrs=read-write&sslcert=c&sslkey=k",
            {"host": "a,b", "port": "1,2", "dbname": "d", "target_session_attrs": "read-write"}
            | {"sslcert": "c", "sslkey": "k"},
        ),
    ],
)
def test_an_address_is_what_libpq_reads(dsn: str, expected: dict[str, str]) -> None:
    assert connection_parameters(dsn) == expected


@pytest.mark.parametrize(
    ("dsn", "told"),
    [
        ("", "expected a database address such as"),
        ("secret", "expected a database address such as"),
        ("postgresql://u:secret%zz@h/d", "expected a database address such as"),
        ("mysql://u:secret@h/d", "expected a PostgreSQL database, was mysql"),
        ("postgresql://u:secret@h/d?iam=true", "iam, which libpq does not know"),
        ("host=h password=secret iam=true", "iam, which libpq does not know"),
    ],
)
def test_what_is_no_address_is_refused_without_its_password(dsn: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        connection_parameters(dsn)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "port", "hosts", "ports"),
    [
        ("db", None, "db", None),
        ("db", 5433, "db", "5433"),
        ("a,b", 5433, "a,b", "5433"),
        ("a:1, b:2", None, "a,b", "1,2"),
        ("a:1,b", 5433, "a,b", "1,5433"),
        ("::1", 5433, "::1", "5433"),
        ("[::1]:1,[::2]", 5433, "::1,::2", "1,5433"),
        ("/var/run/postgresql", None, "/var/run/postgresql", None),
        ("", None, None, None),
    ],
)
def test_every_host_keeps_its_port(host: str, port: int | None, hosts: str | None, ports: str | None) -> None:
    found = parameters(host=host, port=port)
    assert (found.get("host"), found.get("port")) == (hosts, ports)


def test_an_extra_of_libpq_s_reaches_it() -> None:
    extra = {
        "sslmode": "verify-full",
        "sslcert": "/c.pem",
        "sslkey": "/it's a key.pem",
        "sslrootcert": "/r.pem",
        "target_session_attrs": "read-write",
        "keepalives_idle": 30,
        "keepalives": True,
        "connect_timeout": 0,
        "options": "-c search_path=x",
        "passfile": "",
        "service": None,
    }
    found = parameters(extra=extra, password="p@ss'\\ w")
    assert found.pop("password") == "p@ss'\\ w"
    assert found.pop("keepalives") == "1"
    named = {"host": "db", "user": "trading", "dbname": "trading"}
    assert found == named | {
        name: str(value) for name, value in extra.items() if name not in {"keepalives", "passfile", "service"}
    }


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"iam": True}, "extra iam is no parameter of libpq"),
        ({"cursor": "dictcursor"}, "extra cursor is no parameter of libpq"),
        ({"sslMode": "require"}, "extra sslMode is no parameter of libpq"),
        ({"host": "elsewhere"}, "extra host: give it as the connection's host"),
        ({"user": "somebody"}, "extra user: give it as the connection's login"),
        ({"application_name": "spoofed"}, "extra application_name: leave it out; sessions are named after"),
        ({"replication": "database"}, "extra replication: leave it out"),
        ({"sslmode": {"a": 1}}, "extra sslmode: expected text or a number"),
    ],
)
def test_any_other_extra_is_refused_by_name(extra: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parameters(extra=extra)
    assert told in str(refused.value)


def test_a_server_that_is_too_old_is_named() -> None:
    refuse_old_server(150000)
    refuse_old_server(180004)
    with pytest.raises(ServerTooOldError, match=r"the server is PostgreSQL 14\.12; 15 is the oldest"):
        refuse_old_server(140012)

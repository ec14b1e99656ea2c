"""Where the trading database is: an address as libpq reads it, or the fields of an Airflow connection.

Invariants:
1. No message holds a password: libpq's own may quote one.
2. Nothing that a connection says is left out in silence: libpq gets it, or it is refused by name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from kraken_recon.errors import ConfigurationError
from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.values.connection_fields import ConnectionFields

ADDRESSES_MAX: Final = 16
POSTGRES_TYPES: Final = frozenset({"postgres", "postgresql"})
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9]{0,19})(\+[A-Za-z0-9_]+)?://")
_UNKNOWN: Final = re.compile(r'invalid (?:URI query parameter|connection option):? "([A-Za-z0-9_ .-]{1,60})"')
_FIELDS: Final = {
    "host": "host",
    "port": "port",
    "user": "login",
    "password": "password",
    "dbname": "schema",
}
# What every session says for itself.
_OURS: Final = {
    "application_name": "sessions are named after the task that opens them",
    "fallback_application_name": "sessions are named after the task that opens them",
    "client_encoding": "sessions speak UTF-8",
    "replication": "no session here replicates",
}


def connection_parameters(dsn: str) -> dict[str, Any]:
    """Read an address as libpq does: a URL, several hosts included, or ``name=value`` pairs.

    Raises:
        ConfigurationError: it is none, or none of a PostgreSQL database.
    """
    return dict(_parsed(dsn))


@lru_cache(maxsize=ADDRESSES_MAX)
def _parsed(dsn: str) -> Mapping[str, Any]:
    """Read an address once: each account of a run asks where its session is."""
    if scheme := _SCHEME.match(dsn):
        if scheme[1] not in POSTGRES_TYPES:
            raise ConfigurationError(f"expected a PostgreSQL database, was {scheme[1]}")
        dsn = f"postgresql://{dsn[scheme.end() :]}"
    problem = "expected a database address such as postgresql://user@host:5432/trading"
    try:
        parameters = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        if unknown := _UNKNOWN.search(str(error)):
            problem = f"the database's address says {unknown[1]}, which libpq does not know; leave it out"
    else:
        if parameters:
            return parameters
    raise ConfigurationError(problem)


def address_of_connection(name: str, conn_type: str | None, fields: ConnectionFields) -> str:
    """Write the fields of an Airflow connection as an address; it holds the password.

    Raises:
        ConfigurationError: they lead to no PostgreSQL database, or say what nobody here understands.
    """
    if conn_type not in POSTGRES_TYPES:
        raise ConfigurationError(f"connection {name}: expected type postgres, was {conn_type}")
    if not fields.schema:
        raise ConfigurationError(f"connection {name}: its database (schema) must be named")
    try:
        extra = fields.extra_values()
    except ValueError as error:
        raise ConfigurationError(f"connection {name}: {error}") from None
    hosts, ports = _hosts(fields.host or "", fields.port)
    parameters = {
        "host": hosts,
        "port": ports,
        "user": fields.login,
        "password": fields.password,
        "dbname": fields.schema,
        **options_of_extra(name, extra),
    }
    return make_conninfo("", **{key: value for key, value in parameters.items() if value})


def options_of_extra(name: str, extra: Mapping[str, Any]) -> dict[str, str]:
    """Take what libpq knows out of a connection's extra; what is null or empty says nothing.

    Raises:
        ConfigurationError: libpq does not know something, or it is said elsewhere; the message says where.
    """
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    options = {}
    for key, value in extra.items():
        if value is None or value == "":
            continue
        where = f"connection {name}: extra {one_line(str(key))}"
        if key in _FIELDS:
            raise ConfigurationError(f"{where}: give it as the connection's {_FIELDS[key]}")
        if key in _OURS:
            raise ConfigurationError(f"{where}: leave it out; {_OURS[key]}")
        if key not in known:
            raise ConfigurationError(
                f"{where} is no parameter of libpq, and nobody else reads it; leave it out. Which there are:"
                " https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS"
            )
        if isinstance(value, (dict, list)):
            raise ConfigurationError(f"{where}: expected text or a number")
        options[key] = str(int(value)) if isinstance(value, bool) else str(value)
    return options


def _hosts(text: str, port: int | None) -> tuple[str, str]:
    """Take several hosts apart, each with a port of its own or the connection's."""
    hosts, ports = [], []
    for one in text.split(","):
        host, colon, own_port = one.strip().rpartition(":")
        if not colon or not own_port.isdigit() or (":" in host and not host.startswith("[")):
            host, own_port = one.strip(), ""
        hosts.append(host.strip("[]"))
        ports.append(own_port or str(port or ""))
    is_one_port = len(set(ports)) == 1
    return ",".join(hosts), ports[0] if is_one_port else ",".join(ports)

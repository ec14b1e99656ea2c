"""Where a desk's database is, from the fields of an Airflow connection.

Invariants:
1. No message and no ``repr`` holds a password.
2. What the fields do not say is left to the driver; what nobody would read of ``extra`` is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.database.addresses import options_of_extra
from kraken_recon.errors import ConfigurationError
from kraken_recon.plain_text import one_line
from kraken_recon.settings import connection_variable
from kraken_recon.values.connection_fields import parse_connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.values.connection_fields import ConnectionFields


class Dialect(StrEnum):
    """The databases that are spoken."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    SQLITE = "sqlite"


_TYPES: Final = {
    "postgres": Dialect.POSTGRESQL,
    "postgresql": Dialect.POSTGRESQL,
    "mysql": Dialect.MYSQL,
    "mariadb": Dialect.MYSQL,
    "sqlite": Dialect.SQLITE,
}
_READ_OF_EXTRA: Final = {
    Dialect.MYSQL: ("charset", "unix_socket", "ssl", "ssl_ca", "ssl_cert", "ssl_key"),
    Dialect.SQLITE: (),
}
_TYPE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+]{0,39}")
_EXAMPLE: Final = "postgres://reader:secret@host:5432/desk, mysql://... or sqlite:////path/of/desk.db"


@dataclass(frozen=True, slots=True)
class DeskAddress:
    """One database of a desk's: a server's, or with ``file`` one of SQLite's."""

    connection: str
    dialect: Dialect
    host: str | None = None
    port: int | None = None
    database: str | None = None
    login: str | None = field(repr=False, default=None)
    password: str | None = field(repr=False, default=None)
    file: str = ""
    options: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def told(self, text: str) -> str:
        """Make what a driver says fit to be shown: its first line, without the password."""
        first = next(iter(text.splitlines()), "")
        return one_line(first.replace(self.password, "***") if self.password else first)


def address_from_environment(connection: str, environment: Mapping[str, str]) -> DeskAddress:
    """Read the variable that Airflow reads for a connection, in its JSON or its URI form.

    Raises:
        ConfigurationError: it is missing, unreadable, or of no database that is spoken.
    """
    variable = connection_variable(connection)
    text = environment.get(variable, "").strip()
    if not text:
        raise ConfigurationError(
            f"connection {one_line(connection)}: set {one_line(variable)}, such as {_EXAMPLE}"
        )
    try:
        conn_type, fields = parse_connection(text)
    except ValueError as error:
        raise ConfigurationError(
            f"connection {connection}: {variable} is {error}; in a URI, a password's / @ : # and % must be"
            " percent-encoded"
        ) from None
    return address_of_fields(connection, conn_type, fields)


def address_of_fields(connection: str, conn_type: str | None, fields: ConnectionFields) -> DeskAddress:
    """Check a connection's fields, from wherever they come.

    Raises:
        ConfigurationError: they name no database that is spoken; the message says what to change.
    """
    dialect = _TYPES.get((conn_type or "").partition("+")[0].lower())
    if dialect is None:
        # What is no name may be a password that stands in the wrong place.
        given = conn_type or "empty"
        was = given if _TYPE_NAME.fullmatch(given) else "no name of a type"
        raise ConfigurationError(f"connection {connection}: expected the type {', '.join(_TYPES)}, was {was}")
    try:
        extra = fields.extra_values()
    except ValueError as error:
        raise ConfigurationError(f"connection {connection}: {error}") from None
    options = (
        options_of_extra(connection, extra)
        if dialect is Dialect.POSTGRESQL
        else _options(connection, dialect, extra)
    )
    if dialect is Dialect.SQLITE:
        return DeskAddress(connection, dialect, file=_file_of(connection, fields))
    if not fields.schema:
        raise ConfigurationError(f"connection {connection}: its schema must be the database's name")
    return DeskAddress(
        connection,
        dialect,
        (fields.host or "").strip("[]") or None,
        fields.port,
        fields.schema,
        fields.login or None,
        fields.password or None,
        options=options,
    )


def _options(connection: str, dialect: Dialect, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Take what the driver is told out of a connection's extra; what is null or empty says nothing."""
    options = {name: value for name, value in extra.items() if value is not None and value != ""}
    for name, value in options.items():
        where = f"connection {connection}: extra {one_line(name)}"
        if name not in _READ_OF_EXTRA[dialect]:
            read = ", ".join(_READ_OF_EXTRA[dialect]) or "nothing"
            raise ConfigurationError(f"{where} is read by nobody; leave it out. Of {dialect} is read: {read}")
        expected = dict if name == "ssl" else str
        if not isinstance(value, expected):
            raise ConfigurationError(f"{where}: expected {'a JSON object' if expected is dict else 'text'}")
    return options


def _file_of(connection: str, fields: ConnectionFields) -> str:
    """Find the path of a database of SQLite's: Airflow has it in the host, or after it."""
    file = "/".join(part for part in (fields.host, fields.schema) if part)
    if not file or file == ":memory:":
        raise ConfigurationError(
            f"connection {connection}: expected the file of the database as host, such as"
            " sqlite:////path/of/desk.db"
        )
    return file

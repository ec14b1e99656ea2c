"""Database servers to measure on."""

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
from local_stack.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator


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

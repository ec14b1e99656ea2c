"""A server that is gone without a word is noticed: the kernel asks it, and gives up within about a minute."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from desks.logins import as_writer
from kraken_recon.database.connecting import connect
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine, listening_session
from kraken_recon.desk_books.address import DeskAddress, Dialect
from kraken_recon.desk_books.session_store import DeskLimits, _engine

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

LIMITS = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


def limits_of(descriptor: int) -> dict[str, int]:
    """Read what holds for an open session, from the kernel."""
    with socket.socket(fileno=os.dup(descriptor)) as session:
        assert session.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        return {name: session.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in LIMITS}


def descriptor_of(connection: Connection) -> int:
    driver = connection.connection.driver_connection
    assert driver is not None
    return int(driver.fileno())


def test_every_kind_of_session_notices_a_server_that_is_gone(database_url: str) -> None:
    with UnitOfWork(create_engine(as_writer(database_url))) as unit:
        assert limits_of(descriptor_of(unit.connection)) == LIMITS

    async def listen() -> dict[str, int]:
        async with listening_session(as_writer(database_url), "nothing", application_name="test") as session:
            return limits_of(session.fileno())

    assert asyncio.run(listen()) == LIMITS
    server = urlsplit(database_url)
    address = DeskAddress(
        "desk", Dialect.POSTGRESQL, server.hostname, server.port, server.path.lstrip("/"),
        unquote(server.username or ""), unquote(server.password or ""),
    )  # fmt: skip
    with _engine(address, DeskLimits()).connect() as connection:
        assert limits_of(descriptor_of(connection)) == LIMITS


def test_an_address_may_say_something_else(database_url: str) -> None:
    with UnitOfWork(create_engine(f"{as_writer(database_url)}?keepalives_idle=7")) as unit:
        assert limits_of(descriptor_of(unit.connection)) == LIMITS | {"TCP_KEEPIDLE": 7}


def test_a_connection_that_is_given_up_is_closed_though_its_error_is_kept() -> None:
    """A soak found it: the session of a slow server stayed until the garbage collector came by."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(psycopg.OperationalError) as given_up:
            connect({"host": "127.0.0.1", "port": port, "connect_timeout": 2, "sslmode": "disable"}, "test")
        assert "timeout" in str(given_up.value)
        client, _ = server.accept()
        with client:
            client.settimeout(1)
            assert client.recv(4_096)
            assert client.recv(4_096) == b"", "the other end still holds the line"

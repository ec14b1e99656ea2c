"""What tests of desk books share: a desk to give commands on, and databases of every kind."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from desks.desk_book_commands import ACCOUNT, Commands
from desks.desk_databases import (
    DeskDatabase,
    mariadb_database,
    mariadb_server,
    postgresql_database,
    sqlite_database,
)
from desks.fake_exchange import Desk
from desks.logins import as_writer
from kraken_recon.cli.main import main
from kraken_recon.values.intervals import RUN_INTERVAL
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Simulator

    NewDeskDatabase = Callable[[str], DeskDatabase]

SECRET = "ZGVzay1zZWNyZXQ="


@pytest.fixture
def desk_commands(
    database_url: str,
    simulator: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Commands:
    """A desk with one account, in whose books nothing happened yet; what Kraken knows, the simulator says."""
    desk = Desk(database_url, now=utc_now() - RUN_INTERVAL)
    desk.account(ACCOUNT)
    connection = {"conn_type": "kraken", "login": "key", "password": SECRET, "host": simulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_GPT-TRADER", json.dumps(connection))
    monkeypatch.setenv("KRAKEN_RECON_ALLOWED_HOSTS", "127.0.0.1")
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))
    folder = tmp_path / "desk_books"
    monkeypatch.setenv("KRAKEN_RECON_DESK_BOOKS", str(folder))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return Commands(run, folder, desk)


@pytest.fixture
def commands(desk_commands: Commands) -> Commands:
    """A desk that has three assets and cash, as was proved."""
    books = desk_commands.desk.books[ACCOUNT]
    for asset, amount in {"BTC": "1.5", "ETH": "4", "XRP": "250", "USD": "1000"}.items():
        books.add(asset, amount)
    desk_commands.desk.sync()
    return desk_commands


@pytest.fixture(scope="session")
def mariadb_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server of MariaDB's, where there is one on this machine."""
    with mariadb_server(tmp_path_factory.mktemp("mariadb")) as port:
        yield port


@pytest.fixture
def new_desk_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDeskDatabase]:
    """Make empty databases of a desk's on the server that is named."""
    with ExitStack() as made:

        def make(kind: str) -> DeskDatabase:
            if kind == "postgresql":
                return made.enter_context(postgresql_database(request.getfixturevalue("postgres_url")))
            if kind == "mariadb":
                return made.enter_context(mariadb_database(request.getfixturevalue("mariadb_port")))
            return sqlite_database(tmp_path)

        yield make


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def database(request: pytest.FixtureRequest, new_desk_database: NewDeskDatabase) -> DeskDatabase:
    """An empty database of a desk's, on every server that can be had."""
    return new_desk_database(request.param)


@pytest.fixture
def store(tmp_path: Path) -> DeskDatabase:
    """A file of SQLite's without tables."""
    return sqlite_database(tmp_path)

"""Every later release takes over the database of the last one, with all that is in it."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from conftest import with_database
from desks.logins import as_writer, make_logins
from desks.orders import TradingDesk
from desks.released_schema import Release, certificate_of
from kraken_recon.certificates.certifying import verify
from kraken_recon.cli.main import main
from kraken_recon.database.migrate import _config, expected_revision, migrate
from kraken_recon.database.revision import REVISION
from kraken_recon.database.store import SCHEMA
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.errors import SchemaMismatchError
from kraken_recon.seals.rules import Head
from kraken_recon.seals.sealing import seal_due, verify_seals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator

# Columns that a migration took away on purpose, as `table.column`; everything else must be there as it was.
GIVEN_UP: Final[frozenset[str]] = frozenset()


@pytest.fixture
def released(postgres_url: str, postgres_admin: psycopg.Connection) -> Iterator[tuple[Release, str]]:
    """The last release, and a database as it left it."""
    release, name = Release.last(), f"recon_released_{secrets.token_hex(4)}"
    postgres_admin.execute(f'create database "{name}"')
    url = with_database(postgres_url, name)
    with create_engine(url).begin() as connection:
        connection.execute(sa.text(f"create schema {SCHEMA}"))
        command.upgrade(_config(connection), release.revision)
        connection.exec_driver_sql(release.rows.replace("%", "%%"))
    yield release, url
    postgres_admin.execute(f'drop database "{name}" with (force)')


def content(url: str) -> dict[str, list[dict[str, Any]]]:
    """Read every row of every table."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "select relname from pg_class where relnamespace = 'trading'::regnamespace"
            " and relkind in ('r', 'p') and not relispartition and relname <> 'alembic_version'"
            " order by relname"
        ).fetchall()
        return {
            table: [
                row
                for (row,) in connection.execute(
                    f"select to_jsonb(t) from trading.{table} t order by to_jsonb(t)::text"
                ).fetchall()
            ]
            for (table,) in tables
        }


def test_a_release_s_database_is_taken_over_with_all_that_is_in_it(
    released: tuple[Release, str],
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    release, url = released
    before = content(url)
    assert {"orders", "fills", "ledger_entries", "position_events", "alerts"} <= {
        t for t in before if before[t]
    }
    engine = create_engine(url)
    assert migrate(engine) == REVISION
    with psycopg.connect(url, autocommit=True) as admin:
        make_logins(admin)
    after = content(url)
    for table, rows in before.items():
        kept = [name for name in (rows[0] if rows else {}) if f"{table}.{name}" not in GIVEN_UP]
        there = [{name: row[name] for name in kept} for row in after[table]]
        assert [row for row in rows if {name: row[name] for name in kept} not in there] == [], table
    # What was repaired and decided before there were seals is sealed.
    work = lambda: UnitOfWork(create_engine(as_writer(url)))  # noqa: E731
    assert seal_due(work) > 20
    seals = verify_seals(work)
    assert (seals["verified"], seals["due"]) == (True, 0)
    assert {"order_decisions", "order_events", "position_events"} <= seals["rows"].keys()
    # What was proved before is proved as it was.
    assert verify(json.dumps(release.certificate).encode())["verified"]
    at = datetime.fromisoformat(release.certificate["at"])
    again = certificate_of(engine, "desk", at, at + timedelta(days=1))
    assert again["holdings"] == release.certificate["holdings"]
    # And work goes on.
    with closing(TradingDesk(simulator, url)) as desk:
        desk.account("later")
        desk.prices(XBTUSD="50000")
        desk.sync("later")
        desk.decide("later", key="later", volume="0.1")
        desk.run_until_settled()
        desk.sync("later")
        assert desk.positions("later")["BTC"] == Decimal("10.1")
    assert seal_due(work) > 0
    assert verify_seals(work, Head.read(seals["head"]))["verified"]
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(url))
    for words in (["report"], ["alerts"], ["trace", "--order", "1"]):
        assert main([*words, "--json"]) in {0, 1}, capsys.readouterr().err
        assert json.loads(capsys.readouterr().out)


def test_a_schema_that_is_older_or_newer_is_refused_by_name(database_url: str) -> None:
    def pretend(revision: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("update trading.alembic_version set version_num = %s", [revision])

    pretend("0001")
    with (
        pytest.raises(
            SchemaMismatchError, match=rf"0001.*needs {REVISION}; run `python -m kraken_recon migrate`"
        ),
        UnitOfWork(create_engine(as_writer(database_url))),
    ):
        pass
    pretend("9999")
    newer = rf"revision 9999.*knows none later than {REVISION}: a newer release"
    with pytest.raises(SchemaMismatchError, match=newer), UnitOfWork(create_engine(as_writer(database_url))):
        pass
    with pytest.raises(SchemaMismatchError, match=newer):
        migrate(create_engine(database_url))
    # What is refused leaves no session, and what fits is asked once.
    with psycopg.connect(database_url) as connection:
        left = connection.execute(
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchone()
    assert left == (0,)
    pretend(REVISION)
    engine = create_engine(as_writer(database_url))
    with UnitOfWork(engine):
        pass
    pretend("9999")
    with UnitOfWork(engine):
        pass


def test_migrations_are_one_line_of_numbers() -> None:
    scripts = list(ScriptDirectory.from_config(_config()).walk_revisions())
    numbers = [script.revision for script in reversed(scripts)]
    assert all(re.fullmatch(r"\d{4}", number) for number in numbers)
    assert numbers == sorted(numbers)
    assert numbers[-1] == REVISION == expected_revision()
    assert [script.down_revision for script in reversed(scripts)] == [None, *numbers[:-1]]

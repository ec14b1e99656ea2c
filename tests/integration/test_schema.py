"""What ``schema.sql`` says and what a migrated database holds are one and the same."""

from __future__ import annotations

import multiprocessing
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.runtime.migration import MigrationContext

from conftest import with_database
from desks.fake_exchange import Desk
from kraken_recon.accounts.store import AccountStore
from kraken_recon.books.store import BookStore
from kraken_recon.database import migrations
from kraken_recon.database.migrate import _config, expected_revision, migrate
from kraken_recon.database.store import SCHEMA
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.errors import SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.queues import Queue

# The order of columns is left out: Postgres appends what a later migration adds, the metadata need not.
FOLDER = Path(migrations.__file__).parent
SCHEMA_SQL = sorted(FOLDER.glob("schema*.sql"))
CATALOGUE = {
    "columns": """
        select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
          a.attgenerated, pg_get_expr(d.adbin, d.adrelid), co.collname
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid
        left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        left join pg_collation co on co.oid = a.attcollation
        where c.relnamespace = 'trading'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0
          and not a.attisdropped
    """,
    "constraints": """
        select c.relname, k.conname, k.contype::text, k.convalidated, pg_get_constraintdef(k.oid)
        from pg_constraint k
        join pg_class c on c.oid = k.conrelid
        where c.relnamespace = 'trading'::regnamespace
    """,
    "indexes": "select tablename, indexname, indexdef from pg_indexes where schemaname = 'trading'",
    "options": """
        select relname, coalesce(array_to_string(reloptions, ','), ''), pg_get_partkeydef(oid)
        from pg_class
        where relnamespace = 'trading'::regnamespace and relkind in ('r', 'p')
    """,
}


def current_revision(connection: sa.Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    return context.get_current_revision()


@pytest.fixture
def empty_database_url(postgres_url: str, postgres_admin: psycopg.Connection) -> Iterator[str]:
    """Yield a database without any schema of ours."""
    name = f"recon_empty_{secrets.token_hex(6)}"
    postgres_admin.execute(f'create database "{name}"')
    yield with_database(postgres_url, name)
    postgres_admin.execute(f'drop database "{name}" with (force)')


def catalogue(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Read everything that Postgres knows of the schema, except Alembic's own table."""
    with psycopg.connect(url) as connection:
        return {
            name: sorted(
                (row for row in connection.execute(query).fetchall() if row[0] != "alembic_version"), key=str
            )
            for name, query in CATALOGUE.items()
        }


def test_a_migrated_database_is_what_the_schema_says(database_url: str, empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(f"create schema {SCHEMA}")
        for path in SCHEMA_SQL:
            connection.execute(path.read_bytes())
    migrated, written = catalogue(database_url), catalogue(empty_database_url)
    assert len(written["columns"]) > 300
    assert migrated == written


def test_every_table_and_column_says_what_it_means(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        silent = connection.execute(
            "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
            " where c.relnamespace = 'trading'::regnamespace and c.relkind in ('r', 'p')"
            " and not c.relispartition and c.relname <> 'alembic_version' and not a.attisdropped"
            " and a.attnum >= 0 and (col_description(c.oid, a.attnum) is null or"
            " obj_description(c.oid, 'pg_class') is null)"
        ).fetchall()
    assert silent == [], "say what it means in the newest schema*.sql"


def test_every_migration_goes_up_and_comes_down_again(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    assert migrate(engine) == expected_revision()
    whole = catalogue(empty_database_url)
    with engine.begin() as connection:
        command.downgrade(_config(connection), "base")
        left = connection.execute(
            sa.text("select relname from pg_class where relnamespace = 'trading'::regnamespace")
        ).scalars()
        assert set(left) <= {"alembic_version", "alembic_version_pkc"}
        assert current_revision(connection) is None
    migrate(engine)
    assert catalogue(empty_database_url) == whole


def test_migrating_again_changes_nothing_and_keeps_the_rows(database_url: str) -> None:
    desk = Desk(database_url)
    desk.account().add("BTC", "1")
    desk.sync()
    before = (catalogue(database_url), desk.rows("select *, xmin::text from trading.position_events"))
    migrate(desk.engine)
    after = (catalogue(database_url), desk.rows("select *, xmin::text from trading.position_events"))
    assert after == before


def _migrate(url: str, start: object, results: Queue[str]) -> None:
    start.wait()  # type: ignore[attr-defined]
    try:
        results.put(migrate(create_engine(url)))
    except Exception as error:  # noqa: BLE001 - told to the test
        results.put(f"failed: {type(error).__name__}: {error}")


def test_four_processes_may_migrate_at_once(empty_database_url: str, database_url: str) -> None:
    context = multiprocessing.get_context("fork")
    results: Queue[str] = context.Queue()
    start = context.Barrier(4)
    workers = [
        context.Process(target=_migrate, args=(empty_database_url, start, results), daemon=True)
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [expected_revision()] * 4
    for worker in workers:
        worker.join(timeout=10)
    assert catalogue(empty_database_url) == catalogue(database_url)


def test_every_quantity_is_stored_exactly_and_refuses_nan(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        numbers = connection.execute(
            "select table_name, column_name, numeric_precision, numeric_scale, is_generated"
            " from information_schema.columns where table_schema = 'trading' and data_type = 'numeric'"
            " and table_name in (select relname from pg_class where relkind in ('r', 'p'))"
        ).fetchall()
        checks = {
            (table, definition)
            for table, definition in connection.execute(
                "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint"
                " where contype = 'c'"
            ).fetchall()
        }
        inexact = connection.execute(
            "select table_name, column_name from information_schema.columns where table_schema = 'trading'"
            " and data_type in ('real', 'double precision', 'money')"
        ).fetchall()
    # What is no quantity of an asset: lengths of time, and the call counter of a key.
    others = {"seconds", "lock_hold_ms", "call_level"}
    amounts = [row for row in numbers if row[1] not in others]
    assert len(amounts) >= 17
    assert inexact == []
    for table, column, precision, scale, generated in amounts:
        assert (precision, scale) == (38, 18), (table, column)
        if generated == "NEVER":
            assert (f"trading.{table}", f"CHECK (({column} <> 'NaN'::numeric))") in checks


def test_database_without_the_schema_says_what_to_do(empty_database_url: str) -> None:
    desk = Desk(empty_database_url)
    for step in (
        lambda unit: AccountStore(unit).find_accounts(None),
        lambda unit: BookStore(unit).known_ids({}),
    ):
        with (
            pytest.raises(SchemaMismatchError, match="python -m kraken_recon migrate"),
            UnitOfWork(desk.engine) as unit,
        ):
            step(unit)
    with desk.engine.connect() as connection:
        assert current_revision(connection) is None

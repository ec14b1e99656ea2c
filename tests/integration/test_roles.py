"""Who may do what in the trading database: made by ``migrate``, held by every login, enough to work."""

from __future__ import annotations

import multiprocessing
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors, sql

import kraken_recon
from conftest import SERVER_BYTES, with_database
from desks.fake_exchange import Desk
from desks.logins import PASSWORD, as_role, as_writer, make_logins
from desks.memory import place_in_memory
from kraken_recon.cli.main import main
from kraken_recon.database.migrate import expected_revision, migrate
from kraken_recon.database.named_sql import load
from kraken_recon.database.rights import AUDITED, DELETED, UPDATED_COLUMNS, Right, Role
from kraken_recon.database.roles import lacking, left_to_do, standing
from kraken_recon.database.store import SCHEMA
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.errors import RightMissingError
from kraken_recon.maintenance.maintaining import MaintainingPorts, make_months
from local_stack.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.queues import Queue

# What never was otherwise than added to; the schema says the same by its triggers.
APPEND_ONLY = {"ledger_entries", "position_events", "margin_position_events", "order_events", "seals"}
DECIDED = "00000000-0000-0000-0000-00000000000a"
PLANNED = "00000000-0000-0000-0000-00000000000b"
OWN_TABLES = "relnamespace = 'trading'::regnamespace and relkind in ('r', 'p')"


@pytest.fixture
def desk(database_url: str) -> Desk:
    """Return a desk with one synced account, and with partitions."""
    desk = Desk(database_url)
    desk.account().add("BTC", "2")
    desk.sync()
    make_months(MaintainingPorts(lambda: UnitOfWork(desk.engine), desk.open_exchange, lambda: desk.now))
    return desk


def tables_of(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(f"select relname from pg_class where {OWN_TABLES} order by 1".encode())
        return [name for (name,) in rows.fetchall()]


def columns_of(url: str, table: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select attname from pg_attribute where attrelid = ('trading.' || %s)::regclass and attnum > 0"
            " and not attisdropped and attgenerated = '' and attidentity <> 'a'",
            [table],
        )
        return [name for (name,) in rows.fetchall()]


def refused(connection: psycopg.Connection, statement: str, *names: str) -> bool:
    """Try a statement on a table of ours; tell whether it was for want of a right that it failed."""
    text = sql.SQL(statement).format(*(sql.Identifier(*name.split(".")) for name in names))
    try:
        connection.execute(text)
    except errors.InsufficientPrivilege:
        return True
    except psycopg.Error:
        return False
    return False


def test_the_reader_reads_everything_and_writes_nothing(desk: Desk) -> None:
    tables = tables_of(desk.url)
    assert len(tables) > 45
    assert any(re.search(r"_\d{4}_\d\d$", table) for table in tables), "no partitions to try"
    with psycopg.connect(as_role(desk.url, Role.READER), autocommit=True) as reader:
        for table in tables:
            full = f"trading.{table}"
            writes = [refused(reader, "delete from {}", full), refused(reader, "truncate {}", full)]
            writes += [refused(reader, "insert into {} default values", full)]
            writes += [refused(reader, "select from {} for key share", full)]
            writes += [
                refused(reader, "update {} set {} = {}", full, column, column)
                for column in columns_of(desk.url, table)
            ]
            assert all(writes), table
        for door in (
            "make_month('today')",
            "drop_month('today')",
            "respell(1, '{{}}', '{{}}', '{{}}')",
        ):
            assert refused(reader, f"select trading.{door}"), door
        assert refused(reader, "select trading.correct_entry(1, 'L', '{{}}', '{{}}')")
        for statement in ("create table trading.mine (x int)", "create table mine (x int)"):
            assert refused(reader, statement), statement
        relations = reader.execute(
            "select relname from pg_class where relnamespace = 'trading'::regnamespace"
            " and relkind in ('r', 'p', 'v') and not relispartition"
        ).fetchall()
        for (relation,) in relations:
            reader.execute(sql.SQL("select * from trading.{}").format(sql.Identifier(relation)))


def test_what_was_recorded_is_changed_by_nobody_but_the_owner(desk: Desk) -> None:
    """Each column, each role; and what a slip of an administrator granted beyond is stopped all the same."""
    assert {row["relname"] for row in desk.rows(
        "select c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid where tgname = 'append_only'"
    )} == APPEND_ONLY  # fmt: skip
    for role in (Role.WRITER, Role.AUDITOR, Role.READER):
        with psycopg.connect(as_role(desk.url, role), autocommit=True) as session:
            for table in sorted(APPEND_ONLY):
                full = f"trading.{table}"
                assert refused(session, "delete from {}", full), (role, table)
                for column in columns_of(desk.url, table):
                    assert refused(session, "update {} set {} = {}", full, column, column), (
                        role,
                        table,
                        column,
                    )
            for table in tables_of(desk.url):
                assert refused(session, "truncate {} cascade", f"trading.{table}"), (role, table)
                assert refused(session, "drop table {}", f"trading.{table}"), (role, table)
    desk.execute(f"grant all on all tables in schema trading to {Role.WRITER}")
    with psycopg.connect(as_writer(desk.url), autocommit=True) as session:
        for table in sorted(APPEND_ONLY):
            for statement in ("delete from {}", "truncate {} cascade"):
                with pytest.raises(errors.InsufficientPrivilege, match="stays as it is"):
                    session.execute(sql.SQL(statement).format(sql.Identifier("trading", table)))
        for statement in (
            "update trading.ledger_entries set amount = 0",
            "update trading.reconciliation_runs set status = 'failed', error = 'no'",
            "delete from trading.repair_plans",
        ):
            with pytest.raises(errors.InsufficientPrivilege, match="stays as it is"):
                session.execute(statement.encode())
    # Migrating again takes back what nobody should have.
    desk.execute("grant execute on function trading.respell to public")
    migrate(create_engine(desk.url))
    with psycopg.connect(as_role(desk.url, Role.READER), autocommit=True) as session:
        assert refused(session, "select trading.respell(1, '{{}}', '{{}}', '{{}}')")
    with psycopg.connect(as_writer(desk.url), autocommit=True) as session:
        assert refused(session, "truncate {} cascade", "trading.tolerances")


def test_what_is_finished_stays_also_for_who_works_on_it(desk: Desk) -> None:
    """Each of these is the writer's own work until it is done, and nobody's but the owner's from then on."""
    account = desk.account_id()
    plan = (
        "insert into trading.repair_plans (plan_id, account_id, kind, status, as_of, row_count, decided_by,"
    )
    desk.execute(
        f"{plan} decided_at) values (:decided, :account, 'held', 'rejected', now(), 1, 'ann', now()),"
        " (:planned, :account, 'repair', 'planned', now(), 1, null, null)",
        decided=DECIDED, planned=PLANNED, account=account,
    )  # fmt: skip
    desk.execute(
        "insert into trading.repair_plan_rows (plan_id, place, asset, wallet, quantity_before,"
        " quantity_after, cause, effective_at)"
        " select plan_id, 1, 'BTC', 'spot', 0, 1, 'adjustment', now()"
        " from trading.repair_plans where plan_id in (:decided, :planned)",
        decided=DECIDED,
        planned=PLANNED,
    )
    desk.execute(
        "insert into trading.order_decisions (payload, status, refusal) values ('{}', 'refused', 'no')"
    )
    with psycopg.connect(as_writer(desk.url), autocommit=True) as writer:
        for statement in (
            "update trading.reconciliation_runs set note = 'nothing happened'",
            f"update trading.repair_plans set decided_by = 'bob' where plan_id = '{DECIDED}'",
            f"update trading.repair_plans set fingerprint = null where plan_id = '{DECIDED}'",
            f"delete from trading.repair_plans where plan_id = '{DECIDED}'",
            f"delete from trading.repair_plan_rows where plan_id = '{DECIDED}'",
            "update trading.order_decisions set status = 'new', refusal = null",
            "update trading.order_decisions set payload = '{{}}'",
        ):
            assert refused(writer, statement), statement
        writer.execute(f"delete from trading.repair_plans where plan_id = '{PLANNED}'".encode())
        left = writer.execute("select plan_id::text from trading.repair_plan_rows").fetchall()
    assert left == [(DECIDED,)]


UPDATE = re.compile(
    r"(?:update trading\.(\w+)(?: \w+)?\s+set "
    r"|insert into trading\.(\w+)(?:(?!insert into).)*?do update\s+set )"
    r"(.*?)(?=^\s*(?:where|from|returning)\b|\Z|;)",
    re.MULTILINE | re.DOTALL,
)


def test_rights_are_what_the_statements_need() -> None:
    """The list of rights is held to the product's SQL: what no statement changes or deletes, nobody may."""
    deleted: set[str] = set()
    updated: dict[str, set[str]] = {}
    for file in Path(kraken_recon.__file__).parent.rglob("*.sql"):
        if "migrations" in file.parts:
            continue
        for query in load(str(file), file.stem).values():
            deleted |= set(re.findall(r"delete from trading\.(\w+)", query))
            for plain, conflicting, columns in UPDATE.findall(query):
                changed = updated.setdefault(plain or conflicting, set())
                changed |= set(re.findall(r"^\s*(\w+) =", columns, re.MULTILINE))
    assert deleted == DELETED
    assert updated.keys() & APPEND_ONLY == set()
    assert {table: set(columns) for table, columns in UPDATED_COLUMNS.items()} == {
        table: updated.get(table, set()) for table in UPDATED_COLUMNS
    }


def test_a_session_says_what_it_lacks(database_url: str) -> None:
    def lacks(url: str, role: Role) -> list[Right]:
        with UnitOfWork(create_engine(url)) as unit:
            return lacking(unit.connection, SCHEMA, role)

    for role in Role:
        assert lacks(as_role(database_url, role), role) == []
        assert lacks(database_url, role) == [], "a superuser lacks nothing"
    assert [str(right) for right in lacks(as_writer(database_url), Role.OWNER)] == ["own on schema trading"]
    of_writer = {str(right) for right in lacks(as_role(database_url, Role.READER), Role.WRITER)}
    assert {
        "insert on table trading.ledger_entries",
        "update (order_id) on table trading.fills",
        "delete on table trading.residuals",
        "execute on function trading.make_month(date)",
    } <= of_writer
    assert not any(right.startswith(("select", "usage")) for right in of_writer)
    kept = {f"insert on table trading.{table}" for table, verbs in AUDITED.items() if "insert" in verbs}
    assert kept <= {str(right) for right in lacks(as_role(database_url, Role.READER), Role.AUDITOR)}
    with UnitOfWork(create_engine(as_writer(database_url))) as unit:
        here = standing(unit.connection, SCHEMA)
        assert left_to_do(unit.connection, SCHEMA) == []
    assert (here.login, here.held, here.schema_owner) == (
        "recon_tests_writer", {Role.WRITER}, Role.OWNER
    )  # fmt: skip
    assert (here.is_superuser, here.may_create_roles, here.may_migrate) == (False, False, False)


def test_a_login_without_a_right_is_told_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = as_role(database_url, Role.READER)
    with pytest.raises(RightMissingError, match="accounts"), UnitOfWork(create_engine(reader)) as unit:
        unit.connection.execute(sa.text("update trading.accounts set name = name"))
    monkeypatch.setenv("KRAKEN_RECON_DSN", reader)
    assert main(["account", "add", "desk", "--connection", "desk"]) != 0
    told = capsys.readouterr().err
    assert "RightMissingError" in told
    assert "docs/how-to/least-privilege.md" in told


@pytest.fixture(scope="module")
def bare_server() -> Iterator[str]:
    """Yield the administrator's URL of a server without any of our roles."""
    with (
        tempfile.TemporaryDirectory(
            prefix="kraken-recon-roles-", dir=place_in_memory(SERVER_BYTES // 4), ignore_cleanup_errors=True
        ) as place,
    ):
        Path(place).chmod(0o711)
        with EmbeddedPostgres(Path(place) / "postgres") as server:
            yield server.url("postgres")


def _migrate(url: str, start: Any, results: Queue[str]) -> None:
    start.wait()
    try:
        results.put(migrate(create_engine(url)))
    except Exception as error:  # noqa: BLE001 - told to the test
        results.put(f"failed: {type(error).__name__}: {error}")


def test_migrate_makes_the_roles_where_it_may_and_says_the_rest(
    bare_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def as_login(name: str, database: str) -> str:
        place = bare_server.rpartition("@")[2].partition("/")[0]
        return f"postgresql://{name}:{PASSWORD}@{place}/{database}"

    def told() -> str:
        assert main(["migrate"]) == 0
        return capsys.readouterr().out

    with psycopg.connect(bare_server, autocommit=True) as admin:
        for login in ("plain", "maker createrole"):
            admin.execute(f"create role {login} login password '{PASSWORD}'".encode())
        for database, owner in (
            ("managed", "plain"),
            ("own", "maker"),
            ("third", "maker"),
            ("fourth", "maker"),
        ):
            admin.execute(f"create database {database} owner {owner}".encode())

        # As on many managed servers: who owns the database may make no roles. It works, and tells the rest.
        monkeypatch.setenv("KRAKEN_RECON_DSN", as_login("plain", "managed"))
        statements = re.findall(r"^  (.+;)$", told(), re.MULTILINE)
        assert f"create role {Role.WRITER} nologin;" in statements
        assert f"grant create on database managed to {Role.OWNER};" in statements
        with UnitOfWork(create_engine(as_login("plain", "managed"))) as unit:
            assert lacking(unit.connection, SCHEMA, Role.WRITER) == []

        # Two databases of one server, migrated at once by whoever may make roles.
        context = multiprocessing.get_context("fork")
        results: Queue[str] = context.Queue()
        urls = [as_login("maker", database) for database in ("own", "third", "own")]
        start = context.Barrier(len(urls))
        workers = [context.Process(target=_migrate, args=(url, start, results), daemon=True) for url in urls]
        for worker in workers:
            worker.start()
        assert [results.get(timeout=60) for _ in workers] == [expected_revision()] * len(urls)
        for worker in workers:
            worker.join(timeout=10)
        assert left_by(as_login("maker", "own")) == left_by(as_login("maker", "third")) == []
        migrate(create_engine(with_database(bare_server, "fourth")))

        # The roles are there now, and were made by somebody else: only what is still missing is told.
        missing = re.findall(r"^  (.+;)$", told(), re.MULTILINE)
        assert missing == [statement for statement in statements if not statement.startswith("create role")]
        with psycopg.connect(with_database(bare_server, "managed"), autocommit=True) as there:
            for statement in missing:
                there.execute(statement.encode())
        assert "nologin" not in told()
        assert left_by(as_login("plain", "managed")) == []
        before = acls(with_database(bare_server, "managed"))
        assert told().count("\n") == 1
        assert acls(with_database(bare_server, "managed")) == before
        assert {owner for owner, _ in before.values()} == {str(Role.OWNER)}

        # Another login of each role does what it is for, and the login that owned everything still migrates.
        make_logins(admin)
        for database in ("managed", "own", "third", "fourth"):
            url = with_database(bare_server, database)
            with UnitOfWork(create_engine(as_writer(url))) as unit:
                assert lacking(unit.connection, SCHEMA) == []
            assert migrate(create_engine(as_role(url, Role.OWNER))) == expected_revision()


def left_by(url: str) -> list[str]:
    with UnitOfWork(create_engine(url)) as unit:
        return left_to_do(unit.connection, SCHEMA)


def acls(url: str) -> dict[str, tuple[str, str]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select relname, relowner::regrole::text, relacl::text from pg_class"
            " where relnamespace = 'trading'::regnamespace and relkind in ('r', 'p', 'v')"
        ).fetchall()
    return {name: (owner, acl) for name, owner, acl in rows}


def test_whoever_owned_the_schema_still_works_when_an_administrator_migrates(bare_server: str) -> None:
    place = bare_server.rpartition("@")[2].partition("/")[0]
    with psycopg.connect(bare_server, autocommit=True) as admin:
        admin.execute(f"create role settled login password '{PASSWORD}'".encode())
        admin.execute("create database settled owner settled")
    url = f"postgresql://settled:{PASSWORD}@{place}/settled"
    migrate(create_engine(url))
    migrate(create_engine(with_database(bare_server, "settled")))
    with UnitOfWork(create_engine(url)) as unit:
        assert standing(unit.connection, SCHEMA).schema_owner == Role.OWNER
        assert lacking(unit.connection, SCHEMA) == []
    assert migrate(create_engine(url)) == expected_revision()

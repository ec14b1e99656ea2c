"""Desk databases in trouble and full of strange rows: what can be judged is, the rest has a remedy."""

from __future__ import annotations

import gc
import json
from decimal import Decimal
from typing import Any

import psutil
import psycopg
import pytest

from desks.desk_book_commands import ACCOUNT, ARENA, Commands, words
from desks.desk_databases import DeskDatabase, add_position, make_arena

HOSTILE = ("'; drop table x; --", '"', "BTC\nETH", "\u202eCTB", "é" * 12, "%s {asset} :account", " ")
LOOSE = """
create table loose (
  id integer, account_id integer, symbol varchar(20), market varchar(20), quantity decimal(18,8),
  available_quantity decimal(18,8), avg_cost decimal(18,8)
);
insert into loose select id, account_id, symbol, market, quantity, 0, null from positions
"""
ON_UPDATE = ARENA.replace("  holds:", "  on_update: {updated_at: now}\n  holds:")


@pytest.fixture
def arena(database: DeskDatabase, monkeypatch: pytest.MonkeyPatch) -> DeskDatabase:
    """The first shape, which agrees."""
    make_arena(database, {"BTC": Decimal("1.5"), "ETH": Decimal(4), "XRP": Decimal(250)}, Decimal(1000))
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", database.variable)
    return database


def told(book: Any) -> str:
    """Join what is wrong; every problem says what to do."""
    assert all(problem["what"] and problem["remedy"] for problem in book["problems"])
    return " | ".join(problem["what"] for problem in book["problems"])


# What somebody does to the tables between two looks, on each server, and what is said then.
MIGRATIONS = [
    ("alter table positions drop column quantity", "there is no column quantity"),
    ("alter table positions rename column quantity to amount", "there is no column quantity"),
    ("alter table positions rename column market to venue", "there is no column market"),
    ("drop table positions", "there is no table positions"),
    ("alter table accounts drop column current_cash", "there is no column current_cash"),
]


@pytest.mark.parametrize(("statement", "what"), MIGRATIONS)
def test_tables_that_are_migrated_under_our_feet(
    arena: DeskDatabase, commands: Commands, statement: str, what: str
) -> None:
    file = commands.declare(ARENA)
    assert commands.json("check", str(file))["ok"]
    arena.run(statement)
    book = commands.diff(status=1)
    assert what in told(book)
    # What could not be read is not taken for rows that are gone; what could be read is still judged.
    assert book["differences"] == []
    assert book["agreed"] == (3 if "accounts" in statement else 1)
    assert not commands.json("check", str(file), status=1)["ok"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("text using quantity::text", "has no digits of its own"),
        ("double precision", "has no digits of its own"),
        ("numeric", "has no digits of its own"),
        ("jsonb using to_jsonb(quantity)", "has no digits of its own"),
        ("money using quantity::money", "has no digits of its own"),
        ("integer", ""),
    ],
)
def test_a_column_that_becomes_of_another_type(
    arena: DeskDatabase, commands: Commands, kind: str, what: str
) -> None:
    commands.declare(ARENA)
    arena.run(f"alter table positions alter column quantity type {kind}")
    book = commands.diff(status=1 if what else 0)
    if what:
        assert what in told(book)
        assert book["differences"] == []
    else:
        # 1.5 became 2, which is what a column without digits makes of it: at its precision it agrees.
        assert (book["agreed"], words(book)) == (4, {})


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("kind", ["text using account_id::text", "numeric", "uuid using gen_random_uuid()"])
def test_an_account_that_becomes_of_another_type(arena: DeskDatabase, commands: Commands, kind: str) -> None:
    commands.declare(ARENA)
    arena.run(f"alter table positions alter column account_id type {kind}")
    if "uuid" in kind:
        assert "is no value that the column account_id" in told(commands.diff(status=1))
    else:
        assert commands.diff()["agreed"] == 4


NUMBERS: dict[str, tuple[str, ...]] = {
    "numeric": ("NaN", "Infinity", "-Infinity", "1e400"),
    "double precision": ("NaN", "Infinity", "-Infinity", "1e300"),
    "text": ("much", "", "nan", "inf", "1,5", "0x10", "١٢", "1_000", "9" * 5000),
}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_that_are_none(arena: DeskDatabase, commands: Commands, kind: str) -> None:
    using = " using quantity::text" if kind == "text" else ""
    arena.run(f"alter table positions alter column quantity type {kind}{using}")
    for place, quantity in enumerate(NUMBERS[kind]):
        add_position(arena, 50 + place, "SOL", quantity)
    arena.run("update positions set available_quantity = 'NaN' where symbol = 'SOL'")
    commands.declare(ARENA.replace("quantity: quantity\n", "quantity: quantity\n  decimals: 8\n", 1))
    book = commands.diff()
    said = [problem for problem in book["problems"] if "is no number" in problem["what"]]
    huge = sum(text.startswith(("1e", "9")) for text in NUMBERS[kind])
    assert len(said) >= len(NUMBERS[kind]) - huge, told(book)
    assert all(len(problem["what"]) < 300 for problem in book["problems"])
    assert (book["agreed"], words(book)) == (4, {})
    assert "Traceback" not in commands.run("book", "diff", "--account", ACCOUNT)[2]


def test_rows_with_nothing_in_them(arena: DeskDatabase, commands: Commands) -> None:
    arena.run(LOOSE)
    arena.run(
        "insert into loose (id, account_id, market, symbol, quantity) values"
        " (60, 1, 'CRYPTO', null, 3), (61, 1, 'CRYPTO', 'SOL', null), (null, 1, 'CRYPTO', 'ADA', 2),"
        " (62, null, 'CRYPTO', 'BTC', 9), (63, 1, null, 'BTC', 9)"
    )
    commands.declare(ARENA.replace("table: positions", "table: loose"))
    book = commands.diff()
    assert (book["agreed"], words(book)) == (4, {"ADA": "unknown_row"})
    assert "no number" in told(book)
    assert len(book["problems"]) == 2


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_moments_that_no_calendar_has(arena: DeskDatabase, commands: Commands) -> None:
    moments = ("infinity", "-infinity", "0044-03-15 BC", "20000-01-01")
    for place, moment in enumerate(moments):
        add_position(arena, 70 + place, ("SOL", "ADA", "DOT", "LTC")[place], 0)
        arena.run("update positions set updated_at = :moment where id = :id", moment=moment, id=70 + place)
    commands.declare(ON_UPDATE)
    book = commands.diff()
    assert (book["agreed"], words(book), book["problems"]) == (8, {}, [])


def test_names_that_mean_harm(arena: DeskDatabase, commands: Commands) -> None:
    for place, name in enumerate(HOSTILE):
        add_position(arena, 80 + place, name, 1)
    commands.declare(ARENA)
    before = arena.dump()
    book = commands.diff()
    assert (book["agreed"], words(book)) == (4, {})
    assert len(book["problems"]) == len(HOSTILE), told(book)
    status, out, _ = commands.run("book", "diff", "--account", ACCOUNT)
    assert (status, "\u202e" in out, "BTC\nETH" in out) == (0, False, False)
    assert arena.dump() == before


@pytest.mark.parametrize("name", ["btc", "Btc", "BTC ", "XXBT", "xbt"])
def test_names_in_any_case_and_padded(arena: DeskDatabase, commands: Commands, name: str) -> None:
    arena.run("update positions set symbol = :name where symbol = 'BTC' and market = 'CRYPTO'", name=name)
    commands.declare(ARENA)
    book = commands.diff()
    assert (book["agreed"], words(book)) == (4, {}), told(book)


def test_a_key_that_stands_twice(arena: DeskDatabase, commands: Commands) -> None:
    arena.run(LOOSE)
    arena.run("insert into loose select * from loose where symbol = 'ETH'")
    commands.declare(ARENA.replace("table: positions", "table: loose"))
    book = commands.diff()
    assert words(book) == {"ETH": "doubled"}
    assert "2 rows stand for ETH, 8 together" in told(book)
    commands.declare(ARENA.replace("table: positions", "table: loose\n  write_back: update"))
    assert "has no primary key" in told(commands.diff(status=1))


def test_books_without_a_row(arena: DeskDatabase, commands: Commands) -> None:
    arena.run("delete from positions")
    commands.declare(ARENA)
    book = commands.diff()
    assert (book["rows"], set(words(book))) == (1, {"BTC", "ETH", "XRP"})
    arena.run("delete from accounts")
    assert (book := commands.diff())["rows"] == 0
    assert set(words(book)) == {"BTC", "ETH", "XRP", "USD"}


def test_accounts_that_a_collation_takes_for_one(arena: DeskDatabase, commands: Commands) -> None:
    """MariaDB does not tell capitals from small letters, so to it these rows are of one account."""
    arena.run(
        "create table owned (owner varchar(9), symbol varchar(9), market varchar(9), quantity numeric(18,8))"
    )
    arena.run(
        "insert into owned values ('Desk', 'BTC', 'CRYPTO', 1.5), ('Desk', 'ETH', 'CRYPTO', 4),"
        " ('Desk', 'XRP', 'CRYPTO', 250), ('DESK', 'BTC', 'CRYPTO', 70)"
    )
    text = "name: owned\nconnection: arena_db\naccounts: {gpt-trader: Desk}\npositions:\n  table: owned\n"
    commands.declare(text + "  account: owner\n  asset: symbol\n  quantity: quantity\n  holds: crypto\n")
    is_one = arena.connection["conn_type"] == "mysql"
    book = commands.diff()
    assert (book["rows"], words(book)) == ((4, {"BTC": "unexplained"}) if is_one else (3, {}))
    assert ("2 rows stand for BTC" in told(book)) == is_one


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_a_database_that_takes_no_writes(
    arena: DeskDatabase, commands: Commands, request: pytest.FixtureRequest
) -> None:
    if arena.connection["conn_type"] == "postgres":
        arena.run(f"alter database {arena.url.database} set default_transaction_read_only = on")
    else:
        arena.run("set global read_only = 1")
        request.addfinalizer(lambda: arena.run("set global read_only = 0"))
    file = commands.declare(ARENA)
    assert commands.json("check", str(file))["rights"] == {
        "select": True,
        "update": False,
        "insert": False,
        "delete": False,
    }
    commands.declare(ARENA.replace("  holds:", "  write_back: update\n  holds:"))
    [problem] = commands.json("check", str(file), status=1)["problems"]
    assert "takes no writes" in problem["what"]
    assert "primary" in problem["remedy"]
    assert commands.diff()["agreed"] == 4


def connections(url: str, application: str) -> int:
    query = "select count(*) from pg_stat_activity where application_name like %s and pid <> pg_backend_pid()"
    with psycopg.connect(url) as admin:
        return int(admin.execute(query, [application]).fetchall()[0][0])


@pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True)
def test_connections_and_files_do_not_grow(
    arena: DeskDatabase, commands: Commands, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at many times in one process, with and without success, on both databases."""
    commands.declare(ARENA)
    process = psutil.Process()

    def look() -> tuple[int, int, int]:
        commands.diff()
        with monkeypatch.context() as down:
            absent = {"port": 1} if arena.file is None else {"host": "/nowhere/desk.db"}
            down.setenv("AIRFLOW_CONN_ARENA_DB", json.dumps({**arena.connection, **absent}))
            commands.diff(status=1)
        commands.declare(ARENA.replace("quantity: quantity", "quantity: gone", 1))
        commands.diff(status=1)
        commands.declare(ARENA)
        gc.collect()
        return (
            process.num_fds(),
            connections(postgres_url, "kraken_recon%"),
            connections(postgres_url, "kraken_recon:desk_book"),
        )

    first = [look() for _ in range(2)][-1]
    last = [look() for _ in range(6)][-1]
    assert (last[0] <= first[0], last[1] <= first[1], last[2]) == (True, True, 0), (first, last)

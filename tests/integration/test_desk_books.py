"""Desk books in databases of every kind are read, compared and explained, and never touched."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from desks.desk_book_commands import ACCOUNT, ARENA, DECLARED, FREQTRADE, Commands, words
from desks.desk_databases import DeskDatabase, FreqtradeBook, HummingbotBook, add_position, make_arena
from kraken_recon.desk_books import row_store
from kraken_recon.desk_books.address import address_from_environment
from kraken_recon.desk_books.declaring import parse_book
from kraken_recon.desk_books.row_store import read_book
from kraken_recon.desk_books.session_store import DeskLimits, desk_session
from kraken_recon.errors import DeskUnreadableError
from kraken_recon.ledger.entries import HoldingKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kraken_recon.desk_books.declaration import DeskBook

SHORT = DeskLimits(2, 3, 1)
PLAIN = """\
name: plain
connection: arena_db
accounts: {gpt-trader: "VALUE"}
positions:
  table: positions
  account: owner
  asset: symbol
  quantity: quantity
  holds: [ETC]
"""
# One asset for each explanation, with what its ledger moves it by (amount, fee, wallet); digits of shape (c).
LEDGER: dict[str, list[tuple[str, str, str]]] = {
    "BTC": [("1.5", "0", "spot"), ("0.25", "0", "spot"), ("-0.75", "0", "spot")],
    "ETH": [("3", "0", "spot"), ("0.5", "0", "spot"), ("1.25", "0", "spot")],
    "LTC": [("10", "0", "spot"), ("2", "0", "spot"), ("3.5", "0", "spot")],
    "XRP": [("100", "0.26", "spot"), ("50", "0.5", "spot")],
    "XMR": [("7", "0", "spot"), ("-1", "0", "spot"), ("0.4", "0", "spot")],
    "XLM": [("1.0000006", "0", "spot"), ("1.0000006", "0", "spot"), ("1.0000006", "0", "spot")],
    "DOT": [("2", "0", "S"), ("3", "0", "S"), ("10", "0", "spot")],
    "ADA": [("20", "0", "spot")],
    "ETC": [("8", "0", "spot")],
    "USD": [("1000", "0", "spot")],
}
# What the bot's mistakes leave in its book, and the word for each.
BOOKED = {
    "BTC": ("1.75", "behind"),
    "ETH": ("4.25", "missed"),
    "LTC": ("17.5", "doubled"),
    "XRP": ("149.5", "fee_left_out"),
    "XMR": ("8.4", "wrong_way"),
    "XLM": ("3.000000", "rounded"),
    "DOT": ("10", "wallet_left_out"),
    "SOL": ("7", "unknown_row"),
    "ADA": ("20.777", "unexplained"),
    "ETC": ("8", ""),
}
MISTAKES = {asset: word for asset, (_, word) in BOOKED.items() if word}


@pytest.fixture
def commands(desk_commands: Commands) -> Commands:
    desk = desk_commands.desk
    books = desk.books[ACCOUNT]
    for asset, moves in LEDGER.items():
        for amount, fee, wallet in moves:
            books.add(asset, amount, fee=fee, wallet=wallet)
    desk.sync()
    return desk_commands


@pytest.fixture
def arena(database: DeskDatabase, monkeypatch: pytest.MonkeyPatch) -> DeskDatabase:
    """The first shape, with a mistake of every kind."""
    make_arena(database, {asset: Decimal(q) for asset, (q, _) in BOOKED.items()}, Decimal(1000))
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", database.variable)
    return database


@pytest.fixture
def small_arena(store: DeskDatabase, monkeypatch: pytest.MonkeyPatch) -> DeskDatabase:
    """The first shape in a file, with one row."""
    make_arena(store, {"BTC": Decimal(1)}, Decimal(1000))
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", store.variable)
    return store


def with_digits(text: str) -> str:
    """Name the digits: some mistakes are too fine for eight of them."""
    return text.replace("  quantity: quantity\n", "  quantity: quantity\n  decimals: 6\n")


def test_every_mistake_in_a_table_is_named(arena: DeskDatabase, commands: Commands) -> None:
    commands.declare(with_digits(ARENA))
    before = arena.dump()
    book = commands.diff()
    assert words(book) == MISTAKES
    assert (book["rows"], book["agreed"], book["problems"], book["orders"]) == (11, 2, [], [])
    assert arena.dump() == before
    by_asset = {one["asset"]: one for one in book["differences"]}
    newest = [entry for entry in commands.desk.books["gpt-trader"].entries if entry.asset == "BTC"][-1]
    assert by_asset["BTC"]["ledger_ids"] == [newest.ledger_id]
    assert [by_asset["BTC"][name] for name in ("proven", "desk", "difference", "action")] == [
        "1",
        "1.75",
        "-0.75",
        "report",
    ]
    assert (by_asset["XLM"]["action"], by_asset["ADA"]["action"]) == ("within_tolerance", "waiting")
    assert (by_asset["SOL"]["proven"], by_asset["SOL"]["desk"]) == ("0", "7")


def test_what_would_be_written_is_said_and_nothing_is(arena: DeskDatabase, commands: Commands) -> None:
    text = with_digits(ARENA).replace("  holds:", "  write_back: update+insert+remove\n  holds:")
    commands.declare(text)
    arena.run("delete from positions where symbol = 'ETC'")
    before = arena.dump()
    actions = {one["asset"]: one for one in commands.diff()["differences"]}
    assert actions["BTC"]["action"] == "held"
    assert "more than one run" in actions["BTC"]["reason"]
    assert "market" not in actions["ETC"]["reason"]
    assert "is_active, name, version" in actions["ETC"]["reason"]
    assert arena.dump() == before


def test_a_key_that_nothing_fills_is_told_before_anything_is_written(
    database: DeskDatabase, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run(
        "create table positions (id bigint not null, account_id integer not null, symbol varchar(9) not null,"
        " quantity decimal(18,8) not null, primary key (id))"
    )
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", database.variable)
    table = ARENA.partition("  available:")[0] + "  holds: [ETC]\n  write_back: update+insert\n"
    commands.declare(table)
    [difference] = commands.diff()["differences"]
    assert (difference["action"], difference["reason"]) == (
        "held",
        "a new row has no value for id; add it to on_insert",
    )


def test_strange_rows_are_told_and_stop_no_other(arena: DeskDatabase, commands: Commands) -> None:
    arena.run("delete from positions where account_id = 1 and symbol not in ('ETC', 'BTC')")
    for number, (symbol, quantity) in enumerate(
        [("Bitcoin", 1), ("XBT", 1), ("", 0), ("xeth", "4.75")], start=50
    ):
        add_position(arena, number, symbol, quantity)
    commands.declare(ARENA)
    book = commands.diff()
    told = " ".join(problem["what"] for problem in book["problems"])
    assert "'Bitcoin'" in told
    assert "2 rows stand for BTC, 2.75 together: 1, 51" in told
    assert len(book["problems"]) == 3
    assert "ETH" not in words(book)


def test_a_missing_row_of_cash_that_may_be_updated_is_told(
    commands: Commands, small_arena: DeskDatabase
) -> None:
    commands.declare(ARENA.replace("current_cash}", "current_cash, write_back: update}"))
    small_arena.run("delete from accounts where id = 1")
    [cash] = [one for one in commands.diff()["differences"] if one["asset"] == "USD"]
    assert (cash["desk"], cash["action"]) == ("0", "report")


@pytest.mark.parametrize("value", ["1", "01", "1.0"])
def test_account_is_found_however_its_number_is_written(
    database: DeskDatabase, commands: Commands, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    database.run(
        "create table positions (owner decimal(10,2) not null, symbol varchar(9) primary key,"
        " quantity decimal(18,8)); insert into positions values (1, 'ETC', 8)"
    )
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", database.variable)
    commands.declare(PLAIN.replace("VALUE", value))
    book = commands.diff()
    assert (book["rows"], book["agreed"], book["problems"]) == (1, 1, [])
    twice = PLAIN.replace('"VALUE"', '"1", other: "1.00"')
    commands.desk.account("other")
    told = commands.json("check", str(commands.declare(twice)), status=1)["problems"]
    assert "two accounts are the same value of owner" in told[0]["what"]


@pytest.mark.parametrize(("kind", "value"), [("", 1), ("string", "gpt"), ("string", 1)])
def test_columns_of_types_that_sqlite_does_not_know(
    commands: Commands, store: DeskDatabase, monkeypatch: pytest.MonkeyPatch, kind: str, value: object
) -> None:
    store.run(f"create table positions (owner {kind}, symbol {kind}, quantity {kind})")
    store.run("insert into positions values (:value, 'ETC', 8)", value=value)
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", store.variable)
    commands.declare(PLAIN.replace("VALUE", str(value)).replace("  holds:", "  decimals: 8\n  holds:"))
    book = commands.diff()
    assert (book["rows"], book["agreed"], book["problems"]) == (1, 1, [])


def test_rows_that_are_no_numbers(commands: Commands, small_arena: DeskDatabase) -> None:
    for number, quantity in enumerate(["much", "", "nan", "1e999", "0x10", "8"], start=50):
        symbol = ["ETH", "LTC", "XRP", "XMR", "DOT", "ETC"][number - 50]
        add_position(small_arena, number, symbol, quantity)
    with closing(small_arena.engine.raw_connection()) as raw:
        raw.cursor().execute("update positions set symbol = cast(x'ff41' as text) where symbol = 'ETC'")
        raw.commit()
    commands.declare(ARENA)
    book = commands.diff()
    assert len([p for p in book["problems"] if "is no number" in p["what"]]) == 5
    assert "ETC" in words(book)


def test_a_check_says_what_it_makes_of_the_rows(arena: DeskDatabase, commands: Commands) -> None:
    view = commands.json("check", str(commands.declare(ARENA)))
    assert (view["book"], view["ok"], view["problems"]) == ("arena", True, [])
    [account] = view["accounts"]
    assert (account["account"], account["rows"]) == ("gpt-trader", 11)
    assert account["assets"]["BTC"] == ["BTC"]
    assert view["rights"] == {"select": True, "update": True, "insert": True, "delete": True}
    assert "does not need" in view["notes"][0]
    assert view["first_comparison"][0]["books"][0]["agreed"] == 2
    arena.run("update positions set symbol = 'XXBT' where symbol = 'BTC' and account_id = 1 and id < 900")
    status, out, _ = commands.run("book", "check", str(commands.folder / "arena.yaml"))
    assert (status, "BTC (XXBT)" in out) == (0, True)


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("table: positions", "table: position", "no table position; did you mean positions?"),
        ("table: positions", "table: Positions", "no table Positions; did you mean positions?"),
        ("quantity: quantity", "quantity: quantiti", "no column quantiti; did you mean quantity?"),
        ("account: account_id", "account: acount_id", "no column acount_id; did you mean account_id?"),
        ("{market: CRYPTO}", "{markt: CRYPTO}", "no column markt; did you mean market?"),
        ("gpt-trader: 1", "gpt-trader: one", "one is no value that the column account_id"),
        ("gpt-trader: 1", "gpt-trade: 1", "we have no account gpt-trade; did you mean gpt-trader?"),
        ("  holds:", "  locked_by: symbol\n  holds:", "the key symbol has no index"),
        ("  holds:", "  decimals: 9\n  holds:", "decimals is 9, and the column quantity holds 8 digits"),
        ("currency: USD", "currency: UDS", "UDS is no asset that Kraken knows"),
        ("current_cash", "curent_cash", "did you mean current_cash?"),
        ("quantity: quantity", "quantity: name", "has no digits of its own"),
        ("gpt-trader: 1", 'by: "select id from accounts where name <> :account"', "gives 2 values for"),
        (
            "gpt-trader: 1",
            "by: \"select null where '' <> :account\"",
            "gives null for gpt-trader",
        ),
    ],
)
def test_a_check_names_what_does_not_fit(
    commands: Commands, small_arena: DeskDatabase, was: str, becomes: str, told: str
) -> None:
    small_arena.run("insert into accounts values (3, 'third', 0)")
    view = commands.json("check", str(commands.declare(ARENA.replace(was, becomes, 1))), status=1)
    assert not view["ok"]
    assert any(told in problem["what"] and problem["remedy"] for problem in view["problems"]), view


def test_accounts_by_a_query(arena: DeskDatabase, commands: Commands) -> None:
    by = "by: \"select id from accounts where name = :account and name <> ':x 12:30'\""
    commands.declare(with_digits(ARENA).replace("gpt-trader: 1", by))
    assert words(commands.diff()) == MISTAKES
    assert arena


def test_a_draft_is_written_once_and_can_be_read_back(
    arena: DeskDatabase, commands: Commands, tmp_path: Path
) -> None:
    output = tmp_path / "draft.yaml"
    view = commands.json("init", "--connection", "arena_db", "--output", str(output))
    assert (view["file"], view["declaration"]) == (str(output), output.read_text())
    book, problems = parse_book(view["declaration"], "draft.yaml")
    assert book is not None, problems
    positions = book.positions
    named = (positions.account, positions.asset.column, positions.quantity, positions.available)
    assert (positions.table, *named) == (
        "positions",
        "account_id",
        "symbol",
        "quantity",
        "available_quantity",
    )
    assert commands.run("book", "init", "--connection", "arena_db", "--output", str(output))[0] == 1
    assert arena


def test_a_draft_is_written_whatever_tables_there_are(commands: Commands, small_arena: DeskDatabase) -> None:
    small_arena.run("create view broken as select * from dropped")
    small_arena.run('create table "a\nname: b" (id integer)')
    draft = commands.json("init", "--connection", "arena_db")["declaration"]
    book, problems = parse_book(draft, "draft.yaml")
    assert book is not None, problems
    assert book.positions.table == "positions"


def test_a_folder_that_cannot_be_listed_is_told_and_costs_no_report(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text(ARENA)
    monkeypatch.setenv("KRAKEN_RECON_DESK_BOOKS", str(file))
    for command in (("list",), ("diff", "--account", "gpt-trader")):
        status, _, complaint = commands.run("book", *command)
        assert (status, "KRAKEN_RECON_DESK_BOOKS: the desk books of" in complaint) == (1, True)
    status, out, _ = commands.run("report")
    assert (status, "gpt-trader" in out, "cannot be listed: Not a directory" in out) == (0, True, True)
    assert json.loads(commands.run("report", "--json")[1])["without_desk_book"] == ["gpt-trader"]


def test_the_books_of_a_folder_are_listed(commands: Commands) -> None:
    assert "no table of the desk's own is compared" in commands.run("book", "list")[1]
    assert "no table of the desk's own" in commands.run("book", "diff", "--account", "gpt-trader")[1]
    commands.declare(ARENA)
    commands.declare("name: broken\n", "broken.YAML")
    listed = commands.json("list")["books"]
    assert [(one["book"], bool(one["problems"])) for one in listed] == [("arena", False), ("broken", True)]
    assert "cannot be used" in commands.run("book", "list")[1]


def test_whoever_adds_an_account_learns_that_no_table_of_the_desk_is_compared(commands: Commands) -> None:
    add = ("account", "add", "claude", "--connection", "kraken_claude")
    status, out, _ = commands.run(*add)
    assert (status, "claude: no table of the desk's own is compared until" in out) == (0, True)
    commands.declare(ARENA.replace("gpt-trader: 1", "gpt-trader: 1, codex: 2"))
    added = json.loads(commands.run("account", "add", "codex", "--connection", "kraken_codex", "--json")[1])
    assert added["without_desk_book"] == []


def test_accounts_without_a_book_are_named_by_every_report(commands: Commands) -> None:
    assert json.loads(commands.run("report", "--json")[1])["without_desk_book"] == ["gpt-trader"]
    assert "gpt-trader: no table of the desk's own is compared" in commands.run("report")[1]
    commands.declare(ARENA)
    assert json.loads(commands.run("report", "--json")[1])["without_desk_book"] == []
    assert "no table of the desk's own" not in commands.run("report")[1]


def test_what_cannot_be_judged_is_refused(commands: Commands) -> None:
    diff = ("book", "diff", "--account")
    assert "no account is named nobody" in commands.run(*diff, "nobody")[2]
    commands.desk.account("claude")
    assert "was never proved" in commands.run(*diff, "claude")[2]
    commands.desk.execute("update trading.reconciliation_runs set reported_as_of = now() - interval '1 day'")
    status, _, complaint = commands.run(*diff, "gpt-trader")
    assert (status, "more than its 30 minutes ago" in complaint) == (1, True)


def test_names_have_to_do_without_kraken(
    arena: DeskDatabase, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_GPT-TRADER")
    commands.declare(ARENA)
    book = commands.diff()
    assert "Kraken could not be asked" in book["problems"][0]["what"]
    assert words(book)["BTC"] == "behind"
    assert arena


@pytest.fixture
def arena_book() -> DeskBook:
    book, problems = parse_book(ARENA, "arena.yaml")
    assert book is not None, problems
    return book


def read(database: DeskDatabase, book: DeskBook, limits: DeskLimits = SHORT, **changed: Any) -> str:
    """Read a book and tell what kept it from being read."""
    variable = json.dumps({**database.connection, **changed})
    address = address_from_environment("arena_db", {"AIRFLOW_CONN_ARENA_DB": variable})
    reading = read_book(address, book, ["gpt-trader"], limits)
    assert reading.positions is None or reading.cash is None
    told = " ".join(f"{p.where}: {p.what} {p.remedy}" for p in reading.problems)
    assert "desk-secret" not in told
    return told


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"port": 1}, "is up and can be reached"),
        ({"password": "wrong", "login": "nobody-here"}, "login and the password"),
        ({"schema": "not_there"}, "database's name"),
    ],
)
def test_a_server_that_does_not_let_us_in(
    database: DeskDatabase, arena_book: DeskBook, changed: dict[str, Any], remedy: str
) -> None:
    if database.file:
        changed = {"host": str(database.file.with_name("absent.db"))}
        assert "the file's path" in read(database, arena_book, **changed)
        assert not database.file.with_name("absent.db").exists()
    else:
        told = read(database, arena_book, **changed)
        assert remedy in told or ("schema" in changed and "Grant" in told)
        assert "wrong" not in told


def test_a_database_without_the_tables(database: DeskDatabase, arena_book: DeskBook) -> None:
    assert "there is no table positions" in read(database, arena_book)


@contextmanager
def reader(database: DeskDatabase, *grants: str) -> Iterator[dict[str, Any]]:
    """Make a role with these rights; yield the fields by which a connection is its own."""
    is_postgresql = database.connection["conn_type"] == "postgres"
    role = "desk_reader" if is_postgresql else "desk_reader@'127.0.0.1'"
    word = "role" if is_postgresql else "user"
    how = "login password" if is_postgresql else "identified by"
    database.run(f"create {word} {role} {how} 'desk-secret'")
    try:
        for grant in grants:
            database.run(f"grant {grant} to {role}")
        yield {**database.connection, "login": "desk_reader", "password": "desk-secret"}
    finally:
        database.run(f"drop owned by {role}; drop role {role}" if is_postgresql else f"drop user {role}")


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_a_table_without_the_right_to_read_it(arena: DeskDatabase, arena_book: DeskBook) -> None:
    with reader(arena, "select on accounts") as fields:
        assert "Grant" in read(arena, arena_book, **fields)


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_a_check_names_rights_that_are_missing(
    arena: DeskDatabase, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reader(arena, "select on accounts", "select, update on positions") as fields:
        monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", json.dumps(fields))
        view = commands.json("check", str(commands.declare(ARENA)))
        assert view["rights"] == {"select": True, "update": True, "insert": False, "delete": False}
        assert view["notes"] == ["positions: the role may update, which the declaration does not need"]
        more = ARENA.replace("  holds:", "  write_back: update+insert+remove\n  holds:")
        view = commands.json("check", str(commands.declare(more)), status=1)
        assert [problem["what"] for problem in view["problems"]] == [
            "the role may not delete",
            "the role may not insert",
        ]
        parent = more.replace("  holds:", "  locked_by: {table: accounts, key: id}\n  holds:")
        view = commands.json("check", str(commands.declare(parent)), status=1)
        told = {problem["what"]: problem["remedy"] for problem in view["problems"]}
        what = "the role may not lock the account's row of accounts"
        assert told[what] == "Grant it update on accounts; nothing there changes."


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_columns_of_any_type_in_any_schema(
    database: DeskDatabase, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = "0b8f9d6e-6d0c-4d9d-9f7a-0f3f6f1f2a11"
    database.run(
        "create schema bots; create type bots.market as enum ('CRYPTO', 'STOCK');"
        'create table bots."Positions" (owner uuid, "Coin" char(8), amount numeric, kind bots.market,'
        ' is_live boolean, place point, primary key (owner, "Coin"))'
    )
    database.run(
        f"insert into bots.\"Positions\" values ('{account}', 'BTC', 1.000000, 'CRYPTO', true, null),"
        f" ('{account}', 'ETH', 4.25, 'CRYPTO', true, null), ('{account}', 'ADA', 9, 'STOCK', true, null),"
        f" ('{account}', 'XRP', 9, 'CRYPTO', false, null)"
    )
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", database.variable)
    text = f"""\
name: types
connection: arena_db
accounts: {{gpt-trader: {account.upper()}}}
positions:
  table: bots.Positions
  account: owner
  asset: Coin
  quantity: amount
  only: {{kind: CRYPTO, is_live: "yes", place: null}}
  holds: [BTC, ETH]
"""
    [problem] = commands.json("check", str(commands.declare(text)), status=1)["problems"]
    assert "has no digits of its own" in problem["what"]
    commands.declare(text.replace("  only:", "  decimals: 8\n  only:"))
    book = commands.diff()
    assert (book["rows"], book["agreed"], words(book)) == (3 - 1, 1, {"ETH": "missed"})
    assert "bots.Positions" in commands.json("init", "--connection", "arena_db")["declaration"]


@pytest.mark.parametrize("book_of", [FreqtradeBook, HummingbotBook])
def test_a_draft_of_a_bots_own_store_can_be_read_back(
    commands: Commands,
    store: DeskDatabase,
    monkeypatch: pytest.MonkeyPatch,
    book_of: type[FreqtradeBook | HummingbotBook],
) -> None:
    book_of(store).make()
    monkeypatch.setenv("AIRFLOW_CONN_BOT_DB", store.variable)
    draft = commands.json("init", "--connection", "bot_db")["declaration"]
    book, problems = parse_book(draft, "draft.yaml")
    assert book is not None, problems


def test_no_more_of_a_query_is_read_than_may_be(
    database: DeskDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_store, "ROWS_MAX", 100)
    # The last row cannot be computed: whoever waits for all of them never sees one.
    numbers = {
        "postgres": "1 / (50000 - n) as amount from generate_series(1, 50000) n",
        "mysql": "1 as amount from information_schema.columns",
        "sqlite": "1 as amount from (with recursive n(i) as (select 1 union all select i + 1 from n)"
        " select i from n)",
    }[database.connection["conn_type"]]
    query = f"select 'all' as account, 'BTC/EUR' as pair, {numbers}"
    text = FREQTRADE.replace(re.findall("query: (.*)", FREQTRADE)[0], query)
    book, problems = parse_book(text, "long.yaml")
    assert book is not None, problems
    assert "there are more than 100 rows" in read(database, book)


@pytest.mark.parametrize(
    "fields",
    [
        {"conn_type": "mysql", "extra": {"charset": "none-such"}},
        {"conn_type": "mysql", "extra": {"ssl_ca": "/not/there.pem"}},
        {"conn_type": "mysql", "extra": {"ssl": {"ca": "/not/there.pem"}}},
        {"conn_type": "postgres", "extra": {"sslmode": "none-such"}},
        {"conn_type": "postgres", "port": 99999},
    ],
)
def test_options_that_are_none(arena_book: DeskBook, fields: dict[str, Any]) -> None:
    pytest.importorskip("pymysql", reason="the extra mysql is not installed")
    address = {"host": "127.0.0.1", "port": 1, "schema": "desk", "login": "ann", "password": "desk-secret"}
    variable = json.dumps({**address, **fields})
    reading = read_book(
        address_from_environment("arena_db", {"AIRFLOW_CONN_ARENA_DB": variable}), arena_book, ["a"], SHORT
    )
    [problem] = reading.problems
    assert "fields of the connection" in problem.remedy
    assert "desk-secret" not in problem.what


def test_rows_that_somebody_has_locked(arena: DeskDatabase, arena_book: DeskBook) -> None:
    lock = {
        "postgres": "lock table positions in access exclusive mode",
        "mysql": "lock tables positions write, accounts write",
        "sqlite": "begin exclusive",
    }[arena.connection["conn_type"]]
    with closing(arena.engine.raw_connection()) as other:
        other.cursor().execute(lock)
        began = time.monotonic()
        assert "holds the lock" in read(arena, arena_book)
        assert time.monotonic() - began < 5


def test_a_query_that_takes_too_long(database: DeskDatabase) -> None:
    slow = {
        "postgres": "select pg_sleep(30)",
        "mysql": "select sleep(30)",
        "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
    }[database.connection["conn_type"]]
    text = FREQTRADE.replace(re.findall("query: (.*)", FREQTRADE)[0], slow)
    book, problems = parse_book(text, "slow.yaml")
    assert book is not None, problems
    began = time.monotonic()
    told = read(database, book, DeskLimits(2, 1, 1))
    assert time.monotonic() - began < 10
    # MariaDB ends a sleep early and returns; what it returns has none of the columns.
    assert "index" in told or "there is no column" in told


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_reading_takes_no_session_along(arena: DeskDatabase, commands: Commands, postgres_url: str) -> None:
    assert arena
    commands.declare(ARENA)
    commands.diff()
    with psycopg.connect(postgres_url) as admin:
        query = "select count(*) from pg_stat_activity where application_name = 'kraken_recon:desk_book'"
        assert admin.execute(query).fetchone() == (0,)


def test_nothing_can_be_written_through_a_session(database: DeskDatabase) -> None:
    database.run("create table notes (id integer primary key)")
    address = address_from_environment("desk_db", {"AIRFLOW_CONN_DESK_DB": database.variable})
    with pytest.raises(DeskUnreadableError, match=r"(?i)read.?only"), desk_session(address) as session:
        session.connection.exec_driver_sql("insert into notes values (1)")
    assert database.dump()[0] == [[]]


@pytest.mark.parametrize("text", DECLARED, ids=["arena", "freqtrade", "hummingbot"])
def test_the_declarations_of_the_page_are_whole(text: str) -> None:
    book, problems = parse_book(text, "page.yaml")
    assert book is not None, problems


def test_a_proven_wallet_is_left_out_where_spot_alone_counts(arena: DeskDatabase, commands: Commands) -> None:
    commands.declare(with_digits(ARENA).replace("  holds:", "  wallets: spot\n  holds:"))
    assert "DOT" not in words(commands.diff())
    assert commands.desk.positions("gpt-trader")[HoldingKey("DOT", "S")] == 5
    assert arena

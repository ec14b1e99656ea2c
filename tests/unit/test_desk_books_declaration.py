"""A declaration says what a desk's tables mean, or everything that is wrong with it at once."""

from __future__ import annotations

import json
from copy import deepcopy
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from kraken_recon.desk_books.declaration import ColumnValue, DeskBook, Holds, Lock, Spelling, WriteBack
from kraken_recon.desk_books.declaring import folder_of, parse_book, read_book, read_books
from kraken_recon.desk_books.written_tree import read_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALLEST = """\
name: arena
connection: arena_db
accounts: {gpt-trader: 1, claude: 2}
positions: {table: positions, account: account_id, asset: symbol, quantity: quantity}
"""

WHOLE = """\
name: arena
connection: arena_db
accounts: {by: "select id from accounts where name = :account"}
positions:
  table: positions
  account: account_id
  asset: {column: symbol, spelled: kraken, also: {XBT: BTC}}
  quantity: quantity
  decimals: 6
  scaled_by: 1000000
  available: available_quantity
  average_cost: avg_cost
  only: {market: CRYPTO, is_closed: "false", deleted_at: null}
  holds: [BTC, ON, NO]
  wallets: spot
  locked_by: {table: accounts, key: id}
  write_back: update+insert+remove
  on_insert: {version: v1, name: "{asset}", avg_cost: 0, word: {text: now}}
  on_update: {updated_at: now, local_at: {zone: Europe/Berlin}, version: raise}
  remove: zero
cash: {table: accounts, account: id, currency: USD, quantity: current_cash, write_back: update}
orders:
  table: orders
  account: account_id
  id: order_no
  kraken_id: null
  pair: symbol
  side: side
  volume: quantity
  executed: filled_quantity
  price: price
  status: {column: status, ended: [FILLED, CANCELLED]}
  changed_at: updated_at
tolerance: {quantity: "0.01", assets: {BTC: 0.00001}}
late_by: 0
"""


CASH = "{table: a, account: b, currency: USD, quantity: c, write_back: update+insert}"


def declared(text: str) -> DeskBook:
    book, problems = parse_book(text, "arena.yaml")
    assert book is not None, problems
    return book


def mistakes(text: str) -> list[str]:
    book, problems = parse_book(text, "arena.yaml")
    assert book is None
    return [f"{problem.where}: {problem.what} {problem.remedy}" for problem in problems]


def test_six_lines_are_enough() -> None:
    book = declared(SMALLEST)
    positions = book.positions
    assert dict(book.accounts.values) == {"gpt-trader": "1", "claude": "2"}
    assert (positions.asset.column, positions.asset.spelled) == ("symbol", Spelling.PLAIN)
    assert (positions.write_back, positions.remove, positions.wallets) == (WriteBack.NONE, "delete", "sum")
    assert (positions.decimals, positions.holds, positions.locked_by) == (None, Holds(), Lock())
    assert book.tolerance.of("BTC") == Decimal("0.001")
    assert (book.late_by, book.cash, book.orders) == (300, None, None)


def test_everything_that_may_be_said() -> None:
    book = declared(WHOLE)
    positions, orders = book.positions, book.orders
    assert book.accounts.by == "select id from accounts where name = :account"
    assert (positions.decimals, positions.scaled_by) == (6, 1000000)
    assert positions.only == {"market": "CRYPTO", "is_closed": "false", "deleted_at": None}
    assert positions.holds == Holds.model_validate(["BTC", "ON", "NO"])
    assert positions.locked_by == Lock(table="accounts", key="id")
    assert positions.write_back.allowed == {"update", "insert", "remove"}
    assert positions.on_insert["word"] == ColumnValue.model_validate({"text": "now"})
    assert positions.on_insert["avg_cost"] == ColumnValue.model_validate("0")
    assert positions.on_update["updated_at"] == ColumnValue.model_validate("now")
    assert positions.on_update["local_at"] == ColumnValue.model_validate({"zone": "Europe/Berlin"})
    assert positions.on_update["version"] == ColumnValue.model_validate("raise")
    assert book.cash is not None
    assert book.cash.write_back is WriteBack.UPDATE
    assert orders is not None
    assert (orders.kraken_id, orders.status.ended) == (None, ("FILLED", "CANCELLED"))
    assert (book.tolerance.of("BTC"), book.tolerance.of("ETH")) == (Decimal("0.00001"), Decimal("0.01"))


def test_every_scalar_is_text() -> None:
    text = SMALLEST.replace("{gpt-trader: 1, claude: 2}", "{yes: 0o17, 1_000: 1e3, 2026-01-01: off}")
    assert dict(declared(text).accounts.values) == {"yes": "0o17", "1_000": "1e3", "2026-01-01": "off"}


def test_every_mistake_is_named_at_once_with_its_line() -> None:
    text = """\
name: ar ena
conection: arena_db
accounts: {gpt: 1, gpt: 2, x: 3}
positions:
  table: positions
  query: select 1
  acount: account_id
  asset: {column: symbol, speled: plain}
  quantity: quantity
  decimals: 88
  write_back: updat
  on_insert: {a: raise, b: "{foo}", quantity: 3}
  on_update: {u: {zone: Mars}}
  holds: []
  locked_by: {table: accounts}
orders:
  table: orders
  id: null
  status: {column: s, ended: []}
late_by: -1
tolerance: {quantity: abc}
"""
    told = mistakes(text)
    expected = [
        ("arena.yaml:1 name", "63 letters"),
        ("arena.yaml:2 conection", "Did you mean connection?"),
        ("arena.yaml:3 accounts.gpt", "given twice, first on line 3"),
        ("arena.yaml:4 positions", "either a table or a query"),
        ("arena.yaml:7 positions.acount", "Did you mean account?"),
        ("arena.yaml:8 positions.asset.speled", "Did you mean spelled?"),
        ("arena.yaml:10 positions.decimals", "from 0 to 18, was 88"),
        ("arena.yaml:11 positions.write_back", "did you mean update?"),
        ("arena.yaml:11 positions.write_back", "a query is only read"),
        ("arena.yaml:12 positions.on_insert.a", "nothing to raise"),
        ("arena.yaml:12 positions.on_insert.b", "{foo} stands for nothing"),
        ("arena.yaml:12 positions.on_insert.quantity", "written as the quantity already"),
        ("arena.yaml:13 positions.on_update.u", "time zone"),
        ("arena.yaml:14 positions.holds", "all, crypto, or a list"),
        ("arena.yaml:15 positions.locked_by", "primary_key"),
        ("arena.yaml:16 orders.account", "is missing"),
        ("arena.yaml:16 orders.changed_at", "is missing"),
        ("arena.yaml:18 orders.id", "expected a name"),
        ("arena.yaml:19 orders.status.ended", "at least one"),
        ("arena.yaml:20 late_by", "whole number from 0"),
        ("arena.yaml:21 tolerance.quantity", "expected an amount"),
    ]
    for where, what in expected:
        assert any(one.startswith(f"{where}:") and what in one for one in told), (where, what, told)
    assert not any("connection: is missing" in one or "account_id" in one for one in told)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("table: positions", "query: delete from positions", "begins with select"),
        ("table: positions", "query: select 1; drop table x", "without `;`"),
        ("quantity: quantity", "quantity: quantity, scaled_by: 100", "needs decimals beside it"),
        ("quantity: quantity", "quantity: quantity, scaled_by: 0, decimals: 2", "such as 1000000"),
        ("quantity: quantity", "quantity: symbol", "column symbol is the"),
        ("quantity: quantity", "quantity: quantity, on_update: {symbol: x}", "written as the asset already"),
        (
            "quantity: quantity",
            "quantity: quantity, only: {m: 1}, on_insert: {m: 2}",
            "has the value of only",
        ),
        ("quantity: quantity", "quantity: quantity, remove: hide", "expected delete or zero"),
        ("quantity: quantity", "quantity: quantity, wallets: all", "expected sum or spot"),
        ("asset: symbol", "asset: {column: symbol, spelled: pairs}", "did you mean pair?"),
        ("{gpt-trader: 1, claude: 2}", "{}", "at least one account"),
        ("{gpt-trader: 1, claude: 2}", '{by: "select id from accounts"}', "names our account as :account"),
        ("{gpt-trader: 1, claude: 2}", "{bot: null}", "expected a name"),
        ("{gpt-trader: 1, claude: 2}", "[1]", "expected fields"),
        ("{gpt-trader: 1, claude: 2}", "&a {gpt: 1}\ntolerance: *a", "an alias"),
        ("arena_db", "{host: db}", "expected a name"),
        ("name: arena", "name: arena\n? [a]\n: b", "a name that is no text"),
        ("name: arena", f"name: arena\ncash: {CASH}", "expected none or update"),
        ("name: arena", "name: arena\nlate_by: 1.5", "a whole number"),
        ("name: arena", "name: arena\ntolerance: {assets: {BTC: -1}}", "zero or more"),
        ("name: arena", "name: arena\nfoo: 1", "There are name, connection, accounts"),
    ],
)
def test_one_mistake(old: str, new: str, told: str) -> None:
    found = mistakes(SMALLEST.replace(old, new))
    assert any(told in one for one in found), found


@pytest.mark.parametrize(
    "text", ["", "[1]", "just text", "a: b: c", 'a: "\x01"', "name: a\n---\nname: b", "{" * 3000, "- x"]
)
def test_what_is_no_declaration_is_told_in_one_line(text: str) -> None:
    (told,) = mistakes(text)
    assert told.startswith("arena.yaml:")
    assert "\n" not in told


def test_a_query_has_no_filter_and_is_not_written() -> None:
    text = SMALLEST.replace("table: positions", "query: select * from p, only: {a: 1}, write_back: update")
    told = mistakes(text)
    assert any("goes with a table alone" in one for one in told)
    assert any("a query is only read" in one for one in told)


def test_a_folder_is_read_by_file_and_one_bad_file_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(SMALLEST)
    (tmp_path / "a.yml").write_text("name: broken\n")
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / ".hidden.yaml").write_text("x")
    (tmp_path / "README.md").write_text("x")
    found = read_books(tmp_path)
    assert [(one.file.name, one.book is not None) for one in found] == [
        ("a.yml", False),
        ("b.yaml", True),
        ("c.yaml", False),
    ]
    assert "cannot be read" in found[2].problems[0].what
    (tmp_path / "c.yaml").write_text(f"# {'x' * 1_000_000}")
    assert "more than 1,000,000 bytes" in read_book(tmp_path / "c.yaml").problems[0].what
    assert read_books(tmp_path / "nowhere") == ()
    assert "No such file" in read_book(tmp_path / "nowhere.yaml").problems[0].what


def pair_of(tmp_path: Path, change: tuple[str, str], both: tuple[str, str] = ("", "")) -> tuple[bool, str]:
    text = SMALLEST.replace(*both) if both[0] else SMALLEST
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(text.replace("name: arena", "name: other").replace(*change))
    first, second = read_books(tmp_path)
    assert first.book is not None
    return second.book is not None, "".join(problem.what for problem in second.problems)


def test_two_books_over_the_same_rows_are_refused(tmp_path: Path) -> None:
    assert pair_of(tmp_path, ("", "")) == (False, "it shares rows of positions with the book of a.yaml")


@pytest.mark.parametrize(
    "change",
    [
        ("arena_db", "other_db"),
        ("table: positions", "table: more_positions"),
        ("{gpt-trader: 1, claude: 2}", "{another: 3}"),
    ],
)
def test_books_over_other_rows_stand_beside_each_other(tmp_path: Path, change: tuple[str, str]) -> None:
    assert pair_of(tmp_path, change) == (True, "")


def test_books_are_told_apart_by_filters_and_by_what_they_hold(tmp_path: Path) -> None:
    spot = ("quantity: quantity", "quantity: quantity, only: {market: SPOT}")
    assert pair_of(tmp_path, ("SPOT", "FUTURES"), spot)[0]
    crypto = ("quantity: quantity", "quantity: quantity, holds: crypto")
    assert pair_of(tmp_path, ("crypto", "[USD, EUR]"), crypto)[0]
    assert not pair_of(tmp_path, ("crypto", "[USD, BTC]"), crypto)[0]


def test_one_name_for_two_books_is_refused(tmp_path: Path) -> None:
    changed, told = pair_of(tmp_path, ("name: other\nconnection: arena_db", "name: arena\nconnection: other"))
    assert (changed, told) == (False, "it shares the name arena with the book of a.yaml")


def test_the_folder_is_a_setting(tmp_path: Path) -> None:
    assert folder_of({"KRAKEN_RECON_DESK_BOOKS": str(tmp_path)}) == tmp_path
    assert folder_of({}).name == "desk_books"
    assert (folder_of({}).parent / "dags").is_dir()


def places_in(tree: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in tree.items() if isinstance(tree, dict) else ():
        yield (*above, name)
        yield from places_in(value, (*above, name))


@pytest.mark.parametrize("value", [None, "x", [], ["a"], {"a": ["b"]}, {"text": ["a"]}], ids=repr)
def test_whatever_stands_anywhere_is_taken_or_told(value: object) -> None:
    whole: Any = read_tree(WHOLE).content
    for place in places_in(whole):
        tree = deepcopy(whole)
        block = tree
        for name in place[:-1]:
            block = block[name]
        block[place[-1]] = value
        book, problems = parse_book(json.dumps(tree), "arena.yaml")
        assert (book is None) == bool(problems)

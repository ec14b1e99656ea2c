"""The page *Adopt a desk that has its own tables*, followed as it stands."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from demo_bot.tables import TableBook
from desks.desk_book_commands import ARENA, Commands
from desks.desk_databases import HOW_TO, DeskDatabase, make_arena
from kraken_recon.desk_books.declaring import parse_book

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS = re.findall(r"```text\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
[READING] = [block for block in BLOCKS if "create role" in block]
[WRITING] = [block for block in BLOCKS if "grant update" in block]
[WRITTEN] = [block for block in BLOCKS if "write_back:" in block]


@pytest.fixture
def role(database: DeskDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's role, by a name of the test's own, in a database of the first shape."""
    make_arena(database, {}, Decimal(1000))
    for asset, amount in {"BTC": "1.5", "ETH": "4", "XRP": "250"}.items():
        TableBook(database.engine).move(asset, Decimal(amount))
    name = f"{database.url.database}_reader"
    fields = {**database.connection, "login": name, "password": "..."}
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", json.dumps(fields))
    yield name
    database.run(f"drop owned by {name}; drop role {name}")


def granted(database: DeskDatabase, role: str, block: str) -> None:
    statements = re.sub(r"--.*", "", block).replace("recon_reader", role).strip().rstrip(";")
    database.run(statements)


def with_write_back(level: str) -> str:
    """Add to the page's declaration what its part about writing adds."""
    own = [line for line in WRITTEN.splitlines() if line.startswith("  ") and "..." not in line]
    lines = "\n".join(own).replace("write_back: update ", f"write_back: {level} ")
    return ARENA.replace("  holds:", f"{lines}\n  holds:")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_the_rights_of_the_page_are_enough_and_no_more(
    database: DeskDatabase, role: str, commands: Commands
) -> None:
    granted(database, role, READING)
    file = commands.declare(ARENA)
    view = commands.json("check", str(file))
    assert (view["rights"], view["notes"]) == (
        {"select": True, "update": False, "insert": False, "delete": False},
        [],
    )
    assert view["first_comparison"][0]["books"][0]["agreed"] == 4
    commands.declare(with_write_back("update"))
    assert not commands.json("check", str(file), status=1)["ok"]
    granted(database, role, WRITING.splitlines()[0])
    view = commands.json("check", str(file))
    assert (view["ok"], view["notes"]) == (True, [])
    commands.declare(with_write_back("update+insert+remove"))
    assert not commands.json("check", str(file), status=1)["ok"]
    granted(database, role, WRITING.splitlines()[1])
    view = commands.json("check", str(file))
    assert (view["ok"], view["notes"]) == (True, [])


@pytest.mark.parametrize("level", ["update", "update+insert", "update+insert+remove"])
def test_the_declaration_that_writes_is_whole(level: str) -> None:
    book, problems = parse_book(with_write_back(level), "page.yaml")
    assert book is not None, problems
    assert book.positions.write_back == level
    raised = with_write_back(level).replace("on_update: {updated_at: now}", "on_update: {row_version: raise}")
    assert parse_book(raised, "page.yaml")[0] is not None

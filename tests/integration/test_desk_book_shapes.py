"""A bot that follows Kraken's ledger into its own tables, of three shapes, makes mistakes; each is named."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from demo_bot.bot import Book, Bot, Mistake
from demo_bot.tables import TableBook
from desks.desk_book_commands import ACCOUNT, ARENA, FREQTRADE, HUMMINGBOT, Commands, words
from desks.desk_databases import DeskDatabase, FreqtradeBook, HummingbotBook, make_arena
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.address import address_from_environment
from kraken_recon.desk_books.declaring import read_book
from kraken_recon.desk_books.diffing import DeskBookPorts
from kraken_recon.desk_books.run import reconcile_book
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from desks.fake_exchange import Desk
    from kraken_recon.ledger.entries import LedgerEntry

SPOT, STAKED = "spot", "S"


@dataclass(frozen=True)
class Plant:
    """What happens at Kraken to one asset (amount, fee, wallet, type), and what the bot makes of it.

    ``places`` are the entries of which ``mistake`` is made; ``by_hand`` is what is changed in its book later.
    """

    explanation: str
    happened: tuple[tuple[str, str, str, str], ...]
    mistake: Mistake | None = None
    places: tuple[int, ...] = ()
    by_hand: str = "0"


def trades(*amounts: str, fee: str = "0") -> tuple[tuple[str, str, str, str], ...]:
    return tuple((amount, fee, SPOT, "trade") for amount in amounts)


def plants(digits: int) -> dict[str, Plant]:
    """Give a plant to each asset; rounding shows only beyond the digits of the bot's book."""
    fine = str(1 + Decimal(6).scaleb(-digits - 1))
    reward = ("0.31", "0.06", SPOT, "staking")
    staked = (("2", "0", STAKED, "staking"), ("3", "0", STAKED, "staking"))
    return {
        "BTC": Plant("behind", trades("1.5", "0.25", "-0.75"), Mistake.LOST, (2,)),
        "LINK": Plant("behind", trades("14", "3"), Mistake.LOST, (0, 1)),
        "ETH": Plant("missed", trades("3", "0.5", "1.25"), Mistake.LOST, (1,)),
        "ATOM": Plant("missed", (*trades("40"), reward, *trades("2.2")), Mistake.LOST, (1,)),
        "LTC": Plant("doubled", trades("10", "2", "3.5"), Mistake.TWICE, (2,)),
        "XRP": Plant("fee_left_out", trades("100", "50", fee="0.26"), Mistake.FEE_LEFT_OUT, (1,)),
        "XMR": Plant("wrong_way", trades("7", "-1", "0.4"), Mistake.WRONG_WAY, (1,)),
        "XLM": Plant("rounded", trades(fine, fine, fine), None, (0, 1, 2)),
        "DOT": Plant("wallet_left_out", (*staked, *trades("10")), Mistake.LOST, (0, 1)),
        "SOL": Plant("unknown_row", (), by_hand="7"),
        "ADA": Plant("unexplained", trades("20"), by_hand="0.777"),
        "TRX": Plant("unexplained", trades("33", "8"), Mistake.LOST, (1,), by_hand="0.0625"),
        "ETC": Plant("", trades("8", "-1.5", "2.000001")),
    }


@dataclass(frozen=True)
class Shape:
    """A bot's own book, with the declaration that the page has for it."""

    book: Book
    declared: str
    database: DeskDatabase

    @property
    def has_cash(self) -> bool:
        """Say whether it keeps the cash too, of which there is none here, and that agrees."""
        return "cash:" in self.declared


@pytest.fixture(
    params=["arena postgresql", "arena mariadb", "arena sqlite", "freqtrade sqlite", "hummingbot sqlite"]
)
def shape(
    request: pytest.FixtureRequest,
    new_desk_database: Callable[[str], DeskDatabase],
    monkeypatch: pytest.MonkeyPatch,
) -> Shape:
    name, kind = request.param.split()
    database = new_desk_database(kind)
    monkeypatch.setenv(
        "AIRFLOW_CONN_ARENA_DB" if name == "arena" else "AIRFLOW_CONN_BOT_DB", database.variable
    )
    if name == "arena":
        make_arena(database, {}, Decimal(0))
        return Shape(TableBook(database.engine), ARENA, database)
    book = FreqtradeBook(database) if name == "freqtrade" else HummingbotBook(database)
    book.make()
    return Shape(book, FREQTRADE if name == "freqtrade" else HUMMINGBOT, database)


def happen(desk: Desk, planted: dict[str, Plant]) -> dict[str, list[LedgerEntry]]:
    """Let everything happen at Kraken, and have it proved."""
    books = desk.books[ACCOUNT]
    entries = {
        asset: [
            books.add(asset, amount, fee=fee, wallet=wallet, entry_type=kind)
            for amount, fee, wallet, kind in plant.happened
        ]
        for asset, plant in planted.items()
    }
    desk.sync()
    return entries


def book_wrongly(book: Book, planted: dict[str, Plant], entries: dict[str, list[LedgerEntry]]) -> None:
    """Let the bot follow, with its mistakes."""
    mistakes = {
        entries[asset][place].ledger_id: plant.mistake
        for asset, plant in planted.items()
        for place in plant.places
        if plant.mistake
    }
    for asset, plant in planted.items():
        Bot(book, mistakes).follow(entries[asset])
        if Decimal(plant.by_hand):
            book.move(asset, Decimal(plant.by_hand))


def test_every_mistake_is_found_and_named(shape: Shape, desk_commands: Commands) -> None:
    planted = plants(shape.book.digits)
    entries = happen(desk_commands.desk, planted)
    book_wrongly(shape.book, planted, entries)
    desk_commands.declare(shape.declared)
    before = shape.database.dump()
    book = desk_commands.diff()
    assert words(book) == {asset: plant.explanation for asset, plant in planted.items() if plant.explanation}
    assert (book["agreed"], book["problems"]) == (1 + shape.has_cash, [])
    for one in book["differences"]:
        plant = planted[one["asset"]]
        if plant.places and plant.explanation != "unexplained":
            made_of = {entries[one["asset"]][place].ledger_id for place in plant.places}
            assert set(one["ledger_ids"]) == made_of, one
    actions = {one["asset"]: one["action"] for one in book["differences"]}
    assert (actions.pop("XLM"), actions.pop("ADA"), actions.pop("TRX")) == (
        "within_tolerance",
        "waiting",
        "waiting",
    )
    assert set(actions.values()) == {"report"}
    assert shape.database.dump() == before


def test_a_bot_that_makes_no_mistake_agrees(shape: Shape, desk_commands: Commands) -> None:
    planted = {
        asset: replace(plant, mistake=None, by_hand="0")
        for asset, plant in plants(shape.book.digits).items()
        if plant.explanation != "rounded"
    }
    book_wrongly(shape.book, planted, happen(desk_commands.desk, planted))
    desk_commands.declare(shape.declared)
    book = desk_commands.diff()
    assert (book["differences"], book["problems"]) == ([], [])
    assert book["agreed"] == len([plant for plant in planted.values() if plant.happened]) + shape.has_cash


# What goes wrong once everything agreed: of each asset, which of its newest entries, and how.
LATER = {
    "BTC": ("missed", trades("0.5", "0.25", "-0.125", "2"), Mistake.LOST, (1, 2)),
    "ETH": ("missed", trades("0.3", "0.7", "0.9", "5"), Mistake.LOST, (0, 2)),
    "LINK": ("behind", trades("1", "2", "3"), Mistake.LOST, (1, 2)),
    "XRP": ("fee_left_out", trades("100", "200", "300", fee="0.26"), Mistake.FEE_LEFT_OUT, (0, 1, 2)),
    "LTC": ("doubled", trades("4", "0.75"), Mistake.TWICE, (1,)),
    "XMR": ("wrong_way", trades("3", "-1.5"), Mistake.WRONG_WAY, (0,)),
}


def test_mistakes_of_several_operations_are_named_once_a_run_saw_agreement(
    shape: Shape, desk_commands: Commands
) -> None:
    planted = {
        asset: replace(plant, mistake=None, by_hand="0")
        for asset, plant in plants(shape.book.digits).items()
        if plant.explanation != "rounded"
    }
    desk = desk_commands.desk
    book_wrongly(shape.book, planted, happen(desk, planted))
    file = desk_commands.declare(shape.declared)
    judge(desk_commands, file)
    assert desk_commands.diff()["differences"] == []
    later = {asset: Plant(*what) for asset, what in LATER.items()}
    entries = happen(desk, later)
    book_wrongly(shape.book, later, entries)
    book = desk_commands.diff()
    assert words(book) == {asset: plant.explanation for asset, plant in later.items()}
    for one in book["differences"]:
        made_of = {entries[one["asset"]][place].ledger_id for place in later[one["asset"]].places}
        assert set(one["ledger_ids"]) == made_of, one


def judge(commands: Commands, file: Path) -> None:
    """Let a run judge the book by what was proved last."""
    proved = [row["run_id"] for row in commands.desk.rows("select run_id from trading.newest_proofs")]
    known = frozenset({*plants(8), "USD"})
    ports = DeskBookPorts(
        lambda: UnitOfWork(commands.desk.engine),
        lambda connection: address_from_environment(connection, os.environ),
        lambda _: known,
        utc_now,
    )
    assert "1 agreed" in reconcile_book(read_book(file), proved, ports).told

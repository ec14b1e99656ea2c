"""The wallets of one asset: folded into the plain code, spelled in two ways, and four of them at once."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desk import Desk
from kraken_recon.domain.ledger import HoldingKey
from kraken_recon.domain.money import ZERO

if TYPE_CHECKING:
    from fakes import FakeBooks

BTC, BTC_F = HoldingKey("BTC", "spot"), HoldingKey("BTC", "F")
D = Decimal


@pytest.fixture
def desk(database_url: str) -> Desk:
    return Desk(database_url)


@pytest.fixture
def books(desk: Desk) -> FakeBooks:
    """A whole bitcoin, of which 0.6 earn."""
    books = desk.account()
    books.add("BTC", "1", entry_type="deposit")
    move(books, "0.6")
    desk.sync()
    return books


def move(books: FakeBooks, amount: str) -> None:
    books.add("BTC", f"-{amount}", entry_type="earn")
    books.add("BTC", amount, wallet="F", entry_type="earn")


def fold(books: FakeBooks) -> None:
    """Let the balance reply show what earns in the plain code."""
    earning = books.balance_of(BTC_F)
    books.residuals = {BTC: earning, BTC_F: -earning}


def nothing_is_said(desk: Desk) -> bool:
    run = desk.run()
    assert (run["status"], run["error"]) == ("succeeded", None)
    assert desk.rows("select * from trading.alerts") == []
    return not any(run[count] for count in ("updated", "added", "removed", "held", "awaiting"))


def test_a_folded_balance_is_no_difference_and_positions_stay_where_the_ledger_says(
    desk: Desk, books: FakeBooks
) -> None:
    fold(books)
    for _ in range(3):
        desk.sync()
        assert nothing_is_said(desk)
        assert (desk.run()["matched"], desk.findings()) == (2, {})
        assert desk.positions() == {BTC: D("0.4"), BTC_F: D("0.6")}


def test_a_folded_account_costs_one_call_once_it_is_known(desk: Desk, books: FakeBooks) -> None:
    fold(books)
    desk.sync()
    for _ in range(3):
        desk.sync()
        assert desk.run()["api_calls"] == 1


def test_entries_of_a_folded_account_are_booked_and_explain(desk: Desk, books: FakeBooks) -> None:
    fold(books)
    desk.sync()
    for place in range(3):
        move(books, "0.05")
        books.add("BTC", "0.1")
        fold(books)
        desk.sync()
        assert nothing_is_said(desk)
        assert desk.positions() == {BTC: D("0.45") + place * D("0.05"), BTC_F: D("0.65") + place * D("0.05")}


def test_what_is_missing_from_a_folded_account_is_still_found(desk: Desk, books: FakeBooks) -> None:
    fold(books)
    desk.sync()
    books.residuals[BTC] -= D("0.0003")
    books.residuals[BTC] -= D("0.1")
    desk.sync()
    desk.sync()
    assert desk.findings()["BTC"]["residual"] == D("-0.1003")
    assert desk.positions()[BTC_F] == D("0.6")


def test_an_account_that_is_unfolded_again_agrees(desk: Desk, books: FakeBooks) -> None:
    fold(books)
    desk.sync()
    books.residuals = {}
    desk.sync()
    assert nothing_is_said(desk)
    assert desk.rows("select * from trading.residuals where residual <> 0") == []
    assert desk.positions() == {BTC: D("0.4"), BTC_F: D("0.6")}
    assert sum(desk.positions().values(), ZERO) == 1

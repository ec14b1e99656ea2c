"""An import before, after and between backfills: the past stays what it was, and nothing is booked twice."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desks.cost_books import happen
from desks.fake_exchange import Desk, minutes
from desks.fakes import START
from desks.histories import adjustments, at_exchange, unconnected_events
from desks.imports import bring_file
from desks.past_intervals import backfill, drifts, history, recorded_at
from kraken_recon.costs.recomputing import recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from desks.fakes import FakeBooks

OPENED = START + RUN_INTERVAL
BTC, USD = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot")


@pytest.fixture
def desk(database_url: str) -> Desk:
    """An account opened at OPENED on a balance from before its ledger, which then missed a day of trades."""
    desk = Desk(database_url)
    books = desk.account()
    books.openings[USD] = Decimal(5_000)
    books.now = START - timedelta(days=10)
    for _ in range(5):
        books.now += timedelta(days=1)
        trade(books)
    desk.sync()
    recorded_at(desk, "desk", desk.now)
    books.now = OPENED
    for _ in range(24):
        books.now += minutes(58)
        trade(books)
    desk.now = OPENED + timedelta(days=2)
    return desk


def trade(books: FakeBooks) -> None:
    happen(books, ("BTC", "0.01"), ("USD", "-400", "1.04"))


def quarters(*hours: int) -> list[Interval]:
    return [Interval(OPENED + minutes(60 * n), OPENED + minutes(60 * n + 15)) for n in hours]


def expected(books: FakeBooks, intervals: list[Interval]) -> dict[object, object]:
    known = {e.key: e.balance for e in books.entries if e.entry_time < OPENED}
    found = {}
    for interval in intervals:
        then = {e.key: e.balance for e in books.entries if e.entry_time < interval.end}
        differing = {key: (known[key], then[key]) for key in then if known[key] != then[key]}
        if differing:
            found[interval.end] = differing
    return found


def is_sound(desk: Desk) -> bool:
    with UnitOfWork(desk.engine) as unit:
        costs_are_right = not recompute_account(CostStore(unit), "desk").anything
    return (
        costs_are_right
        and desk.positions() == desk.event_totals() == at_exchange(desk.books["desk"])
        and not unconnected_events(desk, "desk")
        and not adjustments(desk, "desk")
    )


WAYS = {
    "import after backfill": ("backfill 3", "backfill 20", "import", "backfill 12"),
    "backfill after import": ("import", "backfill 20", "backfill 3", "backfill 12"),
    "backfill, import of older history, backfill": ("backfill 12", "import old", "backfill 3", "backfill 20"),
    "import twice with a sync between": (
        "import",
        "sync",
        "backfill 20",
        "import",
        "backfill 3",
        "backfill 12",
    ),
    "sync first": ("sync", "backfill 12", "import old", "import", "backfill 3", "backfill 20"),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_comes_first_the_past_is_the_same(desk: Desk, way: str) -> None:
    books = desk.books["desk"]
    for step in WAYS[way]:
        match step.split():
            case ["backfill", hour]:
                backfill(desk, quarters(int(hour))[0])
            case ["import"]:
                bring_file(desk, books.entries)
            case ["import", _]:
                bring_file(desk, [e for e in books.entries if e.entry_time < OPENED])
            case _:
                desk.sync()
    rows = history(desk)
    assert [row["status"] for row in rows["runs"]] == ["succeeded"] * 3
    assert drifts(rows["findings"]) == expected(books, quarters(3, 12, 20))
    assert {(row["residual"], row["database_drift"]) for row in rows["findings"]} <= {(0, 0)}
    desk.sync()
    assert desk.run()["status"] == "succeeded", desk.run()["error"]
    assert desk.rows("select count(*) as n from trading.ledger_entries") == [{"n": len(books.entries)}]
    assert is_sound(desk)


def test_account_opened_from_a_file_is_backfilled_without_reading_what_the_file_proves(
    desk: Desk,
) -> None:
    books = desk.account("from a file")
    books.now = START - timedelta(days=300)
    for _ in range(100):
        books.now += timedelta(days=3)
        trade(books)
    exchange = desk.exchanges["from a file"]
    bring_file(desk, books.entries, name="from a file")
    recorded_at(desk, "from a file", OPENED)
    books.now = OPENED
    trade(books)
    backfill(desk, quarters(3)[0], "from a file")
    assert exchange.made == ["Ledgers"]
    assert history(desk, "from a file")["runs"][0]["status"] == "succeeded"
    assert drifts(history(desk, "from a file")["findings"]).keys() == {quarters(3)[0].end}


def test_a_filtered_file_counts_for_nothing(desk: Desk) -> None:
    """A file of one asset holds what it holds; the ledger is still to be read."""
    books = desk.account("filtered")
    books.now = START - timedelta(days=3)
    for _ in range(3):
        trade(books)
    one_leg = [entry for entry in books.entries if entry.asset == "BTC"]
    bring_file(desk, one_leg, name="filtered")
    assert desk.rows("select ledger_read_until from trading.accounts where name = 'filtered'") == [
        {"ledger_read_until": None}
    ]

"""The pages of a statement joined are the statement, whatever happened and however it is cut."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desks.histories import Movement, fresh_account, happen, movements, on_database, opened_account
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ConfigurationError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reports import statement_pages
from kraken_recon.reports.report import statement
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.statement_pages import statement_entries, statement_page
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from datetime import datetime

    from desks.fake_exchange import Desk

SMALLEST = Decimal("0.000000000000000001")


def pages_of(
    desk: Desk, name: str, asset: str, at: datetime, *, most: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read page after page, and return all their entries and what stands around the last page."""
    entries: list[dict[str, Any]] = []
    before: tuple[datetime, int] | None = None
    while True:
        with UnitOfWork(desk.engine) as unit:
            page = statement_page(unit, name, asset, at, before=before, most=most)
        shown = page.view.pop("entries")
        assert len(shown) <= most
        entries += shown
        if page.next_place is None:
            return entries, page.view
        before = page.next_place


@on_database
@given(
    earlier=st.lists(movements, max_size=4),
    later=st.lists(movements, max_size=12),
    most=st.integers(1, 5),
    minutes_ago=st.integers(0, 30),
)
def test_pages_joined_are_the_whole(
    desk: Desk, earlier: list[Movement], later: list[Movement], most: int, minutes_ago: int
) -> None:
    name, books = opened_account(desk)
    for movement in earlier:
        happen(books, movement)
    desk.sync(name)
    for movement in later:
        happen(books, movement)
    desk.sync(name)
    at = books.now - timedelta(minutes=minutes_ago)
    for asset in ("BTC", "ETH"):
        with UnitOfWork(desk.engine) as unit:
            if not ReportStore(unit).was_held(desk.account_id(name), asset):
                with pytest.raises(ConfigurationError, match=f"never held {asset}"):
                    statement(ReportStore(unit), name, asset, at)
                continue
            whole = statement(ReportStore(unit), name, asset, at)
        entries, frame = pages_of(desk, name, asset, at, most=most)
        assert entries[::-1] == whole.pop("entries")
        assert frame == whole
        streamed = statement_entries(lambda: UnitOfWork(desk.engine), name, asset, at)
        assert list(streamed) == entries[::-1]


def test_every_way_to_a_statement_keeps_all_digits(desk: Desk) -> None:
    name, books = fresh_account(desk)
    books.openings |= {
        HoldingKey("BTC", "spot"): Decimal("12345678901234567.1"),
        HoldingKey("BTC", "F"): SMALLEST,
    }
    desk.sync(name)
    books.add("BTC", format_amount(SMALLEST))
    desk.sync(name)
    opening, closing = "12345678901234567.100000000000000001", "12345678901234567.100000000000000002"
    with UnitOfWork(desk.engine) as unit:
        whole = statement(ReportStore(unit), name, "BTC", desk.now)
    streamed = list(statement_entries(lambda: UnitOfWork(desk.engine), name, "BTC", desk.now))
    entries, frame = pages_of(desk, name, "BTC", desk.now, most=5)
    assert (whole["opening"], whole["closing"]) == (frame["opening"], frame["closing"]) == (opening, closing)
    assert [e["running"] for told in (whole["entries"], streamed, entries) for e in told] == [closing] * 3


def test_a_long_statement_is_streamed_read_by_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_pages, "ENTRIES_PER_READ", 3)
    name, books = opened_account(desk)
    for number in range(10):
        books.add("BTC", f"0.{number + 1:018}", at=books.now if number % 3 else None)
    desk.sync(name)
    with UnitOfWork(desk.engine) as unit:
        whole = statement(ReportStore(unit), name, "BTC", desk.now)["entries"]
    streamed = statement_entries(lambda: UnitOfWork(desk.engine), name, "BTC", desk.now)
    assert len(whole) > 3 * 3
    assert list(streamed) == whole

"""Reading an account's books: pages that shift, replies that lie, and books that are still being written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desks.fakes import START, FakeBooks, FakeExchange
from kraken_recon.accounts.account import Account
from kraken_recon.errors import PayloadInvalidError
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry, LedgerPage
from kraken_recon.reconciliation.ledger_pages import KnownBooks
from kraken_recon.reconciliation.reading import (
    OPENING_ENTRIES_MAX,
    OVERLAP,
    LedgerReader,
    Reading,
    StillMovingError,
    read_coherently,
)
from kraken_recon.reconciliation.rules.run import AccountState

BTC, ETH = HoldingKey("BTC", "spot"), HoldingKey("ETH", "spot")
ZERO = Decimal(0)
HOUR = timedelta(hours=1)
Page = Callable[..., LedgerPage]


@dataclass
class Desk:
    """An account, what its database knows, and a reader of its books."""

    books: FakeBooks = field(default_factory=FakeBooks)
    recorded: list[LedgerEntry] = field(default_factory=list)
    openings: dict[HoldingKey, Decimal] = field(default_factory=dict)
    is_open: bool = True
    floor: datetime | None = None
    pauses: list[float] = field(default_factory=list)
    starts: list[datetime | None] = field(default_factory=list)
    lateness: timedelta = timedelta(hours=2)

    def __post_init__(self) -> None:
        self.exchange = FakeExchange(self.books)

    def know(self) -> None:
        """Record everything that has happened so far."""
        self.recorded = list(self.books.entries)

    def known_books(self, after: datetime | None) -> KnownBooks:
        earlier = [e for e in self.recorded if after is not None and e.entry_time <= after]
        before = dict(self.openings)
        for entry in earlier:
            before[entry.key] = before.get(entry.key, ZERO) + entry.change
        return KnownBooks([e for e in self.recorded if e not in earlier], before)

    def alter_pages(self, change: Callable[[LedgerPage, int], LedgerPage], *, until_call: int = 99) -> None:
        """Change what ``Ledgers`` answers; calls are counted from 1."""
        honest, calls = self.exchange.ledger_page, 0

        def page(*, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
            nonlocal calls
            calls += 1
            answer = honest(after=after, until=until, offset=offset)
            return change(answer, calls) if calls <= until_call else answer

        self.exchange.ledger_page = page  # type: ignore[method-assign]

    def read(self) -> Reading:
        newest = max((e.entry_time for e in self.recorded), default=None)
        account = Account(1, "desk", "desk", "USD")
        state = AccountState(account, self.is_open, newest, self.floor)
        honest = self.exchange.ledger_page

        def page(*, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
            self.starts.append(after)
            return honest(after=after, until=until, offset=offset)

        self.exchange.ledger_page = page  # type: ignore[method-assign]

        def clock() -> datetime:
            return self.books.now + self.lateness

        reader = LedgerReader(self.exchange, state, self.known_books, self.pauses.append, clock)
        return read_coherently(reader, self.books.balances(), clock)

    @property
    def ledger_calls(self) -> int:
        return self.exchange.made.count("Ledgers")


def ids(entries: list[LedgerEntry] | tuple[LedgerEntry, ...]) -> set[str]:
    return {entry.ledger_id for entry in entries}


@pytest.fixture
def desk() -> Desk:
    """An account whose recorded history is a day old, with three hours of new entries."""
    desk = Desk()
    for _ in range(4):
        desk.books.add("BTC", "10")
        desk.books.add("ETH", "10")
        desk.books.now += 6 * HOUR
    desk.know()
    for _ in range(3):
        desk.books.add("BTC", "1", fee="0.1")
        desk.books.now += HOUR
    return desk


def test_quiet_reading_sees_what_is_new_with_an_overlap(desk: Desk) -> None:
    reading = desk.read()
    assert reading.coherent
    assert ids(reading.entries) == ids(desk.books.entries[-3:]) | ids(desk.recorded[-2:])
    just_below_a_second = desk.recorded[-1].entry_time - OVERLAP - timedelta(microseconds=1)
    assert desk.starts == [just_below_a_second]
    assert reading.note is None
    assert reading.head == desk.books.entries[-1]


@pytest.mark.parametrize("count", [49, 50, 51, 99, 100, 101, 230])
def test_every_page_is_read_whatever_the_length(desk: Desk, count: int) -> None:
    for _ in range(count - 5):
        desk.books.add("ETH", "0.5")
    reading = desk.read()
    assert len(reading.entries) == count
    assert desk.ledger_calls <= count // 49 + 2


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 8), st.integers(1, 60), max_size=4))
def test_rows_that_push_the_pages_are_never_missed(arrivals: dict[int, int]) -> None:
    desk = Desk()
    for _ in range(170):
        desk.books.add("BTC", "1")

    def arrive(endpoint: str) -> None:
        for _ in range(arrivals.get(desk.ledger_calls, 0) if endpoint == "Ledgers" else 0):
            desk.books.add("BTC", "1")

    desk.exchange.before_call = arrive
    reading = desk.read()
    times = sorted(e.entry_time for e in reading.entries)
    assert len(reading.entries) >= 170
    # Whatever was read is a whole stretch from the first entry on.
    assert times == [e.entry_time for e in desk.books.entries[: len(times)]]


def test_one_id_with_two_contents_is_refused(desk: Desk) -> None:
    for _ in range(80):
        desk.books.add("BTC", "1")

    def change(page: LedgerPage, call: int) -> LedgerPage:
        rows = tuple(replace(e, amount=e.amount + call, balance=e.balance + call) for e in page.entries)
        return replace(page, entries=rows)

    desk.alter_pages(change)
    with pytest.raises(PayloadInvalidError, match="two different entries with the id"):
        desk.read()


@pytest.mark.parametrize("lost", [0, 20, 48])
def test_row_that_one_page_left_out_is_read_again(desk: Desk, lost: int) -> None:
    for _ in range(80):
        desk.books.add("BTC", "1")
    desk.alter_pages(
        lambda page, _: replace(page, entries=page.entries[:lost] + page.entries[lost + 1 :]), until_call=1
    )
    reading = desk.read()
    assert len(reading.entries) >= 85
    assert desk.pauses in ([], [1])


@pytest.mark.parametrize("empty_call", [1, 2])
def test_page_that_is_empty_too_early_is_read_again(desk: Desk, empty_call: int) -> None:
    for _ in range(80):
        desk.books.add("BTC", "1")
    desk.alter_pages(
        lambda page, call: replace(page, entries=()) if call == empty_call else page, until_call=2
    )
    reading = desk.read()
    assert ids(desk.books.entries[-83:]) <= ids(reading.entries)
    assert desk.pauses == [1]


def test_ledger_that_stays_empty_is_refused(desk: Desk) -> None:
    desk.alter_pages(lambda _page, _call: LedgerPage((), 0))
    with pytest.raises(PayloadInvalidError, match=f"{desk.recorded[-1].ledger_id}|no longer shows"):
        desk.read()


@pytest.mark.parametrize("miscount", [-2, 3, None])
def test_count_that_is_wrong_is_noted_and_not_believed(desk: Desk, miscount: int | None) -> None:
    desk.alter_pages(
        lambda page, _: replace(page, count=None if miscount is None else (page.count or 0) + miscount)
    )
    reading = desk.read()
    assert ids(desk.books.entries[-3:]) <= ids(reading.entries)
    assert (reading.note is not None) == (miscount == 3)
    assert desk.pauses == ([1] if miscount == 3 else [])


def test_missing_row_of_long_ago_is_named_by_its_neighbours(desk: Desk) -> None:
    first, missing, last = desk.books.entries[-3:]
    desk.books.residuals[BTC] = missing.change
    desk.books.entries.remove(missing)
    with pytest.raises(PayloadInvalidError, match=f"{first.ledger_id}.*{last.ledger_id}") as refused:
        desk.read()
    assert "0.9 is not accounted for" in str(refused.value)
    assert desk.pauses == [1, 2]


def test_every_one_of_many_gaps_is_named(desk: Desk) -> None:
    for _ in range(60):
        desk.books.add("BTC", "1")
    missing = desk.books.entries[-59::2]
    desk.books.entries = [entry for entry in desk.books.entries if entry not in missing]
    desk.books.residuals[BTC] = sum((entry.change for entry in missing), Decimal(0))
    with pytest.raises(PayloadInvalidError) as refused:
        desk.read()
    assert str(refused.value).count("is not accounted for") == len(missing) - 1
    assert ids(desk.books.entries[-29:]) <= set(re.findall(r"entry (\w+)", str(refused.value)))


def test_missing_row_of_a_moment_ago_is_waited_for(desk: Desk) -> None:
    desk.lateness = timedelta(seconds=2)
    desk.books.add("BTC", "1")
    missing = desk.books.add("BTC", "2")
    desk.books.add("BTC", "3")
    desk.books.residuals[BTC] = missing.change
    desk.books.entries.remove(missing)
    with pytest.raises(StillMovingError, match="2 is not accounted for"):
        desk.read()


def test_gap_that_closes_while_it_is_waited_for_is_forgotten(desk: Desk) -> None:
    missing = desk.books.entries[-2]
    desk.alter_pages(
        lambda page, _: replace(page, entries=tuple(e for e in page.entries if e != missing)), until_call=1
    )
    assert missing in desk.read().entries
    assert desk.pauses == [1]


@pytest.mark.parametrize(("age_hours", "tries"), [(8, 2), (200, 3)])
def test_entry_missed_long_ago_is_found_by_reading_deeper(age_hours: int, tries: int) -> None:
    desk = Desk()
    desk.books.add("BTC", "10")
    desk.books.now += HOUR
    missed = desk.books.add("BTC", "5")
    desk.books.now += age_hours * HOUR
    desk.books.add("BTC", "1")
    desk.recorded = [e for e in desk.books.entries if e != missed]
    desk.books.add("BTC", "2")
    reading = desk.read()
    assert missed in reading.entries
    assert len(desk.pauses) == tries - 1
    assert desk.starts == sorted(desk.starts, key=lambda start: start or START - 9999 * HOUR, reverse=True)


def test_nothing_before_the_floor_is_asked_for(desk: Desk) -> None:
    desk.floor = desk.recorded[-1].entry_time
    desk.openings = {BTC: Decimal(40), ETH: Decimal(40)}
    desk.recorded = []
    assert ids(desk.read().entries) == ids(desk.books.entries[-3:])
    assert set(desk.starts) == {desk.floor}


def test_entry_that_was_recorded_otherwise_is_refused(desk: Desk) -> None:
    newest = desk.recorded[-1]
    desk.recorded[-1] = replace(newest, amount=newest.amount + 1, balance=newest.balance + 1)
    with pytest.raises(PayloadInvalidError, match=f"{newest.ledger_id} is recorded with amount 11"):
        desk.read()


def test_recorded_entry_that_kraken_no_longer_shows_is_refused(desk: Desk) -> None:
    gone = desk.recorded[-1]
    desk.alter_pages(lambda page, _: replace(page, entries=tuple(e for e in page.entries if e != gone)))
    with pytest.raises(PayloadInvalidError, match=f"{gone.ledger_id} .*is recorded, but .* no longer shows"):
        desk.read()


def test_balance_that_moves_meanwhile_is_read_again(desk: Desk) -> None:
    moved: list[LedgerEntry] = []

    def move(endpoint: str) -> None:
        if endpoint == "BalanceEx" and not moved:
            moved.append(desk.books.add("BTC", "7"))

    desk.exchange.before_call = move
    reading = desk.read()
    assert reading.coherent
    assert moved[0] in reading.entries
    assert desk.exchange.made == ["Ledgers", "BalanceEx"] * 2


def test_balance_that_never_stands_still_is_not_coherent(desk: Desk) -> None:
    desk.exchange.before_call = lambda _: desk.books.add("BTC", "7") and None
    reading = desk.read()
    assert not reading.coherent
    assert desk.exchange.made.count("BalanceEx") == 3


# --- the first reading of an account ---------------------------------------------------------------------


@pytest.fixture
def new_desk() -> Desk:
    """An account that was never read."""
    desk = Desk(is_open=False)
    desk.books.add("BTC", "10", fee="0.5")
    desk.books.add("ETH", "4")
    desk.books.add("BTC", "-2")
    return desk


def test_account_with_its_whole_ledger_opens_from_nothing(new_desk: Desk) -> None:
    opening = new_desk.read().opening
    assert opening is not None
    assert (opening.source, dict(opening.quantities), opening.ledger_floor) == ("ledger", {}, None)


def test_account_without_any_history_opens_empty() -> None:
    opening = Desk(is_open=False).read().opening
    assert opening is not None
    assert (opening.source, dict(opening.quantities), opening.ledger_floor) == ("ledger", {}, None)


def test_account_with_older_history_opens_on_what_came_before(new_desk: Desk) -> None:
    shift = Decimal(100)
    new_desk.books.openings = {BTC: shift}
    new_desk.books.entries = [
        replace(e, balance=e.balance + shift) if e.key == BTC else e for e in new_desk.books.entries
    ]
    opening = new_desk.read().opening
    assert opening is not None
    assert (opening.source, dict(opening.quantities)) == ("derived", {BTC: shift})
    assert opening.effective_at < new_desk.books.entries[0].entry_time


def test_asset_without_entries_opens_at_its_balance(new_desk: Desk) -> None:
    new_desk.books.openings = {HoldingKey("DOT", "S"): Decimal(7)}
    opening = new_desk.read().opening
    assert opening is not None
    assert (opening.source, dict(opening.quantities)) == ("balance", {HoldingKey("DOT", "S"): Decimal(7)})


def test_large_account_opens_from_its_newest_page() -> None:
    desk = Desk(is_open=False)
    for _ in range(OPENING_ENTRIES_MAX + 1):
        desk.books.add("BTC", "1")
    reading = desk.read()
    assert reading.opening is not None
    assert len(reading.entries) == 50
    assert reading.opening.quantities == {BTC: Decimal(OPENING_ENTRIES_MAX - 49)}
    assert reading.opening.ledger_floor == desk.books.entries[-50].entry_time


def test_account_that_does_not_stand_still_is_not_opened(new_desk: Desk) -> None:
    new_desk.exchange.before_call = lambda _: new_desk.books.add("BTC", "7") and None
    with pytest.raises(StillMovingError, match="stand still"):
        new_desk.read()


def test_first_reading_with_a_gap_opens_nothing(new_desk: Desk) -> None:
    del new_desk.books.entries[0]
    new_desk.books.add("BTC", "1")
    del new_desk.books.entries[1]
    new_desk.books.add("BTC", "1")
    new_desk.books.entries[-2] = replace(new_desk.books.entries[-2], balance=Decimal(50))
    with pytest.raises(PayloadInvalidError, match="is not accounted for"):
        new_desk.read()

"""Where exported entries go in a recorded history, when whole seconds are all that their time says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desks.fakes import START, FakeBooks
from kraken_recon.history.rules.extending import KnownOpening, extend, whole_second
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry, is_same_line

if TYPE_CHECKING:
    from datetime import datetime

BTC = HoldingKey("BTC", "spot")


def history(opening: str, *changes: str, at: datetime = START) -> list[LedgerEntry]:
    """One entry per change, 100 milliseconds apart."""
    books = FakeBooks(openings={BTC: Decimal(opening)})
    return [
        books.add("BTC", change, at=at + timedelta(milliseconds=100 * place))
        for place, change in enumerate(changes)
    ]


def exported(entries: list[LedgerEntry]) -> list[LedgerEntry]:
    return [replace(entry, entry_time=whole_second(entry.entry_time)) for entry in entries]


def test_entries_of_the_opening_s_own_second_are_placed_by_their_balances() -> None:
    entries = history("0", "5", "-2", "4", "1")
    found = extend(BTC, entries[2:], exported(entries[:2]), KnownOpening(Decimal(3), START))
    assert [e.ledger_id for e in found.added] == [e.ledger_id for e in entries[:2]]
    assert (found.older, found.opening_before, found.opening_after) == (2, Decimal(3), Decimal(0))
    assert found.gaps == ()


def test_entries_that_lead_back_within_a_second_leave_the_opening_where_it_was() -> None:
    entries = history("5", "-5", "5", "1")
    found = extend(BTC, entries[:2], exported(entries[2:]), KnownOpening(Decimal(5), START))
    assert (found.opening_after, found.older, found.gaps) == (Decimal(5), 0, ())


def test_gap_between_recorded_entries_is_not_the_file_s() -> None:
    entries = history("0", "1", "1", "1", "1")
    recorded = [entries[1], entries[3]]
    found = extend(BTC, recorded, exported(entries[:1]), KnownOpening(Decimal(1), START))
    assert (found.older, found.opening_after, found.gaps) == (1, Decimal(0), ())


def test_history_that_ends_beside_the_opening_is_a_hole() -> None:
    entries = history("0", "1", "1", at=START - timedelta(days=9))
    found = extend(BTC, [], exported(entries), KnownOpening(Decimal(3), START))
    assert [(g.after, g.before, g.missing) for g in found.gaps] == [(exported(entries)[1], None, Decimal(1))]


def test_history_that_starts_beside_a_known_zero_is_a_hole() -> None:
    entries = history("7", "1")
    found = extend(BTC, [], exported(entries), KnownOpening(Decimal(0), None))
    assert [(g.after, g.before, g.missing) for g in found.gaps] == [(None, exported(entries)[0], Decimal(7))]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"entry_time": START.replace(microsecond=0)}, True),
        ({"entry_time": START.replace(microsecond=1)}, False),
        ({"entry_time": START - timedelta(seconds=1)}, False),
        ({"subtype": ""}, True),
        ({"subtype": "other"}, False),
        ({"refid": "other"}, False),
        ({"amount": Decimal("1.50")}, True),
        ({"amount": Decimal("1.51")}, False),
        ({"fee": Decimal(1)}, False),
        ({"balance": Decimal(1)}, False),
        ({"wallet": "F"}, False),
        ({"entry_type": "deposit"}, False),
    ],
)
def test_only_a_cut_time_and_a_missing_subtype_may_differ(change: dict[str, object], *, same: bool) -> None:
    entry = replace(
        history("0", "1.5")[0], entry_time=START.replace(microsecond=400_000), subtype="tradespot"
    )
    assert is_same_line(entry, replace(entry, **change)) is same  # type: ignore[arg-type]

"""The steps by which a position moves connect, and begin with what somebody changed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from kraken_recon.books.events import Cause, Reason, RecordedPosition
from kraken_recon.books.steps import Steps
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry

KEY = HoldingKey("BTC", "spot")
FOUND_AT = datetime(2026, 1, 2, tzinfo=UTC)
ENTRY = LedgerEntry(
    *("L1", "R1", datetime(2026, 1, 1, tzinfo=UTC), "trade", "", "BTC", "spot"),
    *(Decimal("12345678901234567890.000000000000000001"), Decimal("0.5"), Decimal(0)),
)


def test_what_somebody_changed_is_said_first_and_entries_follow_to_the_last_digit() -> None:
    steps = Steps.begin(KEY, RecordedPosition(quantity=Decimal(3), event_total=Decimal(2)), FOUND_AT)
    steps.book([ENTRY])
    end = Decimal("12345678901234567892.500000000000000001")
    assert [(s.before, s.after, s.cause, s.reason, s.effective_at, s.ledger_id) for s in steps.made] == [
        (Decimal(2), Decimal(3), Cause.ADJUSTMENT, Reason.FOUND_CHANGED, FOUND_AT, None),
        (Decimal(3), end, Cause.LEDGER, None, ENTRY.entry_time, "L1"),
    ]
    assert steps.quantity == end


def test_a_position_that_stands_where_its_events_end_says_nothing_of_changes() -> None:
    steps = Steps.begin(KEY, RecordedPosition(Decimal(2), Decimal(2)), FOUND_AT)
    steps.open_by(Decimal(-2), FOUND_AT)
    assert [(s.before, s.after, s.cause, s.reason) for s in steps.made] == [
        (Decimal(2), Decimal(0), Cause.OPENING, None)
    ]

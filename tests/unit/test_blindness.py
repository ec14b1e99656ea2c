"""The watch that sees nothing tells each channel when that begins and ends, and reminds between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kraken_recon.alerts.blindness import BLIND_AFTER, Blindness
from kraken_recon.alerts.rules import TellingPolicy

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG = TellingPolicy().reminder_after


def told(blindness: Blindness, channel: str, after: timedelta, *, arrives: bool = True) -> str | None:
    notification = blindness.due(channel, NOON + after)
    if notification and arrives:
        blindness.arrived(channel, notification)
    return notification.reason if notification else None


def test_each_channel_is_told_once_reminded_and_told_of_the_end() -> None:
    blindness = Blindness(NOON)
    assert told(blindness, "mail", BLIND_AFTER - timedelta(seconds=1)) is None
    assert told(blindness, "mail", BLIND_AFTER) == "opened"
    assert told(blindness, "mail", LONG) is None
    assert told(blindness, "chat", LONG) == "opened"
    assert told(blindness, "mail", LONG + BLIND_AFTER) == "reminded"
    assert told(blindness, "mail", 2 * LONG) is None
    blindness.seen_at = NOON + 3 * LONG
    assert told(blindness, "mail", 3 * LONG) == "recovered"
    assert told(blindness, "mail", 3 * LONG) is None
    assert told(blindness, "chat", 3 * LONG) == "recovered"
    assert told(blindness, "mail", 3 * LONG + BLIND_AFTER) == "opened"


def test_what_did_not_arrive_is_due_again_under_the_same_key() -> None:
    blindness = Blindness(NOON, cause="StoreUnreachableError, connection refused")
    first = blindness.due("mail", NOON + BLIND_AFTER)
    again = blindness.due("mail", NOON + 2 * BLIND_AFTER)
    assert first
    assert again
    assert first.idempotency_key == again.idempotency_key
    assert "connection refused" in again.body
    blindness.arrived("mail", again)
    reminders = [blindness.due("mail", NOON + number * 2 * LONG) for number in (1, 2)]
    for one in reminders:
        assert one
        blindness.arrived("mail", one)
    assert len({first.idempotency_key, *(one.idempotency_key for one in reminders if one)}) == 2


def test_a_short_outage_is_not_told() -> None:
    blindness = Blindness(NOON)
    blindness.seen_at = NOON + BLIND_AFTER
    assert told(blindness, "mail", BLIND_AFTER + timedelta(seconds=1)) is None

"""When people are told of an alert."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken_recon.alerts.rules import (
    Context,
    Judgement,
    Lately,
    Notice,
    Standing,
    TellingPolicy,
    TellingReason,
    Told,
    backoff,
    compose,
    judge_all,
    length_words,
    reason_to_tell,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = TellingPolicy()
OPEN = Standing(
    1, "unexplained_discrepancy", "desk", "BTC", "spot", "open", "desk: BTC differed", Decimal(1), 1, None,
    None, None,
)  # fmt: skip
TOLD = Told(is_active=True, at=NOON, amount=Decimal(1))
# Twice as much has as many digits as the database keeps, more than Python computes with by default.
HALF = Decimal("6172839450617283945.061728394506172839")
TWICE = Decimal("12345678901234567890.123456789012345678")
NEARLY_TWICE = Decimal("12345678901234567890.123456789012345677")


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (OPEN, TellingReason.OPENED),
        (replace(OPEN, kind="sync_failure"), None),
        (replace(OPEN, kind="sync_failure", occurrences=2), TellingReason.OPENED),
        (replace(OPEN, kind="a kind of tomorrow"), TellingReason.OPENED),
        (replace(OPEN, told=TOLD), None),
        (replace(OPEN, told=TOLD, occurrences=99), None),
        (replace(OPEN, told=TOLD, amount=Decimal("1.999")), None),
        (replace(OPEN, told=TOLD, amount=Decimal(2)), TellingReason.GREW),
        (replace(OPEN, told=replace(TOLD, amount=HALF), amount=NEARLY_TWICE), None),
        (replace(OPEN, told=replace(TOLD, amount=HALF), amount=TWICE), TellingReason.GREW),
        (replace(OPEN, told=TOLD, amount=Decimal("-0.1")), TellingReason.FLIPPED),
        (replace(OPEN, told=TOLD, amount=Decimal(-9), status="acknowledged"), TellingReason.FLIPPED),
        (replace(OPEN, told=TOLD, amount=None), None),
        (replace(OPEN, told=replace(TOLD, at=NOON - POLICY.reminder_after)), TellingReason.REMINDED),
        (replace(OPEN, told=replace(TOLD, at=NOON - POLICY.reminder_after), status="acknowledged"), None),
        (replace(OPEN, told=replace(TOLD, is_active=False)), TellingReason.OPENED),
        (replace(OPEN, status="resolved", resolved_at=NOON, told=TOLD), None),
        (
            replace(OPEN, status="resolved", resolved_at=NOON, resolved_by="Ann", told=TOLD),
            TellingReason.RECOVERED,
        ),
        (
            replace(OPEN, status="resolved", resolved_at=NOON - POLICY.recovery_quiet, told=TOLD),
            TellingReason.RECOVERED,
        ),
        (replace(OPEN, status="resolved", resolved_at=NOON - timedelta(days=1)), None),
    ],
)
def test_when_people_are_told(standing: Standing, reason: TellingReason | None) -> None:
    assert reason_to_tell(standing, NOON, POLICY) == reason


steps = st.tuples(
    st.sampled_from(["open", "acknowledged", "resolved"]),
    st.decimals(-100, 100, places=2, allow_nan=False),
    st.timedeltas(timedelta(seconds=5), timedelta(hours=3)),
)


@given(st.lists(steps, max_size=60))
def test_whatever_happens_openings_and_recoveries_take_turns(
    history: list[tuple[str, Decimal, timedelta]],
) -> None:
    now, told, reasons, resolved_at = NOON, None, [], None
    for status, amount, passed in history:
        now += passed
        resolved_at = (resolved_at or now) if status == "resolved" else None
        standing = replace(OPEN, status=status, amount=amount, resolved_at=resolved_at, told=told)
        reason = reason_to_tell(standing, now, POLICY)
        if reason is None:
            continue
        if reason is TellingReason.GREW:
            assert told is not None
            assert told.amount is not None
            assert abs(amount) >= 2 * abs(told.amount)
        if reason is TellingReason.REMINDED:
            assert told is not None
            assert now - told.at >= POLICY.reminder_after
        told = Told(is_active=reason is not TellingReason.RECOVERED, at=now, amount=amount)
        reasons.append(reason)
        assert reason_to_tell(replace(standing, told=told), now, POLICY) in {None, TellingReason.OPENED}
    turns = [reason for reason in reasons if reason in {TellingReason.OPENED, TellingReason.RECOVERED}]
    assert all(
        reason is (TellingReason.RECOVERED if n % 2 else TellingReason.OPENED)
        for n, reason in enumerate(turns)
    )
    assert not reasons or reasons[0] is TellingReason.OPENED


@given(st.integers(0, 40), st.integers(0, 40))
def test_every_alert_is_in_one_notice_and_the_notices_are_few(others: int, urgent: int) -> None:
    judgements = [
        Judgement(
            replace(OPEN, alert_id=n, kind="deadline_missed" if n < urgent else "other"), TellingReason.OPENED
        )
        for n in range(others + urgent)
    ]
    notices = compose(judgements, Lately(), POLICY)
    assert sorted(n for notice in notices for n in notice.alert_ids) == list(range(others + urgent))
    assert len(notices) <= 2 * POLICY.digest_above


def test_after_a_digest_only_what_it_did_not_tell_and_is_urgent_is_told() -> None:
    urgent = replace(OPEN, kind="stale_positions")
    only_urgent = [Judgement(urgent, TellingReason.OPENED)]
    assert judge_all([OPEN, urgent], NOON, Lately(digested=frozenset({"held_repair"})), POLICY) == only_urgent
    assert judge_all([OPEN, urgent], NOON, Lately(digested=frozenset({"stale_positions"})), POLICY) == [
        Judgement(OPEN, TellingReason.OPENED)
    ]
    assert len(judge_all([OPEN, urgent], NOON, Lately(), POLICY)) == 2


def test_one_more_than_people_can_read_is_a_digest_though_it_came_alone() -> None:
    lately = Lately({"held_repair": POLICY.digest_above})
    (notice,) = compose([Judgement(OPEN, TellingReason.OPENED)], lately, POLICY)
    assert notice.subject == "[digest] 1 alert in 1 account"
    urgent = Judgement(replace(OPEN, kind="deadline_missed"), TellingReason.OPENED)
    (notice,) = compose([urgent], lately, POLICY)
    assert notice.reason is TellingReason.OPENED


arrivals = st.tuples(
    st.integers(1, 600), st.sampled_from(["deadline_missed", "stale_positions", "other"]), st.integers(1, 40)
)


@given(st.lists(arrivals, max_size=80))
def test_however_a_storm_trickles_in_the_messages_stay_few(storm: list[tuple[int, str, int]]) -> None:
    now, standings, sent = NOON, list[Standing](), list[tuple[datetime, Notice]]()
    for seconds, kind, count in storm:
        now += timedelta(seconds=seconds)
        first = len(standings) + 1
        standings += [replace(OPEN, alert_id=n, kind=kind) for n in range(first, first + count)]
        notices = compose(
            judge_all(standings, now, lately := told_lately(sent, standings, now), POLICY), lately, POLICY
        )
        for notice in notices:
            sent.append((now, notice))
            for alert_id in notice.alert_ids:
                told = Told(is_active=True, at=now, amount=OPEN.amount)
                standings[alert_id - 1] = replace(standings[alert_id - 1], told=told)
    for until, _ in sent:
        window = [notice for at, notice in sent if until - POLICY.digest_pause < at <= until]
        digests = [notice for notice in window if notice.reason is TellingReason.DIGEST]
        assert len(digests) <= 3  # of the two urgent kinds, and of the rest
        assert len(window) - len(digests) <= 2 * POLICY.digest_above
    now += POLICY.digest_pause
    left = judge_all(standings, now, told_lately(sent, standings, now), POLICY)
    assert len(left) == sum(1 for standing in standings if standing.told is None)


def told_lately(sent: list[tuple[datetime, Notice]], standings: list[Standing], now: datetime) -> Lately:
    """Sum up what was written, as the store does."""
    window = [notice for at, notice in sent if at > now - POLICY.digest_pause]
    singles = [notice for notice in window if notice.reason is not TellingReason.DIGEST]
    return Lately(
        Counter(standings[notice.alert_ids[0] - 1].kind for notice in singles),
        frozenset(
            standings[n - 1].kind for notice in window if notice not in singles for n in notice.alert_ids
        ),
    )


def test_what_keeps_coming_back_must_rest_longer_each_time() -> None:
    resolved = replace(OPEN, status="resolved", told=TOLD, resolved_at=NOON - timedelta(minutes=79))
    assert [reason_to_tell(replace(resolved, openings=n), NOON, POLICY) for n in (0, 1, 2, 3, 99)] == [
        TellingReason.RECOVERED,
        TellingReason.RECOVERED,
        TellingReason.RECOVERED,
        None,
        None,
    ]
    day_later = NOON + timedelta(hours=11)
    assert reason_to_tell(replace(resolved, openings=99), day_later, POLICY) is TellingReason.RECOVERED


@given(st.integers(1, 10_000))
def test_a_channel_is_left_alone_for_longer_but_never_for_ever(attempts: int) -> None:
    assert backoff(attempts) <= backoff(attempts + 1) <= timedelta(minutes=10)


CONTEXT = Context(
    "100.00 USD at prices of 2026-03-01 11:00 UTC", {"value": "100"}, {"page": "https://desk.example"}
)


def test_a_message_says_what_it_is_about_in_money_and_where_to_answer() -> None:
    standing = replace(OPEN, opened_at=NOON - timedelta(minutes=5), occurrences=3)
    (notice,) = compose([Judgement(standing, TellingReason.OPENED)], Lately(), POLICY, lambda _: CONTEXT)
    assert notice.body.splitlines() == [
        "desk: BTC differed",
        "Account: desk",
        "Amount: 1 BTC",
        "Value: 100.00 USD at prices of 2026-03-01 11:00 UTC",
        "Seen 3 times, since 2026-03-01 11:55:00 UTC",
        "What to do: docs/runbooks/alerts.md#unexplained_discrepancy",
        "Answer: python -m kraken_recon alerts --acknowledge 1 --by NAME",
    ]
    assert notice.details["links"] == CONTEXT.links
    assert (notice.details["account"], notice.details["value"]) == ("desk", {"value": "100"})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"resolution": "run a of position_sync"}, "Ended by: run a of position_sync"),
        ({"resolved_by": "Ann", "note": "a script"}, "Resolved by Ann: a script"),
        ({}, "Ended by: itself, it was no longer found"),
    ],
    ids=str,
)
def test_a_recovery_says_what_recovered(changes: dict[str, Any], says: str) -> None:
    over = replace(
        OPEN,
        status="resolved",
        opened_at=NOON - timedelta(hours=26, minutes=3),
        resolved_at=NOON - timedelta(hours=1),
        **changes,
    )
    (notice,) = compose([Judgement(over, TellingReason.RECOVERED)], Lately(), POLICY, lambda _: CONTEXT)
    assert notice.subject == "[recovered] unexplained discrepancy: desk BTC spot"
    assert notice.body.splitlines()[:4] == [
        "Over: unexplained discrepancy: desk BTC spot (alert 1)",
        "It was: desk: BTC differed",
        "Open from 2026-02-28 09:57:00 UTC to 2026-03-01 11:00:00 UTC, for 1 d 1 h",
        says,
    ]
    assert "acknowledge" not in notice.body


@pytest.mark.parametrize(
    "hostile",
    ["a\r\nBcc: everybody@desk.example", "a\nAnswer: pay", "\u202eevil", "a\u2028b", "\x1b[2J", "x" * 10_000],
    ids=ascii,
)
def test_what_is_quoted_stays_in_its_line(hostile: str) -> None:
    standing = replace(OPEN, account=hostile, asset=hostile, message=hostile, resolution=hostile)
    for status, reason in (("open", TellingReason.OPENED), ("resolved", TellingReason.RECOVERED)):
        judgement = Judgement(replace(standing, status=status), reason)
        (notice,) = compose([judgement], Lately(), POLICY)
        (harmless,) = compose([Judgement(replace(OPEN, status=status), reason)], Lately(), POLICY)
        assert len(notice.body.splitlines()) == len(harmless.body.splitlines())
        assert notice.subject.isprintable()
        assert len(notice.subject) <= 200
        assert all(line.isprintable() for line in notice.body.splitlines())


def test_a_length_is_told_in_its_two_largest_units() -> None:
    lengths = [timedelta(0), timedelta(seconds=61), timedelta(hours=5), timedelta(days=40, seconds=5)]
    assert [length_words(length) for length in lengths] == ["0 s", "1 min 1 s", "5 h", "40 d 5 s"]

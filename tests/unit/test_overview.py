"""What the page says about a report: the verdict on each account, and the one answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kraken_airflow.dashboard.overview import FINDINGS_SHOWN_MAX, overview_of

NOW = datetime(2026, 11, 22, 10, 20, tzinfo=UTC)


def account(name: str = "desk", **changes: Any) -> dict[str, Any]:
    fields = {
        "account": name,
        "status": "succeeded",
        "mode": "repair",
        "proven_at": (NOW - timedelta(minutes=4)).isoformat(),
        "checked": 3,
        "matched": 3,
        "explained": 0,
        "updated": 0,
        "added": 0,
        "removed": 0,
        "held": 0,
        "awaiting": 0,
        "api_calls": 1,
        "seconds": "0.5",
        "note": None,
        "error": None,
        "findings": [],
    }
    return fields | changes


def finding(**changes: Any) -> dict[str, Any]:
    fields = {
        "asset": "BTC",
        "wallet": "spot",
        "db_quantity": "1",
        "exchange_quantity": "1.5",
        "drift": "0.5",
        "explained": "0.5",
        "unexplained": "0",
        "action": "applied",
        "ledger_ids": ["L1"],
        "explanation": "0.5 from 1 missed deposit entry",
    }
    return fields | changes


def report(*accounts: dict[str, Any], alerts: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"accounts": accounts, "alerts": alerts}


def test_all_is_well_only_when_every_account_is() -> None:
    page = overview_of(report(account("a"), account("b", findings=[finding()])), NOW)
    assert (page.level, page.answer) == ("good", "Yes")
    assert page.reason.startswith("All 2 accounts are accounted for")
    assert page.accounts[0].proof == "4 min ago"


@pytest.mark.parametrize(
    ("changes", "level", "verdict"),
    [
        ({"status": "failed", "error": "wrong key"}, "bad", "not reconciled"),
        ({"status": "never run", "proven_at": None}, "watch", "not reconciled yet"),
        ({"status": "moving", "proven_at": None}, "bad", "last proof is too old"),
        (
            {"proven_at": (NOW - timedelta(minutes=30, seconds=1)).isoformat()},
            "bad",
            "last proof is too old",
        ),
        ({"held": 1, "awaiting": 1}, "bad", "a repair waits for a person"),
        ({"mode": "dry_run", "findings": [finding()]}, "watch", "dry run: differences were not repaired"),
        ({"mode": "dry_run"}, "good", "accounted for"),
        ({"awaiting": 1}, "watch", "a difference waits for confirmation"),
        ({"status": "moving"}, "watch", "was moving; the next run looks again"),
        ({"proven_at": (NOW - timedelta(minutes=30)).isoformat()}, "good", "accounted for"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else None,
)
def test_one_account_in_trouble_is_named(changes: dict[str, Any], level: str, verdict: str) -> None:
    page = overview_of(report(account("fine"), account("odd", **changes)), NOW)
    odd = page.accounts[1]
    assert (odd.level, odd.verdict) == (level, verdict)
    assert page.level == level
    assert ("odd" in page.reason) == (level != "good")


def test_no_account_is_not_all_is_well() -> None:
    page = overview_of(report(), NOW)
    assert (page.level, page.answer) == ("watch", "Nothing to say yet")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["succeeded", "succeeded"], "Nothing: every position agreed."),
        (["succeeded", "failed"], "Nothing in the accounts that were reconciled; the others are not known."),
        (["failed", "never run"], "Not known: no account was reconciled by its latest run."),
    ],
)
def test_an_account_that_could_not_be_asked_has_not_agreed(statuses: list[str], expected: str) -> None:
    page = overview_of(report(*(account(status=status) for status in statuses)), NOW)
    assert page.nothing_differed == expected


def test_repairs_of_every_kind_are_counted_together() -> None:
    page = overview_of(report(account(updated=1, added=2, removed=3)), NOW)
    assert page.accounts[0].repaired == 6


def test_a_flood_of_findings_is_cut_and_says_so() -> None:
    page = overview_of(report(account(findings=[finding() for _ in range(FINDINGS_SHOWN_MAX + 7)])), NOW)
    assert len(page.findings) == FINDINGS_SHOWN_MAX
    assert page.findings_left_out == 7


def test_many_ledger_ids_are_shortened_and_kept() -> None:
    ids = [f"L{number}" for number in range(5)]
    page = overview_of(report(account(findings=[finding(ledger_ids=ids)])), NOW)
    assert page.findings[0].ledger_ids == "L0, L1, L2 and 2 more"
    assert page.findings[0].all_ledger_ids == "L0 L1 L2 L3 L4"


def test_ages_are_told_in_the_largest_unit() -> None:
    ages = [timedelta(seconds=-5), timedelta(seconds=59), timedelta(minutes=61), timedelta(days=3)]
    page = overview_of(report(*(account(proven_at=(NOW - age).isoformat()) for age in ages)), NOW)
    assert [view.proof for view in page.accounts] == ["0 s ago", "59 s ago", "1 h ago", "3 d ago"]

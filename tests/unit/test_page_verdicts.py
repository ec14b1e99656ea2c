"""What the pages say of accounts: the verdict on each, the one answer, and words for lists."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from kraken_airflow.dashboard.verdicts import (
    AGE_WORDS,
    AGES_SECONDS,
    RANKS,
    VERDICTS,
    Facts,
    account_view,
    ago,
    answer_of,
    ids_in_short,
    nothing_differed,
    verdict_of,
)
from kraken_recon.reconciliation.rules.counts import TOLD

NOW = datetime(2026, 11, 22, 10, 20, tzinfo=UTC)
GOOD = Facts("succeeded")


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (GOOD, "good", "accounted for"),
        (Facts("failed", has_held=True), "bad", "not reconciled"),
        (Facts("never run", is_proof_old=True), "watch", "not reconciled yet"),
        (Facts("moving", is_proof_old=True), "bad", "last proof is too old"),
        (replace(GOOD, is_proof_old=True, has_held=True), "bad", "a repair waits for a person"),
        (replace(GOOD, has_held=True, has_awaiting=True), "bad", "a repair waits for a person"),
        (
            replace(GOOD, is_dry_run=True, has_unrepaired=True, has_awaiting=True),
            "watch",
            "dry run: differences were not repaired",
        ),
        (replace(GOOD, is_dry_run=True), "good", "accounted for"),
        (replace(GOOD, has_awaiting=True), "watch", "a difference waits for confirmation"),
        (Facts("moving"), "watch", "was moving; the next run looks again"),
        (
            replace(GOOD, has_desk_unreadable=True, has_desk_held=True),
            "bad",
            "a desk book could not be judged",
        ),
        (
            replace(GOOD, has_desk_held=True, has_desk_differing=True),
            "bad",
            "a write-back waits for a person",
        ),
        (replace(GOOD, has_desk_differing=True, has_awaiting=True), "bad", "the desk's own book differs"),
        (replace(GOOD, has_held=True, has_desk_unreadable=True), "bad", "a repair waits for a person"),
        (replace(GOOD, has_desk_unjudged=True), "watch", "a desk book is not judged by a fresh proof yet"),
        (Facts("moving", has_desk_unjudged=True), "watch", "was moving; the next run looks again"),
    ],
)
def test_the_worst_that_is_true_of_an_account_decides(facts: Facts, level: str, words: str) -> None:
    verdict = verdict_of(facts)
    assert (verdict.level, verdict.words) == (level, words)
    assert VERDICTS[RANKS[facts.key]] == verdict


def test_every_combination_of_facts_has_a_verdict_and_a_key_of_its_own() -> None:
    flags = len(fields(Facts)) - 1
    assert len(RANKS) == 4 * 2**flags
    assert set(RANKS.values()) == set(range(len(VERDICTS)))


def test_bad_verdicts_come_before_those_to_watch_and_good_ones_last() -> None:
    levels = [verdict.level for verdict in VERDICTS]
    assert levels == sorted(levels, key=["bad", "watch", "good"].index)


def test_every_group_of_ages_has_words() -> None:
    assert set(AGE_WORDS) == {-1, *range(len(AGES_SECONDS) + 1)}
    assert all(younger < older for younger, older in pairwise(AGES_SECONDS))


def test_all_is_well_only_when_every_account_is() -> None:
    answer = answer_of({"good": 10_000}, [])
    assert (answer.level, answer.words) == ("good", "Yes")
    assert answer.reason.startswith("All 10,000 accounts are accounted for")
    assert answer_of({"good": 1}, []).reason.startswith("The account is")


@pytest.mark.parametrize(
    ("counts", "troubled", "level", "reason"),
    [
        ({"good": 1, "held": 1}, ["odd"], "bad", "1 of 2 accounts needs a look: odd."),
        ({"good": 1, "moving": 2}, ["a", "b"], "watch", "2 of 3 accounts need a look: a, b."),
        (
            {"good": 9_000, "failed": 1_000},
            list("abcdefgh"),
            "bad",
            "1,000 of 10,000 accounts need a look: a, b, c, d, e and 995 more.",
        ),
        ({"good": 1, "old": 1}, [], "bad", "1 of 2 accounts needs a look."),
    ],
)
def test_accounts_in_trouble_are_counted_and_some_named(
    counts: dict[str, int], troubled: list[str], level: str, reason: str
) -> None:
    answer = answer_of(counts, troubled)
    assert (answer.level, answer.reason) == (level, reason)


def test_no_account_is_not_all_is_well() -> None:
    answer = answer_of({}, [])
    assert (answer.level, answer.words) == ("watch", "Nothing to say yet")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"good": 2}, "Nothing: every position agreed."),
        (
            {"good": 1, "failed": 1},
            "Nothing in the accounts that were reconciled; the others are not known.",
        ),
        ({"failed": 1, "new": 1}, "Not known: no account was reconciled by its latest run."),
    ],
)
def test_an_account_that_could_not_be_asked_has_not_agreed(counts: dict[str, int], expected: str) -> None:
    assert nothing_differed(counts) == expected


def test_repairs_of_every_kind_are_counted_together() -> None:
    account: dict[str, Any] = {
        "account": "desk",
        "mode": "repair",
        "proven_at": None,
        **{count.name: 0 for count in TOLD},
        "updated": 1,
        "added": 2,
        "removed": 3,
        "findings": [{}, {}],
    }
    view = account_view(account, RANKS[GOOD.key], NOW)
    assert (view["repaired"], view["differed"], view["proof"]) == (6, 2, "never")


def test_many_ledger_ids_are_shortened() -> None:
    assert ids_in_short([f"L{number}" for number in range(5)]) == "L0, L1, L2 and 2 more"
    assert ids_in_short(["L0"]) == "L0"


def test_ages_are_told_in_the_largest_unit() -> None:
    ages = [timedelta(seconds=-5), timedelta(seconds=59), timedelta(minutes=61), timedelta(days=3)]
    words = [ago((NOW - age).isoformat(), NOW) for age in ages]
    assert words == ["0 s ago", "59 s ago", "1 h ago", "3 d ago"]

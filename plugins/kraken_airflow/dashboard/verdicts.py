"""Decide what the pages say of accounts: one verdict for each, one answer for all, and words for findings.

The verdict is decided here alone. For thousands of accounts the database is handed the verdict on every
combination of facts there can be, and only looks it up.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal

from kraken_recon.reconciliation.rules.counts import figures_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TrafficLight = Literal["good", "watch", "bad"]
STATUSES: Final = ("succeeded", "moving", "failed", "never run")
LEDGER_IDS_SHOWN_MAX: Final = 3
NAMES_SHOWN_MAX: Final = 5
# The upper ends of the groups of ages, in seconds; the last group has none.
AGES_SECONDS: Final = (900.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0)
AGE_WORDS: Final = {
    0: "up to 15 minutes",
    1: "15 to 30 minutes",
    2: "30 to 60 minutes",
    3: "1 to 6 hours",
    4: "6 to 24 hours",
    5: "more than 24 hours",
    -1: "never proven",
}


@dataclass(frozen=True, slots=True)
class AccountVerdict:
    """Whether an account is accounted for; ``name`` stands in links."""

    name: str
    level: TrafficLight
    words: str


NOT_RECONCILED: Final = AccountVerdict("failed", "bad", "not reconciled")
PROOF_TOO_OLD: Final = AccountVerdict("old", "bad", "last proof is too old")
HELD: Final = AccountVerdict("held", "bad", "a repair waits for a person")
DESK_UNREADABLE: Final = AccountVerdict("desk_unreadable", "bad", "a desk book could not be judged")
DESK_HELD: Final = AccountVerdict("desk_held", "bad", "a write-back waits for a person")
DESK_DIFFERS: Final = AccountVerdict("desk_differs", "bad", "the desk's own book differs")
NOT_YET: Final = AccountVerdict("new", "watch", "not reconciled yet")
NOT_REPAIRED: Final = AccountVerdict("dry", "watch", "dry run: differences were not repaired")
AWAITING: Final = AccountVerdict("awaiting", "watch", "a difference waits for confirmation")
MOVING: Final = AccountVerdict("moving", "watch", "was moving; the next run looks again")
DESK_UNJUDGED: Final = AccountVerdict("desk_new", "watch", "a desk book is not judged by a fresh proof yet")
ACCOUNTED_FOR: Final = AccountVerdict("good", "good", "accounted for")
# What nobody could prove just now, whatever the books say.
UNPROVEN: Final = (NOT_RECONCILED, PROOF_TOO_OLD, NOT_YET, MOVING)
# The worst first: an account's rank is its verdict's place here.
VERDICTS: Final = (
    NOT_RECONCILED,
    PROOF_TOO_OLD,
    HELD,
    DESK_UNREADABLE,
    DESK_HELD,
    DESK_DIFFERS,
    NOT_YET,
    NOT_REPAIRED,
    AWAITING,
    MOVING,
    DESK_UNJUDGED,
    ACCOUNTED_FOR,
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides about an account: its newest run, the age of its last proof, and its desk books.

    Of the desk books about it, ``has_desk_unreadable`` says that one could not be read, ``has_desk_unjudged``
    that one was not judged by a proof that is still fresh.
    """

    status: str
    is_dry_run: bool = False
    is_proof_old: bool = False
    has_held: bool = False
    has_awaiting: bool = False
    has_unrepaired: bool = False
    has_desk_unreadable: bool = False
    has_desk_held: bool = False
    has_desk_differing: bool = False
    has_desk_unjudged: bool = False

    @property
    def key(self) -> str:
        """Write them as the database does."""
        flags = (getattr(self, field.name) for field in fields(self) if field.name != "status")
        return self.status + "".join(str(int(flag)) for flag in flags)


def verdict_of(facts: Facts) -> AccountVerdict:
    """Say whether an account is accounted for; the worst that is true of it decides."""
    decided = (
        (facts.status == "failed", NOT_RECONCILED),
        (facts.status == "never run", NOT_YET),
        # No run that holds something is a proof: that the last one grows old follows from it, and says less.
        (facts.has_held, HELD),
        (facts.is_proof_old, PROOF_TOO_OLD),
        (facts.has_desk_unreadable, DESK_UNREADABLE),
        (facts.has_desk_held, DESK_HELD),
        (facts.has_desk_differing, DESK_DIFFERS),
        (facts.is_dry_run and facts.has_unrepaired, NOT_REPAIRED),
        (facts.has_awaiting, AWAITING),
        (facts.status == "moving", MOVING),
        (facts.has_desk_unjudged, DESK_UNJUDGED),
    )
    return next((verdict for applies, verdict in decided if applies), ACCOUNTED_FOR)


def _ranks() -> dict[str, int]:
    flags = product((False, True), repeat=len(fields(Facts)) - 1)
    every = (Facts(status, *these) for status, these in product(STATUSES, flags))
    return {facts.key: VERDICTS.index(verdict_of(facts)) for facts in every}


RANKS: Final = _ranks()
UNPROVEN_RANKS: Final = frozenset(map(VERDICTS.index, UNPROVEN))


@dataclass(frozen=True, slots=True)
class Answer:
    """What stands on top of a page."""

    level: TrafficLight
    words: str
    reason: str


def answer_of(accounts_by_verdict: Mapping[str, int], troubled: Sequence[str]) -> Answer:
    """Answer for all accounts; ``troubled`` names those that are worst."""
    total = sum(accounts_by_verdict.values())
    bad = total - accounts_by_verdict.get(ACCOUNTED_FOR.name, 0)
    if not total:
        return Answer("watch", "Nothing to say yet", "No account is active.")
    if not bad:
        everything = "The account is" if total == 1 else f"All {total:,} accounts are"
        return Answer("good", "Yes", f"{everything} accounted for, to the last unit or within tolerance.")
    is_bad = any(verdict.level == "bad" and accounts_by_verdict.get(verdict.name) for verdict in VERDICTS)
    names = ", ".join(troubled[:NAMES_SHOWN_MAX])
    more = f" and {bad - NAMES_SHOWN_MAX:,} more" if bad > NAMES_SHOWN_MAX else ""
    return Answer(
        "bad" if is_bad else "watch",
        "No" if is_bad else "Almost",
        f"{bad:,} of {total:,} accounts {'needs' if bad == 1 else 'need'} a look"
        f"{f': {names}{more}' if troubled else ''}.",
    )


def nothing_differed(accounts_by_verdict: Mapping[str, int]) -> str:
    """Word an empty list of differences; an account that nobody could ask has not agreed."""
    total = sum(accounts_by_verdict.values())
    unknown = sum(accounts_by_verdict.get(verdict.name, 0) for verdict in (NOT_RECONCILED, NOT_YET, MOVING))
    if unknown == total:
        return "Not known: no account was reconciled by its latest run."
    if unknown:
        return "Nothing in the accounts that were reconciled; the others are not known."
    return "Nothing: every position agreed."


def account_view(account: Mapping[str, Any], rank: int, now: datetime) -> dict[str, Any]:
    """Write an account of a report as a line of the page."""
    verdict = VERDICTS[rank]
    proven_at = account["proven_at"]
    return {
        **{name: value for name, value in account.items() if name not in {"findings", "margin"}},
        "verdict": verdict.words,
        "level": verdict.level,
        "proof": ago(proven_at, now) if proven_at else "never",
        "differed": len(account["findings"]),
        **figures_of(account),
        "is_dry_run": account["mode"] == "dry_run",
    }


def action_level(action: str) -> TrafficLight:
    """Say how a finding's action is coloured."""
    if action == "held":
        return "bad"
    return "good" if action in {"applied", "within_tolerance", "under_way", "recorded"} else "watch"


def desk_level(action: str, write_state: str | None) -> TrafficLight:
    """Say how what is done about a difference of a desk book is coloured."""
    if action in {"report", "held"} or write_state == "skipped":
        return "bad"
    return "good" if write_state == "written" or action in {"none", "within_tolerance"} else "watch"


def desk_books_level(books: Sequence[Mapping[str, Any]]) -> TrafficLight:
    """Say how an account's desk books are coloured, the worst first."""
    if any(book["status"] == "unreadable" or book["held"] or book["differing"] for book in books):
        return "bad"
    return "good" if all(book["is_fresh"] for book in books) else "watch"


def ids_in_short(ledger_ids: Sequence[str]) -> str:
    """Name the first of many ledger entries, and how many more there are."""
    more = len(ledger_ids) - LEDGER_IDS_SHOWN_MAX
    return ", ".join(ledger_ids[:LEDGER_IDS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def ago(moment: str, now: datetime) -> str:
    """Say how long ago in the largest unit that fits."""
    age = max(now - datetime.fromisoformat(moment), timedelta(0))
    for unit, name in ((timedelta(days=1), "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min")):
        if age >= unit:
            return f"{age // unit} {name} ago"
    return f"{age // timedelta(seconds=1)} s ago"

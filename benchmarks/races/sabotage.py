"""Take one lock away on purpose: an explorer that finds nothing then sees nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class TakenAway:
    """One lock, and the pair of which it keeps the one from the other.

    Attributes:
        per: what there is one of it for.
        pair: by name.
        statement: the name of the statement, or how its text begins.
        lock: what is left out of it, as a pattern.
        instead: what stands there then.
    """

    per: str
    pair: str
    statement: str
    lock: str
    instead: str = ""

    def alter(self, label: str, text: str) -> str:
        """Write a statement without the lock."""
        return re.sub(self.lock, self.instead, text) if label.startswith(self.statement) else text


TAKEN_AWAY: Final = (
    TakenAway("position", "fill-fill", "books.lock_positions", "for no key update of p"),
    TakenAway("account", "opening-opening", "reconciliation.open_account", "and opened_at is null"),
    TakenAway("plan", "approval-rejection", "plans.decide", "and status = 'held'"),
    TakenAway("row of a desk", "desk-bot", "SELECT", "FOR UPDATE"),
    TakenAway(
        "account in a desk's book", "desk-desk", "write.take_turn", r"pg_try_advisory_lock\(.*\)", "true"
    ),
    TakenAway(
        "key of a decision",
        "decision-decision",
        "orders.lock_key",
        r"select pg_advisory_xact_lock.*",
        "select 1",
    ),
)

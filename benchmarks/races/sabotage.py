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
        stopped_before: the step before which somebody has to be stopped for it to be noticed.
        instead: what stands there then.
    """

    per: str
    pair: str
    statement: str
    lock: str
    stopped_before: str
    instead: str = ""

    def alter(self, label: str, text: str) -> str:
        """Write a statement without the lock."""
        return re.sub(self.lock, self.instead, text) if label.startswith(self.statement) else text


TAKEN_AWAY: Final = (
    TakenAway("position", "fill-fill", "books.lock_positions", "for no key update of p", "commit"),
    TakenAway(
        "account", "opening-opening", "reconciliation.open_account", "and opened_at is null", "books.ingest"
    ),
    TakenAway(
        "comparison", "sync-same-fill", "reconciliation.compare", "or is_new", "reconciliation.compare"
    ),
    TakenAway("account's funds", "order-order", "orders.lock_account", "for no key update", "orders.save"),
    TakenAway("plan", "approval-rejection", "plans.decide", "and status = 'held'", "plans.find_plans"),
    TakenAway("row of a desk", "desk-bot", "SELECT", "FOR UPDATE", "UPDATE positions"),
    TakenAway(
        "account in a desk's book", "desk-desk", "write.take_turn", r"pg_try_advisory_lock\(.*\)",
        "select pg_advisory_xact_lock", "true",
    ),
    TakenAway(
        "key of a decision", "decision-decision", "orders.lock_key", r"select pg_advisory_xact_lock.*",
        "orders.add_decision", "select 1",
    ),
    TakenAway(
        "key at Kraken", "call-call", "call_slots.lock_key", r"pg_advisory_lock\(.*?\)::text", "call at", "''"
    ),
)  # fmt: skip

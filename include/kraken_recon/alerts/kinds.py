"""Every kind of alert there is, declared once: whatever raises one names a member, or fails the type check.

Each kind has a section of its own name in ``docs/runbooks/alerts.md``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class AlertKind(StrEnum):
    """What an alert is about; the texts are stable, because rows keep them."""

    SYNC_FAILURE = "sync_failure"
    STALE_POSITIONS = "stale_positions"
    DEADLINE_MISSED = "deadline_missed"
    COVERAGE_AT_RISK = "coverage_at_risk"
    RUN_FAILURE = "run_failure"
    WORK_OVERDUE = "work_overdue"
    WATCH_SILENT = "watch_silent"
    UNEXPLAINED_DISCREPANCY = "unexplained_discrepancy"
    DATABASE_DRIFT = "database_drift"
    LEDGER_INCOMPLETE = "ledger_incomplete"
    HELD_REPAIR = "held_repair"
    MARGIN_DISCREPANCY = "margin_discrepancy"
    UNKNOWN_ENTRY_KIND = "unknown_entry_kind"
    CONVERSION_UNPAIRED = "conversion_unpaired"
    REPAIR_NOT_CONVERGING = "repair_not_converging"
    ORDER_REFUSED = "order_refused"
    ORDER_UNKNOWN = "order_unknown"
    ORDER_NOT_PLACED = "order_not_placed"
    ORDER_FOUND_LATE = "order_found_late"
    ORDER_EXECUTION_FAILURE = "order_execution_failure"
    VERIFICATION_FAILURE = "verification_failure"
    VERIFICATION_INCONCLUSIVE = "verification_inconclusive"
    VERIFICATION_RATE = "verification_rate"
    DESK_DIFFERENCE = "desk_difference"
    DESK_BOOK_UNREADABLE = "desk_book_unreadable"
    DESK_ORDER_UNMATCHED = "desk_order_unmatched"
    SESSION_LEAK = "session_leak"
    POOL_PRESSURE = "pool_pressure"


# What a run over an account ends that finds nothing of it any more.
SETTLED_BY_RUNS: Final = (
    AlertKind.HELD_REPAIR,
    AlertKind.REPAIR_NOT_CONVERGING,
    AlertKind.LEDGER_INCOMPLETE,
)
# What only runs over an account raise and end: of one that is paused they would stay for ever.
OF_ACTIVE_ACCOUNTS: Final = frozenset(
    {
        AlertKind.SYNC_FAILURE,
        AlertKind.STALE_POSITIONS,
        AlertKind.DEADLINE_MISSED,
        AlertKind.RUN_FAILURE,
        AlertKind.HELD_REPAIR,
        AlertKind.REPAIR_NOT_CONVERGING,
        AlertKind.ORDER_EXECUTION_FAILURE,
        AlertKind.DESK_DIFFERENCE,
        AlertKind.DESK_BOOK_UNREADABLE,
        AlertKind.DESK_ORDER_UNMATCHED,
    }
)
# What is about a desk book by its name, and ends with the book.
OF_DESK_BOOKS: Final = (
    AlertKind.DESK_DIFFERENCE,
    AlertKind.DESK_BOOK_UNREADABLE,
    AlertKind.DESK_ORDER_UNMATCHED,
)

"""Where an account's recorded history begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class AccountHistory:
    """Where an account's recorded history begins, and how far a sync has proved it.

    ``is_witnessed`` says that a sync opened the account, and so compared it with the exchange: then a holding
    without an opening began with nothing.
    """

    is_open: bool
    opening_source: str | None
    ledger_floor: datetime | None
    newest_entry_at: datetime | None
    first_opening_at: datetime | None
    is_witnessed: bool

"""What a ledger entry cannot be, whoever tells it: once recorded, it would contradict everything after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.errors import PayloadInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kraken_recon.ledger.entries import LedgerEntry

KRAKEN_BEGAN: Final = datetime(2011, 7, 28, tzinfo=UTC)
AHEAD_MAX: Final = timedelta(hours=1)
"""How far Kraken's clock and ours may be apart."""
MAGNITUDE_MAX: Final = Decimal(10) ** 18
"""More units than there are of any asset; a few of them would not fit their column together."""


def implausible(entry: LedgerEntry, now: datetime) -> str | None:
    """Say which field of an entry cannot be, and why; None where all may be."""
    if entry.entry_time > now + AHEAD_MAX:
        return f"time {entry.entry_time.isoformat()} is after now ({now.isoformat(timespec='seconds')})"
    if entry.entry_time < KRAKEN_BEGAN:
        return f"time {entry.entry_time.isoformat()} is before Kraken began ({KRAKEN_BEGAN:%Y-%m-%d})"
    for name in ("amount", "fee", "balance"):
        if (value := getattr(entry, name)).copy_abs() >= MAGNITUDE_MAX:
            return f"{name} {value:f} is more than there is of any asset"
    return None


def refuse_implausible(entries: Iterable[LedgerEntry], now: datetime) -> None:
    """Refuse entries of Kraken that cannot be; a clock that is set back refuses nothing that has happened.

    Raises:
        PayloadInvalidError: with the entry, the field and its value.
    """
    latest = max(now, datetime.now(UTC))
    for entry in entries:
        if wrong := implausible(entry, latest):
            raise PayloadInvalidError(f"entry {entry.ledger_id}: {wrong}", endpoint="Ledgers")

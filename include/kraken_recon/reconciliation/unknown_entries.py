"""Tell people of ledger entries whose kind or wallet is not known here; they were applied like any other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.ledger.entry_kinds import is_known_kind, kind_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry


def _words(entry: LedgerEntry) -> str:
    if is_known_kind(*entry.kind):
        return f"{entry.asset} (a wallet that is not known here)"
    return kind_of(entry)


def strange_note(entries: Collection[LedgerEntry]) -> str | None:
    """Count them by what is strange about them."""
    if not entries:
        return None
    counts = Counter(_words(entry) for entry in entries)
    listed = ", ".join(f"{count} {words}" for words, count in sorted(counts.items()))
    return f"applied entries of a kind not known here: {listed}"


def strange_alerts(account: Account, entries: Collection[LedgerEntry]) -> list[Alert]:
    """Raise one alert for each holding that they changed."""
    by_holding: dict[HoldingKey, list[LedgerEntry]] = {}
    for entry in entries:
        by_holding.setdefault(entry.key, []).append(entry)
    return [
        Alert(
            AlertKind.UNKNOWN_ENTRY_KIND,
            account.account_id,
            key.asset,
            key.wallet,
            f"{account.name}: {key} has entries of a kind not known here: "
            f"{', '.join(sorted({_words(entry) for entry in listed}))} (first {listed[0].ledger_id}). "
            "They were applied as what they are, an amount and a fee; see whether their cost is right",
        )
        for key, listed in sorted(by_holding.items())
    ]

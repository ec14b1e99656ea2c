"""Tell people of ledger entries of which our books may not know enough; they were applied like any other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.costs.recomputing import unpaired_of
from kraken_recon.costs.store import CostStore
from kraken_recon.ledger.chain import by_holding
from kraken_recon.ledger.entry_kinds import RENAMES, is_known_kind, kind_of, strange_entries
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import LedgerEntry


def tell_of_added(unit: UnitOfWork, account: Account, added: Collection[LedgerEntry]) -> None:
    """Raise, or end, what entries that were added outside of a run's own booking give to tell."""
    AlertStore(unit).raise_alerts(strange_alerts(account, strange_entries(added)))
    tell_unpaired(unit, account, added)


def _words(entry: LedgerEntry) -> str:
    if is_known_kind(*entry.kind):
        return f"{entry.asset} (a wallet that is not known here)"
    return kind_of(entry)


def strange_note(entries: Collection[LedgerEntry]) -> str | None:
    """Count entries of a kind or wallet that is not known, by what is strange about them."""
    if not entries:
        return None
    counts = Counter(_words(entry) for entry in entries)
    listed = ", ".join(f"{count} {words}" for words, count in sorted(counts.items()))
    return f"applied entries of a kind not known here: {listed}"


def strange_alerts(account: Account, entries: Iterable[LedgerEntry]) -> list[Alert]:
    """Make one alert for each holding that strange entries changed."""
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
        for key, listed in by_holding(entries).items()
    ]


def tell_unpaired(unit: UnitOfWork, account: Account, added: Iterable[LedgerEntry]) -> None:
    """Tell of renames and delistings without their other leg, if what was added may have changed which.

    Their cost could not follow. The alert of an account ends when no leg stands alone any more.
    """
    if not any(entry.kind in RENAMES for entry in added):
        return
    legs = unpaired_of(CostStore(unit), account.account_id)
    if not legs:
        AlertStore(unit).resolve_alerts([account.account_id], AlertKind.CONVERSION_UNPAIRED)
        return
    told = ", ".join(
        f"{format_amount(leg.amount)} {leg.key} of {leg.entry_time:%Y-%m-%d} ({leg.ledger_id})"
        for leg in legs
    )
    message = (
        f"{account.name}: the other leg of a rename or delisting is not known, and so is the cost of what it "
        f"brought: {told}"
    )
    AlertStore(unit).raise_alerts(
        [Alert(AlertKind.CONVERSION_UNPAIRED, account.account_id, None, None, message)]
    )

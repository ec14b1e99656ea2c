"""Tell people of renames and delistings whose other leg is not on record: their cost could not follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.costs.recomputing import unpaired_of
from kraken_recon.ledger.entry_kinds import RENAMES
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kraken_recon.accounts.account import Account
    from kraken_recon.alerts.store import AlertStore
    from kraken_recon.costs.store import CostStore
    from kraken_recon.ledger.entries import LedgerEntry


def tell_unpaired(
    alerts: AlertStore, costs: CostStore, account: Account, added: Iterable[LedgerEntry]
) -> None:
    """Raise or end an account's alert, if what was added may have changed which legs stand alone."""
    if not any(entry.kind in RENAMES for entry in added):
        return
    legs = unpaired_of(costs, account.account_id)
    if not legs:
        alerts.resolve_alerts([account.account_id], AlertKind.CONVERSION_UNPAIRED)
        return
    told = ", ".join(
        f"{format_amount(leg.amount)} {leg.key} of {leg.entry_time:%Y-%m-%d} ({leg.ledger_id})"
        for leg in legs
    )
    alerts.raise_alerts(
        [
            Alert(
                AlertKind.CONVERSION_UNPAIRED,
                account.account_id,
                None,
                None,
                f"{account.name}: the other leg of a rename or delisting is not known, and so is the cost of "
                f"what it brought: {told}",
            )
        ]
    )

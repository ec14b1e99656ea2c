"""Bring the records and a reading of the exchange to one moment, before they are judged together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kraken_recon.ledger.entries import Balance
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from kraken_recon.books.events import RecordedPosition
    from kraken_recon.ledger.entries import HoldingKey


def as_if_moved(
    recorded: Mapping[HoldingKey, RecordedPosition], quantities: Mapping[HoldingKey, Decimal]
) -> dict[HoldingKey, RecordedPosition]:
    """Say what a dry run would find right after the opening, or the mended gaps, that it does not write."""
    return {
        key: replace(
            row,
            quantity=row.quantity
            + (quantities.get(key, ZERO) if row.event_total or not row.quantity else ZERO),
            event_total=row.event_total + quantities.get(key, ZERO),
            ledger_total=row.ledger_total + quantities.get(key, ZERO),
        )
        for key, row in recorded.items()
    }


def rolled_forward(
    balances: Mapping[HoldingKey, Balance],
    account_id: int,
    meanwhile: Mapping[tuple[int, HoldingKey], Decimal],
) -> Mapping[HoldingKey, Balance]:
    """Add entries that others recorded after this reading, so that an older balance undoes nothing."""
    moved = {key: change for (account, key), change in meanwhile.items() if account == account_id and change}
    if not moved:
        return balances
    nothing = Balance(ZERO, ZERO, ZERO, ZERO)
    return {
        key: replace(balance, balance=balance.balance + moved.get(key, ZERO))
        for key, balance in (dict.fromkeys(moved, nothing) | dict(balances)).items()
    }

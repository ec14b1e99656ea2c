"""The units that amounts of tokenized assets are told in.

In base units they change by ledger rows alone. Rebased units, Kraken's default, are base units times a
multiplier that splits and dividends change without a row.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_sim.amounts import fixed, number
from kraken_sim.errors import ApiError

if TYPE_CHECKING:
    from kraken_sim.account.ledger import Entry
    from kraken_sim.endpoints.call import Call

UNITS: Final = ("rebased", "base")
ONE: Final = Decimal(1)


def multiplier(call: Call, asset: str) -> Decimal:
    """Tell what to multiply amounts of an asset by in this call.

    Raises:
        ApiError: the request names units that there are not.
    """
    asked = call.parameters.get("rebase_multiplier", "rebased")
    if asked not in UNITS:
        raise ApiError("EGeneral:Invalid arguments:rebase_multiplier")
    return call.account.reference.multipliers.get(asset, ONE) if asked == "rebased" else ONE


def in_units(call: Call, row: Entry) -> Entry:
    """Write a ledger row in the units that a call asks for; a multiplier of today holds for every row."""
    factor = multiplier(call, row.asset)
    if factor == ONE:
        return row
    decimals = call.account.reference.decimals(row.asset)
    amount, fee, balance = (
        fixed(number(text) * factor, decimals) for text in (row.amount, row.fee, row.balance)
    )
    return replace(row, amount=amount, fee=fee, balance=balance)

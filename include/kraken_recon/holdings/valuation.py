"""What an account's holdings are worth in its quote currency.

Invariants:
1. An asset without a price is worth an unknown amount, never zero: it is counted beside the value.
2. A value is computed exactly and rounded once, to the digits that the database keeps.
"""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.values.money import SCALE_MAX, ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_STEP: Final = Decimal(1).scaleb(-SCALE_MAX)
_ROUNDING: Final = decimal.Context(prec=120, rounding=decimal.ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class ValuedAsset:
    """One asset of an account, all its wallets together; without a price it has no value either."""

    asset: str
    quantity: Decimal
    price: Decimal | None
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Valuation:
    """All assets of an account that are not zero; ``unpriced`` of them are missing from ``value``."""

    assets: tuple[ValuedAsset, ...]
    value: Decimal
    unpriced: int


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A snapshot to be valued again, and as of when the proof is that it will rest on."""

    account_id: int
    hour: datetime
    taken_at: datetime
    quote_currency: str
    proven_at: datetime


@exact_arithmetic()
def value_holdings(quantities: Mapping[str, Decimal], prices: Mapping[str, Decimal]) -> Valuation:
    """Value quantities by asset at prices in one currency."""
    assets = tuple(
        _valued(asset, quantity, prices.get(asset))
        for asset, quantity in sorted(quantities.items())
        if quantity
    )
    known = [asset.value for asset in assets if asset.value is not None]
    return Valuation(assets, sum(known, ZERO), len(assets) - len(known))


def _valued(asset: str, quantity: Decimal, price: Decimal | None) -> ValuedAsset:
    if price is None:
        return ValuedAsset(asset, quantity, None, None)
    kept = _rounded(price)
    return ValuedAsset(asset, quantity, kept, _rounded(quantity * kept))


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(_STEP, context=_ROUNDING)

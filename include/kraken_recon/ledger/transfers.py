"""Deposits and withdrawals under way: what they explain of a balance that the ledger does not show yet.

Kraken's balance is net of a withdrawal from its request on, whenever the ledger shows it; what it shows of a
deposit before it is done differs by method.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from decimal import Decimal

UNDER_WAY: Final = frozenset({"initial", "pending", "settled", "on_hold", "onhold", "processing"})
"""States before the end; what Kraken calls otherwise explains nothing."""
CONSIDERED_MAX: Final = 6
"""More transfers of one asset at once than these are not tried in every combination."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A deposit or withdrawal as Kraken tells it; ``amount`` and ``fee`` in units of the asset, unsigned."""

    transfer_id: str
    is_deposit: bool
    asset: str
    amount: Decimal
    fee: Decimal
    state: str
    begun_at: datetime

    @property
    def changes(self) -> tuple[Decimal, ...]:
        """What it may change the balance by: Kraken tells amounts with and without the fee."""
        if self.is_deposit:
            return tuple({self.amount, self.amount - self.fee})
        return tuple({-self.amount - self.fee, -self.amount})

    def __str__(self) -> str:
        kind = "deposit" if self.is_deposit else "withdrawal"
        return (
            f"{kind} {self.transfer_id} of {format_amount(self.amount)} {self.asset} is {self.state} since "
            f"{self.begun_at.isoformat(timespec='seconds')}"
        )


@exact_arithmetic()
def explaining(
    residual: Decimal, asset: str, transfers: Sequence[Transfer], booked: Collection[str] = ()
) -> tuple[Transfer, ...]:
    """Find transfers under way that come to exactly this residual, the fewest of the newest; none if none do.

    Args:
        residual: of the asset, signed.
        asset: whose balance shows it.
        transfers: of the account, newest first.
        booked: what ledger entries of these transfers are called: they are in the ledger already.
    """
    candidates = [
        one
        for one in transfers
        if one.asset == asset and one.state in UNDER_WAY and one.transfer_id not in booked
    ][:CONSIDERED_MAX]
    choices = product(*((*one.changes, None) for one in candidates))
    fitting = [
        tuple(one for one, change in zip(candidates, chosen, strict=True) if change is not None)
        for chosen in choices
        if sum((change for change in chosen if change is not None), ZERO) == residual
    ]
    return min((found for found in fitting if found), key=len, default=())

"""What residual an account tolerates."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest unexplained residual that is recorded and left alone.

    ``quantity`` is in units of the asset, ``value`` in the account's quote currency; a residual within
    either is tolerated.
    """

    quantity: Decimal = Decimal("0.001")
    value: Decimal | None = None

    def covers(self, residual: Decimal, price: Decimal | None) -> bool:
        """Say whether the residual is small enough; a value limit needs a price."""
        if abs(residual) <= self.quantity:
            return True
        return self.value is not None and price is not None and abs(residual) * price <= self.value

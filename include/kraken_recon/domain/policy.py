"""What the desk tolerates, and what one run may repair without a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from kraken_recon.domain.intervals import RUN_INTERVAL
from kraken_recon.domain.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta


class Mode(StrEnum):
    """Whether a run may write positions."""

    REPAIR = "repair"
    DRY_RUN = "dry_run"


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


@dataclass(frozen=True, slots=True)
class Guard:
    """How much one run may repair by itself.

    ``positions_share`` is a share of the account's positions that are not zero (one may always be
    repaired), ``value_share`` a share of the account's value in its quote currency. Every position gone
    at once is always beyond it, and so is a residual that has no price.
    """

    positions_share: Decimal = Decimal("0.25")
    value_share: Decimal = Decimal("0.10")

    def admits(self, *, repaired_positions: int, all_positions: int, value: Decimal, total: Decimal) -> bool:
        """Say whether repairs of this size may be made without a person."""
        few = repaired_positions <= max(Decimal(1), self.positions_share * all_positions)
        return few and total > ZERO and value <= self.value_share * total


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides what happens to an unexplained residual."""

    tolerance: Tolerance = Tolerance()
    overrides: Mapping[str, Tolerance] = field(default_factory=dict)
    guard: Guard = Guard()
    confirmation_age: timedelta = RUN_INTERVAL

    def tolerance_of(self, asset: str) -> Tolerance:
        """Look up the tolerance of one asset."""
        return self.overrides.get(asset, self.tolerance)

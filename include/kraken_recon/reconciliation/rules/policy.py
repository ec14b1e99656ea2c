"""What the desk tolerates, and what one run may repair without a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.values.intervals import RUN_INTERVAL
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta


class Mode(StrEnum):
    """Whether a run may write positions."""

    REPAIR = "repair"
    DRY_RUN = "dry_run"


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

    tolerance: Tolerance = field(default_factory=Tolerance)
    overrides: Mapping[str, Tolerance] = field(default_factory=dict)
    guard: Guard = Guard()
    confirmation_age: timedelta = RUN_INTERVAL

    def tolerance_of(self, asset: str) -> Tolerance:
        """Look up the tolerance of one asset."""
        return self.overrides.get(asset, self.tolerance)

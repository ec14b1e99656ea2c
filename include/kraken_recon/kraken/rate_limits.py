"""What calls cost and what each tier may spend (docs.kraken.com, "Spot REST rate limits")."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Kraken's pages contradict each other on history calls (2 or 4); the larger figure never locks a key out.
CALL_COSTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "Ledgers": 4,
        "QueryLedgers": 4,
        "TradesHistory": 4,
        "QueryTrades": 4,
        "ClosedOrders": 4,
        # Orders have a counter of their own, per pair, in the matching engine.
        "AddOrder": 0,
        "CancelOrder": 0,
        "AmendOrder": 0,
    }
)
DEFAULT_COST: Final = 1
DEFAULT_TIER: Final = "starter"
UNLIMITED: Final = "unlimited"


@dataclass(frozen=True, slots=True)
class CallBudget:
    """A counter that each call raises by its cost and that time lowers; over ``capacity`` Kraken refuses."""

    capacity: Decimal
    decay_per_second: Decimal


TIERS: Final[Mapping[str, CallBudget | None]] = MappingProxyType(
    {
        "starter": CallBudget(Decimal(15), Decimal("0.33")),
        "intermediate": CallBudget(Decimal(20), Decimal("0.5")),
        "pro": CallBudget(Decimal(20), Decimal(1)),
        UNLIMITED: None,
    }
)


def least_seconds(calls: int, tier: str) -> float:
    """Say how long a key's budget makes calls take at least: the first reads balances, all others history."""
    budget = TIERS[tier]
    if budget is None or calls <= 0:
        return 0.0
    units = call_cost("BalanceEx") + (calls - 1) * call_cost("Ledgers")
    return max(0.0, float((units - budget.capacity) / budget.decay_per_second))


def call_cost(endpoint: str) -> int:
    """Tell what a private call adds to its key's counter."""
    return CALL_COSTS.get(endpoint, DEFAULT_COST)

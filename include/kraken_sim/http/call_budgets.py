"""Kraken's two call budgets: the REST counter per key, and the engine counter per account and pair.

Invariant: both decay with the account's own clock, so a virtual clock makes them exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

from kraken_sim.amounts import ZERO
from kraken_sim.errors import ApiError

Transaction = Literal["add", "amend", "edit", "cancel"]

#: Calls that read history cost more than the others; Kraken's pages disagree on 2 or 4.
HISTORY: Final = frozenset({"Ledgers", "QueryLedgers", "TradesHistory", "QueryTrades", "ClosedOrders"})
#: The matching engine counts these itself.
FREE: Final = frozenset(
    {"AddOrder", "AddOrderBatch", "AmendOrder", "EditOrder", "CancelOrder", "CancelOrderBatch"}
)
#: Rejected calls still count, up to this much over the maximum: who keeps calling stays limited.
OVERDRAFT: Final = Decimal(5)


@dataclass(frozen=True, slots=True)
class Tier:
    """What one verification level may do; ``None`` means no limit."""

    rest_maximum: Decimal | None
    rest_decay_per_second: Decimal
    engine_threshold: Decimal
    engine_decay_per_second: Decimal
    open_orders_per_pair: int


TIERS: Final = {
    "starter": Tier(Decimal(15), Decimal("0.33"), Decimal(60), Decimal(1), 60),
    "intermediate": Tier(Decimal(20), Decimal("0.5"), Decimal(125), Decimal("2.34"), 80),
    "pro": Tier(Decimal(20), Decimal(1), Decimal(180), Decimal("3.75"), 225),
    "unlimited": Tier(None, Decimal(1), Decimal(10**9), Decimal(1), 10**9),
}

#: Age of the order in seconds below which a transaction costs this much on top of its fixed part.
_FIXED: Final = {"add": 1, "amend": 1, "edit": 1, "cancel": 0}
_BY_AGE: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "add": (),
    "amend": ((5, 3), (10, 2), (15, 1)),
    "edit": ((5, 6), (10, 5), (15, 4), (45, 2), (90, 1)),
    "cancel": ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1)),
}


def engine_cost(transaction: Transaction, age_seconds: Decimal) -> Decimal:
    """Price one transaction by the age of the order it touches."""
    extra = next((cost for limit, cost in _BY_AGE[transaction] if age_seconds < limit), 0)
    return Decimal(_FIXED[transaction] + extra)


@dataclass(slots=True)
class Counter:
    """A number that rises with use and falls with time, never below zero."""

    value: Decimal = ZERO
    read_at: Decimal = ZERO

    def decayed(self, now: Decimal, per_second: Decimal) -> Decimal:
        """Let time pass, then tell the value."""
        elapsed = max(ZERO, now - self.read_at)
        self.value, self.read_at = max(ZERO, self.value - elapsed * per_second), now
        return self.value


@dataclass(slots=True)
class Budget:
    """The counters of one account."""

    tier: Tier
    history_cost: int
    rest: Counter = field(default_factory=Counter)
    engine: dict[str, Counter] = field(default_factory=dict)

    def charge_call(self, endpoint: str, now: Decimal) -> None:
        """Count one REST call.

        Raises:
            ApiError: ``EAPI:Rate limit exceeded``; the call is counted all the same.
        """
        if self.tier.rest_maximum is None or endpoint in FREE:
            return
        cost = Decimal(self.history_cost if endpoint in HISTORY else 1)
        value = self.rest.decayed(now, self.tier.rest_decay_per_second) + cost
        if value > self.tier.rest_maximum:
            self.rest.value = min(value, self.tier.rest_maximum + OVERDRAFT)
            raise ApiError("EAPI:Rate limit exceeded")
        self.rest.value = value

    def charge_engine(
        self, transaction: Transaction, pair_id: str, now: Decimal, *, age_seconds: Decimal = ZERO
    ) -> None:
        """Count one order transaction; cancels are counted but never refused.

        Raises:
            ApiError: ``EOrder:Rate limit exceeded``.
        """
        counter = self.engine.setdefault(pair_id, Counter(read_at=now))
        value = counter.decayed(now, self.tier.engine_decay_per_second) + engine_cost(
            transaction, age_seconds
        )
        if value > self.tier.engine_threshold and transaction != "cancel":
            raise ApiError("EOrder:Rate limit exceeded")
        counter.value = value

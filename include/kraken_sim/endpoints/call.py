"""One call of a client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kraken_sim.faults import late_views

if TYPE_CHECKING:
    from decimal import Decimal

    from kraken_sim.account.account import Account
    from kraken_sim.account.order import Order
    from kraken_sim.exchange import Exchange
    from kraken_sim.faults.late_views import View


@dataclass(slots=True)
class Call:
    """One private call by an account that was let in."""

    exchange: Exchange
    account: Account
    endpoint: str
    parameters: dict[str, str]
    arrived: Decimal | None = None  # when its request came in, which may have been a while ago
    due: Decimal | None = None  # when it reached the engine, where that is not now

    @property
    def now(self) -> Decimal:
        """When this happens."""
        return self.account.clock.now() if self.due is None else self.due

    def seen_until(self, view: View) -> Decimal:
        """Tell up to which moment this view is up to date."""
        return late_views.seen_until(self.exchange.faults, self.account, self.endpoint, view)

    def seen_of(self, view: View, order: Order | None, seen: Decimal) -> Decimal:
        """Tell up to which moment this view of one order is up to date."""
        return late_views.seen_of(
            self.exchange.faults, self.account, self.endpoint, view, order=order, seen=seen
        )

    def flag(self, name: str) -> bool:
        """Read an optional boolean parameter."""
        return self.parameters.get(name, "").lower() in {"true", "1", "yes"}

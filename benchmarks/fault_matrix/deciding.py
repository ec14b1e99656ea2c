"""``repair_approval``: a person approves a repair that was held, and its writing meets a fault."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Final

from benchmarks.fault_matrix.scene import MINUTE, ZERO
from benchmarks.fault_matrix.syncing import Syncing, ports_of, reconcile
from kraken_recon.repairs.deciding import approve

if TYPE_CHECKING:
    from uuid import UUID

LOST: Final = Decimal(-700000)
HELD: Final = """
select plan_id from trading.repair_plans
where account_id = %s and kind = 'held' and closed_at is null and status in ('held', 'approved')
"""


@dataclass
class Approving(Syncing):
    """Kraken has lost dollars of an account without a ledger line, and somebody approves the repair."""

    job: ClassVar = "repair_approval"
    recovery_runs_max: ClassVar = 8

    def prepare(self) -> None:
        """Let the loss be seen twice, so that it is held."""
        self.open()
        reconcile(self)
        if self.planted:
            self.planted()
            self.event("manual_order", pair="XBTUSD", volume="0.1")
        self.lane.control("POST", f"accounts/{self.struck}/residual", {"asset": "ZUSD", "amount": f"{LOST}"})
        for _ in range(2):
            reconcile(self)
        assert self.held(), "the repair is not held"

    def held(self) -> list[UUID]:
        """Name the plans that wait for a person or to be written."""
        return [row["plan_id"] for row in self.lane.rows(HELD, self.struck_id)]

    def run(self) -> set[str]:
        """Approve what is held; where nothing is, the next run has to hold it anew."""
        plans = self.held()
        if not plans:
            return super().run()
        self.lane.advance(MINUTE)
        decided = [approve(plan, "Ann", ports_of(self)) for plan in plans]
        return {f"plan {one.status}" for one in decided if one.status != "applied"} | self.alerts()

    def truth(self, name: str) -> dict[str, Decimal]:
        """Count what Kraken has lost as lost."""
        found = super().truth(name)
        if name == self.struck:
            found["USD"] = found.get("USD", ZERO) + LOST
        return found

    def earlier(self) -> list[dict[str, Decimal]]:
        """Before the approval nothing is lost, after it all of it."""
        states = super().earlier()
        return states + [{**state, "USD": state["USD"] + LOST} for state in states]

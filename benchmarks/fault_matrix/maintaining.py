"""``maintenance``: the database is kept in shape, and accounts are valued at Kraken's prices."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final

from benchmarks.fault_matrix.scene import OPENING, Scene
from benchmarks.fault_matrix.syncing import reconcile
from kraken_recon.maintenance.maintaining import MaintainingPorts, snapshot_assets, tidy

HOUR_SECONDS: Final = 3600
PRICES: Final = {"USD": Decimal(1), "BTC": Decimal(60000), "ETH": Decimal(3000)}
SNAPSHOTS: Final = """
select account_id, asset, quantity, price from trading.asset_snapshot_rows
where account_id = any(%s) and hour = date_trunc('hour', %s::timestamptz)
"""


@dataclass
class Maintaining(Scene):
    """Both accounts are valued, hour by hour."""

    job: ClassVar = "maintenance"

    def prepare(self) -> None:
        """Prove both accounts."""
        self.open()
        reconcile(self)
        if self.planted:
            self.planted()
            self.event("manual_order", pair="XBTUSD", volume="0.1")

    def run(self) -> set[str]:
        """Tidy up and value, at the next hour."""
        self.lane.advance(HOUR_SECONDS)
        ports = MaintainingPorts(self.lane.unit_of_work, self.lane.open_exchange, self.lane.clock)
        failed = [*tidy(ports)["failed"], *snapshot_assets(ports)["failed"]]
        told = {f"failed: {why.rsplit(': ', 3)[1]}" for why in failed}
        told |= {f"{row['asset']} without a price" for row in self.valued() if row["price"] is None}
        return told | self.alerts()

    def valued(self) -> list[dict[str, Any]]:
        """Read this hour's rows."""
        return self.lane.rows(SNAPSHOTS, list(self.account_ids.values()), self.lane.now)

    def unfinished(self) -> list[str]:
        """Say which values of this hour are not what Kraken's prices make them."""
        return [
            f"{row['asset']} is valued at {row['price']}"
            for row in self.valued()
            if row["price"] is not None and row["price"] != PRICES[row["asset"]]
        ]

    def left(self) -> list[str]:
        """Say which values of this hour are missing or wrong."""
        priced = sum(row["price"] is not None for row in self.valued())
        wanted = len(OPENING) * len(self.account_ids)
        missing = [] if priced == wanted else [f"{priced} of {wanted} holdings are valued"]
        return missing + self.unfinished() + super().left()

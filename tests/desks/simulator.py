"""One account on the simulator, reconciled by the product's own wiring on the simulator's clock."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from desks.fake_exchange import Desk
from desks.logins import as_writer
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.values.intervals import RUN_INTERVAL
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from conftest import Simulator

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = base64.b64encode(b"a desk of the simulator").decode()


class SimulatedDesk(Desk):
    """A desk whose account is the simulator's."""

    def __init__(self, simulator: Simulator, url: str, **opening: str) -> None:
        super().__init__(url, now=NEW_YEAR)
        self.control = simulator.control
        account = {"name": "desk", "api_key": "key", "api_secret": SECRET, "tier": "unlimited"}
        self.control.post("accounts", {**account, "opening": opening})
        self.execute("insert into trading.accounts (name, kraken_conn_id) values ('desk', 'desk')")
        self.wiring = Wiring(
            as_writer(url),
            lambda _: KrakenCredentials("key", SECRET, simulator.base_url, "unlimited"),
            clock=lambda: self.now,
        )

    def happen(self, kind: str, **fields: str) -> dict[str, Any]:
        """Let something happen at the exchange, and tell what it answered."""
        told: dict[str, Any] = self.control.post("accounts/desk/events", {"kind": kind, **fields})
        return told

    def look(self) -> dict[str, Any]:
        """Reconcile at the next quarter of an hour and return the run."""
        self.now += RUN_INTERVAL
        self.control.post("clock", {"mode": "virtual", "now": str(int(self.now.timestamp()))})
        self.sync_again(ports=self.wiring.sync_ports())
        run = self.run()
        assert run["status"] == "succeeded", run["error"]
        return run

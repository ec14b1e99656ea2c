"""Real books on the simulator: recorded accounts, and a database that follows one of them tick by tick."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from desks.logins import as_writer
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.ledger.asset_names import parse_kraken_code
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.intervals import Interval
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from conftest import Simulator
    from kraken_recon.accounts.account import Account

TICK_SECONDS = 900
SOUND_EXPORTS = (
    "guillevc__satfolio/overlap_a_subset.csv",
    "AlexanderLill__PP-Crypto-Parser/kraken_withdrawal.csv",
    "Donearm__ledger/readme_ledgers.csv",
)


@dataclass
class Replay:
    """One simulated account with a clock of its own, and the database that follows it."""

    simulator: Simulator
    database_url: str
    name: str
    api_key: str
    api_secret: str

    def __post_init__(self) -> None:
        self.wiring = Wiring(as_writer(self.database_url), self._credentials, "replay", clock=self._now)
        self.engine = self.wiring.engine()
        with self.engine.begin() as connection:
            connection.execute(
                sa.text("insert into trading.accounts (name, kraken_conn_id) values (:name, :name)"),
                {"name": self.name},
            )

    def _credentials(self, _: Account) -> KrakenCredentials:
        return KrakenCredentials(self.api_key, self.api_secret, self.simulator.base_url, "unlimited")

    def _now(self) -> datetime:
        now = self.simulator.control.get("clock", account=self.name)["now"]
        return datetime.fromtimestamp(float(now), tz=UTC)

    def tick(self, end: int) -> UUID:
        """Move the account's clock to the end of an interval and reconcile."""
        self.simulator.control.post("clock", {"account": self.name, "mode": "virtual", "now": str(end)})
        moment = datetime.fromtimestamp(end, tz=UTC)
        request = SyncRequest(
            Interval(moment - timedelta(seconds=TICK_SECONDS), moment), Mode.REPAIR, Policy(), "replay"
        )
        with UnitOfWork(self.engine) as unit:
            accounts = AccountStore(unit).find_accounts([self.name])
        return sync_accounts(accounts, request, self.wiring.sync_ports())[0]

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(query), values).mappings()]

    def run(self, run_id: UUID) -> dict[str, Any]:
        return self.rows("select * from trading.reconciliation_runs where run_id = :run", run=run_id)[0]

    def positions(self) -> dict[HoldingKey, Decimal]:
        found = self.rows("select asset, wallet, quantity from trading.positions where quantity <> 0")
        return {HoldingKey(row["asset"], row["wallet"]): row["quantity"] for row in found}


def quarter_after(seconds: Decimal) -> int:
    return math.ceil(seconds / TICK_SECONDS) * TICK_SECONDS


def truth(entries: list[dict[str, Any]], until: int | Decimal) -> dict[HoldingKey, Decimal]:
    """Read the running balances on file: the newest of each asset, or what came before its first entry."""
    balances: dict[HoldingKey, Decimal] = {}
    for entry in entries:
        key = parse_kraken_code(entry["asset"])
        balance = Decimal(entry["balance"])
        if Decimal(str(entry["time"])) <= until:
            balances[key] = balance
        elif key not in balances:
            balances[key] = balance - Decimal(entry["amount"]) + Decimal(entry["fee"])
    return {key: balance for key, balance in balances.items() if balance}


def recorded_entries(kraken_data_dir: Path, recording: str) -> list[dict[str, Any]]:
    """Read a recording's ledger, oldest first, without going through any of our parsers."""
    if recording == "shideneyu":
        file = kraken_data_dir / "shideneyu__kraken_client/cassettes/ledgers.json"
        ledger = json.loads(file.read_text(), parse_float=Decimal)[0]["response"]["json"]["result"]["ledger"]
        return sorted(ledger.values(), key=lambda row: row["time"])
    with (kraken_data_dir / "zhaow-de__zcrypto-kraken/window-1-ledgers.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["txid"]]
    for row in rows:
        row["time"] = str(datetime.fromisoformat(row["time"] + "+00:00").timestamp())
        row["asset"] += ".B" if row["wallet"] == "earn / bonded" else ".F" if "earn" in row["wallet"] else ""
    return _in_chain_order(rows)


def _in_chain_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let the balance decide between rows of the same second."""
    balances: dict[str, Decimal] = {}
    ordered, waiting = [], list(rows)
    while waiting:
        row = next(
            row
            for row in waiting
            if row["time"] == waiting[0]["time"]
            and Decimal(row["balance"]) - Decimal(row["amount"]) + Decimal(row["fee"])
            == balances.get(row["asset"], Decimal(0))
        )
        balances[row["asset"]] = Decimal(row["balance"])
        ordered.append(row)
        waiting.remove(row)
    return ordered


def export_as_account(simulator: Simulator, file: Path) -> dict[str, Any]:
    """Load a CSV export into the simulator, balances as they stand in the file."""
    with file.open(newline="") as handle:
        rows = [
            row for row in csv.DictReader(handle, skipinitialspace=True) if row["txid"] and row["balance"]
        ]
    account = {"name": "export", "api_key": "export-key", "api_secret": "c2VjcmV0", "tier": "unlimited"}
    seen: set[str] = set()
    for row in rows:
        # Invented files repeat ids, which Kraken's replies (maps by id) can't.
        row["txid"] += f"-line-{rows.index(row) + 2}" if row["txid"] in seen else ""
        seen.add(row["txid"])
    shaped = [
        {
            "id": row["txid"],
            "refid": row["refid"],
            "time": str(int(datetime.fromisoformat(row["time"] + "+00:00").timestamp())),
            "type": row["type"],
            "subtype": row.get("subtype") or "",
            "aclass": row["aclass"],
            "asset": row["asset"],
            "amount": row["amount"],
            "fee": row["fee"],
            "balance": row["balance"],
        }
        for row in rows
    ]
    simulator.control.post("accounts", {**account, "entries": shaped})
    return {**account, "rows": shaped}

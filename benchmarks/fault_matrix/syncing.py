"""``position_sync``: an account with news, its neighbour without."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Final

from benchmarks.fault_matrix.scene import MINUTE, NAMES, OPENING, ZERO, Scene, UnexpectedError
from kraken_recon.errors import PlanRefusedError
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncPorts, SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.repairs.accepting import ALL, accept
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from uuid import UUID

FUNDING: Final = frozenset({"deposits", "withdrawals"})
#: More rows than fit on a page.
PAGED_ROWS: Final = 56
RUNS: Final = """
select status, error, note from trading.reconciliation_runs where run_id = any(%s) and account_id = any(%s)
"""
DIFFERENCES: Final = (
    "select distinct action from trading.discrepancies where run_id = any(%s) and account_id = %s"
)
QUIET_ACTIONS: Final = frozenset({"applied"})
RECORDED: Final = """
select ledger_id, amount, fee, balance from trading.ledger_entries where account_id = %s
"""


@dataclass
class Syncing(Scene):
    """Both accounts are reconciled, quarter of an hour by quarter of an hour."""

    job: ClassVar = "position_sync"
    run_ids: list[UUID] = field(default_factory=list)
    pending: str = ""

    def prepare(self) -> None:
        """Open the accounts, and let things happen before, between and after the runs."""
        is_written_before = not (self.planted or self.endpoint in {"OpenPositions", *FUNDING})
        rows = happenings(self.lane.now.timestamp(), PAGED_ROWS if self.is_paged else 0)
        self.open(entries=rows if is_written_before else [])
        self.run()
        if self.planted:
            self.planted()
            self.event("manual_order", pair="XBTUSD", volume="0.1")
        if self.endpoint == "OpenPositions":
            self.event("margin_open", pair="XBTUSD", volume="0.1", price="50000", leverage=2)
        if self.endpoint in FUNDING:
            self.event("deposit", asset="ZUSD", amount="70")
            told = self.event("withdrawal_pending", asset="XETH", amount="3", ledger_row="when_done")
            self.pending = told["refid"]

    def run(self) -> set[str]:
        """Reconcile both at the next quarter of an hour."""
        self.run_ids = reconcile(self)
        return self.told()

    def recover(self) -> set[str]:
        """Let what was under way arrive, then reconcile."""
        if self.pending:
            self.event("withdrawal_done", refid=self.pending)
            self.pending = ""
        return self.run()

    def decide_by_hand(self) -> bool:
        """Accept what Kraken tells now of entries that were recorded otherwise."""
        [account] = self.lane.accounts(self.struck)
        try:
            accept(account, [ALL], "Ann", "Kraken's own page shows it so", ports_of(self))
        except PlanRefusedError:
            return False
        return True

    def told(self) -> set[str]:
        """Say what the run's rows and the open alerts say.

        Raises:
            UnexpectedError: a run failed for a reason that nobody foresaw.
        """
        told = self.alerts()
        for row in self.lane.rows(RUNS, self.run_ids, list(self.account_ids.values())):
            if row["error"] and "unexpected" in row["error"].lower():
                raise UnexpectedError(row["error"])
            if row["status"] != "succeeded":
                told.add(f"run {row['status']}: {(row['error'] or '').partition(':')[0]}".rstrip(": "))
            elif row["note"]:
                told.add("note")
        found = self.lane.rows(DIFFERENCES, self.run_ids, self.struck_id)
        told |= {f"difference {row['action']}" for row in found if row["action"] not in QUIET_ACTIONS}
        return told

    def unfinished(self) -> list[str]:
        """Compare both accounts with the truth; a struck one may be seen as of an earlier moment."""
        return self.unfinished_of_struck() + self.differing(self.neighbour)

    def unfinished_of_struck(self) -> list[str]:
        """Compare the struck account with the truth of now and of earlier."""
        differing = self.differing(self.struck)
        return [] if differing and self.positions(self.struck) in self.earlier() else differing

    def left(self) -> list[str]:
        """Say what is not yet as it is now."""
        return self.differing(self.struck) + super().left()

    def earlier(self) -> list[dict[str, Decimal]]:
        """Work out what the account really had after each row since it was opened."""
        held = {NAMES[code]: Decimal(amount) for code, amount in OPENING.items()}
        states = [dict(held)]
        for row in self.lane.statement(self.struck)["ledger"]:
            asset = NAMES.get(row["asset"], row["asset"])
            held[asset] = held.get(asset, ZERO) + Decimal(row["amount"]) - Decimal(row["fee"])
            states.append({name: amount for name, amount in held.items() if amount})
        return states

    def wrong(self) -> list[str]:
        """Besides: no entry is recorded that never was, or otherwise than it was."""
        found = super().wrong()
        for name, account_id in self.account_ids.items():
            true = {
                row["id"]: tuple(Decimal(row[part]) for part in ("amount", "fee", "balance"))
                for row in self.lane.statement(name)["ledger"]
            }
            found += [
                f"{name}: entry {row['ledger_id']} is recorded as {row['amount']}, {row['fee']}"
                for row in self.lane.rows(RECORDED, account_id)
                if true.get(row["ledger_id"]) != (row["amount"], row["fee"], row["balance"])
            ]
        return found


def ports_of(scene: Scene) -> SyncPorts:
    """Give a sync its outside world."""
    return SyncPorts(scene.lane.unit_of_work, scene.lane.open_exchange, scene.lane.clock, lambda _: None)


def reconcile(scene: Scene) -> list[UUID]:
    """Reconcile a cell's accounts at the next quarter of an hour, as a task does."""
    scene.lane.advance(RUN_INTERVAL.total_seconds())
    now = scene.lane.now
    request = SyncRequest(Interval(now - RUN_INTERVAL, now), Mode.REPAIR, Policy(), concurrency=2)
    return sync_accounts(scene.lane.accounts(*scene.account_ids), request, ports_of(scene))


def happenings(begun: float, rows: int) -> list[dict[str, str]]:
    """Write the rows of a ledger for the time to come: some before each of the first runs."""

    def row(  # noqa: PLR0913, PLR0917 - the fields of a row
        minutes: float, kind: str, asset: str, amount: str, fee: str = "0", refid: str = ""
    ) -> dict[str, str]:
        at = f"{begun + minutes * MINUTE:.4f}"
        return {
            "refid": refid or f"R-{at}-{asset}",
            "time": at,
            "type": kind,
            "subtype": "tradespot" if kind == "trade" else "",
            "asset": asset,
            "amount": amount,
            "fee": fee,
        }

    def bought(minutes: float, volume: str, cost: str, fee: str) -> list[dict[str, str]]:
        trade = f"T-{minutes}"
        return [
            row(minutes, "trade", "ZUSD", f"-{cost}", fee, trade),
            row(minutes, "trade", "XXBT", volume, "0", trade),
        ]

    pages = [one for n in range(rows // 2) for one in bought(15.5 + n / 10, "0.01", "500", "1.25")]
    return [
        *pages,
        row(20, "deposit", "ZUSD", "5000"),
        *bought(21, "0.1", "5000", "13"),
        row(22, "withdrawal", "XETH", "-2", "0.005"),
        row(23, "staking", "XETH", "0.01"),
        row(36, "deposit", "XXBT", "0.5"),
        *bought(37, "0.02", "1000", "2.6"),
        row(52, "deposit", "XETH", "1.5"),
        row(66, "withdrawal", "ZUSD", "-700", "5"),
    ]

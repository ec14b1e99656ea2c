"""``order_execution`` and ``order_verification``: orders placed, filled, amended, canceled, and verified."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchmarks.fault_matrix.scene import ZERO, Scene, UnexpectedError
from benchmarks.fault_matrix.syncing import reconcile
from kraken_recon.errors import KrakenReconError
from kraken_recon.kraken.order_reading_client import MarketCache
from kraken_recon.orders.changing import amend_order, cancel_order
from kraken_recon.orders.deciding import submit_decision
from kraken_recon.orders.exchange import DEFAULTS, OrderPorts
from kraken_recon.orders.executing import execute_orders
from kraken_recon.verification.run import VerifyingPorts, VerifyingRules
from kraken_recon.verification.verifying import claim_orders, new_token, verify_claimed

if TYPE_CHECKING:
    from collections.abc import Callable

    from kraken_recon.orders.rules.order import Order

#: Of one account in turn; its neighbour decides the first alone.
DECISIONS: Final[tuple[dict[str, str], ...]] = (
    {"pair": "BTC/USD", "side": "buy", "volume": "0.1", "expected_price": "50000"},
    {"pair": "ETH/USD", "side": "sell", "type": "limit", "volume": "2", "limit_price": "3000"},
    {"pair": "BTC/USD", "side": "buy", "type": "limit", "volume": "0.5", "limit_price": "30000"},
)
AMENDED_PRICE: Final = Decimal(31000)
FILLED_AT: Final = {"XETHZUSD": "3000"}
STEP_SECONDS: Final = 20
SETTLED: Final = "ended_at is not null and settled_at is not null"
ORDERS: Final = f"""
select order_id, account_id, source, status, kraken_txid, volume_executed, limit_price, side,
  ({SETTLED}) or status in ('refused', 'not_placed', 'rejected') as is_over
from trading.orders where account_id = any(%s) order by order_id
"""
IN_DOUBT: Final = frozenset({"submitting", "unknown", "refused", "not_placed", "rejected"})


@dataclass
class Trading(Scene):
    """What both jobs about orders need."""

    failures: dict[str, str] = field(default_factory=dict)

    @property
    def ports(self) -> OrderPorts:
        """The outside world of orders."""
        return OrderPorts(
            self.lane.unit_of_work,
            self.lane.open_exchange,
            self.lane.clock,
            self.lane.advance,
            worker="matrix",
        )

    def decide(self, account: str, number: int) -> int:
        """Keep a decision, as a bot does."""
        values = {"account": account, **DECISIONS[number]}
        return submit_decision(values, self.ports, key=f"{account}:{number}", via="row")

    def execute(self) -> None:
        """Run one execution.

        Raises:
            UnexpectedError: an account failed for a reason that nobody foresaw.
        """
        self.lane.markets = MarketCache()  # each run reads them for itself
        settings = replace(DEFAULTS, follow_passes=1)
        self.failures = dict(execute_orders(self.ports, settings).failures)
        for reason in self.failures.values():
            if reason.startswith("unexpected"):
                raise UnexpectedError(reason)

    def orders(self, *, with_found: bool = False) -> list[dict[str, Any]]:
        """Read the orders that come from decisions, and those that were found at the exchange."""
        rows = self.lane.rows(ORDERS, list(self.account_ids.values()))
        return [row for row in rows if with_found or row["source"] != "external"]

    def true_orders(self, name: str) -> list[dict[str, Any]]:
        """Read what the exchange has of them."""
        orders: list[dict[str, Any]] = self.lane.statement(name)["orders"]
        return orders

    def wrong(self) -> list[str]:
        """Besides: an order is there once, and what was executed of it is not more than in truth."""
        found = super().wrong()
        of_account = Counter(row["account_id"] for row in self.orders())
        for name, account_id in self.account_ids.items():
            true = self.true_orders(name)
            if len(true) > of_account[account_id]:
                found.append(
                    f"{name}: {len(true)} orders at the exchange of {of_account[account_id]} decided"
                )
            executed = {order["txid"]: Decimal(order["executed"]) for order in true}
            found += [
                f"order {row['order_id']} is recorded with {row['volume_executed']} executed"
                for row in self.orders()
                if row["account_id"] == account_id
                and row["volume_executed"] > executed.get(row["kraken_txid"], ZERO)
            ]
        return found


@dataclass
class Executing(Trading):
    """Three orders of the struck account, one of its neighbour: placed, filled, amended and canceled."""

    job: ClassVar = "order_execution"
    recovery_runs_max: ClassVar = 40
    runs: int = 0

    def prepare(self) -> None:
        """Let both accounts decide; nothing is placed yet."""
        self.open()
        reconcile(self)
        self.lane.control("POST", "prices", {"XXBTZUSD": "50000", "XETHZUSD": "2500"})
        for number in range(len(DECISIONS)):
            self.decide(self.struck, number)
        self.decide(self.neighbour, 0)
        if self.planted:
            self.planted()

    def run(self) -> set[str]:
        """Execute; between the first runs the market moves, and a person amends and cancels."""
        told: set[str] = set()
        if self.runs == 1:
            self.lane.control("POST", "prices", FILLED_AT)
            told |= self.change(lambda order, ports: amend_order(order, ports, limit_price=AMENDED_PRICE))
            told |= self.change(cancel_order)
        self.runs += 1
        self.lane.advance(STEP_SECONDS)
        self.execute()
        told |= {f"pass: {reason.partition(':')[0]}" for reason in self.failures.values()}
        told |= {f"order {row['status']}" for row in self.orders() if row["status"] in IN_DOUBT}
        return told | self.alerts()

    def change(self, change: Callable[[int, OrderPorts], Order]) -> set[str]:
        """Let a person change the last order, where it is open."""
        open_ones = [
            row for row in self.orders() if row["status"] == "open" and row["limit_price"] is not None
        ]
        of_last = [row for row in open_ones if row["side"] == "buy"]
        try:
            for row in of_last:
                change(row["order_id"], self.ports)
        except KrakenReconError as error:
            return {f"command: {type(error).__name__}"}
        return set()

    def recover(self) -> set[str]:
        """Execute on, and reconcile; a person whose cancellation was refused asks again."""
        told = self.run()
        told |= self.change(cancel_order) if self.runs > 2 else set()
        if all(row["is_over"] for row in self.orders()):
            reconcile(self)
        return told

    def unfinished(self) -> list[str]:
        """Compare what is recorded of each order that is over with what it is at the exchange."""
        found = []
        for name, account_id in self.account_ids.items():
            known = {
                row["kraken_txid"]: row
                for row in self.orders(with_found=True)
                if row["account_id"] == account_id
            }
            for order in self.true_orders(name):
                row = known.get(order["txid"])
                executed = Decimal(order["executed"])
                if row is None:
                    found.append(f"order {order['txid']} is not known to be at the exchange")
                elif row["is_over"] and row["volume_executed"] != executed:
                    found.append(
                        f"order {row['order_id']} executed {executed}, recorded {row['volume_executed']}"
                    )
        return found

    def left(self) -> list[str]:
        """Every order is over, and both accounts' positions are what they really have."""
        left = [row for row in self.orders() if not row["is_over"]]
        if self.planted and "alert order_unknown" in self.alerts():
            # Another account's rows may be of this order: nobody but a person can tell, and one is told.
            left = [row for row in left if row["status"] != "unknown"]
        waiting = [f"order {row['order_id']} is {row['status']}" for row in left]
        decided = self.lane.rows(
            "select decision_id from trading.order_decisions"
            " where status = 'new' and payload->>'account' = any(%s)",
            list(self.account_ids),
        )
        waiting += [f"decision {row['decision_id']} is not judged" for row in decided]
        if not waiting and not self.planted:
            waiting = self.differing(self.struck) + self.differing(self.neighbour)
        return waiting + super().left()


@dataclass
class Verifying(Trading):
    """An order of each account that ended well, to be verified against every book."""

    job: ClassVar = "order_verification"
    recovery_runs_max: ClassVar = 40
    rules: VerifyingRules = field(default_factory=VerifyingRules)

    def prepare(self) -> None:
        """Place an order of each account and follow it to its end."""
        self.open()
        reconcile(self)
        self.lane.control("POST", "prices", {"XXBTZUSD": "50000", "XETHZUSD": "2500"})
        self.decide(self.struck, 0)
        self.decide(self.neighbour, 0)
        if self.planted:
            self.planted()
        self.execute()

    def run(self) -> set[str]:
        """Verify what is due, once."""
        self.lane.advance(STEP_SECONDS)
        ports = VerifyingPorts(self.lane.unit_of_work, self.lane.open_exchange, self.lane.clock)
        token = new_token("matrix")
        claim_orders(ports, self.rules, token)
        done = verify_claimed(ports, self.rules, token)
        told = {f"not written: {reason}" for reason in done.failures.values()}
        for row in self.verdicts():
            if "unexpected" in (row["message"] or ""):
                raise UnexpectedError(row["message"])
            if row["verdict"] not in {None, "verified"}:
                told.add(f"verdict {row['verdict']}")
        return told | self.alerts()

    def recover(self) -> set[str]:
        """Verify on, after a while; orders are followed meanwhile, as they always are."""
        self.lane.advance(5 * STEP_SECONDS)
        self.execute()
        return self.run()

    def verdicts(self) -> list[dict[str, Any]]:
        """Read what came of the verification."""
        return self.lane.rows(
            "select o.order_id, o.account_id, v.verdict, v.message, v.failed_levels from trading.orders o"
            " left join trading.order_verifications v using (order_id)"
            " where o.account_id = any(%s) and o.source <> 'external'",
            list(self.account_ids.values()),
        )

    def unfinished(self) -> list[str]:
        """A verdict that is not final says nothing wrong."""
        return []

    def left(self) -> list[str]:
        """Say which orders have no final verdict."""
        final = {"verified", "mismatch"}
        if self.planted and "alert verification_inconclusive" in self.alerts():
            final.add("inconclusive")  # its books lack it for good; a person is told
        if self.planted and "alert order_unknown" in self.alerts():
            final.add(None)  # another account's rows may be of this order: only a person can tell
        return [
            f"order {row['order_id']} is {row['verdict']}: {row['message']}"
            for row in self.verdicts()
            if row["verdict"] not in final
        ] + super().left()

    def wrong(self) -> list[str]:
        """Besides: no final verdict is false, as far as the books that were shown tell."""
        if self.is_contradicted:
            return super().wrong()
        false = {self.struck_id: "verified" if self.planted else "mismatch"}
        return super().wrong() + [
            f"order {row['order_id']} is {row['verdict']}: {row['failed_levels']} {row['message']}"
            for row in self.verdicts()
            if row["verdict"] == false.get(row["account_id"], "mismatch")
        ]

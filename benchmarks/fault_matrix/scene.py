"""What every job of the matrix has in common: two accounts, what people are told, and what must be true.

The struck account is the one that faults are aimed at; its neighbour lives beside it in every pass, and is to
notice as little as can be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final

from kraken_recon.errors import KrakenReconError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from benchmarks.fault_matrix.lane import Lane

ZERO: Final = Decimal(0)
OPENING: Final = {"XXBT": "10", "XETH": "100", "ZUSD": "1000000"}
#: The simulator's codes of what is held here, by our names; written out, so as to share no code.
NAMES: Final = {"XXBT": "BTC", "XETH": "ETH", "ZUSD": "USD"}
MINUTE: Final = 60
TOLD_ALERTS: Final = """
select kind, account_id from trading.alerts
where status <> 'resolved' and (account_id = any(%s) or account_id is null)
"""
#: What a run ends that works again; all other alerts wait for a person.
ENDED_BY_RUNS: Final = frozenset(
    f"alert {kind}"
    for kind in (
        *("sync_failure", "ledger_incomplete", "held_repair", "repair_not_converging"),
        *("order_execution_failure", "stale_positions", "desk_difference", "desk_book_unreadable"),
    )
)
UNCONNECTED_EVENTS: Final = """
select asset, wallet from (
  select asset, wallet, quantity_before,
    coalesce(lag(quantity_after) over (partition by asset, wallet order by event_id), 0) as expected
  from trading.position_events where account_id = %s
) as chained where quantity_before <> expected
"""
UNMATCHED_POSITIONS: Final = """
select asset, wallet, quantity, coalesce(total, 0) as total
from (select asset, wallet, quantity from trading.positions where account_id = %(account)s) as p
full join (
  select asset, wallet, sum(quantity_after - quantity_before) as total
  from trading.position_events where account_id = %(account)s group by 1, 2
) as e using (asset, wallet)
where quantity is distinct from coalesce(total, 0)
"""


class UnexpectedError(Exception):
    """The job hid a defect behind a general message."""


@dataclass
class Scene(ABC):
    """One job over the two accounts.

    Attributes:
        lane: where it is played.
        name: of this cell's accounts, apart from all others.
        dice: seeded with the cell, so that the same cell is played alike again.
        endpoint: the endpoint that the fault strikes; a scene sees to it that the job asks it.
        is_paged: whether histories need more than one page.
        met: how often the job met a fault of its own input.
        is_contradicted: whether books are shown that can be read and contradict each other.
        planted: sets a fault after which the books contradict themselves for good.
    """

    job: ClassVar[str]
    recovery_runs_max: ClassVar[int] = 4

    lane: Lane
    name: str
    dice: random.Random
    endpoint: str = ""
    is_paged: bool = False
    planted: Callable[[], None] | None = None
    account_ids: dict[str, int] = field(default_factory=dict)
    met: int = 0
    is_contradicted: bool = False
    spoiled: tuple[str, Mapping[str, Any]] | None = None

    @property
    def struck(self) -> str:
        """Name the account that faults are aimed at."""
        return f"struck-{self.name}"

    @property
    def neighbour(self) -> str:
        """Name the account beside it."""
        return f"neighbour-{self.name}"

    @property
    def struck_id(self) -> int:
        """Its number in the database."""
        return self.account_ids[self.struck]

    @abstractmethod
    def prepare(self) -> None:
        """Bring both accounts to where the job has work to do."""

    @abstractmethod
    def run(self) -> set[str]:
        """Run the job once, and say in few words what it told."""

    @abstractmethod
    def unfinished(self) -> list[str]:
        """Say what is not yet as it is in truth; every word of it has to be told."""

    def recover(self) -> set[str]:
        """Run the job once after the fault, as the next scheduled run or a person would."""
        return self.run()

    def decide_by_hand(self) -> bool:
        """Let a person do what a run that goes on failing advises; tell whether there was something to do."""
        return False

    def left(self) -> list[str]:
        """Say what the next runs still have to bring back: the books, and the end of alerts about runs."""
        open_alerts = sorted(self.alerts() & ENDED_BY_RUNS)
        return self.unfinished() + [f"{alert} is still open" for alert in open_alerts]

    def wrong(self) -> list[str]:
        """Say what may never be, whatever the exchange answers."""
        found = []
        for name, account_id in self.account_ids.items():
            found += [
                f"{name}: events of {row['asset']} do not connect"
                for row in self.lane.rows(UNCONNECTED_EVENTS, account_id)
            ]
            with self.lane.engine.connect() as connection:
                unmatched = connection.exec_driver_sql(UNMATCHED_POSITIONS, {"account": account_id}).all()
            found += [f"{name}: {row[0]} is {row[2]}, its events come to {row[3]}" for row in unmatched]
        return found

    def guarded(self, run: Callable[[], set[str]]) -> set[str]:
        """Run the job; an error of the project's is told by its kind, any other is not survived."""
        try:
            return run()
        except KrakenReconError as error:
            return {type(error).__name__}

    def spoil_input(self, kind: str, options: Mapping[str, Any]) -> None:
        """Spoil what the job is given from elsewhere than Kraken."""
        self.spoiled = kind, options

    def mend_input(self) -> None:
        """Give it from now on as it is in truth."""
        self.spoiled = None

    def close(self) -> None:
        """End what the scene has opened."""
        self.account_ids.clear()

    def open(
        self, opening: dict[str, str] | None = None, entries: list[dict[str, str]] | None = None
    ) -> None:
        """Open both accounts; the neighbour has the same opening and nothing happens to it."""
        given = opening or OPENING
        self.account_ids[self.struck] = self.lane.account(self.struck, given, entries)
        self.account_ids[self.neighbour] = self.lane.account(self.neighbour, given)

    def alerts(self) -> set[str]:
        """Name the kinds of alerts that are open."""
        return {
            f"alert {row['kind']}" for row in self.lane.rows(TOLD_ALERTS, list(self.account_ids.values()))
        }

    def truth(self, name: str) -> dict[str, Decimal]:
        """Read what an account really has."""
        balances = self.lane.statement(name)["balances"]
        return {
            NAMES.get(code, code): Decimal(amount) for code, amount in balances.items() if Decimal(amount)
        }

    def positions(self, name: str) -> dict[str, Decimal]:
        """Read what is recorded of an account, over all wallets."""
        found: Counter[str] = Counter()
        for row in self.lane.rows(
            "select asset, quantity from trading.positions where account_id = %s and quantity <> 0",
            self.account_ids[name],
        ):
            found[row["asset"]] += row["quantity"]
        return dict(found)

    def differing(self, name: str) -> list[str]:
        """Say in which assets recorded positions differ from the truth."""
        truth, recorded = self.truth(name), self.positions(name)
        return [
            f"{name.partition('-')[0]}: {asset} is {truth.get(asset, ZERO)},"
            f" recorded {recorded.get(asset, ZERO)}"
            for asset in sorted({*truth, *recorded})
            if truth.get(asset, ZERO) != recorded.get(asset, ZERO)
        ]

    def event(self, kind: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the event takes
        """Let something happen to the struck account."""
        told: dict[str, Any] = self.lane.control(
            "POST", f"accounts/{self.struck}/events", {"kind": kind, **fields}
        )
        return told

"""What is looked at while the soak goes on: after each round what grows, after each day what must agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import psycopg
import requests

from benchmarks.soak.desk import TRADER, beside, connections, held
from local_stack.exchange import STAGED_WRONG_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from benchmarks.soak.workers import Worker
    from local_stack.exchange import Exchange

PROOFS: Final = """
select name, proven_at from trading.accounts left join trading.newest_proofs using (account_id)
where is_active
"""
TABLES: Final = """
select relname, pg_total_relation_size(relid) from pg_stat_user_tables where schemaname = 'trading'
"""
POSITIONS: Final = """
select name, asset, sum(quantity) from trading.positions join trading.accounts using (account_id)
group by name, asset having sum(quantity) <> 0
"""
ORDERS: Final = "select cl_ord_id, kraken_txid, status from trading.orders where cl_ord_id is not null"
ENTRIES: Final = (
    "select ledger_id from trading.ledger_entries join trading.accounts using (account_id) where name = %s"
)
DESK_ROWS: Final = """
select symbol, quantity from positions where quantity <> 0
union all select 'USD', current_cash from accounts where current_cash <> 0
"""

DESK_TOLD: Final = """
select asset from trading.desk_differences
where action = 'held' and run_id = (select run_id from trading.desk_book_runs order by read_at desc limit 1)
"""
ZERO: Final = Decimal(0)
# The bot rounds each change to eight digits, and the product lets it.
ROUNDED: Final = Decimal("0.00001")


@dataclass(frozen=True, slots=True)
class Round:
    """What was there after a round.

    Attributes:
        oldest_proof_rounds: of the accounts that can be proved, the one that waits longest.
        unproven: how many accounts waited longer than this round.
        memory_bytes: the largest worker.
        log_bytes: what the runs of this round said.
    """

    number: int
    oldest_proof_rounds: int
    unproven: int
    connections: int
    memory_bytes: int
    log_bytes: int


@dataclass(frozen=True, slots=True)
class Day:
    """What was there after a day, when everything was at rest and the exchange answered.

    Attributes:
        connections_left: sessions that somebody forgot.
        silent: accounts that are called proven although an asset differs from what the exchange has.
        told: accounts that are not called proven.
        orders_doubled: client order ids that are on the exchange more than once.
        orders_lost: orders on the exchange that no row knows, or rows of orders that are not there.
        entries_invented: ledger entries in the books that the exchange never wrote.
        desk_silent: symbols of the desk book that are not what is proven, and no row says so.
        desk_told: those that wait for somebody, because the same write did not last before.
        table_bytes: by table, indexes included.
    """

    day: int
    connections_left: list[str]
    silent: list[str]
    told: list[str]
    orders: int
    orders_doubled: list[str]
    orders_lost: list[str]
    entries: int
    entries_invented: list[str]
    desk_silent: list[str]
    desk_told: list[str]
    table_bytes: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is lost, doubled, invented, forgotten or silently wrong."""
        return not any(
            (
                self.connections_left,
                self.silent,
                self.orders_doubled,
                self.orders_lost,
                self.entries_invented,
                self.desk_silent,
            )
        )


@dataclass
class Watch:
    """Looks at a soaked desk from outside, and keeps what it saw."""

    url: str
    market: Exchange
    log: Path
    rounds: list[Round] = field(default_factory=list)
    days: list[Day] = field(default_factory=list)
    proofs: dict[str, tuple[datetime | None, int]] = field(default_factory=dict)

    def after_round(self, workers: Sequence[Worker], connections_at_most: int) -> None:
        """Look at what grows."""
        number = len(self.rounds) + 1
        with psycopg.connect(self.url) as connection:
            for name, proven_at in connection.execute(PROOFS):
                known, since = self.proofs.get(name, (None, 0))
                self.proofs[name] = (proven_at, number if proven_at != known else since)
        ages = [number - since for name, (_, since) in self.proofs.items() if name != STAGED_WRONG_KEY]
        said = self.log.stat().st_size if self.log.exists() else 0
        if said:
            # The workers append, so that their next line begins at the new end.
            self.log.write_bytes(b"")
        memory = max(worker.memory_bytes for worker in workers)
        unproven = sum(age > 0 for age in ages)
        self.rounds.append(Round(number, max(ages), unproven, connections_at_most, memory, said))

    def after_day(self, since: datetime) -> Day:
        """Compare everything with the exchange's own truth; ``since`` is when the last sync began."""
        truth = requests.get(f"{self.market.base_url}/_sim/truth", timeout=60).json()["accounts"]
        with psycopg.connect(self.url) as connection:
            proven = {name for name, at in connection.execute(PROOFS) if at is not None and at >= since}
            books: dict[str, dict[str, Decimal]] = {name: {} for name in truth}
            for name, asset, quantity in connection.execute(POSITIONS):
                books[name][asset] = quantity
            known = {name: {row[0] for row in connection.execute(ENTRIES, [name])} for name in truth}
            rows = connection.execute(ORDERS).fetchall()
            sizes: dict[str, int] = dict(connection.execute(TABLES).fetchall())
        at_kraken = [order for order in truth[TRADER]["orders"] if order["cl_ord_id"]]
        ids = [order["cl_ord_id"] for order in at_kraken]
        placed = {cl_ord_id for cl_ord_id, txid, _ in rows if txid}
        written = {name: self._entries(name) for name in truth}
        desk_silent, desk_told = self._desk_differences(books)
        day = Day(
            day=len(self.days) + 1,
            connections_left=connections(self.url),
            silent=[name for name in sorted(proven) if books[name] != held(truth[name]["balances"])],
            told=sorted(set(truth) - proven),
            orders=len(rows),
            orders_doubled=sorted({one for one in ids if ids.count(one) > 1}),
            orders_lost=sorted(set(ids) ^ placed),
            entries=sum(map(len, known.values())),
            entries_invented=sorted(one for name in truth for one in known[name] - written[name]),
            desk_silent=desk_silent,
            desk_told=desk_told,
            table_bytes=dict(sorted(sizes.items())),
        )
        self.days.append(day)
        return day

    def figures(self) -> dict[str, Any]:
        """Return all that was seen."""
        return {"rounds": [asdict(one) for one in self.rounds], "days": [asdict(day) for day in self.days]}

    def _entries(self, name: str) -> set[str]:
        statement = requests.get(f"{self.market.base_url}/_sim/accounts/{name}/statement", timeout=60).json()
        return {row["id"] for row in statement["ledger"]}

    def _desk_differences(self, books: dict[str, dict[str, Decimal]]) -> tuple[list[str], list[str]]:
        """Return the symbols that differ and of which nobody is told, and those that wait for somebody."""
        from demo_bot.__main__ import ACCOUNT  # noqa: PLC0415 - the product, which reads its settings

        with psycopg.connect(beside(self.url, "arena").url) as connection:
            rows: dict[str, Decimal] = dict(connection.execute(DESK_ROWS).fetchall())
        with psycopg.connect(self.url) as connection:
            told = {asset for (asset,) in connection.execute(DESK_TOLD)}
        proven = books[ACCOUNT]
        apart = {
            asset
            for asset in rows.keys() | proven.keys()
            if abs(rows.get(asset, ZERO) - proven.get(asset, ZERO)) > ROUNDED
        }
        return sorted(apart - told), sorted(apart & told)

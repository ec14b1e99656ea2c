"""A desk's table that is written: what would be decided about it, at a word, without a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from desks.desk_databases import make_arena
from desks.logins import as_writer
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.desk_books.address import address_from_environment
from kraken_recon.desk_books.declaring import parse_book
from kraken_recon.desk_books.diffing import DeskBookPorts
from kraken_recon.desk_books.row_store import read_book
from kraken_recon.desk_books.rules.compare import compare, terms_of_cash, terms_of_positions
from kraken_recon.desk_books.rules.judged import JudgedAccount
from kraken_recon.desk_books.rules.records import (
    Answer,
    DeskAction,
    Difference,
    Explained,
    Explanation,
)
from kraken_recon.desk_books.rules.writes import WriteTerms
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from uuid import UUID

    from desks.desk_databases import DeskDatabase
    from desks.fake_exchange import Desk
    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.rules.records import ComparedAsset

BOOK: Final = """
name: arena
connection: arena_db
accounts: {desk: 1}
positions:
  table: positions
  account: account_id
  asset: {column: symbol, also: {XBT: BTC}}
  quantity: quantity
  available: available_quantity
  average_cost: avg_cost
  only: {market: CRYPTO}
  write_back: update+insert+remove
  on_insert: {id: "500", version: v1, name: "{asset}", is_active: "true", updated_at: now}
  on_update: {updated_at: now}
cash: {table: accounts, account: id, currency: USD, quantity: current_cash, write_back: update}
"""
ZERO: Final = Decimal(0)
KNOWN: Final = ("BTC", "ETH", "SOL", "XRP", "USD")


@dataclass
class WrittenDesk:
    """A desk with one account that is proved, and its book in a database of its own."""

    ours: Desk
    database: DeskDatabase
    text: str = BOOK
    book: DeskBook = field(init=False)

    def __post_init__(self) -> None:
        # Sessions that end when they are let go, as the product's do: locks of theirs end with them.
        self.engine = create_engine(as_writer(self.ours.url))
        self.ours.account().add("USD", "1", entry_type="deposit")
        self.ours.sync()
        self.declare(self.text)

    def declare(self, text: str) -> None:
        """Declare the book anew."""
        book, problems = parse_book(text, "arena.yaml")
        assert book is not None, problems
        self.book = book

    def fill(self, **positions: Decimal) -> None:
        """Give the desk its tables, with these positions and a thousand of cash."""
        make_arena(self.database, positions, 1000)  # type: ignore[arg-type]

    @property
    def ports(self) -> DeskBookPorts:
        """The outside world of a write."""
        environment = {"AIRFLOW_CONN_ARENA_DB": self.database.variable}
        return DeskBookPorts(
            lambda: UnitOfWork(self.engine),
            lambda connection: address_from_environment(connection, environment),
            lambda _: KNOWN,
            utc_now,
        )

    def judge(
        self,
        proven: Mapping[str, Decimal] | None = None,
        *,
        owed: Mapping[str, Decimal] | None = None,
        held: Collection[str] = (),
        costs: Mapping[str, Decimal] | None = None,
        **given: Any,
    ) -> JudgedAccount:
        """Read the book and decide to write all that differs from what is proven, but what is held.

        ``owed`` says by how much the rows are wrong, instead of what is proven.
        """
        reading = read_book(self.ports.address_of("arena_db"), self.book, ["desk"])
        assert reading.positions is not None, reading.problems
        assert reading.cash is not None, reading.problems
        if proven is None:
            rows = {row.name: row.quantity or ZERO for row in reading.positions.rows["desk"]}
            proven = {name: held + (owed or {}).get(name, ZERO) for name, held in rows.items()}
            proven |= {"USD": Decimal(1000)}
        found = []
        terms = {}
        for read, part, meaning in (
            (
                reading.positions,
                self.book.positions,
                terms_of_positions(self.book, KNOWN, reading.positions.decimals),
            ),
            (reading.cash, self.book.cash, terms_of_cash(self.book, reading.cash.decimals)),
        ):
            assert part is not None
            own = {a: q for a, q in proven.items() if (a == "USD") == meaning.is_cash}
            found += compare(read.rows.get("desk", ()), own, meaning).differing
            terms[meaning.is_cash] = WriteTerms(
                part,
                read.decimals,
                reading.values["desk"],
                "USD",
                reading.read_at,
                meaning.names,
                average_costs=costs or {},
            )
        return JudgedAccount(
            self.book,
            self.ours.account_id(),
            self.ours.run()["run_id"],
            reading.read_at,
            decided(found, held),
            terms,
            **given,
        )

    def positions(self) -> dict[str, tuple[Any, ...]]:
        """Read the account's rows by symbol, quantities as text without zeros at the end."""
        with self.database.engine.connect() as session:
            rows = session.exec_driver_sql(
                "select symbol, quantity, available_quantity, avg_cost from positions"
                " where account_id = 1 and market = 'CRYPTO' order by id"
            )
            return {row[0]: tuple(None if v is None else f"{v:.8f}" for v in row[1:]) for row in rows}

    def writes(self) -> list[dict[str, Any]]:
        """Read what is on record of writes."""
        return self.ours.rows("select * from trading.desk_writes order by write_id")

    def plans(self) -> list[dict[str, Any]]:
        """Read the plans of the book."""
        return self.ours.rows("select * from trading.repair_plans where book = 'arena' order by created_at")

    def held_plan(self) -> UUID:
        """Name the plan that is held and open."""
        [plan] = [one for one in self.plans() if one["kind"] == "held" and one["closed_at"] is None]
        plan_id: UUID = plan["plan_id"]
        return plan_id


def decided(found: Iterable[ComparedAsset], held: Collection[str] = ()) -> tuple[Difference, ...]:
    """Decide to write all that differs, but what is held."""
    return tuple(_difference(one, held) for one in found)


def _difference(one: ComparedAsset, held: Collection[str]) -> Difference:
    action = DeskAction.UPDATE if one.proven or one.is_cash else DeskAction.REMOVE
    if not one.rows:
        action = DeskAction.INSERT
    if one.asset in held:
        action = DeskAction.HELD
    why = "several rows stand for it" if action is DeskAction.HELD else ""
    return Difference(one, Explained(Answer(Explanation.UNEXPLAINED)), action, why)

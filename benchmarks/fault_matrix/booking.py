"""Desk books: what ``position_sync`` proves is written into a bot's own tables."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from benchmarks.fault_matrix.lane import RETRIES, TIMEOUT_SECONDS
from benchmarks.fault_matrix.scene import MINUTE, OPENING, ZERO
from benchmarks.fault_matrix.syncing import Syncing, ports_of, reconcile
from demo_bot.tables import Table
from kraken_recon.database.unit_of_work import DRIVER
from kraken_recon.desk_books.address import DeskAddress, address_from_environment
from kraken_recon.desk_books.declaring import DeclaredBook, parse_book
from kraken_recon.desk_books.diffing import DeskBookPorts
from kraken_recon.desk_books.run import reconcile_book
from kraken_recon.holdings.pricing import ask_for_prices
from kraken_recon.kraken.client import KrakenClient
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.repairs.deciding import approve
from kraken_recon.repairs.desk_plans import DeskBooks

if TYPE_CHECKING:
    from collections.abc import Sequence

BOOK: Final = """
name: bot
connection: bot_db
accounts: {{{account}: 1}}
positions:
  table: positions
  account: account_id
  asset: symbol
  quantity: quantity
  only: {{market: CRYPTO}}
  holds: crypto
  write_back: update+insert+remove
  on_insert:
    {{id: "500", version: v1, name: "{{asset}}", is_active: "true", available_quantity: "0", updated_at: now}}
cash: {{table: accounts, account: id, currency: USD, quantity: current_cash, write_back: update}}
late_by: 0
"""
#: More assets than one, so that one write is few of them.
COINS: Final = {"ADA": "900", "DOT": "70", "ATOM": "60", "SOL": "50", "LINK": "40", "NEAR": "30"}
HELD: Final = """
select plan_id from trading.repair_plans
where account_id = %s and kind = 'held' and closed_at is null and book is not null
"""


@dataclass
class Booking(Syncing):
    """A bot that books nothing of what happens: its tables are kept right from here."""

    job: ClassVar = "desk_books"
    recovery_runs_max: ClassVar = 6
    told_by_book: set[str] = field(default_factory=set)

    def prepare(self) -> None:
        """Give the bot its tables, as proven, and let things happen of which it books nothing."""
        at = self.lane.now.timestamp()
        news = [(20, "XXBT", "0.5"), (36, "XETH", "1.5"), (52, "XXBT", "0.1"), (66, "ZUSD", "700")]
        rows = [
            {"refid": f"D-{n}", "time": f"{at + n * MINUTE:.4f}", "type": "deposit", "asset": a, "amount": m}
            for n, a, m in news
        ]
        self.open({**OPENING, **COINS}, [] if self.planted else rows)
        reconcile(self)
        self.desk = sa.create_engine(
            sa.make_url(self.lane.desk_url.replace("postgresql://", DRIVER, 1)), poolclass=sa.NullPool
        )
        Table.metadata.create_all(self.desk)
        proven = self.positions(self.struck)
        with self.desk.begin() as session:
            session.execute(sa.text("truncate accounts, positions"))
            session.execute(
                sa.text("insert into accounts values (1, 'bot', :cash)"), {"cash": proven.pop("USD")}
            )
            for number, (symbol, quantity) in enumerate(sorted(proven.items()), start=1):
                session.execute(
                    sa.text(
                        "insert into positions values"
                        " (:id, 1, :symbol, 'n', 'CRYPTO', 'v1', :quantity, 0, null, 'true', null)"
                    ),
                    {"id": number, "symbol": symbol, "quantity": quantity},
                )
        book, problems = parse_book(BOOK.format(account=self.struck), "bot.yaml")
        assert book is not None, problems
        self.book = DeclaredBook(Path("bot.yaml"), book)
        if self.planted:
            self.planted()
            self.event("manual_order", pair="XBTUSD", volume="0.1")

    def address(self, connection: str) -> DeskAddress:
        """Lead to the bot's database."""
        parts = urlsplit(self.lane.desk_url)
        fields = {
            "conn_type": "postgres",
            "host": parts.hostname,
            "port": parts.port,
            "login": parts.username,
            "password": unquote(parts.password or ""),
            "schema": parts.path.strip("/"),
        }
        return address_from_environment(connection, {"AIRFLOW_CONN_BOT_DB": json.dumps(fields)})

    def known_assets(self, _: Sequence[str]) -> frozenset[str]:
        """Ask Kraken for its assets, as impatiently as for all else."""
        with KrakenClient(
            self.lane.credentials(self.struck),
            account=self.struck,
            slots=InProcessCallSlots(),
            timeout_seconds=TIMEOUT_SECONDS,
            retries=RETRIES,
            sleep=lambda _: None,
        ) as client:
            return client.known_assets()

    @property
    def book_ports(self) -> DeskBookPorts:
        """The outside world of the book."""
        return DeskBookPorts(
            self.lane.unit_of_work,
            self.address,
            self.known_assets,
            self.lane.clock,
            ask_for_prices=lambda name, assets: ask_for_prices(
                self.lane.accounts(name)[0], assets, ports_of(self)
            ),
        )

    def run(self) -> set[str]:
        """Prove the account, then judge the book by that and write what it allows."""
        told = super().run()
        outcome = reconcile_book(self.book, self.run_ids, self.book_ports)
        for account in outcome.accounts:
            told |= {f"book {account.status}"} - {"book agreed"}
            told |= {f"book: {d.action}" for d in account.judgement.differences} - {"book: update"}
        return told | {f"book: {problem.what[:60]}" for problem in outcome.problems} | self.alerts()

    def recover(self) -> set[str]:
        """Prove and write; a person approves what was held for being too much at once."""
        told = super().recover()
        for row in self.lane.rows(HELD, self.struck_id):
            approve(
                row["plan_id"], "Ann", ports_of(self), books=lambda: DeskBooks([self.book], self.book_ports)
            )
        return told

    def booked(self) -> dict[str, Decimal]:
        """Read what the bot's tables say."""
        with self.desk.connect() as session:
            rows: list[Any] = list(
                session.execute(sa.text("select symbol, quantity from positions where account_id = 1"))
            )
            rows += list(session.execute(sa.text("select 'USD', current_cash from accounts where id = 1")))
        return {symbol: quantity for symbol, quantity in rows if quantity}

    def earlier(self) -> list[dict[str, Decimal]]:
        """Work out what the account had at first and after each row, its coins among it."""
        coins = {name: Decimal(amount) for name, amount in COINS.items()}
        return [{**coins, **state} for state in super().earlier()]

    def unfinished(self) -> list[str]:
        """Besides: a bot's quantity is one that the account really had at some moment."""
        had: dict[str, set[Decimal]] = {}
        for state in self.earlier():
            for asset, amount in state.items():
                had.setdefault(asset, {ZERO}).add(amount)
        return super().unfinished() + [
            f"the bot's {asset} is {amount}"
            for asset, amount in self.booked().items()
            if amount not in had[asset]
        ]

    def left(self) -> list[str]:
        """Besides: the bot's tables are what is true."""
        truth, booked = self.truth(self.struck), self.booked()
        return super().left() + [
            f"the bot's {asset} is {booked.get(asset, ZERO)} of {truth.get(asset, ZERO)}"
            for asset in sorted({*truth, *booked})
            if truth.get(asset, ZERO) != booked.get(asset, ZERO)
        ]

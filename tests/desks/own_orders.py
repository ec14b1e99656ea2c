"""A desk whose bot trades at Kraken by itself, and keeps its orders in a table of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desks.reported_orders import order as any_order
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.address import address_from_environment
from kraken_recon.desk_books.declaring import DeclaredBook, parse_book
from kraken_recon.desk_books.diffing import DeskBookPorts
from kraken_recon.desk_books.own_orders.looking import OwnOrderPorts
from kraken_recon.desk_books.own_orders.verifying import OwnOrders, look_at_desk_orders, verify_desk_orders
from kraken_recon.desk_books.rules.names import known_assets
from kraken_recon.desk_books.run import BookOutcome, reconcile_book
from kraken_recon.orders.rules.order import OrderType, Side
from kraken_recon.verification.run import VerifyingPorts, VerifyingRules
from kraken_recon.verification.verifying import claim_orders, new_token, verify_claimed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from desks.desk_databases import DeskDatabase
    from desks.orders import TradingDesk
    from kraken_recon.accounts.account import Account
    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.orders.rules.reports import ReportedOrder

TABLE = """
create table orders (
  order_no varchar(40) primary key, account_id integer not null, symbol varchar(20), side varchar(8),
  quantity decimal(18,8), filled_quantity decimal(18,8), price decimal(18,8), fee decimal(18,8),
  status varchar(20), kraken_id varchar(60), client_id varchar(60), created_at {moment}, updated_at {moment}
);
create table positions (account_id integer, symbol varchar(20), quantity decimal(18,8))
"""
DECLARATION = """
name: arena
connection: arena_db
accounts: {desk: 1}
positions: {table: positions, account: account_id, asset: symbol, quantity: quantity}
orders:
  table: orders
  account: account_id
  id: order_no
  kraken_id: kraken_id
  client_id: client_id
  pair: symbol
  side: side
  volume: quantity
  executed: filled_quantity
  price: price
  fee: fee
  status: {column: status, ended: [FILLED, CANCELLED]}
  created_at: created_at
  changed_at: updated_at
late_by: 300
"""
KNOWN = known_assets(["XXBT", "XETH", "ZUSD", "ZEUR", "SOL"])


@dataclass
class BotDesk:
    """The bot, its table, and the runs that look at it."""

    desk: TradingDesk
    database: DeskDatabase
    declaration: str = DECLARATION
    moment: str = "timestamp null"
    written: Callable[[datetime], Any] = lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S.%f")
    numbers: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.database.run(TABLE.replace("{moment}", self.moment))

    @property
    def book(self) -> DeskBook:
        """The book as it is declared."""
        book, problems = parse_book(self.declaration, "arena.yaml")
        assert book is not None, problems
        return book

    @property
    def ports(self) -> OwnOrderPorts:
        """The outside world of a run over the book."""
        environment = {"AIRFLOW_CONN_ARENA_DB": self.database.variable}
        return OwnOrderPorts(
            lambda: UnitOfWork(self.desk.engine),
            lambda connection: address_from_environment(connection, environment),
            self.desk.open_exchange,
            self.desk.now,
            "test",
        )

    def trade(
        self,
        side: str = "buy",
        volume: str = "0.5",
        *,
        client_id: str | None = None,
        limit: str | None = None,
    ) -> str:
        """Let the bot place an order at Kraken; return Kraken's id."""
        self.numbers += 1
        sent = replace(
            any_order(),
            side=Side(side),
            volume=Decimal(volume),
            order_type=OrderType.LIMIT if limit else OrderType.MARKET,
            limit_price=Decimal(limit) if limit else None,
            cl_ord_id=client_id or f"bot-{self.numbers}",
            deadline=self.desk.now() + 10 * (self.desk.now().resolution * 1_000_000),
        )
        [account] = self.accounts()
        with self.desk.open_exchange(account) as exchange:
            txid = exchange.add_order(sent)
        self.desk.pause(2)
        assert txid is not None
        return txid

    def at_kraken(self, txid: str) -> ReportedOrder:
        """Read an order as Kraken tells it."""
        [account] = self.accounts()
        with self.desk.open_exchange(account) as exchange:
            return exchange.query_orders([txid])[txid]

    def cancel(self, txid: str) -> None:
        """Let the bot cancel an order at Kraken."""
        [account] = self.accounts()
        with self.desk.open_exchange(account) as exchange:
            exchange.cancel_order(txid)

    def note(self, number: str, txid: str | None = None, **said: Any) -> None:
        """Let the bot write a row as Kraken tells the order, but for what it says otherwise."""
        told = self.at_kraken(txid) if txid else None
        now = self.desk.now()
        row = {
            "order_no": number,
            "account_id": 1,
            "symbol": "BTC/USD",
            "side": told.side.value.upper() if told else "BUY",
            "quantity": told.volume if told else Decimal("0.5"),
            "filled_quantity": told.volume_executed if told else Decimal("0.5"),
            "price": told.price_average if told else None,
            "fee": told.fee if told else None,
            "status": "FILLED",
            "kraken_id": txid,
            "client_id": None,
            "created_at": self.written(told.opened_at if told else now),
            "updated_at": self.written(now),
            **said,
        }
        texts = {name: str(v) if isinstance(v, Decimal) else v for name, v in row.items()}
        names, values = ", ".join(texts), ", ".join(f":{name}" for name in texts)
        self.database.run(f"insert into orders ({names}) values ({values})", **texts)

    def find(self) -> OwnOrders:
        """Let a run look for the orders, and give them to the verification."""
        return verify_desk_orders(self.book, self.accounts(), KNOWN, self.ports)["desk"]

    def look(self) -> dict[str, str]:
        """Say how the orders stand now, by the desk's id; nothing is written."""
        [account] = self.accounts()
        seen = look_at_desk_orders(self.book, account, KNOWN, self.ports)
        return {one.order_id: one.problem for one in seen.orders}

    def accounts(self) -> list[Account]:
        """Read the only account."""
        with UnitOfWork(self.desk.engine) as unit:
            return AccountStore(unit).find_accounts(["desk"])

    @property
    def book_ports(self) -> DeskBookPorts:
        """The outside world of a run over the whole book, and of a look at it."""
        ports = self.ports
        return DeskBookPorts(
            ports.open_unit_of_work,
            ports.address_of,
            lambda _: ("XXBT", "XETH", "ZUSD"),
            ports.clock,
            open_orders=ports.open_books,
            worker="test",
        )

    def reconcile(self) -> BookOutcome:
        """Prove the account, and let the run look at its book."""
        self.desk.sync()
        [newest] = self.desk.rows(
            "select run_id from trading.reconciliation_runs order by reported_as_of desc limit 1"
        )
        declared = DeclaredBook(Path("arena.yaml"), self.book)
        return reconcile_book(declared, [newest["run_id"]], self.book_ports)

    def verify(self) -> None:
        """Let the verification of orders look at everything that is due."""
        ports = VerifyingPorts(lambda: UnitOfWork(self.desk.engine), self.desk.open_exchange, self.desk.now)
        token = new_token("test")
        claim_orders(ports, VerifyingRules(), token)
        verify_claimed(ports, VerifyingRules(), token)

    def states(self, state: str) -> list[dict[str, Any]]:
        """Read the desk's orders that stand like that."""
        return self.desk.rows(
            "select desk_order_id from trading.desk_orders where state = %s order by 1", state
        )

    def verdicts(self) -> list[tuple[str, str | None, str]]:
        """Read source, verdict and failed levels of each order, in the order of the desk's ids."""
        rows = self.desk.rows(
            "select o.source, v.verdict, array_to_string(v.failed_levels, ' ') as failed"
            " from trading.desk_orders d join trading.orders o using (order_id)"
            " left join trading.order_verifications v using (order_id) order by d.desk_order_id"
        )
        return [(row["source"], row["verdict"], row["failed"]) for row in rows]

    def message(self) -> str:
        """Read what the level of the desk says of the only order."""
        [row] = self.desk.rows("select message from trading.order_verification_levels where level = 'desk'")
        return str(row["message"])

    def alerts(self) -> list[str]:
        """Read the kinds of open alerts."""
        rows = self.desk.rows("select kind from trading.alerts where status <> 'resolved' order by 1")
        return [row["kind"] for row in rows]

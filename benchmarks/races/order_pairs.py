"""Pairs about orders and calls: what two workers of one account, or of one key, could do to each other."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid5

import psycopg

from benchmarks.races.pairs import DESK, Pair, Role, account_of, proved_before
from benchmarks.races.steps import ADVISORY, Step, step_of
from desks.fakes import FakeExchange
from desks.logins import as_writer
from kraken_recon.kraken import call_slots, slot_sessions
from kraken_recon.ledger.entries import SPOT, HoldingKey
from kraken_recon.orders.deciding import accept_decisions, submit_decision
from kraken_recon.orders.exchange import OrderPorts, OrderSettings
from kraken_recon.orders.placing import Placer
from kraken_recon.orders.rules.bounds import MarketPrice
from kraken_recon.orders.rules.sizing import Market, Markets
from kraken_recon.reconciliation.run import RUN_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from benchmarks.races.stage import Stage
    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.entries import Balance
    from kraken_recon.orders.rules.order import Order

BTC: Final = HoldingKey("BTC", SPOT)
HELD, SOLD = Decimal("1.5"), Decimal(1)
MARKETS: Final = Markets(
    [
        Market(
            pair_id="XXBTZUSD", altname="XBTUSD", base="BTC", quote="USD", status="online", lot_decimals=8,
            price_decimals=1, order_minimum=Decimal("0.0001"), cost_minimum=Decimal("0.5"),
            tick_size=Decimal("0.1"), fee_percent=Decimal("0.4"),
        )
    ]
)  # fmt: skip
PRICE: Final = MarketPrice(Decimal(50000), Decimal(50000), Decimal(50000))


@dataclass
class RestingExchange:
    """An exchange that takes every order, and lets it rest with what it takes on hold."""

    stage: Stage
    now: datetime
    taken: list[Order] = field(default_factory=list)

    def markets(self, _name: str | None = None) -> Markets:
        """Know one market."""
        return MARKETS

    def balances(self) -> Mapping[HoldingKey, Balance]:
        """Answer ``BalanceEx``."""
        return FakeExchange(self.stage.desk.books[DESK], self.stage.turns.asks).balances()

    def check_trading_key(self) -> None:
        """Accept any key."""

    def server_time(self) -> datetime:
        """Have the desk's own clock."""
        return self.now

    def price(self, _pair: str) -> MarketPrice:
        """Know one price."""
        return PRICE

    def add_order(self, order: Order) -> str:
        """Take an order."""
        self.stage.turns.happens("AddOrder")
        assert order.volume is not None
        books = self.stage.desk.books[DESK]
        books.holds[BTC] = books.holds.get(BTC, Decimal(0)) + order.volume
        return str(uuid5(RUN_NAMESPACE, order.cl_ord_id or ""))


def order_ports(stage: Stage, open_unit_of_work: Callable[[], Any]) -> OrderPorts:
    """The outside world of whoever places orders."""

    @contextmanager
    def open_exchange(_: Account) -> Iterator[Any]:
        yield RestingExchange(stage, stage.desk.now)

    return OrderPorts(open_unit_of_work, open_exchange, lambda: stage.desk.now, lambda _: None)


def two_sales_decided(stage: Stage) -> None:
    """Let two sales be decided, of which the account can afford one."""
    proved_before(stage)
    ports = order_ports(stage, stage.desk.ports.open_unit_of_work)
    for key in ("one", "other"):
        values = {"account": DESK, "pair": "BTC/USD", "side": "sell", "volume": str(SOLD)}
        values |= {"type": "limit", "limit_price": "60000"}
        submit_decision(values, ports, key=key, via="race")
    assert accept_decisions(ports) == {}

    def look() -> tuple[list[Any], list[str]]:
        sold = stage.desk.books[DESK].holds.get(BTC, Decimal(0))
        wrong = [f"{sold} BTC are for sale, and there are {HELD}"] if sold > HELD else []
        return [f"{sold} for sale"], wrong

    stage.elsewhere = look


def place(stage: Stage, letter: str) -> None:
    """Place what is decided."""
    ports = order_ports(stage, stage.ports(letter).open_unit_of_work)
    account = account_of(stage, letter)
    with ports.open_exchange(account) as exchange:
        Placer(account, exchange, ports, OrderSettings(sizing_tries_max=2)).place_all()


def calls_heard(stage: Stage) -> None:
    """Let the exchange hear calls: it refuses one whose nonce is not greater than the last one's."""
    proved_before(stage)
    heard: list[int] = []
    stage.kept["heard"] = heard
    stage.restoring = heard.clear
    stage.elsewhere = lambda: (
        [f"{len(heard)} calls"],
        [] if heard == sorted(heard) else ["a call came with a smaller nonce than the one before"],
    )
    stage.ending.enter_context(_stepped_slots(stage))


@contextmanager
def _stepped_slots(stage: Stage) -> Iterator[None]:
    """Make the messages of call slots steps: they go past SQLAlchemy, and each commits for itself."""
    own = slot_sessions.execute

    def execute(
        connection: psycopg.Connection, query: str, values: Mapping[str, object], *also: str
    ) -> psycopg.Cursor[Any]:
        names = (*also, query)
        texts = {name: slot_sessions.QUERIES[name] for name in names}
        steps = [step for name, text in texts.items() if (step := step_of(text, name))]
        read = frozenset[str]().union(*(step.read for step in steps))
        written = frozenset[str]().union(*(step.written for step in steps))
        let_go = written if query == "unlock_key" else written - {ADVISORY}
        label = f"call_slots.{' and '.join(names)}"
        stage.turns.before(Step(label, read, written, let_go), connection.info.backend_pid)
        altered = [stage.listener.altered(f"call_slots.{name}", text) for name, text in texts.items()]
        return psycopg.ClientCursor(connection).execute(";".join(altered).encode(), values)

    slot_sessions.execute = call_slots.execute = execute
    try:
        yield
    finally:
        slot_sessions.execute = call_slots.execute = own


def call(stage: Stage, _letter: str) -> None:
    """Call the exchange with the key that both have."""
    sessions = slot_sessions.SlotSessions(as_writer(stage.url))
    with (
        call_slots.PostgresCallSlots(sessions, api_key="key", tier="unlimited") as slots,
        slots.take(0) as nonce,
    ):
        stage.turns.happens("call at Kraken")
        stage.kept["heard"].append(nonce)


ORDER_PAIRS: Final = (
    Pair(
        "order-order",
        "two workers place the sales of one account, which can afford one of them",
        two_sales_decided,
        (Role("placing", (place,)), Role("placing by another", (place,))),
        afterwards=place,
    ),
    Pair(
        "call-call",
        "two workers call Kraken with the same key",
        calls_heard,
        (Role("call", (call,)), Role("call of another", (call,))),
    ),
)

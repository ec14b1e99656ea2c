"""The desk's own table after runs of `sync`: what happened at Kraken is in it, and nothing else changed."""

from __future__ import annotations

import gc
import json
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
import sqlalchemy as sa

from demo_bot.tables import TableBook
from desks.desk_book_commands import ARENA, Commands
from desks.desk_databases import make_arena
from desks.simulator import SECRET
from kraken_recon.ledger.entries import HoldingKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import ControlClient, Simulator
    from desks.desk_databases import DeskDatabase

OPENING = {
    "ZUSD": "50000",
    "XXBT": "1.5",
    "XETH": "20",
    "SOL": "100",
    "XLTC": "40",
    "ADA": "3000",
    "DOT": "500",
    "LINK": "300",
    "ATOM": "400",
    "TRX": "9000",
    "XTZ": "2000",
    "NEAR": "700",
    "XXRP": "5000",
}
NAMES = {"ZUSD": "USD", "XXBT": "BTC", "XETH": "ETH", "XLTC": "LTC", "XXRP": "XRP"}
DECLARED = (
    ARENA.replace("gpt-trader: 1", "desk: 1")
    .replace(
        "  holds:",
        '  write_back: update+insert+remove\n  on_insert: {version: v1, name: "{asset}", is_active: "true"}\n'
        "  on_update: {updated_at: now}\n  holds:",
    )
    .replace("current_cash}", "current_cash, write_back: update}")
    .replace("late_by: 300", "late_by: 0")
)


@dataclass
class FollowedDesk:
    """An account on the simulator, and a bot's table about it, which was right to begin with."""

    control: ControlClient
    database: DeskDatabase
    run: Callable[..., tuple[int, str, str]]

    def trade(self, pair: str, side: str, volume: str) -> None:
        """Trade by hand on Kraken's website: the bot hears nothing of it."""
        happened = {"kind": "trade", "pair": pair, "side": side, "volume": volume}
        self.control.post("accounts/desk/events", happened)

    def sync(self) -> dict[str, Any]:
        """Run once, and read how the book stands."""
        status, out, complaint = self.run("sync", "--account", "desk")
        assert status == 0, f"{out}\n{complaint}"
        status, out, complaint = self.run("book", "diff", "--account", "desk", "--json")
        assert status == 0, f"{out}\n{complaint}"
        book: dict[str, Any] = json.loads(out)["books"][0]
        assert (book["differences"], book["problems"]) == ([], [])
        return book

    def rows(self) -> dict[str, Decimal]:
        """Read what the desk believes, cash among it."""
        with self.database.engine.connect() as session:
            found = session.execute(sa.text("select symbol, quantity from positions where market = 'CRYPTO'"))
            held = {symbol: round(Decimal(str(quantity)), 8) for symbol, quantity in found}
            cash = session.execute(sa.text("select current_cash from accounts where id = 1")).scalar_one()
        return held | {"USD": round(Decimal(str(cash)), 8)}

    def untouched(self) -> list[object]:
        """Read all that no run has any business with."""
        with self.database.engine.connect() as session:
            return [
                session.execute(sa.text(query)).all()
                for query in (
                    "select id, account_id, symbol, name, version, is_active from positions order by id",
                    "select * from positions where market <> 'CRYPTO'",
                    "select id, name from accounts order by id",
                    "select * from accounts where id <> 1",
                    "select * from orders",
                )
            ]


@pytest.fixture
def followed(
    simulator: Simulator,
    database: DeskDatabase,
    desk_commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
) -> FollowedDesk:
    account = {"name": "desk", "api_key": "key", "api_secret": SECRET, "tier": "unlimited"}
    simulator.control.post("accounts", {**account, "opening": OPENING})
    connection = {"conn_type": "kraken", "login": "key", "password": SECRET, "host": simulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_DESK", json.dumps({**connection, "extra": {"tier": "unlimited"}}))
    desk_commands.desk.execute("update trading.accounts set is_active = false")
    desk_commands.desk.execute("insert into trading.accounts (name, kraken_conn_id) values ('desk', 'desk')")
    believed = {NAMES.get(code, code): Decimal(amount) for code, amount in OPENING.items()}
    make_arena(database, {}, believed.pop("USD"))
    book = TableBook(database.engine)
    for asset, amount in believed.items():
        book.move(asset, amount)
    monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", database.variable)
    desk_commands.declare(DECLARED)
    desk = FollowedDesk(simulator.control, database, desk_commands.run)
    assert desk.sync()["agreed"] == len(OPENING)
    return desk


def test_what_is_bought_raises_and_what_is_sold_lowers(followed: FollowedDesk) -> None:
    before, others = followed.rows(), followed.untouched()
    followed.trade("XBTUSD", "buy", "0.02")
    followed.sync()
    bought = followed.rows()
    assert bought["BTC"] == before["BTC"] + Decimal("0.02")
    assert bought["USD"] < before["USD"]
    followed.trade("XBTUSD", "sell", "0.005")
    followed.sync()
    sold = followed.rows()
    assert sold["BTC"] == bought["BTC"] - Decimal("0.005")
    assert sold["USD"] > bought["USD"]
    unchanged = before.keys() - {"BTC", "USD"}
    assert {asset: sold[asset] for asset in unchanged} == {asset: before[asset] for asset in unchanged}
    assert followed.untouched() == others


def test_a_trade_by_hand_is_in_the_desks_table_after_the_next_run(followed: FollowedDesk) -> None:
    before = followed.rows()
    followed.trade("XMRUSD", "buy", "2")
    followed.sync()
    assert followed.rows()["XMR"] == 2
    with followed.database.engine.connect() as session:
        row = session.execute(sa.text("select * from positions where symbol = 'XMR'")).mappings().one()
    assert (row["name"], row["version"], row["market"], row["account_id"]) == ("XMR", "v1", "CRYPTO", 1)
    followed.trade("XMRUSD", "sell", "2")
    followed.sync()
    assert followed.rows().keys() == before.keys()


def test_several_orders_at_once_of_which_the_bot_booked_some(followed: FollowedDesk) -> None:
    before = followed.rows()
    for volume in ("0.01", "0.004", "0.0025"):
        followed.trade("XBTUSD", "buy", volume)
    for side, volume in (("sell", "1"), ("buy", "0.25"), ("sell", "0.5")):
        followed.trade("ETHUSD", side, volume)
    TableBook(followed.database.engine).move("BTC", Decimal("0.004"))
    followed.sync()
    after = followed.rows()
    assert after["BTC"] == before["BTC"] + Decimal("0.0165")
    assert after["ETH"] == before["ETH"] - Decimal("1.25")


@contextmanager
def locked(database: DeskDatabase) -> Iterator[None]:
    """A colleague holds the table."""
    with database.engine.begin() as colleague:
        colleague.execute(sa.text("lock table positions in access exclusive mode"))
        yield


@contextmanager
def changed(database: DeskDatabase, do: str, undo: str) -> Iterator[None]:
    database.run(do.format(name=database.url.database))
    try:
        yield
    finally:
        database.run(undo.format(name=database.url.database))


TROUBLES: dict[str, tuple[Callable[[DeskDatabase], AbstractContextManager[None]], str, str]] = {
    "locked": (locked, "lock timeout", "Find what holds the lock"),
    "migrated": (
        lambda one: changed(
            one,
            "alter table positions rename column quantity to amount",
            "alter table positions rename column amount to quantity",
        ),
        "there is no column quantity",
        "Name a column",
    ),
    "emptied": (
        lambda one: changed(
            one,
            "alter table positions rename to old_positions;"
            " create table positions (like old_positions including all)",
            "drop table positions; alter table old_positions rename to positions",
        ),
        "all rows of positions are gone at once",
        "Look what became of them",
    ),
    "renamed": (
        lambda one: changed(one, "alter schema public rename to gone", "alter schema gone rename to public"),
        "there is no table",
        "Name a table",
    ),
    "without the right": (
        lambda one: changed(
            one,
            "create role {name}_reader login password 'desk-secret';"
            " grant select on accounts to {name}_reader",
            "drop owned by {name}_reader; drop role {name}_reader",
        ),
        "may not select",
        "Grant",
    ),
}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_whatever_ails_the_desks_database_kraken_is_followed(
    followed: FollowedDesk, desk_commands: Commands, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    make, what, remedy = TROUBLES[trouble]
    desk, before = desk_commands.desk, followed.rows()
    followed.trade("XBTUSD", "buy", "0.02")
    with monkeypatch.context() as environment, make(followed.database):
        if trouble == "without the right":
            fields = {**followed.database.connection, "login": f"{followed.database.url.database}_reader"}
            fields["password"] = "desk-secret"
            environment.setenv("AIRFLOW_CONN_ARENA_DB", json.dumps(fields))
        status, out, complaint = followed.run("sync", "--account", "desk")
        assert status == 0, f"{out}\n{complaint}"
        assert desk.positions()[HoldingKey("BTC", "spot")] == Decimal("1.52")
        [alert] = desk.rows("select * from trading.alerts where kind = 'desk_book_unreadable'")
        assert what in alert["message"]
        assert remedy in alert["message"]
        assert "desk-secret" not in alert["message"]
    assert followed.rows() == before
    followed.sync()
    assert followed.rows()["BTC"] == before["BTC"] + Decimal("0.02")
    [alert] = desk.rows("select * from trading.alerts where kind = 'desk_book_unreadable'")
    assert alert["status"] == "resolved"


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_database_that_takes_no_writes_is_told_and_written_later(
    followed: FollowedDesk, desk_commands: Commands
) -> None:
    followed.trade("XBTUSD", "buy", "0.02")
    name = followed.database.url.database
    with changed(
        followed.database,
        f"alter database {name} set default_transaction_read_only = on",
        f"set transaction read write; alter database {name} reset default_transaction_read_only",
    ):
        status, out, complaint = followed.run("sync", "--account", "desk")
        assert status == 0, f"{out}\n{complaint}"
        told = desk_commands.desk.rows("select message from trading.alerts where kind = 'desk_difference'")
        assert any("read-only" in row["message"] for row in told), told
    followed.sync()
    assert followed.rows()["BTC"] == Decimal("1.52")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_connections_of_both_databases_do_not_grow(followed: FollowedDesk, postgres_url: str) -> None:
    """Runs that write and runs that cannot, one after another in one process."""
    process = psutil.Process()

    def look() -> tuple[int, int, int]:
        followed.trade("SOLUSD", "buy", "0.5")
        followed.sync()
        with followed.database.engine.begin() as colleague:
            colleague.execute(sa.text("lock table orders in access exclusive mode"))
            followed.trade("SOLUSD", "sell", "0.5")
            followed.sync()
        gc.collect()
        with psycopg.connect(postgres_url) as admin:
            [(ours, desks)] = admin.execute(
                "select count(*) filter (where not is_desks), count(*) filter (where is_desks)"
                " from (select datname like 'desk_%' as is_desks from pg_stat_activity"
                " where application_name like 'kraken_recon%')"
            ).fetchall()
        return process.num_fds(), ours, desks

    first = [look() for _ in range(2)][-1]
    last = [look() for _ in range(3)][-1]
    assert (last[0] <= first[0], last[1] <= first[1], last[2]) == (True, True, 0), (first, last)

"""Pairs about a desk's own rows, and about decisions: what is locked there is locked in other ways."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import psycopg
import sqlalchemy as sa

from benchmarks.races.pairs import DESK, Pair, Role, StoodAsideError, proved_before
from benchmarks.races.stage import QUERIES
from desks.desk_databases import postgresql_database
from desks.desk_writing import BOOK, WrittenDesk
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.diffing import DeskBookPorts
from kraken_recon.desk_books.rules.judged import WriteState
from kraken_recon.desk_books.writing import write_back
from kraken_recon.orders.deciding import submit_decision
from kraken_recon.orders.exchange import OrderPorts

if TYPE_CHECKING:
    from benchmarks.races.stage import Stage

OWED: Final = {"BTC": Decimal("0.5"), "ETH": Decimal(-1)}
FILL: Final = Decimal("0.25")
HELD: Final = Decimal(10)
OF_ACCOUNT: Final = "from positions where account_id = 1 and market = 'CRYPTO'"
BY_US: Final = "select asset, sum(change) from trading.desk_writes where state = 'written' group by asset"


def book_that_differs(stage: Stage) -> None:
    """Give the desk a table of its own in which two rows are not what is proven."""
    database = stage.ending.enter_context(postgresql_database(stage.url))
    written = WrittenDesk(stage.desk, database, BOOK.replace("  average_cost: avg_cost\n", ""))
    written.fill(BTC=HELD, ETH=HELD, XRP=HELD)
    # A session of their own each, that ends when they are done: a lock of the session ends with it.
    stage.kept |= {
        "written": written,
        "judged": written.judge(owed=OWED),
        "bot": sa.create_engine(database.url),
    }
    stage.ending.callback(stage.kept["bot"].dispose)
    rows = stage.ending.enter_context(
        psycopg.connect(
            database.url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
        )
    )

    def restore() -> None:
        rows.execute("delete from positions; insert into positions select * from kept")
        stage.kept["booked"] = False

    def look() -> tuple[list[Any], list[str]]:
        found = dict(rows.execute(f"select symbol, quantity {OF_ACCOUNT}"))
        by_us = dict(stage.watch.execute(QUERIES["by_us"]).fetchall())
        by_bot = {"BTC": FILL} if stage.kept["booked"] else {}
        due = {asset: HELD + by_us.get(asset, 0) + by_bot.get(asset, 0) for asset in found}
        wrong = [
            f"the row of {asset} is {held}: what we wrote and what the bot booked come to {due[asset]}"
            for asset, held in found.items()
            if held != due[asset]
        ]
        return [f"{asset} {held}" for asset, held in sorted(found.items())], wrong

    rows.execute("create table kept as table positions")
    stage.kept["booked"] = False
    stage.restoring, stage.elsewhere = restore, look


def write(stage: Stage, letter: str) -> None:
    """Write what was decided on the rows as they were."""
    written: WrittenDesk = stage.kept["written"]
    ports = DeskBookPorts(
        stage.ports(letter).open_unit_of_work,
        written.ports.address_of,
        written.ports.known_assets,
        lambda: stage.desk.now,
        open_own_session=lambda: UnitOfWork(written.engine),
    )
    done = write_back(stage.kept["judged"], ports)
    if all("another run" in one.reason for one in done.outcomes):
        raise StoodAsideError
    assert all(one.state in {WriteState.WRITTEN, WriteState.SKIPPED} for one in done.outcomes), done


def book_as_a_bot(stage: Stage, _letter: str) -> None:
    """Book a fill to a row as bots do: lock it, read it, write it."""
    stage.kept["booked"] = True
    with stage.kept["bot"].begin() as session:
        query = sa.text(f"select id, quantity {OF_ACCOUNT} and symbol = 'BTC' for update")
        row = session.execute(query).one()
        statement = sa.text("update positions set quantity = :held where id = :id")
        session.execute(statement, {"held": row.quantity + FILL, "id": row.id})


def decide(stage: Stage, letter: str) -> None:
    """Give a decision under a key."""
    values = {"account": DESK, "pair": "BTC/USD", "side": "sell", "volume": "0.1"}
    ports = OrderPorts(stage.ports(letter).open_unit_of_work, lambda _: None, lambda: stage.desk.now)  # type: ignore[arg-type, return-value]
    submit_decision(values, ports, key="one decision", via="race")


DESK_PAIRS: Final = (
    Pair(
        "desk-bot",
        "a run writes back to rows of a desk while a bot books a fill to one of them",
        book_that_differs,
        (Role("write-back", (write,)), Role("bot", (book_as_a_bot,))),
    ),
    Pair(
        "desk-desk",
        "two runs write back to the same rows of a desk",
        book_that_differs,
        (Role("write-back", (write,)), Role("another write-back", (write,))),
        may_stand_aside=True,
    ),
    Pair(
        "decision-decision",
        "the same decision is given twice under one key",
        proved_before,
        (Role("decision", (decide,)), Role("the same again", (decide,))),
    ),
)

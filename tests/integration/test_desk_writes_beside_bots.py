"""Bots write to the same rows at the same moment: what they book is never lost by us.

Eight bots in the style of an ORM (read the row, change it, write it), with and without row locks, against two
runs that put the same rows right, over and over.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from desks.desk_writing import BOOK, WrittenDesk
from desks.fake_exchange import Desk
from kraken_recon.desk_books.rules.judged import WriteState
from kraken_recon.desk_books.writing import write_back

if TYPE_CHECKING:
    from desks.desk_databases import DeskDatabase

LOCKING, CARELESS = ("BTC", "ETH"), ("SOL", "XRP")
FILLS, FILL, OWED = 12, Decimal("0.25"), Decimal("0.5")
ROUNDS = 3


class Base(DeclarativeBase):
    """The bots' own model."""


class Position(Base):
    """A row as a bot knows it."""

    __tablename__ = "positions"
    id: Mapped[int] = mapped_column(primary_key=True)
    symbol: Mapped[str]
    quantity: Mapped[Any] = mapped_column(sa.Numeric(18, 8))


def book_fills(engine: sa.Engine, number: int, *, is_locking: bool, stop: threading.Event) -> int:
    """Book fills one by one; what a database refuses for the moment, a bot tries again."""
    booked = 0
    while booked < FILLS:
        try:
            with Session(engine) as session:
                if engine.dialect.name == "sqlite" and is_locking:
                    session.execute(sa.text("begin immediate"))
                position = session.get_one(Position, number, with_for_update=is_locking or None)
                position.quantity += FILL
                stop.wait(random.uniform(0, 0.01))  # noqa: S311 - a bot's pause
                session.commit()
            booked += 1
        except sa.exc.OperationalError as error:
            if engine.dialect.name != "sqlite" or "locked" not in str(error):
                raise
        stop.wait(random.uniform(0, 0.02))  # noqa: S311 - a bot's pause
    return booked


@pytest.fixture
def written(database_url: str, database: DeskDatabase) -> WrittenDesk:
    desk = WrittenDesk(Desk(database_url), database, BOOK.replace("  average_cost: avg_cost\n", ""))
    desk.fill(**dict.fromkeys((*LOCKING, *CARELESS), Decimal(10)))
    return desk


def test_no_fill_is_lost_by_us_and_nobody_deadlocks(written: WrittenDesk) -> None:
    stop, owed_lock = threading.Event(), threading.Lock()
    owed = dict.fromkeys((*LOCKING, *CARELESS), ROUNDS)
    outcomes = []
    options = {"isolation_level": None, "timeout": 20} if written.database.file else {}
    bots_engine = sa.create_engine(written.database.url, poolclass=NullPool, connect_args=options)

    def repair(run: int) -> None:
        """Put right what is owed, each run rows of its own, so that what is due is known exactly."""
        mine = (LOCKING[run], CARELESS[run])
        while not stop.is_set() and any(owed[asset] for asset in mine):
            due = {asset: OWED for asset in mine if owed[asset]}
            for one in write_back(written.judge(owed=due), written.ports).outcomes:
                outcomes.append(one)
                if one.state is WriteState.WRITTEN:
                    with owed_lock:
                        owed[one.asset] -= 1
            stop.wait(0.02)

    with ThreadPoolExecutor(max_workers=10) as threads:
        runs = [threads.submit(repair, run) for run in (0, 1)]
        bots = [
            threads.submit(
                book_fills, bots_engine, number, is_locking=(symbol in LOCKING), stop=threading.Event()
            )
            for number, symbol in enumerate((*LOCKING, *CARELESS), start=1)
            for _ in range(2 if symbol in LOCKING else 1)
        ]
        bots += [threads.submit(other_rows, bots_engine, number) for number in (0, 1)]
        booked = [bot.result(timeout=60) for bot in bots]
        for run in runs:
            run.result(timeout=60)
    assert booked == [FILLS] * len(bots)
    assert not [one for one in outcomes if "deadlock" in one.reason.lower()]
    assert not any(owed.values())
    held = {symbol: Decimal(row[0]) for symbol, row in written.positions().items()}
    for symbol in LOCKING:
        assert held[symbol] == 10 + 2 * FILLS * FILL + ROUNDS * OWED
    for symbol in CARELESS:
        lost = 10 + FILLS * FILL + ROUNDS * OWED - held[symbol]
        # A bot without locks writes over what was written under it; its own fills are all there.
        assert lost in {OWED * n for n in range(ROUNDS + 1)}
    if written.database.engine.dialect.name == "postgresql":
        with written.database.engine.connect() as session:
            session.exec_driver_sql("select pg_stat_force_next_flush()")
            deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
            assert session.exec_driver_sql(deadlocks).scalar_one() == 0
    proven = dict.fromkeys(LOCKING, 10 + 2 * FILLS * FILL + ROUNDS * OWED)
    proven |= dict.fromkeys(CARELESS, 10 + FILLS * FILL + ROUNDS * OWED)
    write_back(written.judge({**proven, "USD": Decimal(1000)}), written.ports)
    assert {symbol: Decimal(row[0]) for symbol, row in written.positions().items()} == proven


def other_rows(engine: sa.Engine, run: int) -> int:
    """Book to rows of another account, in the wrong order for anybody who would lock too much."""
    for _ in range(FILLS):
        with engine.begin() as session:
            session.execute(sa.text("update positions set name = :n where id = 900"), {"n": f"bot {run}"})
    return FILLS

"""Tables of desks have any key, any type and any name; their rows are written as they are read."""

from __future__ import annotations

import threading
import uuid
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from desks.desk_writing import BOOK, KNOWN, WrittenDesk, decided
from desks.fake_exchange import Desk
from kraken_recon.desk_books.declaring import DeclaredBook, parse_book
from kraken_recon.desk_books.row_store import read_book
from kraken_recon.desk_books.rules.compare import compare, terms_of_positions
from kraken_recon.desk_books.rules.judged import JudgedAccount, WriteState, WrittenBack
from kraken_recon.desk_books.rules.writes import WriteTerms
from kraken_recon.desk_books.writing import write_back
from kraken_recon.repairs.desk_plans import DeskBooks
from kraken_recon.repairs.undoing import undo
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from desks.desk_databases import DeskDatabase

HEAD = "name: arena\nconnection: arena_db\naccounts: {desk: a-1}\n"
PROVEN = {"BTC": Decimal("1.23456789"), "ETH": Decimal(2), "XRP": Decimal("0.5")}
TEXT_KEYS = (
    HEAD
    + """
positions:
  table: order
  account: acct no
  asset: select
  quantity: qty
  decimals: 6
  locked_by: [acct no, select]
  write_back: update+insert+remove
  on_insert: {version: "1"}
  on_update: {version: raise, changed: {zone: Europe/Berlin}, note: {text: now}}
"""
)
COUNTS = (
    HEAD
    + """
positions:
  table: counts
  account: acct
  asset: {column: pair, spelled: pair}
  quantity: millionths
  available: free
  decimals: 6
  scaled_by: 1000000
  only: {closed_at: null, is_live: "true"}
  locked_by: {table: owners, key: acct}
  write_back: update+insert+remove
  remove: zero
  on_insert: {id: "0c0ffee0-0000-4000-8000-000000000001", free: "7"}
"""
)
TEXTS = (
    HEAD
    + """
positions:
  table: texts
  account: acct
  asset: name
  quantity: amount
  decimals: 8
  write_back: update+insert+remove
  on_update: {changed: now}
"""
)


def tables() -> sa.MetaData:
    made = sa.MetaData()
    sa.Table(
        "order",
        made,
        sa.Column("acct no", sa.String(20), primary_key=True),
        sa.Column("select", sa.String(20), primary_key=True),
        sa.Column("qty", sa.Double),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("changed", sa.DateTime),
        sa.Column("note", sa.String(30)),
    )
    sa.Table("owners", made, sa.Column("acct", sa.String(20), primary_key=True))
    sa.Table(
        "counts",
        made,
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("acct", sa.String(20)),
        sa.Column("pair", sa.String(20)),
        sa.Column("millionths", sa.BigInteger),
        sa.Column("free", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.DateTime),
        sa.Column("is_live", sa.Boolean, nullable=False),
    )
    sa.Table(
        "texts",
        made,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("acct", sa.String(20)),
        sa.Column("name", sa.String(20)),
        sa.Column("amount", sa.String(40)),
        sa.Column("changed", sa.String(19)),
    )
    return made


ROWS: dict[str, list[dict[str, Any]]] = {
    "order": [
        {"acct no": "a-1", "select": "BTC", "qty": 1.0, "version": 4, "note": "x"},
        {"acct no": "a-1", "select": "SOL", "qty": 0.1, "version": 1},
        {"acct no": "b", "select": "BTC", "qty": 5.0, "version": 1},
    ],
    "owners": [{"acct": "a-1"}, {"acct": "b"}],
    "counts": [
        {
            "id": uuid.UUID(int=number),
            "acct": "a-1",
            "pair": f"{name}/USD",
            "millionths": 5_000_000_000_000 + number,
            "free": 3,
            "closed_at": closed,
            "is_live": True,
        }
        for number, (name, closed) in enumerate(
            [("BTC", None), ("SOL", None), ("BTC", datetime(2026, 1, 1))],  # noqa: DTZ001 - as desks keep it
            start=1,
        )
    ],
    "texts": [
        {"acct": "a-1", "name": "BTC", "amount": "1.00"},
        {"acct": "a-1", "name": "SOL", "amount": "1e-3"},
    ],
}


class AnyShape:
    """A desk's database with tables of every kind, and what is written to one of them."""

    def __init__(self, written: WrittenDesk, text: str) -> None:
        self.written = written
        book, problems = parse_book(text, "arena.yaml")
        assert book is not None, problems
        self.book = written.book = book
        self.metadata = tables()
        self.metadata.create_all(written.database.engine)
        with written.database.engine.begin() as session:
            for name, rows in ROWS.items():
                for row in rows:
                    session.execute(self.metadata.tables[name].insert().values(row))

    def judge(self, proven: Mapping[str, Decimal]) -> JudgedAccount:
        reading = read_book(self.written.ports.address_of("arena_db"), self.book, ["desk"])
        assert reading.problems == ()
        assert reading.positions is not None
        decimals = reading.positions.decimals
        meaning = terms_of_positions(self.book, KNOWN, decimals)
        found = compare(reading.positions.rows.get("desk", ()), proven, meaning)
        value = reading.values["desk"]
        terms = WriteTerms(self.book.positions, decimals, value, "USD", reading.read_at, meaning.names)
        return JudgedAccount(
            self.book,
            self.written.ours.account_id(),
            self.written.ours.run()["run_id"],
            reading.read_at,
            decided(found.differing),
            {False: terms},
        )

    def write(self, proven: Mapping[str, Decimal]) -> WrittenBack:
        return write_back(self.judge(proven), self.written.ports)

    def rows(self, table: str, **columns: object) -> list[dict[str, Any]]:
        of = self.metadata.tables[table]
        with self.written.database.engine.connect() as session:
            wanted = [of.c[name] == value for name, value in columns.items()]
            found = session.execute(sa.select(of).where(*wanted).order_by(*of.primary_key))
            return [dict(row) for row in found.mappings()]


@pytest.fixture
def written(database_url: str, database: DeskDatabase) -> WrittenDesk:
    return WrittenDesk(Desk(database_url), database, BOOK)


@pytest.mark.parametrize("text", [TEXT_KEYS, COUNTS, TEXTS], ids=["text keys", "counts", "texts"])
def test_rows_of_any_shape_are_written_and_put_back(written: WrittenDesk, text: str, tmp_path: Path) -> None:
    shape = AnyShape(written, text)
    before = {name: shape.rows(name) for name in ROWS}
    done = shape.write(PROVEN)
    assert {one.asset: one.reason or one.state for one in done.outcomes} == dict.fromkeys(
        ("BTC", "ETH", "SOL", "XRP") if text != COUNTS else ("BTC", "ETH", "SOL"), "written"
    ) | ({"XRP": done.outcomes[-1].reason} if text == COUNTS else {})
    left = [one.compared.asset for one in shape.judge(PROVEN).differences]
    assert left == (["XRP"] if text == COUNTS else [])
    books = DeskBooks([DeclaredBook(tmp_path / "arena.yaml", shape.book, ())], written.ports)
    assert done.plan_id is not None
    undo(done.plan_id, "ada", written.ports.open_unit_of_work, now=utc_now(), books=lambda: books)
    after = {name: shape.rows(name) for name in ROWS}
    for row in (row for rows in (*before.values(), *after.values()) for row in rows):
        row["version"] = row["changed"] = None  # these only ever go forward
    assert after == before


def test_counters_are_raised_and_moments_mean_their_zone(written: WrittenDesk, tmp_path: Path) -> None:
    shape = AnyShape(written, TEXT_KEYS)
    done = shape.write(PROVEN)
    [row] = shape.rows("order", **{"acct no": "a-1", "select": "BTC"})
    assert (row["qty"], row["version"], row["note"]) == (1.234567, 5, "now")
    here = datetime.now(ZoneInfo("Europe/Berlin")).replace(tzinfo=None)
    assert abs((row["changed"] - here).total_seconds()) < 60
    books = DeskBooks([DeclaredBook(tmp_path / "arena.yaml", shape.book, ())], written.ports)
    assert done.plan_id is not None
    undo(done.plan_id, "ada", written.ports.open_unit_of_work, now=utc_now(), books=lambda: books)
    [row] = shape.rows("order", **{"acct no": "a-1", "select": "BTC"})
    # A counter never goes back: whoever locks by it would take the row for the one that it read.
    assert (row["qty"], row["version"]) == (1.0, 6)


def test_the_account_s_row_is_locked_first_where_one_is_named(written: WrittenDesk) -> None:
    if written.database.file:
        return  # one lock for the whole file
    shape = AnyShape(written, COUNTS)
    judged = shape.judge(PROVEN)
    outcomes: list[WrittenBack] = []
    with written.database.engine.begin() as bot:
        bot.exec_driver_sql("select * from owners where acct = 'a-1' for update")
        run = threading.Thread(target=lambda: outcomes.append(write_back(judged, written.ports)))
        run.start()
        run.join(timeout=0.5)
        assert run.is_alive()
        bot.exec_driver_sql(
            "insert into counts values ('00000000-0000-0000-0000-000000000099', 'a-1', 'ETH/USD', 2000000, 0,"
            " null, true)"
        )
    run.join(timeout=30)
    reasons = {one.asset: one.reason for one in outcomes[0].outcomes}
    assert "added meanwhile" in reasons["ETH"]


def test_a_moment_in_a_column_that_can_hold_none_is_told_and_makes_no_plan(written: WrittenDesk) -> None:
    shape = AnyShape(written, TEXT_KEYS.replace("changed: {zone: Europe/Berlin}", "qty2: now"))
    written.database.run("drop table texts")
    with written.database.engine.begin() as session:
        quote = session.dialect.identifier_preparer.quote
        session.exec_driver_sql(f"alter table {quote('order')} add column qty2 integer")
    done = shape.write({"BTC": Decimal(2), "SOL": Decimal("0.1")})
    [outcome] = done.outcomes
    assert outcome.state is WriteState.SKIPPED
    assert "qty2" in outcome.reason
    assert "holds no moment" in outcome.reason
    assert written.writes() == []


def test_without_a_row_of_the_account_s_nothing_is_written(written: WrittenDesk) -> None:
    shape = AnyShape(written, COUNTS)
    written.database.run("delete from owners where acct = 'a-1'")
    before = {name: shape.rows(name) for name in ROWS}
    done = shape.write(PROVEN)
    assert {one.state for one in done.outcomes} == {WriteState.SKIPPED}
    assert "owners" in done.outcomes[0].reason
    assert {name: shape.rows(name) for name in ROWS} == before


def test_what_a_row_may_not_be_is_left_with_the_database_s_words(written: WrittenDesk) -> None:
    written.database.run(
        "create table positions (id integer primary key, account_id integer, symbol varchar(9), quantity"
        " decimal(12,8) check (quantity < 5), is_odd varchar(9) not null)"
    )
    written.database.run(
        "insert into positions values (1, 1, 'BTC', 1, 'x');"
        "insert into positions values (2, 1, 'SOL', 1, 'x')"
    )
    shape = AnyShape(
        written,
        HEAD.replace("a-1", "1")
        + "positions: {table: positions, account: account_id, asset: symbol, quantity: quantity,"
        " write_back: update+insert+remove}",
    )
    done = shape.write({"BTC": Decimal(7), "SOL": Decimal(2)})
    outcomes = {one.asset: one for one in done.outcomes}
    assert outcomes["BTC"].state is WriteState.SKIPPED
    assert "constraint" in outcomes["BTC"].reason.lower()
    assert outcomes["SOL"].state is WriteState.WRITTEN


def test_a_trigger_that_makes_something_else_of_it_is_told(written: WrittenDesk) -> None:
    if written.database.engine.dialect.name != "sqlite":
        return  # written in a language of its own by every server
    written.fill(BTC=Decimal(1), XRP=Decimal(3))
    with written.database.engine.begin() as session:
        session.exec_driver_sql(
            "create trigger halved after update of quantity on positions begin"
            " update positions set quantity = 0.5 where id = new.id; end"
        )
    before = written.positions()
    proven = {"BTC": Decimal(2), "XRP": Decimal(3), "USD": Decimal(1000)}
    done = write_back(written.judge(proven), written.ports)
    [outcome] = done.outcomes
    assert outcome.state is WriteState.SKIPPED
    assert "keeps 0.5" in outcome.reason
    assert written.positions() == before

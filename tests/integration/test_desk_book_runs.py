"""A run judges the books of desks by what it has just proved, remembers it, and tells of it."""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from desks.desk_databases import (
    HOW_TO,
    DeskDatabase,
    add_position,
    make_arena,
    postgresql_database,
    sqlite_database,
)
from desks.fake_exchange import Desk
from desks.logins import as_writer
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.desk_books import judging
from kraken_recon.desk_books.address import address_from_environment
from kraken_recon.desk_books.declaring import read_books
from kraken_recon.desk_books.diffing import DeskBookPorts, diff_account, proven_account
from kraken_recon.desk_books.run import reconcile_book, settle_books
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.values.intervals import RUN_INTERVAL
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from desks.fakes import FakeBooks

ARENA = re.findall(r"```yaml\n(.*?)```", HOW_TO.read_text(), re.DOTALL)[0]
WRITTEN = ARENA.replace("  holds:", "  write_back: update\n  holds:")
NAME = "gpt-trader"


@dataclass
class BookRuns:
    """One account with a book in the desk's database, and runs over both."""

    desk: Desk
    database: DeskDatabase
    folder: Path
    connections: dict[str, str]

    def __post_init__(self) -> None:
        # As in a task: what a session holds ends with it.
        self.engine = create_engine(as_writer(self.desk.url))

    @property
    def books(self) -> FakeBooks:
        return self.desk.books[NAME]

    @property
    def ports(self) -> DeskBookPorts:
        return DeskBookPorts(
            lambda: UnitOfWork(self.engine),
            lambda connection: address_from_environment(connection, self.connections),
            lambda _: frozenset({"BTC", "ETH", "XRP", "USD", "DOT"}),
            lambda: self.desk.now,
        )

    def declare(self, text: str = ARENA, name: str = "arena") -> None:
        (self.folder / f"{name}.yaml").write_text(text)

    def judge(self, run_ids: list[UUID]) -> dict[str, str]:
        """Judge every book by these runs; return what each came to."""
        declared = read_books(self.folder)
        settle_books(declared, self.ports)
        return {one.name: reconcile_book(one, run_ids, self.ports).told for one in declared}

    def run(self) -> dict[str, str]:
        """Prove the account, and judge every book."""
        return self.judge(self.desk.sync())

    def move(self, asset: str, amount: str, fee: str = "0", *, booked: str | None = None) -> str:
        """Let something happen at Kraken, and the bot book it, or something else."""
        entry = self.books.add(asset, amount, fee=fee)
        self.book(asset, str(Decimal(amount) - Decimal(fee)) if booked is None else booked)
        return entry.ledger_id

    def book(self, asset: str, change: str) -> None:
        self.database.run(
            "update positions set quantity = quantity + :change where symbol = :asset and market = 'CRYPTO'",
            change=change,
            asset=asset,
        )

    def quantity(self, asset: str) -> Decimal:
        """Read what the bot's table says."""
        query = "select quantity from positions where symbol = :asset and market = 'CRYPTO'"
        with self.database.engine.connect() as session:
            found = session.execute(sa.text(query), {"asset": asset}).scalar_one()
            return round(Decimal(str(found)), 8)

    def newest(self, book: str = "arena") -> dict[str, Any]:
        return self.desk.rows(
            "select * from trading.desk_book_runs where book = :book order by read_at desc limit 1", book=book
        )[0]

    def differences(self) -> dict[str, dict[str, Any]]:
        rows = self.desk.rows(
            "select * from trading.desk_differences where run_id = :run", run=self.newest()["run_id"]
        )
        return {row["asset"]: row for row in rows}

    def alerts(self, status: str = "open") -> list[tuple[str, str | None, str | None]]:
        """Name the alerts about books, by kind, asset and book."""
        return [
            (row["kind"], row["asset"], row["wallet"])
            for row in self.desk.rows(
                "select kind, asset, wallet from trading.alerts where status = :status and kind like 'desk%'"
                " order by alert_id",
                status=status,
            )
        ]

    def age(self) -> None:
        """Let time pass since what was seen."""
        self.desk.execute(
            "update trading.desk_standings set first_seen_at = first_seen_at - interval '10 minutes'"
        )


@pytest.fixture
def store(tmp_path: Path) -> DeskDatabase:
    return sqlite_database(tmp_path)


def runs_on(database: DeskDatabase, database_url: str, folder: Path) -> BookRuns:
    desk = Desk(database_url, now=utc_now() - 40 * RUN_INTERVAL)
    books = desk.account(NAME)
    for asset, amount in (("USD", "1000"), ("BTC", "2"), ("ETH", "10"), ("XRP", "500")):
        books.add(asset, amount)
    make_arena(database, {"BTC": Decimal(2), "ETH": Decimal(10), "XRP": Decimal(500)}, cash=Decimal(1000))
    (folder / "books").mkdir()
    made = BookRuns(desk, database, folder / "books", {"AIRFLOW_CONN_ARENA_DB": database.variable})
    made.declare()
    desk.execute("insert into trading.asset_prices values ('USD', 'BTC', 100, now())")
    return made


@pytest.fixture
def runs(store: DeskDatabase, database_url: str, tmp_path: Path) -> BookRuns:
    return runs_on(store, database_url, tmp_path)


@pytest.fixture
def served(postgres_url: str, database_url: str, tmp_path: Path) -> Iterator[BookRuns]:
    """The same, with the desk's tables on a server."""
    with postgresql_database(postgres_url) as database:
        yield runs_on(database, database_url, tmp_path)


def test_a_difference_is_told_until_the_book_agrees_again(served: BookRuns) -> None:
    assert served.run() == {"arena": "arena: 1 agreed"}
    assert (served.newest()["rows"], served.newest()["agreed"], served.newest()["position_rows"]) == (4, 4, 3)
    assert served.alerts() == []
    lost = served.move("BTC", "0.5", booked="0")
    assert served.run() == {"arena": "arena: 1 differs"}
    [found] = served.differences().values()
    told = ("BTC", Decimal("2.5"), Decimal(2), Decimal("0.5"), "behind", [lost], "report")
    assert (
        tuple(
            found[n] for n in ("asset", "proven", "desk", "difference", "explanation", "ledger_ids", "action")
        )
        == told
    )
    assert served.alerts() == [("desk_difference", "BTC", "arena")]
    [message] = [row["message"] for row in served.desk.rows("select message from trading.alerts")]
    assert "proven 2.5, desk 2; worth" in message
    served.book("BTC", "0.5")
    assert served.run() == {"arena": "arena: 1 agreed"}
    assert (served.alerts(), served.alerts("resolved")) == ([], [("desk_difference", "BTC", "arena")])
    assert served.desk.rows("select * from trading.desk_standings") == []


def test_what_happened_since_the_book_agreed_explains_it(runs: BookRuns) -> None:
    """Two lost operations with one between are an answer only since the book last agreed."""
    early = [runs.move("ETH", amount, booked="0") for amount in ("0.25", "1.5")]
    runs.run()
    assert runs.differences()["ETH"]["explanation"] == "behind"
    runs.book("ETH", "1.75")
    runs.run()
    lost = runs.move("ETH", "0.125", booked="0")
    runs.move("ETH", "-2")
    lost_too = runs.move("ETH", "0.625", booked="0")
    runs.move("ETH", "3")
    for _ in range(2):
        runs.run()
        found = runs.differences()["ETH"]
        assert (found["explanation"], found["ledger_ids"]) == ("missed", [lost, lost_too])
        assert not {*early} & {entry for other in found["alternatives"] for entry in other["ledger_ids"]}
    since = "select distinct first_seen_at from trading.desk_differences where explanation = 'missed'"
    assert len(runs.desk.rows(since)) == 1
    account = proven_account(NAME, runs.ports)
    [seen] = diff_account(account, read_books(runs.folder), runs.ports)
    assert seen.differences[0].explained.answer.ledger_ids == (lost, lost_too)


def test_another_declaration_begins_anew(runs: BookRuns) -> None:
    runs.run()
    lost = [runs.move("ETH", amount, booked="0") for amount in ("0.125", "0.5")]
    runs.move("ETH", "1")
    runs.run()
    assert runs.differences()["ETH"]["ledger_ids"] == lost
    runs.declare(ARENA.replace("holds: crypto", "holds: [BTC, ETH, XRP]"))
    runs.run()
    assert runs.differences()["ETH"]["explanation"] == "unexplained"


def test_what_nothing_explains_is_told_once_it_was_seen_twice(runs: BookRuns) -> None:
    runs.run()
    runs.book("ETH", "0.777")
    runs.run()
    assert (runs.differences()["ETH"]["action"], runs.newest()["status"]) == ("waiting", "agreed")
    runs.run()
    assert runs.differences()["ETH"]["action"] == "waiting"
    runs.age()
    runs.run()
    assert (runs.differences()["ETH"]["action"], runs.newest()["status"]) == ("report", "differs")
    assert runs.alerts() == [("desk_difference", "ETH", "arena")]
    runs.book("ETH", "0.01")
    runs.run()
    assert runs.differences()["ETH"]["action"] == "waiting"
    assert runs.alerts() == [("desk_difference", "ETH", "arena")]


def test_rows_that_are_gone_at_once_are_no_reading_to_act_on(runs: BookRuns) -> None:
    runs.run()
    with closing(runs.database.engine.raw_connection()) as raw:
        rows = raw.cursor().execute("select * from positions where account_id = 1").fetchall()
    runs.database.run("delete from positions where market = 'CRYPTO'")
    runs.run()
    assert (runs.newest()["status"], runs.differences()) == ("unreadable", {})
    assert "gone at once" in runs.newest()["problems"][0]["what"]
    assert runs.alerts() == [("desk_book_unreadable", None, "arena")]
    for row in rows:
        if row[4] == "CRYPTO":
            add_position(runs.database, row[0], row[2], row[6])
    runs.run()
    assert (runs.newest()["status"], runs.alerts()) == ("agreed", [])


def test_one_row_that_is_gone_is_a_difference(runs: BookRuns) -> None:
    runs.run()
    runs.database.run("delete from positions where symbol = 'XRP'")
    runs.run()
    assert runs.differences()["XRP"]["desk"] == 0


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("drop table positions", "there is no table positions"),
        ("alter table positions rename column quantity to amount", "there is no column quantity"),
        ("alter table accounts rename column current_cash to cash", "there is no column current_cash"),
    ],
)
def test_a_schema_that_changed_is_told_and_nothing_is_decided(runs: BookRuns, broken: str, told: str) -> None:
    runs.declare(WRITTEN)
    runs.run()
    runs.book("ETH", "-10")
    runs.database.run(broken)
    before = runs.database.dump()
    runs.run()
    assert runs.newest()["status"] == "unreadable"
    assert told in runs.newest()["problems"][0]["what"]
    assert ("desk_book_unreadable", None, "arena") in runs.alerts()
    assert {row["action"] for row in runs.differences().values()} <= {"report", "waiting"}
    assert runs.database.dump() == before


def test_what_the_book_allows_is_written_and_only_then_no_longer_told(runs: BookRuns) -> None:
    runs.run()
    lost = runs.move("BTC", "0.01", booked="0")
    runs.run()
    assert (runs.differences()["BTC"]["action"], runs.newest()["reported"]) == ("report", 1)
    assert runs.alerts() == [("desk_difference", "BTC", "arena")]
    runs.declare(WRITTEN)
    with closing(runs.database.engine.raw_connection()) as raw:
        raw.execute(
            "create trigger frozen before update on positions begin select raise(abort, 'frozen'); end"
        )
    runs.run()
    assert (runs.differences()["BTC"]["action"], runs.newest()["updated"]) == ("update", 1)
    [alert] = runs.desk.rows("select message from trading.alerts where status = 'open'")
    assert "not written: " in alert["message"]
    assert "frozen" in alert["message"]
    runs.database.run("drop trigger frozen")
    runs.run()
    assert runs.differences()["BTC"]["ledger_ids"] == [lost]
    assert (runs.alerts(), runs.quantity("BTC")) == ([], Decimal("2.01"))
    assert runs.run() == {"arena": "arena: 1 agreed"}


def test_what_was_written_for_a_bot_that_books_it_later_is_put_right_and_said(runs: BookRuns) -> None:
    runs.declare(WRITTEN)
    runs.run()
    lost = [runs.move("BTC", amount, booked="0") for amount in ("0.01", "0.005")]
    runs.run()
    assert runs.quantity("BTC") == Decimal("2.015")
    runs.move("BTC", "0.003")
    assert runs.run() == {"arena": "arena: 1 agreed"}
    runs.book("BTC", "0.015")
    runs.run()
    found = runs.differences()["BTC"]
    assert (found["explanation"], found["ledger_ids"]) == ("doubled", lost)
    assert "late_by" in found["reason"]
    assert runs.quantity("BTC") == Decimal("2.018")


def test_a_write_that_did_not_last_is_held_and_written_once_it_is_approved(runs: BookRuns) -> None:
    runs.declare(WRITTEN)
    runs.run()
    runs.move("BTC", "0.01", booked="0")
    runs.run()
    runs.book("BTC", "-0.01")
    runs.run()
    assert runs.differences()["BTC"]["action"] == "waiting"
    runs.age()
    runs.run()
    assert (runs.newest()["held"], runs.quantity("BTC")) == (1, 2)
    assert "did not last" in runs.differences()["BTC"]["reason"]
    [held] = runs.desk.rows(
        "select plan_id from trading.repair_plans where kind = 'held' and closed_at is null"
    )
    runs.desk.execute(
        "update trading.repair_plans set status = 'approved', decided_by = 'Ann', decided_at = now()"
        " where plan_id = :plan",
        plan=held["plan_id"],
    )
    runs.run()
    assert (runs.newest()["updated"], runs.quantity("BTC")) == (1, Decimal("2.01"))
    assert runs.run() == {"arena": "arena: 1 agreed"}


def test_a_book_whose_database_is_down_stops_no_other(runs: BookRuns) -> None:
    other = ARENA.replace("name: arena", "name: beta").replace("arena_db", "beta_db")
    runs.declare(other, "beta")
    assert runs.run()["arena"] == "arena: 1 agreed"
    assert runs.newest("beta")["status"] == "unreadable"
    assert "set AIRFLOW_CONN_BETA_DB" in runs.newest("beta")["problems"][0]["what"]
    assert runs.alerts() == [("desk_book_unreadable", None, "beta")]
    runs.connections["AIRFLOW_CONN_BETA_DB"] = '{"conn_type": "sqlite", "host": "/nowhere/desk.db"}'
    run_ids = runs.desk.sync()
    assert runs.judge(run_ids) == {"arena": "arena: 1 agreed", "beta": "beta: 1 unreadable"}
    runs.connections["AIRFLOW_CONN_BETA_DB"] = runs.database.variable
    # Tried again, the same run judges what it could not judge before, and nothing twice.
    assert runs.judge(run_ids)["beta"] == "beta: 1 agreed"
    assert runs.alerts() == []
    assert "still" in runs.judge(run_ids)["beta"]


def test_a_file_that_declares_nothing_usable_is_told_of_until_it_does(runs: BookRuns) -> None:
    runs.declare("name: arena\n")
    assert "is missing" in runs.run()["arena"]
    assert runs.alerts() == [("desk_book_unreadable", None, "arena")]
    runs.declare()
    runs.run()
    assert runs.alerts() == []


def test_a_book_that_is_no_longer_declared_ends_its_alerts(runs: BookRuns) -> None:
    runs.run()
    runs.move("BTC", "0.5", booked="0")
    runs.run()
    assert runs.alerts() != []
    (runs.folder / "arena.yaml").unlink()
    assert runs.run() == {}
    assert runs.alerts() == []


def test_an_account_is_judged_only_by_the_run_that_proved_it(runs: BookRuns) -> None:
    first = runs.desk.sync()
    newest = runs.desk.sync()
    dry = runs.desk.sync(mode=Mode.DRY_RUN)
    assert "no account" in runs.judge(first)["arena"]
    assert "no account" in runs.judge(dry)["arena"]
    assert runs.judge([*first, *newest, *dry]) == {"arena": "arena: 1 agreed"}
    runs.books.residuals[next(iter(runs.books.balances()))] = Decimal(-900)
    unproven = runs.desk.sync()
    assert runs.desk.run(NAME)["awaiting"] == 1
    assert "no account" in runs.judge(unproven)["arena"]


def test_rows_that_nobody_can_read_are_told_for_their_account(runs: BookRuns) -> None:
    runs.run()
    add_position(runs.database, 50, "Bitcoin", 1)
    runs.database.run("update positions set quantity = 'much' where symbol = 'ETH'")
    runs.run()
    assert runs.newest()["status"] == "differs"
    assert runs.alerts() == [("desk_book_unreadable", None, "arena")]
    [account] = runs.desk.rows("select account_id from trading.alerts where status = 'open'")
    assert account["account_id"] == runs.desk.account_id(NAME)
    # What could not be judged did not agree: the ledger before it still counts.
    lost = runs.move("ETH", "0.5", booked="0")
    runs.database.run("update positions set quantity = 10 where symbol = 'ETH'")
    runs.run()
    assert runs.differences()["ETH"]["ledger_ids"] == [lost]
    runs.database.run("delete from positions where id = 50")
    runs.run()
    assert runs.alerts() == [("desk_difference", "ETH", "arena")]


def test_rows_that_stand_there_twice_are_told_even_where_they_agree(runs: BookRuns) -> None:
    runs.book("BTC", "-0.5")
    add_position(runs.database, 50, "BTC", "0.5")
    runs.run()
    assert (runs.newest()["status"], runs.newest()["agreed"]) == ("differs", 4)
    assert runs.alerts() == [("desk_difference", "BTC", "arena")]
    runs.book("BTC", "0.25")
    runs.run()
    assert runs.alerts() == [("desk_difference", "BTC", "arena")]


def test_a_quantity_beyond_all_columns_is_no_number(runs: BookRuns) -> None:
    runs.run()
    runs.database.run("update positions set quantity = 1e30 where symbol = 'ETH'")
    runs.run()
    assert "is no number" in runs.newest()["problems"][0]["what"]


@contextmanager
def statements_on(runs: BookRuns) -> Iterator[list[str]]:
    """List the statements that our database is given."""
    given: list[str] = []

    def keep(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        given.append(statement)

    sa.event.listen(runs.engine, "before_cursor_execute", keep)
    yield given
    sa.event.remove(runs.engine, "before_cursor_execute", keep)


@pytest.mark.parametrize("at_once", [judging.DIFFERING_AT_ONCE, 4])
def test_many_accounts_are_read_and_written_at_once(
    runs: BookRuns, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(judging, "DIFFERING_AT_ONCE", at_once)
    names = [f"desk{number}" for number in range(12)]
    for number, name in enumerate(names, start=100):
        runs.desk.account(name).add("BTC", "1")
        add_position(runs.database, number, "BTC", 1 if number % 2 else 2, account=number)
    accounts = ", ".join(f"{name}: {number}" for number, name in enumerate(names, start=100))
    only_positions = ARENA.split("cash:")[0]
    runs.declare(only_positions.replace("accounts: {gpt-trader: 1}", f"accounts: {{{accounts}}}"))
    run_ids = runs.desk.sync(*names)
    with statements_on(runs) as statements:
        assert runs.judge(run_ids) == {"arena": "arena: 6 agreed, 6 differs"}
    assert len([one for one in statements if "trading." in one]) < (30 if at_once > 6 else 60)
    assert runs.desk.rows("select count(*) as judged from trading.desk_book_runs") == [{"judged": 12}]
    assert len(runs.alerts()) == 6

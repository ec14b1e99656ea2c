"""What is held of a desk's book is approved, rejected and undone by the commands that there are for plans."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from desks.desk_writing import BOOK, WrittenDesk
from desks.fake_exchange import Desk
from kraken_recon.desk_books.declaring import DeclaredBook
from kraken_recon.desk_books.run import reconcile_book, settle_books
from kraken_recon.desk_books.writing import settle_unfinished, write_back
from kraken_recon.errors import PlanNotWrittenError, PlanRefusedError
from kraken_recon.holdings.store import PriceStore
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.repairs.deciding import approve, reject
from kraken_recon.repairs.desk_plans import DeskBooks
from kraken_recon.repairs.question import case_markdown, case_subject
from kraken_recon.repairs.undoing import undo
from kraken_recon.repairs.view import case_of, list_plans, show_plan
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.values.intervals import RUN_INTERVAL
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from pathlib import Path

    from desks.desk_databases import DeskDatabase

AT_ONCE = BOOK + "late_by: 0\n"


def desk_of(database_url: str, database: DeskDatabase) -> WrittenDesk:
    """A desk that has 2 BTC and 1,000 USD, and whose book says 1.5 and 900: more than a run may write."""
    ours = Desk(database_url, now=utc_now() - 3 * RUN_INTERVAL)
    desk = WrittenDesk(ours, database, AT_ONCE)
    ours.exchanges["desk"].price_list = {"USD": Decimal(1), "BTC": Decimal(100)}
    ours.books["desk"].add("USD", "999", entry_type="deposit")
    ours.books["desk"].add("BTC", "1.5", entry_type="deposit")
    ours.books["desk"].add("BTC", "0.5", entry_type="deposit")
    desk.fill(BTC=Decimal("1.5"))
    desk.database.run("update accounts set current_cash = 900 where id = 1")
    return desk


@pytest.fixture
def written(database_url: str, store: DeskDatabase) -> WrittenDesk:
    return desk_of(database_url, store)


@pytest.fixture
def written_anywhere(database_url: str, database: DeskDatabase) -> WrittenDesk:
    return desk_of(database_url, database)


def books_of(written: WrittenDesk, tmp_path: Path) -> DeskBooks:
    return DeskBooks([DeclaredBook(tmp_path / "arena.yaml", written.book, ())], written.ports)


def run(written: WrittenDesk, books: DeskBooks) -> None:
    """Prove the account, and judge its book."""
    written.ours.sync()
    reconcile_book(books.declared[0], [written.ours.run()["run_id"]], books.ports)


def held(written: WrittenDesk, books: DeskBooks) -> UUID:
    """Run until a person is asked; what nothing explains has to be seen twice."""
    run(written, books)
    run(written, books)
    return written.held_plan()


def shown(written: WrittenDesk, plan_id: UUID) -> dict[str, Any]:
    with written.ports.open_unit_of_work() as unit:
        return show_plan(PlanStore(unit), plan_id)


def cash(written: WrittenDesk) -> Decimal:
    with written.database.engine.connect() as session:
        held = session.exec_driver_sql("select current_cash from accounts where id = 1").scalar_one()
    return Decimal(f"{held:.2f}")


def test_what_is_held_is_written_once_a_person_approves(written: WrittenDesk, tmp_path: Path) -> None:
    books = books_of(written, tmp_path)
    plan_id = held(written, books)
    assert written.positions()["BTC"][0] == "1.50000000"
    run(written, books)
    assert written.held_plan() == plan_id  # the same drift is asked about once
    with written.ports.open_unit_of_work() as unit:
        plans = PlanStore(unit)
        assert [p["book"] for p in list_plans(plans, None, is_open=True)["plans"]] == ["arena"]
        case = case_of(plans, ReportStore(unit), PriceStore(unit), plan_id, utc_now())
    told = case_markdown(case, "")
    assert case_subject(case) == "Set 2 positions in the desk's book arena on desk?"
    assert "is worth is not on record" in told.replace("\\", "")
    assert "| asset | wallet | desk | proven |" in told
    assert "BTC: from 1.5 to 2" in told.replace("\\", "")
    decision = approve(plan_id, "ada", written.ours.ports, books=lambda: books)
    assert decision.status == "applied"
    assert written.positions()["BTC"][0] == "2.00000000"
    assert cash(written) == 1000
    view = shown(written, plan_id)
    assert shown(written, UUID(view["written_as"]))["status"] == "applied"
    assert approve(plan_id, "ada", written.ours.ports, books=lambda: books).status == "applied"
    assert {one["state"] for one in written.writes()} == {"written"}
    assert len(written.writes()) == 2


def test_another_drift_than_the_approved_one_is_outdated_aloud(written: WrittenDesk, tmp_path: Path) -> None:
    books = books_of(written, tmp_path)
    plan_id = held(written, books)
    written.database.run("update positions set quantity = 1.25 where id = 1")
    decision = approve(plan_id, "ada", written.ours.ports, books=lambda: books)
    assert decision.status == "outdated"
    assert written.positions()["BTC"][0] == "1.25000000"
    assert held(written, books) != plan_id


def test_what_is_rejected_is_not_asked_again_until_it_changes(written: WrittenDesk, tmp_path: Path) -> None:
    books = books_of(written, tmp_path)
    plan_id = held(written, books)
    assert reject(plan_id, "ada", written.ours.ports).status == "rejected"
    run(written, books)
    assert written.held_plan() == plan_id
    assert written.writes() == []


def test_a_run_that_dies_before_it_wrote_what_was_approved_is_followed_by_one_that_does(
    written: WrittenDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = books_of(written, tmp_path)
    plan_id = held(written, books)
    with monkeypatch.context() as patch:
        patch.setattr("kraken_recon.desk_books.writing.change_rows", lambda *_: None)
        with pytest.raises(PlanNotWrittenError):
            approve(plan_id, "ada", written.ours.ports, books=lambda: books)
    assert settle_unfinished(written.ports, lambda _: True) == []
    assert shown(written, plan_id)["status"] == "approved"
    run(written, books)
    assert shown(written, plan_id)["status"] == "applied"
    assert written.positions()["BTC"][0] == "2.00000000"


def test_the_plan_of_a_book_that_nobody_declares_any_more_comes_to_an_end(
    written: WrittenDesk, tmp_path: Path
) -> None:
    books = books_of(written, tmp_path)
    plan_id = held(written, books)
    gone = DeskBooks((), books.ports)
    decision = approve(plan_id, "ada", written.ours.ports, books=lambda: gone)
    assert (decision.status, decision.note) == ("outdated", "book arena is no longer declared")


def test_an_undo_puts_every_row_back_as_it_was(written_anywhere: WrittenDesk, tmp_path: Path) -> None:
    written = written_anywhere
    books = books_of(written, tmp_path)
    written.database.run(
        "insert into positions values (7, 1, 'SOL', 'Sol', 'CRYPTO', 'v9', 3, 1, 20.5, 'false', null)"
    )
    proven = {"BTC": Decimal(2), "ETH": Decimal(4), "USD": Decimal(1000)}
    before = written.positions(), cash(written)
    plan_id = write_back(written.judge(proven), written.ports).plan_id
    assert plan_id is not None
    assert written.positions().keys() == {"BTC", "ETH"}
    undone_by, is_new = undo(
        plan_id, "ada", written.ports.open_unit_of_work, now=utc_now(), books=lambda: books
    )
    assert is_new
    assert (written.positions(), cash(written)) == before
    with written.database.engine.connect() as session:
        row = session.exec_driver_sql("select name, version, is_active from positions where id = 7").one()
    assert tuple(row) == ("Sol", "v9", "false")
    view = shown(written, undone_by)
    assert (view["kind"], view["status"], view["undoes"]) == ("undo", "applied", str(plan_id))
    again = undo(plan_id, "bob", written.ports.open_unit_of_work, now=utc_now(), books=lambda: books)
    assert again == (undone_by, False)
    redone, is_new = undo(
        undone_by, "ada", written.ports.open_unit_of_work, now=utc_now(), books=lambda: books
    )
    assert is_new
    assert shown(written, redone)["undoes"] == str(undone_by)
    assert written.positions().keys() == {"BTC", "ETH"}


def test_an_undo_that_was_cut_off_is_found_out_by_the_same_command(
    written: WrittenDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = books_of(written, tmp_path)
    before = written.positions(), cash(written)
    plan_id = write_back(written.judge({"BTC": Decimal(2), "USD": Decimal(1000)}), written.ports).plan_id
    assert plan_id is not None
    with monkeypatch.context() as patch:
        patch.setattr("kraken_recon.desk_books.taking_back.change_rows", lambda *_, **__: None)
        with pytest.raises(PlanNotWrittenError):
            undo(plan_id, "ada", written.ports.open_unit_of_work, now=utc_now(), books=lambda: books)
    open_unit_of_work = written.ports.open_unit_of_work
    undone_by, is_new = undo(plan_id, "ada", open_unit_of_work, now=utc_now(), books=lambda: books)
    assert is_new
    assert (written.positions(), cash(written)) == before
    with monkeypatch.context() as patch:
        conclude = "kraken_recon.desk_books.write_store.WriteStore.conclude"
        patch.setattr(conclude, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            undo(undone_by, "ada", open_unit_of_work, now=utc_now(), books=lambda: books)
    assert undo(undone_by, "ada", open_unit_of_work, now=utc_now(), books=lambda: books)[1] is False
    assert written.positions()["BTC"][0] == "2.00000000"


def test_what_is_held_of_a_book_that_is_gone_is_not_asked_about(written: WrittenDesk, tmp_path: Path) -> None:
    books = books_of(written, tmp_path)
    plan_id = held(written, books)
    settle_books(books.declared, books.ports)
    assert written.held_plan() == plan_id
    settle_books([], books.ports)
    view = shown(written, plan_id)
    assert (view["status"], view["note"]) == ("outdated", "book arena is no longer declared")


@pytest.mark.parametrize(
    ("moved", "word"),
    [
        ("update positions set quantity = 2.25 where id = 1", "quantity"),
        ("delete from positions where id = 1", "gone"),
        ("update positions set quantity = 5 where id = 500", "quantity"),
        (
            "insert into positions values (8, 1, 'SOL', 'n', 'CRYPTO', 'v1', 9, 0, null, 'true', null)",
            "added meanwhile",
        ),
    ],
)
def test_an_undo_is_refused_in_words_when_a_row_moved_on(
    written_anywhere: WrittenDesk, tmp_path: Path, moved: str, word: str
) -> None:
    written = written_anywhere
    books = books_of(written, tmp_path)
    written.database.run(
        "insert into positions values (7, 1, 'SOL', 'Sol', 'CRYPTO', 'v9', 3, 1, 20.5, 'false', null)"
    )
    proven = {"BTC": Decimal(2), "ETH": Decimal(4), "USD": Decimal(1000)}
    plan_id = write_back(written.judge(proven), written.ports).plan_id
    assert plan_id is not None
    written.database.run(moved)
    left = written.positions(), cash(written)
    for _ in range(2):  # a refusal stands in the way of no later undo
        with pytest.raises(PlanRefusedError, match=word):
            undo(plan_id, "ada", written.ports.open_unit_of_work, now=utc_now(), books=lambda: books)
        assert (written.positions(), cash(written)) == left
    assert shown(written, plan_id)["undone_by"] is None


def test_what_a_person_undid_is_held_by_the_next_run(written: WrittenDesk, tmp_path: Path) -> None:
    books = books_of(written, tmp_path)
    plan_id = held(written, books)
    approve(plan_id, "ada", written.ours.ports, books=lambda: books)
    undo(plan_id, "bob", written.ports.open_unit_of_work, now=utc_now(), books=lambda: books)
    assert written.positions()["BTC"][0] == "1.50000000"
    run(written, books)
    run(written, books)
    assert "undone by bob" in shown(written, written.held_plan())["why"]
    assert written.positions()["BTC"][0] == "1.50000000"


def test_what_did_not_last_is_held(written: WrittenDesk, tmp_path: Path) -> None:
    books = books_of(written, tmp_path)
    approve(held(written, books), "ada", written.ours.ports, books=lambda: books)
    written.database.run("update positions set quantity = 1.5 where id = 1")  # a bot that read before us
    run(written, books)
    run(written, books)  # what nothing explains has to be seen twice
    assert "did not last" in shown(written, written.held_plan())["why"]


def test_a_book_is_held_beside_the_positions_of_its_account(written: WrittenDesk, tmp_path: Path) -> None:
    books = books_of(written, tmp_path)
    desk_plan = held(written, books)
    written.ours.books["desk"].residuals[HoldingKey("BTC", "spot")] = Decimal("-1.5")
    written.ours.sync()
    written.ours.sync()
    found = written.ours.rows(
        "select plan_id, book from trading.repair_plans where kind = 'held' and closed_at is null"
    )
    assert {one["book"] for one in found} == {None, "arena"}
    assert desk_plan in {one["plan_id"] for one in found}

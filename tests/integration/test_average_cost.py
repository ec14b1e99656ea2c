"""Average costs in the database: where they are written, when not, and what waits for whom."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa

from desks.cost_books import happen
from desks.fake_exchange import Desk
from kraken_recon.books.store import BookStore
from kraken_recon.costs.recomputing import cost_view, recompute, recompute_account, scope_of
from kraken_recon.costs.records import CostKey
from kraken_recon.costs.store import CostStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import LockUnavailableError
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reports.terminal import render_costs

if TYPE_CHECKING:
    from desks.fakes import FakeBooks
    from kraken_recon.costs.records import CostScope
    from kraken_recon.ledger.entries import LedgerEntry


@pytest.fixture
def desk(database_url: str) -> Desk:
    return Desk(database_url)


@pytest.fixture
def books(desk: Desk) -> FakeBooks:
    books = desk.account()
    happen(books, ("USD", "1000"), kind="deposit")
    happen(books, ("BTC", "2"), ("USD", "-100", "1"))
    happen(books, ("ETH", "3"), ("USD", "-30"))
    happen(books, ("SOL", "1"), kind="deposit")
    desk.sync()
    return books


def averages(desk: Desk) -> dict[tuple[str, str], Decimal | None]:
    return {
        (row["asset"], row["wallet"]): row["avg_cost"]
        for row in desk.rows("select asset, wallet, avg_cost from trading.positions")
    }


def versions(desk: Desk) -> dict[str, str]:
    return {
        row["asset"]: row["xmin"] for row in desk.rows("select asset, xmin::text from trading.asset_costs")
    }


def test_sync_sets_the_average_of_every_wallet(desk: Desk, books: FakeBooks) -> None:
    assert averages(desk) == {
        ("BTC", "spot"): Decimal("50.5"),
        ("ETH", "spot"): Decimal(10),
        ("SOL", "spot"): None,
        ("USD", "spot"): Decimal(1),
    }
    happen(books, ("ETH", "-1"), ("ETH", "1", "0", "F"), kind="earn", subtype="allocation")
    desk.sync()
    assert averages(desk)["ETH", "F"] == averages(desk)["ETH", "spot"] == 10
    happen(books, ("ETH", "1"), ("USD", "-50"))
    desk.sync()
    assert averages(desk)["ETH", "F"] == averages(desk)["ETH", "spot"] == 20


def test_only_assets_with_news_are_written(desk: Desk, books: FakeBooks) -> None:
    before = versions(desk)
    happen(books, ("BTC", "1"), ("USD", "-49"))
    desk.sync()
    after = versions(desk)
    assert {asset for asset in before if before[asset] != after[asset]} == {"BTC", "USD"}
    assert averages(desk)["BTC", "spot"] == 50
    desk.sync()
    assert versions(desk) == after


def test_older_entry_that_comes_late_corrects_what_was_bought_with_the_asset(
    desk: Desk, books: FakeBooks
) -> None:
    late = books.now
    happen(books, ("SOL", "10"), ("BTC", "-1"))
    desk.sync()
    assert cost(desk, "SOL") == ("10", "1", "50.5")
    entries = happen(books, ("BTC", "2"), ("USD", "-51"), at=late)
    with UnitOfWork(desk.engine) as unit:
        BookStore(unit).ingest({desk.account_id(): entries}, {desk.account_id(): uuid4()})
        written = recompute_account(CostStore(unit), "desk")
        unit.commit()
    assert written.anything
    assert cost(desk, "SOL") == ("10", "1", "38")


def cost(desk: Desk, asset: str) -> tuple[str, str, str]:
    with UnitOfWork(desk.engine) as unit:
        (row,) = cost_view(CostStore(unit), "desk", asset)["assets"]
    return row["quantity_known"], row["quantity_unknown"], row["cost"]


def test_dry_run_writes_no_cost(desk: Desk, books: FakeBooks) -> None:
    before = versions(desk)
    happen(books, ("BTC", "1"), ("USD", "-49"))
    desk.sync(mode=Mode.DRY_RUN)
    assert versions(desk) == before


def test_recomputation_waits_for_whoever_books_the_asset(desk: Desk, books: FakeBooks) -> None:
    assert books.entries
    done = threading.Event()

    def recompute_all() -> None:
        with UnitOfWork(desk.engine) as unit:
            recompute_account(CostStore(unit), "desk")
            unit.commit()
        done.set()

    with psycopg.connect(desk.url) as other:
        other.execute("select from trading.positions where asset = 'ETH' for no key update")
        thread = threading.Thread(target=recompute_all)
        thread.start()
        waiting = sa.text("select count(*) from pg_locks where not granted")
        with desk.engine.connect() as watcher:
            while not watcher.execute(waiting).scalar():
                assert not done.is_set()
        other.rollback()
    thread.join(timeout=20)
    assert done.is_set()


@pytest.mark.parametrize("late", ["USD", "ICN"])
def test_a_conversion_whose_legs_share_no_refid_and_come_apart_is_one_in_the_end(
    desk: Desk, books: FakeBooks, late: str
) -> None:
    happen(books, ("ICN", "10"), ("USD", "-20"))
    desk.sync()
    legs = {"USD": "70", "ICN": "-10"}
    early = next(asset for asset in legs if asset != late)
    kind = {"kind": "transfer", "subtype": "delistingconversion"}
    happen(books, (early, legs[early]), **kind)
    desk.sync()
    assert desk.rows("select * from trading.realised_results") == []
    happen(books, (late, legs[late]), **kind)
    desk.sync()
    assert cost(desk, "ICN") == ("0", "0", "0")
    results = desk.rows("select asset, proceeds, cost, result from trading.realised_results")
    assert results == [{"asset": "ICN", "proceeds": 70, "cost": 20, "result": 50}]
    with UnitOfWork(desk.engine) as unit:
        assert not recompute_account(CostStore(unit), "desk").anything


def insert(desk: Desk, entries: list[LedgerEntry]) -> None:
    """Put entries on record that no cost has counted."""
    with UnitOfWork(desk.engine) as unit:
        BookStore(unit).ingest({desk.account_id(): entries}, {desk.account_id(): uuid4()})
        unit.commit()


def add_and_scope(desk: Desk, entries: list[LedgerEntry]) -> CostScope:
    """Insert entries, and find what they make it necessary to compute; nothing is kept."""
    account = desk.account_id()
    with UnitOfWork(desk.engine) as unit:
        BookStore(unit).ingest({account: entries}, {account: uuid4()})
        return scope_of(CostStore(unit), {CostKey(account, entry.asset, "USD") for entry in entries})


def test_later_entries_are_added_without_the_assets_that_have_no_news(desk: Desk, books: FakeBooks) -> None:
    happen(books, ("SOL", "10"), ("BTC", "-1"))
    desk.sync()
    scope = add_and_scope(desk, happen(books, ("BTC", "1"), ("USD", "-49")))
    assert scope.continues == {desk.account_id()}
    assert {key.asset for key in scope.keys} == {"BTC", "USD"}


@pytest.mark.parametrize("news", ["earlier", "another leg", "other entries uncounted", "another opening"])
def test_whatever_is_not_simply_later_is_computed_from_the_first_entry_on(
    desk: Desk, books: FakeBooks, news: str
) -> None:
    happen(books, ("SOL", "10"), ("BTC", "-1"))
    desk.sync()
    late = books.entries[1].entry_time
    match news:
        case "earlier":
            entries = happen(books, ("BTC", "1"), ("USD", "-49"), at=late)
        case "another leg":
            entries = happen(books, ("BTC", "1"), refid=books.entries[1].refid)
        case "other entries uncounted":
            other = happen(books, ("BTC", "1"), at=late)
            insert(desk, other)
            entries = happen(books, ("BTC", "1"), ("USD", "-49"))
        case _:
            desk.execute("update trading.asset_costs set opening_counted = 1 where asset = 'BTC'")
            entries = happen(books, ("BTC", "1"), ("USD", "-49"))
    scope = add_and_scope(desk, entries)
    assert scope.continues == frozenset()
    assert {"BTC", "SOL"} <= {key.asset for key in scope.keys}


def test_older_entries_booked_before_the_locks_are_held_are_noticed(desk: Desk, books: FakeBooks) -> None:
    account, late = desk.account_id(), books.entries[1].entry_time
    entries = happen(books, ("BTC", "1"), ("USD", "-49"))
    with UnitOfWork(desk.engine) as unit:
        BookStore(unit).ingest({account: entries}, {account: uuid4()})
        scope = scope_of(CostStore(unit), {CostKey(account, entry.asset, "USD") for entry in entries})
        assert scope.continues
        insert(desk, happen(books, ("BTC", "1"), at=late))
        CostStore(unit).lock(scope.positions)
        with pytest.raises(LockUnavailableError):
            recompute(CostStore(unit), scope)


def alerts(desk: Desk) -> list[tuple[str, str]]:
    rows = desk.rows("select status, message from trading.alerts where kind = 'conversion_unpaired'")
    return [(row["status"], row["message"]) for row in rows]


def test_what_lies_in_a_vault_is_shown_until_it_is_back(desk: Desk, books: FakeBooks) -> None:
    happen(books, ("ETH", "-2"), kind="hybridearnwithdrawal")
    desk.sync()
    with UnitOfWork(desk.engine) as unit:
        view = cost_view(CostStore(unit), "desk", None)
    assert view["elsewhere"] == [{"asset": "ETH", "place": "vault", "quantity": "2"}]
    assert "  2 ETH, vault" in render_costs(view)
    happen(books, ("ETH", "2.5"), kind="hybridearndeposit")
    desk.sync()
    assert cost(desk, "ETH") == ("3", "0.5", "30")
    with UnitOfWork(desk.engine) as unit:
        assert cost_view(CostStore(unit), "desk", None)["elsewhere"] == []


def test_a_delisting_without_its_other_leg_is_told_until_it_comes_days_later(
    desk: Desk, books: FakeBooks
) -> None:
    happen(books, ("ETH", "-3"), kind="earn", subtype="delistingconversion")
    desk.sync()
    ((status, message),) = alerts(desk)
    assert status == "open"
    assert "-3 ETH" in message
    with UnitOfWork(desk.engine) as unit:
        view = cost_view(CostStore(unit), "desk", "ETH")
    assert [leg["amount"] for leg in view["unpaired"]] == ["-3"]
    assert any("-3 ETH by earn/delistingconversion" in line for line in render_costs(view))
    desk.now = books.now = books.now + timedelta(days=5)
    happen(books, ("POL", "3"), kind="transfer", subtype="delistingconversion")
    desk.sync()
    assert cost(desk, "POL") == ("3", "0", "30")
    assert [status for status, _ in alerts(desk)] == ["resolved"]


def test_shown_averages_are_rounded_and_say_what_they_cover(desk: Desk, books: FakeBooks) -> None:
    happen(books, ("BTC", "1"), kind="deposit")
    happen(books, ("BTC", "-0.7"), ("ETH", "11"))
    desk.sync()
    with UnitOfWork(desk.engine) as unit:
        view = cost_view(CostStore(unit), "desk", "BTC")
    (row,) = view["assets"]
    assert len(row["avg_cost"]) > 12
    assert row["covers"] == "66.6 %"
    assert [line.split()[1:3] for line in render_costs(view) if line.startswith("BTC")] == [["50.5", "66.6"]]

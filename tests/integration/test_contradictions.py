"""Where Kraken tells a recorded entry otherwise, a person can accept it, and undo that."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.fake_exchange import Desk, bring
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import PayloadInvalidError, PlanRefusedError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.repairs.accepting import accept
from kraken_recon.repairs.contradictions import find_contradictions
from kraken_recon.repairs.undoing import undo

if TYPE_CHECKING:
    from desks.fakes import FakeBooks
    from kraken_recon.accounts.account import Account

D = Decimal


@pytest.fixture
def desk(database_url: str) -> Desk:
    desk = Desk(database_url)
    books = desk.account()
    for amount in ("5", "2", "-1"):
        books.add("BTC", amount, entry_type="deposit", at=books.now + timedelta(minutes=1))
    books.entries[-1] = replace(books.entries[-1], entry_type="transfer", subtype="spottofutures")
    books.add("USD", "100", entry_type="deposit", at=books.now + timedelta(minutes=2))
    desk.sync()
    assert desk.run()["status"] == "succeeded"
    return desk


def account_of(desk: Desk) -> Account:
    with UnitOfWork(desk.engine) as unit:
        return AccountStore(unit).find_accounts(["desk"])[0]


def told_otherwise(books: FakeBooks, **changes: Any) -> str:
    """Let Kraken tell its newest entry of bitcoin otherwise from now on, and something new happen."""
    place = max(n for n, entry in enumerate(books.entries) if entry.asset == "BTC")
    books.entries[place] = replace(books.entries[place], **changes)
    books.add("USD", "1", entry_type="deposit", at=books.now + timedelta(minutes=3))
    return books.entries[place].ledger_id


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"entry_type": "withdrawal"}, "type"),
        ({"subtype": "spottostaking"}, "subtype"),
        ({"refid": "OTHER"}, "refid"),
        ({"wallet": "F", "balance": D(-1)}, "wallet"),
        ({"fee": D("0.5"), "balance": D("5.5")}, "fee"),
        ({"amount": D("-1.5"), "balance": D("5.5")}, "amount"),
    ],
)
def test_what_kraken_tells_otherwise_is_named_accepted_and_undone(
    desk: Desk, changes: dict[str, Any], field: str
) -> None:
    account, books = account_of(desk), desk.books["desk"]
    before = desk.positions()
    name = told_otherwise(books, **changes)
    desk.sync()
    assert desk.run()["status"] == "failed"
    _, _, told = desk.run()["error"].partition(f"{name} is recorded with ")
    assert f"{field} " in told
    assert "python -m kraken_recon contradictions" in desk.run()["error"]
    (found,) = find_contradictions(account, desk.ports)
    assert field in [field_name for field_name, _, _ in found.fields]
    plan, _ = accept(account, [name], "Ann", "support confirmed it", desk.ports)
    assert desk.positions() == desk.event_totals()
    after = desk.positions()
    desk.sync()
    assert (desk.run()["status"], desk.run()["error"]) == ("succeeded", None)
    assert not any(desk.run()[count] for count in ("updated", "added", "removed", "held", "awaiting"))
    assert {key: q for key, q in desk.positions().items() if key.asset == "BTC"} == {
        key: q for key, q in after.items() if key.asset == "BTC"
    }
    _, is_new = undo(plan, "Bob", lambda: UnitOfWork(desk.engine), now=desk.now)
    assert is_new
    assert {k: q for k, q in desk.positions().items() if k.asset == "BTC"} == {
        k: q for k, q in before.items() if k.asset == "BTC"
    }
    books.add("USD", "1", entry_type="deposit", at=desk.now)
    desk.sync()
    assert f"{name} is recorded with " in desk.run()["error"]


def test_balances_alone_that_kraken_tells_otherwise_are_accepted_one_by_one(desk: Desk) -> None:
    """Entries of one moment have another order now, which their running balances alone show."""
    account, books = account_of(desk), desk.books["desk"]
    before = desk.positions()
    first, second, *_ = books.entries
    books.entries[0], books.entries[1] = replace(first, balance=D(7)), replace(second, balance=D(2))
    books.add("USD", "1", entry_type="deposit", at=books.now + timedelta(minutes=3))
    desk.sync()
    assert f"{first.ledger_id} is recorded with balance 5, but Kraken now says 7" in desk.run()["error"]
    found = find_contradictions(account, desk.ports)
    assert [c.fields for c in found] == [(("balance", "5", "7"),), (("balance", "7", "2"),)]
    for one in found:
        accept(account, [one.name], "Ann", "another order of one moment", desk.ports)
    desk.sync()
    assert (desk.run()["status"], desk.run()["error"]) == ("succeeded", None)
    assert desk.positions() == before | {HoldingKey("USD", "spot"): D(101)}


def test_a_time_ahead_is_told_with_digits_that_differ_and_can_be_accepted(desk: Desk) -> None:
    account, books = account_of(desk), desk.books["desk"]
    right = max(e.entry_time for e in books.entries if e.asset == "BTC")
    name = max(books.entries, key=lambda e: (e.asset == "BTC", e.entry_time)).ledger_id
    desk.execute(
        "update trading.ledger_entries set entry_time = :ahead where ledger_id = :id",
        ahead=right + timedelta(hours=2, microseconds=3),
        id=name,
    )
    books.add("USD", "1", entry_type="deposit", at=books.now + timedelta(minutes=3))
    desk.sync()
    assert desk.run()["status"] == "failed"
    (found,) = find_contradictions(account, desk.ports, name)
    ((field, ours, theirs),) = found.fields
    assert field == "time"
    assert ours != theirs
    accept(account, [name], "Ann", "an answer of the clock change", desk.ports)
    desk.sync()
    assert (desk.run()["status"], desk.run()["error"]) == ("succeeded", None)


def test_an_entry_that_kraken_took_back_can_be_accepted_as_gone_and_brought_back(desk: Desk) -> None:
    account, books = account_of(desk), desk.books["desk"]
    before = desk.positions()
    gone = next(entry for entry in reversed(books.entries) if entry.asset == "BTC")
    books.entries.remove(gone)
    books.add("USD", "1", entry_type="deposit", at=books.now + timedelta(minutes=3))
    desk.sync()
    assert "no longer shows it" in desk.run()["error"]
    plan, _ = accept(account, [gone.ledger_id], "Ann", "support took it back", desk.ports)
    desk.sync()
    assert (desk.run()["status"], desk.run()["error"]) == ("succeeded", None)
    assert desk.positions()[gone.key] == before[gone.key] - gone.change
    assert desk.positions() == desk.event_totals()
    undo(plan, "Bob", lambda: UnitOfWork(desk.engine), now=desk.now)
    assert desk.positions()[gone.key] == before[gone.key]


def test_nothing_is_accepted_that_kraken_does_not_tell(desk: Desk) -> None:
    account, books = account_of(desk), desk.books["desk"]
    name = books.entries[0].ledger_id
    with pytest.raises(PlanRefusedError, match="tells nothing else"):
        accept(account, [name], "Ann", "to see", desk.ports)
    with pytest.raises(PlanRefusedError, match="has the id NOPE"):
        accept(account, ["NOPE"], "Ann", "to see", desk.ports)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"entry_time": datetime(2100, 1, 1, tzinfo=UTC)}, "time 2100-01-01T00:00:00\\+00:00 is after now"),
        ({"entry_time": datetime(2001, 1, 1, tzinfo=UTC)}, "time .* is before Kraken began"),
        ({"amount": D(10) ** 18}, "amount 1000000000000000000 is more than there is"),
        ({"fee": D(10) ** 18}, "fee 1000000000000000000 is more than there is"),
        ({"balance": D(-10) ** 19}, "balance -10000000000000000000 is more than there is"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_from_a_fill_too(
    desk: Desk, changes: dict[str, Any], said: str
) -> None:
    before = desk.positions()
    entry = replace(desk.books["desk"].add("BTC", "1"), **changes)
    with pytest.raises(PayloadInvalidError, match=f"entry {entry.ledger_id}: {said}"):
        bring(desk.engine, {desk.account_id(): [entry]})
    assert desk.positions() == before == desk.event_totals()
    assert not desk.rows("select from trading.ledger_entries where ledger_id = :id", id=entry.ledger_id)

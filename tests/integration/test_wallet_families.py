"""The wallets of one asset: folded into the plain code, spelled in two ways, and four of them at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desks.fake_exchange import Desk
from desks.fake_exchange import bring as bring_by_fill
from desks.fakes import START
from desks.past_intervals import backfill, recorded_at
from kraken_recon.accounts.store import AccountStore
from kraken_recon.books.store import BookStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.history.importing import import_exports
from kraken_recon.history.rules.export_rows import LedgerExport
from kraken_recon.kraken.export_files import parse_export
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.reading import Reading, respell_all
from kraken_recon.seals.sealing import seal_due, verify_seals
from kraken_recon.values.intervals import RUN_INTERVAL, Interval
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from desks.fakes import FakeBooks

BTC, BTC_F = HoldingKey("BTC", "spot"), HoldingKey("BTC", "F")
D = Decimal


@pytest.fixture
def desk(database_url: str) -> Desk:
    return Desk(database_url)


@pytest.fixture
def books(desk: Desk) -> FakeBooks:
    """A whole bitcoin, of which 0.6 earn."""
    books = desk.account()
    books.add("BTC", "1", entry_type="deposit")
    move(books, "0.6")
    desk.sync()
    return books


def move(books: FakeBooks, amount: str) -> None:
    books.add("BTC", f"-{amount}", entry_type="earn")
    books.add("BTC", amount, wallet="F", entry_type="earn")


def fold(books: FakeBooks) -> None:
    """Let the balance reply show what earns in the plain code."""
    earning = books.balance_of(BTC_F)
    books.residuals = {BTC: earning, BTC_F: -earning}


def nothing_is_said(desk: Desk) -> bool:
    run = desk.run()
    assert (run["status"], run["error"]) == ("succeeded", None)
    assert desk.rows("select * from trading.alerts") == []
    return not any(run[count] for count in ("updated", "added", "removed", "held", "awaiting"))


def test_a_folded_balance_is_no_difference_and_positions_stay_where_the_ledger_says(
    desk: Desk, books: FakeBooks
) -> None:
    fold(books)
    for _ in range(3):
        desk.sync()
        assert nothing_is_said(desk)
        assert (desk.run()["matched"], desk.findings()) == (2, {})
        assert desk.positions() == {BTC: D("0.4"), BTC_F: D("0.6")}


def test_a_folded_account_costs_one_call_once_it_is_known(desk: Desk, books: FakeBooks) -> None:
    fold(books)
    desk.sync()
    for _ in range(3):
        desk.sync()
        assert desk.run()["api_calls"] == 1


def test_entries_of_a_folded_account_are_booked_and_explain(desk: Desk, books: FakeBooks) -> None:
    fold(books)
    desk.sync()
    for place in range(3):
        move(books, "0.05")
        books.add("BTC", "0.1")
        fold(books)
        desk.sync()
        assert nothing_is_said(desk)
        assert desk.positions() == {BTC: D("0.45") + place * D("0.05"), BTC_F: D("0.65") + place * D("0.05")}


def test_what_is_missing_from_a_folded_account_is_still_found(desk: Desk, books: FakeBooks) -> None:
    fold(books)
    desk.sync()
    books.residuals[BTC] -= D("0.0003")
    books.residuals[BTC] -= D("0.1")
    desk.sync()
    desk.sync()
    assert desk.findings()["BTC"]["residual"] == D("-0.1003")
    assert desk.positions()[BTC_F] == D("0.6")


def test_an_account_that_is_unfolded_again_agrees(desk: Desk, books: FakeBooks) -> None:
    fold(books)
    desk.sync()
    books.residuals = {}
    desk.sync()
    assert nothing_is_said(desk)
    assert desk.rows("select * from trading.residuals where residual <> 0") == []
    assert desk.positions() == {BTC: D("0.4"), BTC_F: D("0.6")}
    assert sum(desk.positions().values(), ZERO) == 1


HEADER = "txid,refid,time,type,subtype,aclass,subclass,asset,wallet,amount,fee,balance"


def export(*rows: tuple[str, str, str, str]) -> LedgerExport:
    """Write an export; a row is type, wallet, amount and balance, each an hour after the one before."""
    at = START - timedelta(days=2)
    lines = [
        f"L{place},R{place},{at + timedelta(hours=place):%Y-%m-%d %H:%M:%S},{kind},,currency,crypto,SOL,"
        f"{wallet},{amount},0,{balance}"
        for place, (kind, wallet, amount, balance) in enumerate(rows)
    ]
    read = parse_export("ledgers.csv", "\n".join((HEADER, *lines)).encode())
    assert isinstance(read, LedgerExport)
    return read


def bring(desk: Desk, *exports: LedgerExport) -> None:
    with UnitOfWork(desk.engine) as unit:
        (account,) = AccountStore(unit).find_accounts(["desk"])
    import_exports(account, exports, lambda: UnitOfWork(desk.engine))


def wallets(desk: Desk) -> dict[str, Decimal]:
    return {key.wallet: quantity for key, quantity in desk.positions().items() if key.asset == "SOL"}


FOUR = (
    ("deposit", "spot / main", "10", "10"),
    ("earn", "earn / flexible", "1", "1"),
    ("earn", "earn / liquid", "2", "2"),
    ("earn", "earn / bonded", "3", "3"),
    ("earn", "earn / locked", "4", "4"),
    ("earn", "earn / flexible", "0.5", "1.5"),
    ("earn", "earn / locked", "0.25", "4.25"),
)


def test_four_wallets_of_an_export_are_four_holdings(desk: Desk) -> None:
    desk.account()
    bring(desk, export(*FOUR))
    held = wallets(desk)
    assert sorted(held.values()) == [D("1.5"), D(2), D(3), D("4.25"), D(10)]
    assert held["F"] == 2
    assert held["B"] == 3


def test_a_later_export_goes_on_in_the_same_wallets(desk: Desk) -> None:
    desk.account()
    bring(desk, export(*FOUR[:2]))
    assert wallets(desk) == {"spot": D(10), "F": D(1)}
    bring(desk, export(*FOUR))
    held = wallets(desk)
    assert held["F"] == D("1.5")
    assert sorted(held.values()) == [D("1.5"), D(2), D(3), D("4.25"), D(10)]
    bring(desk, export(*FOUR))
    assert wallets(desk) == held


@pytest.mark.parametrize("suffix", ["F", "B", "M", "S"])
@pytest.mark.parametrize("ends_in", ["earning", "spot"])
def test_an_import_and_the_api_may_spell_a_wallet_differently(desk: Desk, suffix: str, ends_in: str) -> None:
    """Whichever suffix the API has for the wallet, the account agrees, goes on and keeps its history."""
    books = desk.account()
    at = START - timedelta(days=2)
    for place, (amount, wallet) in enumerate((("10", "spot"), ("-4", "spot"), ("4", suffix), ("1", suffix))):
        kind = "earn" if place else "deposit"
        books.add("SOL", amount, wallet=wallet, entry_type=kind, at=at + timedelta(hours=place))
    if ends_in == "spot":
        books.add("SOL", "2", entry_type="deposit", at=at + timedelta(hours=9))
    names = {"spot": "spot / main", suffix: "earn / flexible"}
    rows = [
        f"{e.ledger_id},{e.refid},{e.entry_time:%Y-%m-%d %H:%M:%S},{e.entry_type},,currency,crypto,SOL,"
        f"{names[e.wallet]},{e.amount},0,{e.balance}"
        for e in books.entries
    ]
    read = parse_export("ledgers.csv", "\n".join((HEADER, *rows)).encode())
    assert isinstance(read, LedgerExport)
    bring(desk, read)
    books.now = START
    for _ in range(2):
        desk.sync()
        assert nothing_is_said(desk)
    books.add("SOL", "0.5", wallet=suffix, entry_type="earn", at=books.now)
    desk.sync()
    assert nothing_is_said(desk)
    assert wallets(desk) == {"spot": D(6) + (2 if ends_in == "spot" else 0), suffix: D("5.5")}
    assert desk.positions() == desk.event_totals()
    before = wallets(desk)
    bring(desk, read)
    assert wallets(desk) == before


def tell(books: FakeBooks, names: dict[str, str], *rows: tuple[str, str, str, str]) -> None:
    """Let Kraken tell rows of ``FOUR`` under suffixes, each with the running balance of its own wallet."""
    for place, (kind, wallet, amount, balance) in enumerate(rows):
        at = START - timedelta(days=2) + timedelta(hours=place)
        suffix = names.get(wallet, "spot")
        entry = books.add("SOL", amount, wallet=suffix, entry_type=kind, at=at)
        told = replace(entry, ledger_id=f"L{place}", refid=f"R{place}", balance=D(balance))
        books.entries[-1] = told


NEXT = (
    ("earn", "earn / flexible", "0.1", "1.6"),
    ("earn", "earn / liquid", "0.1", "2.1"),
    ("earn", "earn / bonded", "0.1", "3.1"),
    ("earn", "earn / locked", "0.1", "4.35"),
)


@pytest.mark.parametrize("suffixes", ["FBMS", "BFMS", "MFSB", "SBFM", "FFMS", "BMBM", "FFFF"])
def test_whatever_kraken_calls_the_four_wallets_of_a_file_the_account_goes_on(
    desk: Desk, suffixes: str
) -> None:
    """Suffixes that are exchanged, and one suffix for several wallets, which balances alone tell apart."""
    books = desk.account()
    words = ("earn / liquid", "earn / bonded", "earn / flexible", "earn / locked")
    names = dict(zip(words, suffixes, strict=True))
    tell(books, names, *FOUR)
    bring(desk, export(*FOUR))
    for kind, wallet, amount, balance in NEXT:
        desk.sync()
        assert nothing_is_said(desk)
        books.now = desk.now
        entry = books.add("SOL", amount, wallet=names[wallet], entry_type=kind)
        books.entries[-1] = replace(entry, balance=D(balance))
    desk.sync()
    desk.sync()
    assert nothing_is_said(desk)
    assert sorted(wallets(desk).values()) == [D("1.6"), D("2.1"), D("3.1"), D("4.35"), D(10)]
    assert desk.positions() == desk.event_totals()


def test_a_run_as_of_the_past_calls_wallets_as_kraken_does_before_it_books(desk: Desk) -> None:
    books = desk.account()
    tell(books, {"earn / flexible": "B"}, *FOUR[:2])
    bring(desk, export(*FOUR[:2]))
    recorded_at(desk, "desk", START - timedelta(days=1))
    assert wallets(desk) == {"spot": D(10), "F": D(1)}
    books.now = START
    books.add("SOL", "0.5", wallet="B", entry_type="earn")
    desk.now = START + timedelta(hours=1)
    backfill(desk, Interval(START, START + RUN_INTERVAL))
    assert wallets(desk) == {"spot": D(10), "B": D("1.5")}
    assert desk.positions() == desk.event_totals()


def test_two_holdings_that_kraken_has_one_name_and_one_chain_for_become_one(desk: Desk) -> None:
    """A fill brought an entry under Kraken's name before a sync could rename what a file had brought."""
    books = desk.account()
    tell(books, {"earn / flexible": "B"}, *FOUR[:2])
    bring(desk, export(*FOUR[:2]))
    books.now = START
    entry = books.add("SOL", "0.5", wallet="B", entry_type="earn")
    bring_by_fill(desk.engine, {desk.account_id(): [entry]})
    assert wallets(desk) == {"spot": D(10), "F": D(1), "B": D("0.5")}
    seal_due(desk.ports.open_unit_of_work)
    desk.sync()
    books.add("SOL", "0.25", wallet="B", entry_type="earn", at=desk.now)
    desk.sync()
    assert nothing_is_said(desk)
    assert wallets(desk) == {"spot": D(10), "B": D("1.75")}
    assert desk.positions() == desk.event_totals()
    events = desk.rows(
        "select quantity_before, quantity_after from trading.position_events where wallet = 'B'"
        " order by event_id"
    )
    assert [e["quantity_before"] for e in events[1:]] == [e["quantity_after"] for e in events[:-1]]
    assert events[-1]["quantity_after"] == D("1.75")
    # What was sealed under the old names is sealed again, and says why.
    seal_due(desk.ports.open_unit_of_work)
    seals = verify_seals(desk.ports.open_unit_of_work)
    assert (seals["verified"], [one["note"] for one in seals["sealed_again"]]) == (
        True,
        ["wallets are called otherwise"],
    )


@pytest.mark.parametrize(
    "suffixes", ["FBSM", "BFSM", "SMFB", "MFBS", "BSMF", ("B", "F", "28.S", "14.S")], ids=str
)
def test_wallets_that_the_api_calls_by_each_others_names_stay_apart(
    desk: Desk, suffixes: Sequence[str]
) -> None:
    """Flexible, liquid, bonded and locked under any suffixes: four stay four."""
    books = desk.account()
    at = START - timedelta(days=2)
    named = dict(zip(suffixes, ("flexible", "liquid", "bonded", "locked"), strict=True))
    books.add("SOL", "100", entry_type="deposit", at=at)
    for place, suffix in enumerate(suffixes, 1):
        moment = at + timedelta(hours=place)
        books.add("SOL", f"-{place}", entry_type="earn", at=moment)
        books.add("SOL", str(place), wallet=suffix, entry_type="earn", at=moment)
    rows = [
        f"{e.ledger_id},{e.refid},{e.entry_time:%Y-%m-%d %H:%M:%S},{e.entry_type},,currency,crypto,SOL,"
        f"{f'earn / {named[e.wallet]}' if e.wallet in named else 'spot / main'},{e.amount},0,{e.balance}"
        for e in books.entries
    ]
    read = parse_export("ledgers.csv", "\n".join((HEADER, *rows)).encode())
    assert isinstance(read, LedgerExport)
    bring(desk, read)
    books.now = START
    desk.sync()
    assert nothing_is_said(desk)
    books.add("SOL", "0.5", wallet=suffixes[0], entry_type="earn", at=books.now)
    for _ in range(2):
        desk.sync()
        assert nothing_is_said(desk)
        assert sorted(wallets(desk).values()) == [D("1.5"), D(2), D(3), D(4), D(90)]
        assert desk.positions() == desk.event_totals()
        bring(desk, read)


def test_a_new_wallet_may_come_under_the_suffix_that_an_import_had_guessed(desk: Desk) -> None:
    books = desk.account()
    at = START - timedelta(days=2)
    books.add("SOL", "10", entry_type="deposit", at=at)
    books.add("SOL", "-4", entry_type="earn", at=at + timedelta(hours=1))
    books.add("SOL", "4", wallet="B", entry_type="earn", at=at + timedelta(hours=1))
    rows = [
        f"{e.ledger_id},{e.refid},{e.entry_time:%Y-%m-%d %H:%M:%S},{e.entry_type},,currency,crypto,SOL,"
        f"{'earn / flexible' if e.wallet == 'B' else 'spot / main'},{e.amount},0,{e.balance}"
        for e in books.entries
    ]
    read = parse_export("ledgers.csv", "\n".join((HEADER, *rows)).encode())
    assert isinstance(read, LedgerExport)
    bring(desk, read)
    assert wallets(desk) == {"spot": D(6), "F": D(4)}
    books.now = START
    books.add("SOL", "-1", entry_type="earn", at=START)
    books.add("SOL", "1", wallet="F", entry_type="earn", at=START)
    desk.sync()
    assert nothing_is_said(desk)
    assert wallets(desk) == {"spot": D(5), "B": D(4), "F": D(1)}
    assert desk.positions() == desk.event_totals()


def test_names_are_exchanged_once_whoever_else_read_that_too(desk: Desk) -> None:
    books = desk.account()
    rows = (FOUR[0], ("earn", "earn / liquid", "2", "2"), ("earn", "earn / bonded", "3", "3"))
    tell(books, {"earn / liquid": "B", "earn / bonded": "F"}, *rows)
    bring(desk, export(*rows))
    assert wallets(desk) == {"spot": D(10), "F": D(2), "B": D(3)}
    liquid, bonded = HoldingKey("SOL", "F"), HoldingKey("SOL", "B")
    names = {liquid: bonded, bonded: liquid}
    reading = Reading({}, tuple(books.entries), None, START, coherent=True, respelled=names)
    for _ in range(2):
        with UnitOfWork(desk.engine) as unit:
            respell_all(BookStore(unit), desk.account_id(), reading)
            unit.commit()
        assert wallets(desk) == {"spot": D(10), "F": D(3), "B": D(2)}
        assert desk.positions() == desk.event_totals()
    desk.sync()
    assert nothing_is_said(desk)


def test_plan_held_under_a_wallet_s_old_name_is_outdated_aloud_and_asked_anew(desk: Desk) -> None:
    books = desk.account()
    rows = (FOUR[0], ("earn", "earn / flexible", "2", "2"))
    tell(books, {"earn / flexible": "F"}, *rows)
    bring(desk, export(*rows))
    desk.sync()
    residual = HoldingKey("SOL", "F")
    books.residuals[residual] = D("-1.5")
    for _ in range(2):
        desk.sync()
    [held] = desk.rows("select plan_id from trading.repair_plans where status = 'held'")
    books.residuals = {HoldingKey("SOL", "B"): D("-1.5")}
    books.entries = [replace(e, wallet="B") if e.wallet == "F" else e for e in books.entries]
    books.now = desk.now
    books.add("SOL", "0.1", wallet="B", entry_type="earn")
    desk.sync()
    [old] = desk.rows("select * from trading.repair_plans where plan_id = :plan", plan=held["plan_id"])
    assert (old["status"], old["closed_at"] is not None) == ("outdated", True)
    assert "Kraken calls a wallet of it otherwise by now" in old["note"]
    desk.sync()
    [anew] = desk.rows(
        "select r.wallet from trading.repair_plans p join trading.repair_plan_rows r using (plan_id)"
        " where p.status = 'held'"
    )
    assert anew["wallet"] == "B"


@pytest.mark.parametrize("missing", [D("-0.001"), D("0.001")])
def test_what_is_really_missing_beside_wallets_of_one_name_is_found_alone(
    desk: Desk, missing: Decimal
) -> None:
    books = desk.account()
    words = ("earn / liquid", "earn / bonded", "earn / flexible", "earn / locked")
    tell(books, dict.fromkeys(words, "F"), *FOUR)
    bring(desk, export(*FOUR))
    books.residuals[HoldingKey("SOL", "F")] = missing
    for amount in ("0.1", "0.2"):
        books.now = desk.now
        entry = books.add("SOL", "0.1", wallet="F", entry_type="earn")
        books.entries[-1] = replace(entry, balance=D(3) + D(amount))
        for _ in range(2):
            desk.sync()
            residuals = {key: found["residual"] for key, found in desk.findings().items()}
            assert {key: residual for key, residual in residuals.items() if residual} == {"SOL.F": missing}
            assert not any(desk.run()[count] for count in ("updated", "added", "removed", "held"))
        assert wallets(desk)["B"] == D(3) + D(amount)
    assert sorted(wallets(desk).values()) == [D("1.5"), D(2), D("3.2"), D("4.25"), D(10)]

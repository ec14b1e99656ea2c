"""What Kraken never shows, or never mends: a person accepts it, and the account goes on."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from desks.fake_exchange import Desk
from kraken_recon.accounts.store import AccountStore
from kraken_recon.certificates.certifying import certify, verify
from kraken_recon.certificates.store import CertificateStore
from kraken_recon.cli import repairs as commands
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ConfigurationError, PlanRefusedError
from kraken_recon.ledger.entries import HoldingKey, LedgerPage
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.repairs.accepting import accept
from kraken_recon.repairs.contradictions import contradictions_view, find_contradictions
from kraken_recon.repairs.undoing import undo

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.cli.command import Result
    from kraken_recon.ledger.entries import LedgerEntry

BTC, USD = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot")
D = Decimal


@pytest.fixture
def desk(database_url: str) -> Desk:
    desk = Desk(database_url)
    books = desk.account()
    books.add("USD", "1000", entry_type="deposit")
    books.add("BTC", "2")
    desk.sync()
    return desk


def account_of(desk: Desk) -> Account:
    with UnitOfWork(desk.engine) as unit:
        return AccountStore(unit).find_accounts(["desk"])[0]


def happen(desk: Desk, asset: str, amount: str) -> LedgerEntry:
    desk.now += timedelta(minutes=20)
    desk.books["desk"].now = desk.now
    entry = desk.books["desk"].add(asset, amount)
    desk.now += timedelta(minutes=20)
    return entry


def hide(desk: Desk, *hidden: LedgerEntry, is_counted: bool = False) -> None:
    """Leave entries out of every page for ever, and perhaps not out of the count."""
    exchange = desk.exchanges["desk"]
    shown = type(exchange).ledger_page

    def page(*, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        whole = shown(exchange, after=after, until=until, offset=offset)
        rows = tuple(entry for entry in whole.entries if entry not in hidden)
        lacking = 0 if is_counted else len(whole.entries) - len(rows)
        return replace(whole, entries=rows, count=(whole.count or 0) - lacking)

    exchange.ledger_page = page  # type: ignore[method-assign]


def accept_all(desk: Desk) -> UUID:
    return accept(account_of(desk), ["all"], "Ann", "Kraken's support says it stays so", desk.ports)[0]


def sync(desk: Desk) -> dict[str, Any]:
    desk.sync()
    return desk.run()


def is_agreed(desk: Desk) -> bool:
    run = sync(desk)
    counts = ("updated", "added", "removed", "held", "awaiting")
    return (
        (run["status"], run["error"]) == ("succeeded", None)
        and not any(run[count] for count in counts)
        and desk.positions() == desk.event_totals()
    )


def open_alerts(desk: Desk) -> list[str]:
    return [row["kind"] for row in desk.rows("select kind from trading.alerts where status <> 'resolved'")]


def certified(desk: Desk, at: datetime) -> Decimal:
    """Certify bitcoin at a moment, and check the certificate as its reader would."""
    with UnitOfWork(desk.engine) as unit:
        document = certify(CertificateStore(unit), "desk", at, now=desk.now + timedelta(days=1))
    assert verify(json.dumps(document).encode())["verified"]
    [closing] = [D(holding["closing"]) for holding in document["holdings"] if holding["asset"] == "BTC"]
    return closing


def gap_after_hiding(desk: Desk, amount: str = "0.5") -> tuple[LedgerEntry, LedgerEntry]:
    hidden = happen(desk, "BTC", amount)
    later = happen(desk, "BTC", "1")
    hide(desk, hidden)
    for _ in range(2):
        assert sync(desk)["status"] == "failed"
    return hidden, later


def test_gap_that_kraken_never_mends_is_shown_accepted_and_its_alert_ends(desk: Desk) -> None:
    _, later = gap_after_hiding(desk)
    assert "contradictions --account NAME` if Kraken never mends it" in desk.run()["error"]
    assert open_alerts(desk) == ["sync_failure"]
    [found] = find_contradictions(account_of(desk), desk.ports)
    assert found.name == f"gap-before-{later.ledger_id}"
    assert [(ours, theirs) for _, ours, theirs in found.fields] == [("2", "2.5")]
    before = desk.positions()
    accept_all(desk)
    assert desk.positions()[BTC] == before[BTC] + D("0.5")
    assert is_agreed(desk)
    assert desk.positions()[BTC] == D("3.5")
    assert open_alerts(desk) == []
    [event] = desk.rows("select * from trading.position_events where reason = 'gap_accepted'")
    assert event["quantity_after"] - event["quantity_before"] == D("0.5")
    assert (
        "Ann: Kraken's support says"
        in desk.rows("select why from trading.repair_plans where plan_id = :plan", plan=event["plan_id"])[0][
            "why"
        ]
    )
    assert certified(desk, desk.now) == D("3.5")
    assert certified(desk, later.entry_time - timedelta(minutes=1)) == 2
    desk.now += timedelta(days=2)
    assert is_agreed(desk), "the sweep connects, too"
    assert desk.rows("select * from trading.alerts where status <> 'resolved'") == []


def test_gap_that_kraken_mends_later_is_taken_back_by_itself(desk: Desk) -> None:
    hidden, later = gap_after_hiding(desk)
    accept_all(desk)
    assert is_agreed(desk)
    del desk.exchanges["desk"].ledger_page
    assert find_contradictions(account_of(desk), desk.ports) == []
    happen(desk, "BTC", "0.25")
    assert is_agreed(desk), "a run between reads no further back than it must"
    desk.now += timedelta(days=1)
    desk.sync(mode=Mode.DRY_RUN)
    assert not any(found["residual"] for found in desk.findings().values())
    assert is_agreed(desk)
    assert "Kraken shows now what lay in gaps that a person accepted" in desk.run()["note"]
    assert desk.positions()[BTC] == D("3.75")
    assert certified(desk, desk.now) == D("3.75")
    assert certified(desk, later.entry_time - timedelta(minutes=1)) == D("2.5")
    assert desk.rows("select type from trading.ledger_entries where ledger_id like 'gap-%'") == [
        {"type": "withdrawn"}
    ]
    recorded = {row["ledger_id"] for row in desk.rows("select ledger_id from trading.ledger_entries")}
    assert {hidden.ledger_id, later.ledger_id} <= recorded
    assert [
        row["reason"]
        for row in desk.rows("select reason from trading.position_events where reason like 'gap%'")
    ] == ["gap_accepted", "gap_mended"]


def test_gap_that_kraken_mends_in_part_is_asked_about_again(desk: Desk) -> None:
    first, second = happen(desk, "BTC", "0.5"), happen(desk, "BTC", "0.25")
    happen(desk, "BTC", "1")
    hide(desk, first, second)
    sync(desk)
    accept_all(desk)
    assert is_agreed(desk)
    hide(desk, second)
    happen(desk, "USD", "1")
    desk.now += timedelta(days=2)
    assert sync(desk)["status"] == "failed"
    [found] = find_contradictions(account_of(desk), desk.ports)
    accept(account_of(desk), [found.name], "Ann", "the rest stays", desk.ports)
    assert is_agreed(desk)
    assert desk.positions()[BTC] == D("3.75")


def test_accepted_gap_is_undone_although_the_position_has_moved_on(desk: Desk) -> None:
    gap_after_hiding(desk)
    plan = accept_all(desk)
    assert is_agreed(desk)
    happen(desk, "BTC", "0.25")
    assert is_agreed(desk)
    before = desk.positions()
    undone, is_new = undo(plan, "Bob", lambda: UnitOfWork(desk.engine), now=desk.now)
    assert is_new
    assert desk.positions()[BTC] == before[BTC] - D("0.5")
    assert desk.positions() == desk.event_totals()
    with pytest.raises(PlanRefusedError, match="applied ledger entries only"):
        undo(undone, "Bob", lambda: UnitOfWork(desk.engine), now=desk.now)
    assert sync(desk)["status"] == "failed"
    accept_all(desk)
    assert is_agreed(desk)
    assert desk.positions() == before


def test_what_a_repair_put_right_already_is_not_counted_twice(desk: Desk) -> None:
    hidden = happen(desk, "BTC", "0.0001")
    hide(desk, hidden)
    desk.exchanges["desk"].price_list = {"BTC": D(100), "USD": D(1)}
    desk.execute(
        "insert into trading.tolerances (account_id, asset, quantity)"
        " select account_id, 'BTC', 0 from trading.accounts"
    )
    sync(desk)
    assert sync(desk)["updated"] == 1
    assert desk.positions()[BTC] == D("2.0001")
    happen(desk, "BTC", "1")
    assert sync(desk)["status"] == "failed"
    accept_all(desk)
    assert desk.positions()[BTC] == D("2.0001")
    assert is_agreed(desk)
    assert desk.positions()[BTC] == D("3.0001")
    assert "unexplained_discrepancy" not in open_alerts(desk)


def test_several_gaps_and_entries_are_accepted_as_one_plan(desk: Desk) -> None:
    books = desk.books["desk"]
    happen(desk, "BTC", "0.5")
    told = happen(desk, "USD", "5")
    happen(desk, "BTC", "1")
    assert sync(desk)["status"] == "succeeded"
    place = books.entries.index(told)
    books.entries[place] = replace(told, refid="OTHER")
    more = [happen(desk, "BTC", "0.25"), happen(desk, "BTC", "0.125")]
    hide(desk, more[0])
    assert sync(desk)["status"] == "failed"
    found = find_contradictions(account_of(desk), desk.ports)
    assert len(found) == 2
    plan = accept_all(desk)
    assert is_agreed(desk)
    assert len(desk.rows("select * from trading.repair_plans where plan_id = :plan", plan=plan)) == 1


def test_account_that_was_never_opened_is_not_stuck_behind_a_gap(desk: Desk) -> None:
    books = desk.account("other")
    books.add("BTC", "1")
    hidden = books.add("BTC", "0.5")
    books.add("BTC", "2")
    exchange = desk.exchanges["other"]
    shown = type(exchange).ledger_page

    def page(*, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        whole = shown(exchange, after=after, until=until, offset=offset)
        rows = tuple(entry for entry in whole.entries if entry != hidden)
        return replace(whole, entries=rows, count=len(rows))

    exchange.ledger_page = page  # type: ignore[method-assign]
    desk.now += timedelta(hours=1)
    desk.sync()
    assert desk.run("other")["status"] == "failed"
    with UnitOfWork(desk.engine) as unit:
        [other] = AccountStore(unit).find_accounts(["other"])
    accept(other, ["all"], "Ann", "Kraken's support says so", desk.ports)
    for _ in range(2):
        desk.sync()
        assert (desk.run("other")["status"], desk.run("other")["error"]) == ("succeeded", None)
    assert desk.positions("other") == desk.event_totals("other") == {BTC: D("3.5")}


def test_restated_balances_whose_start_contradicts_the_opening_are_accepted(desk: Desk) -> None:
    books = desk.books["desk"]
    for _ in range(3):
        desk.now += timedelta(days=20)
        books.now = desk.now
        books.add("BTC", "1")
        assert sync(desk)["status"] == "succeeded"
    for place, entry in enumerate(books.entries):
        if entry.asset == "BTC":
            books.entries[place] = replace(entry, balance=entry.balance + 5)
    books.openings[BTC] = D(5)
    happen(desk, "BTC", "1")
    assert sync(desk)["status"] == "failed"
    found = find_contradictions(account_of(desk), desk.ports)
    assert len(found) == 5, "four restated entries, and the gap before the first"
    before = desk.positions()
    plan = accept_all(desk)
    assert is_agreed(desk)
    assert desk.positions()[BTC] == before[BTC] + 6
    undo(plan, "Bob", lambda: UnitOfWork(desk.engine), now=desk.now)
    assert desk.positions()[BTC] == before[BTC] + 1


def test_entries_that_are_counted_and_never_shown_are_accepted_once(desk: Desk) -> None:
    hidden = happen(desk, "USD", "0.00")
    happen(desk, "BTC", "1")
    hide(desk, hidden, is_counted=True)
    assert sync(desk)["status"] == "moving"
    assert open_alerts(desk) == ["ledger_incomplete"]
    [found] = find_contradictions(account_of(desk), desk.ports)
    assert found.fields == (("entries", "3 shown", "4 counted"),)
    plan = accept_all(desk)
    assert is_agreed(desk)
    assert open_alerts(desk) == []
    for _ in range(3):
        desk.now += timedelta(days=1)
        assert is_agreed(desk), "no sweep asks again"
    happen(desk, "USD", "1")
    assert is_agreed(desk)
    other = happen(desk, "BTC", "0.5")
    happen(desk, "USD", "1")
    hide(desk, hidden, other, is_counted=True)
    assert sync(desk)["status"] == "moving", "what is new was not accepted"
    hide(desk, hidden, is_counted=True)
    assert is_agreed(desk)
    undo(plan, "Bob", lambda: UnitOfWork(desk.engine), now=desk.now)
    assert desk.rows("select missing_accepted from trading.accounts") == [{"missing_accepted": None}]


def test_asset_that_the_balance_leaves_out_for_ever_is_accepted_and_comes_back(desk: Desk) -> None:
    books, exchange = desk.books["desk"], desk.exchanges["desk"]
    honest = books.balances
    books.balances = lambda: {k: b for k, b in honest().items() if k != BTC}  # type: ignore[method-assign]
    assert sync(desk)["status"] == "failed"
    [found] = find_contradictions(account_of(desk), desk.ports)
    assert found.fields == (("BTC in Kraken's balance", "2", "left out"),)
    accept_all(desk)
    assert BTC not in desk.positions()
    assert is_agreed(desk)
    del books.balances
    exchange.price_list = {}
    happen(desk, "BTC", "1")
    assert is_agreed(desk)
    assert desk.positions()[BTC] == 3


def test_gap_of_this_minute_is_not_offered(desk: Desk) -> None:
    desk.books["desk"].now = desk.now
    hidden = desk.books["desk"].add("BTC", "0.5")
    desk.books["desk"].add("BTC", "1")
    hide(desk, hidden)
    assert find_contradictions(account_of(desk), desk.ports) == []
    with pytest.raises(PlanRefusedError, match="nothing to accept"):
        accept_all(desk)


def test_gap_that_two_people_accept_at_once_is_booked_once(desk: Desk) -> None:
    gap_after_hiding(desk)
    both = Barrier(2, timeout=20)

    def meet(endpoint: str) -> None:
        if endpoint == "BalanceEx":
            both.wait()

    desk.exchanges["desk"].before_call = meet
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(accept_all, desk) for _ in range(2)]
    refused = [failed for one in tries if (failed := one.exception())]
    assert [type(one) for one in refused] == [PlanRefusedError]
    assert "look again" in str(refused[0])
    desk.exchanges["desk"].before_call = lambda _: None
    assert len(desk.rows("select 1 from trading.position_events where reason = 'gap_accepted'")) == 1
    assert is_agreed(desk)
    assert desk.positions()[BTC] == D("3.5")


@pytest.mark.parametrize("endpoint", ["BalanceEx", "Ledgers"])
@pytest.mark.parametrize("outer", ["sync", "accept"])
def test_gap_that_is_accepted_while_a_sync_runs_is_booked_once(desk: Desk, outer: str, endpoint: str) -> None:
    _, later = gap_after_hiding(desk)
    happen(desk, "USD", "7")
    exchange = desk.exchanges["desk"]
    acts: dict[str, Callable[[], object]] = {"sync": desk.sync, "accept": lambda: accept_all(desk)}

    def between(called: str) -> None:
        if called == endpoint:
            exchange.before_call = lambda _: None
            [inner] = acts.keys() - {outer}
            acts[inner]()

    exchange.before_call = between
    acts[outer]()
    exchange.before_call = lambda _: None
    assert is_agreed(desk)
    assert desk.positions() == {BTC: D("3.5"), USD: D(1007)}
    assert open_alerts(desk) == []
    assert len(desk.rows("select 1 from trading.position_events where reason = 'gap_accepted'")) == 1
    [entry] = desk.rows("select ledger_id from trading.ledger_entries where type = 'gap'")
    assert entry["ledger_id"] == f"gap-before-{later.ledger_id}"


def test_nothing_is_accepted_twice_or_where_there_is_nothing(desk: Desk) -> None:
    desk.account("new")
    with UnitOfWork(desk.engine) as unit:
        [new] = AccountStore(unit).find_accounts(["new"])
    with pytest.raises(PlanRefusedError, match="new: there is nothing to accept"):
        accept(new, ["all"], "Ann", "to be sure", desk.ports)
    assert desk.rows("select * from trading.ledger_entries where account_id = :new", new=new.account_id) == []
    gap_after_hiding(desk)
    plan = accept_all(desk)
    for _ in range(2):
        with pytest.raises(PlanRefusedError, match="desk: there is nothing to accept"):
            accept_all(desk)
        assert is_agreed(desk)
    undo(plan, "Bob", lambda: UnitOfWork(desk.engine), now=desk.now)
    again = accept_all(desk)
    with pytest.raises(PlanRefusedError, match="there is nothing to accept"):
        accept_all(desk)
    assert again != plan
    assert is_agreed(desk)
    assert desk.positions()[BTC] == D("3.5")


def test_command_shows_what_accepting_changes_and_accepts_all_with_one_reason(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = ArgumentParser()
    commands.contradictions(parser.add_subparsers())

    def run(*words: str) -> Result:
        arguments = parser.parse_args(["contradictions", "--account", "desk", *words])
        done: Result = arguments.run(arguments)
        return done

    monkeypatch.setattr(commands, "wired", lambda: SimpleNamespace(sync_ports=lambda: desk.ports))
    monkeypatch.setattr(commands, "account_named", lambda _: account_of(desk))
    _, later = gap_after_hiding(desk)
    gap = f"gap-before-{later.ledger_id}"
    view, lines = run()
    assert view["contradictions"][0]["changes"] == {"BTC": "0.5"}
    assert lines[0].endswith("recorded 2, Kraken 2.5; accepted, BTC changes by 0.5")
    assert lines[0].startswith(gap)
    with pytest.raises(ConfigurationError, match="who decides, and why"):
        run("--accept", "all", "--by", "Ann", "--note", " ")
    view, lines = run("--accept", "all", "--by", "Ann", "--note", "it stays so")
    assert view["accepted"] == [gap]
    assert lines[-1] == f"to undo: python -m kraken_recon plan undo {view['plan_id']}"
    assert is_agreed(desk)
    assert run()[1] == ["desk: Kraken tells every entry as it is on record, and nothing is left out"]


def test_what_accepting_changes_is_shown_with_all_digits(desk: Desk) -> None:
    _, later = gap_after_hiding(desk, "12345678901234567.123456789012345678")
    view = contradictions_view("desk", find_contradictions(account_of(desk), desk.ports))
    [gap] = view["contradictions"]
    assert gap["ledger_id"] == f"gap-before-{later.ledger_id}"
    assert gap["changes"] == {"BTC": "12345678901234567.123456789012345678"}
    assert (gap["fields"][0]["recorded"], gap["fields"][0]["kraken"]) == (
        "2",
        "12345678901234569.123456789012345678",
    )


def test_pages_are_read_on_as_far_as_needed(desk: Desk) -> None:
    desk.now += timedelta(minutes=20)
    books = desk.books["desk"]
    books.now = desk.now
    first = books.add("USD", "1")
    assert sync(desk)["status"] == "succeeded"
    books.now = desk.now
    for _ in range(2_100):
        books.add("BTC", "0.01")
    place = books.entries.index(first)
    books.entries[place] = replace(first, refid="OTHER")
    desk.now += timedelta(hours=2)
    [found] = find_contradictions(account_of(desk), desk.ports, first.ledger_id)
    assert found.name == first.ledger_id

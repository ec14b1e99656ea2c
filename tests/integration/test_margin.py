"""Open margin positions are reconciled like balances: explained by the ledger, or doubted first."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.fake_exchange import Desk
from desks.fakes import START, FakeBooks
from desks.simulator import SimulatedDesk
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ExchangeUnavailableError
from kraken_recon.reconciliation.margin.rules import MarginPosition
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reports.report import report
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.terminal import render_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Simulator

D = Decimal


@pytest.fixture
def desk(database_url: str) -> Desk:
    desk = Desk(database_url)
    desk.account().add("USD", "10000", entry_type="deposit")
    desk.sync()
    return desk


@pytest.fixture
def books(desk: Desk) -> FakeBooks:
    return desk.books["desk"]


def margin_row(books: FakeBooks, refid: str, amount: str, fee: str = "0", kind: str = "margin") -> str:
    books.add("USD", amount, fee=fee, entry_type=kind)
    books.entries[-1] = replace(books.entries[-1], refid=refid)
    return books.entries[-1].ledger_id


def open_position(books: FakeBooks, position_id: str = "TPOS1", *, with_row: bool = True) -> str | None:
    """Open a long of two bitcoin at 100 dollars; tell its ledger row."""
    books.margin[position_id] = MarginPosition(
        position_id, "O1", "XXBTZUSD", "buy", "limit", START, D(2), D(0), D(200), D(1), D(40), net=D("3.5")
    )
    return margin_row(books, position_id, "0", "1") if with_row else None


def close_part(
    books: FakeBooks, volume: str, *, with_row: bool = True, position_id: str = "TPOS1"
) -> str | None:
    position = books.margin[position_id]
    books.margin[position_id] = replace(position, volume_closed=position.volume_closed + D(volume))
    return margin_row(books, f"TCLOSE{books.made}", "5", "0.1") if with_row else None


def positions(desk: Desk) -> dict[str, tuple[str, Decimal]]:
    rows = desk.rows("select position_id, status, volume_closed from trading.margin_positions")
    return {row["position_id"]: (row["status"], row["volume_closed"]) for row in rows}


def events(desk: Desk) -> list[tuple[Any, ...]]:
    return [
        (row["action"], row["is_applied"], row["is_explained"], tuple(row["ledger_ids"]))
        for row in desk.rows("select * from trading.margin_position_events order by event_id")
    ]


def asked(desk: Desk) -> list[str]:
    """The calls of the next sync."""
    exchange = desk.exchanges["desk"]
    exchange.made.clear()
    desk.sync()
    return exchange.made


def alerts(desk: Desk) -> list[dict[str, Any]]:
    return desk.rows("select kind, asset, wallet, message from trading.alerts where status = 'open'")


def test_an_opened_position_is_found_by_its_ledger_entry(desk: Desk, books: FakeBooks) -> None:
    row = open_position(books)
    desk.sync()
    assert positions(desk) == {"TPOS1": ("open", 0)}
    assert events(desk) == [("opened", True, True, (row,))]
    assert alerts(desk) == []
    assert desk.run()["note"] == "1 margin position open, 1 changed"


def test_the_whole_life_of_a_position_is_on_record_and_explained(desk: Desk, books: FakeBooks) -> None:
    opened = open_position(books)
    desk.sync()
    rolled = margin_row(books, "TPOS1", "0", "0.5", "rollover")
    books.margin["TPOS1"] = replace(books.margin["TPOS1"], fee=D("1.5"))
    desk.sync()
    part = close_part(books, "0.5")
    desk.sync()
    del books.margin["TPOS1"]
    rest = margin_row(books, "TCLOSE", "-7", "0.1")
    desk.sync()
    assert events(desk) == [
        ("opened", True, True, (opened,)),
        ("changed", True, True, (rolled,)),
        ("changed", True, True, (part,)),
        ("closed", True, True, (rest,)),
    ]
    assert positions(desk) == {"TPOS1": ("closed", D("0.5"))}
    told = desk.rows("select before, after from trading.margin_position_events order by event_id")
    assert [row["before"] for row in told[1:]] == [row["after"] for row in told[:-1]]
    assert (told[2]["before"]["volume_closed"], told[2]["after"]["volume_closed"]) == ("0", "0.5")
    assert alerts(desk) == []


def test_a_settled_position_is_explained_by_its_settlement(desk: Desk, books: FakeBooks) -> None:
    open_position(books)
    desk.sync()
    del books.margin["TPOS1"]
    row = margin_row(books, "TSETTLE", "-200", kind="settled")
    desk.sync()
    assert events(desk)[-1] == ("closed", True, True, (row,))


def test_one_trade_may_close_several_positions(desk: Desk, books: FakeBooks) -> None:
    open_position(books)
    open_position(books, "TPOS2")
    desk.sync()
    books.margin.clear()
    row = margin_row(books, "TCLOSE", "-7", "0.1")
    desk.sync()
    assert events(desk)[-2:] == [("closed", True, True, (row,))] * 2


def test_nothing_is_asked_when_nothing_changed_and_no_position_is_on_record(
    desk: Desk, books: FakeBooks
) -> None:
    assert asked(desk) == ["BalanceEx"]
    books.add("USD", "5", entry_type="deposit")
    assert asked(desk) == ["BalanceEx", "Ledgers", "BalanceEx"]
    open_position(books)
    assert asked(desk) == ["BalanceEx", "Ledgers", "BalanceEx", "OpenPositions"]
    assert asked(desk) == ["BalanceEx", "OpenPositions"]
    books.margin.clear()
    margin_row(books, "TCLOSE", "1")
    asked(desk)
    assert asked(desk) == ["BalanceEx"]


def test_positions_from_before_the_books_are_asked_for_when_the_account_is_opened(database_url: str) -> None:
    desk = Desk(database_url)
    open_position(desk.account(), with_row=False)
    desk.books["desk"].add("USD", "10")
    desk.sync()
    assert events(desk) == [("opening", True, True, ())]
    assert positions(desk) == {"TPOS1": ("open", 0)}
    assert alerts(desk) == []


def test_a_whole_check_is_made_once_a_day_where_the_ledger_is_read_anyway(
    desk: Desk, books: FakeBooks
) -> None:
    desk.execute("update trading.margin_checks set checked_at = checked_at - interval '1 day'")
    assert asked(desk) == ["BalanceEx"]
    books.add("USD", "5", entry_type="deposit")
    assert asked(desk)[-1] == "OpenPositions"
    books.add("USD", "5", entry_type="deposit")
    assert asked(desk)[-1] == "BalanceEx"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda books: books.margin.clear(), ("closed", D(0))),
        (lambda books: close_part(books, "0.5", with_row=False), ("open", D("0.5"))),
    ],
    ids=["gone", "smaller"],
)
def test_what_no_entry_explains_is_doubted_first_and_believed_when_it_stays(
    desk: Desk, books: FakeBooks, change: Callable[[FakeBooks], object], status: tuple[str, Decimal]
) -> None:
    open_position(books)
    desk.sync()
    change(books)
    desk.sync()
    assert positions(desk) == {"TPOS1": ("open", 0)}
    assert events(desk)[1:] == [("awaiting_confirmation", False, False, ())]
    assert alerts(desk) == []
    desk.sync_again()
    assert len(events(desk)) == 2, "a run that succeeded is not run again"
    desk.sync()
    assert positions(desk) == {"TPOS1": status}
    assert events(desk)[2][1:] == (True, False, ())
    (alert,) = alerts(desk)
    assert (alert["kind"], alert["asset"], alert["wallet"]) == ("margin_discrepancy", "XXBTZUSD", "TPOS1")
    assert "without a ledger entry" in alert["message"]
    desk.sync()
    assert len(events(desk)) == 3


def test_an_entry_that_lags_explains_the_doubt_away(desk: Desk, books: FakeBooks) -> None:
    open_position(books)
    desk.sync()
    books.margin.clear()
    desk.sync()
    row = margin_row(books, "TCLOSE", "4", "0.1")
    desk.sync()
    assert events(desk)[1:] == [("awaiting_confirmation", False, False, ()), ("closed", True, True, (row,))]
    assert alerts(desk) == []


def test_a_doubt_that_goes_away_leaves_no_trace_but_its_event(desk: Desk, books: FakeBooks) -> None:
    open_position(books)
    desk.sync()
    kept = dict(books.margin)
    for _ in range(2):
        books.margin.clear()
        desk.sync()
        books.margin |= kept
        desk.sync()
    assert [event[0] for event in events(desk)[1:]] == ["awaiting_confirmation"] * 2
    assert positions(desk) == {"TPOS1": ("open", 0)}
    assert desk.rows("select doubt, doubted_since from trading.margin_positions") == [
        {"doubt": None, "doubted_since": None}
    ]


def test_a_position_that_appears_without_an_entry_is_unconfirmed_until_one_comes_or_it_stays(
    desk: Desk, books: FakeBooks
) -> None:
    open_position(books)
    open_position(books, "TPOS2", with_row=False)
    desk.sync()
    assert positions(desk) == {"TPOS1": ("open", 0), "TPOS2": ("unconfirmed", 0)}
    open_position(books, "TPOS3", with_row=False)
    row = margin_row(books, "TPOS2", "0", "1")
    desk.sync()
    assert events(desk)[2:] == [("opened", True, True, (row,)), ("awaiting_confirmation", False, False, ())]
    desk.sync()
    assert positions(desk)["TPOS3"] == ("open", 0)
    assert [alert["wallet"] for alert in alerts(desk)] == ["TPOS3"]


def test_a_position_that_vanishes_unconfirmed_is_closed_without_an_alarm(
    desk: Desk, books: FakeBooks
) -> None:
    open_position(books)
    open_position(books, "TPOS2", with_row=False)
    desk.sync()
    del books.margin["TPOS2"]
    desk.sync()
    assert positions(desk)["TPOS2"] == ("closed", 0)
    assert alerts(desk) == []
    books.margin["TPOS2"] = replace(books.margin["TPOS1"], position_id="TPOS2")
    desk.sync()
    assert positions(desk)["TPOS2"] == ("unconfirmed", 0)


def test_an_entry_explains_once(desk: Desk, books: FakeBooks) -> None:
    open_position(books)
    desk.sync()
    close_part(books, "0.5")
    desk.sync()
    close_part(books, "0.5", with_row=False)
    desk.sync()
    assert events(desk)[-1][0] == "awaiting_confirmation"


def test_dry_run_records_what_a_repair_would_do_and_writes_no_position(desk: Desk, books: FakeBooks) -> None:
    row = open_position(books)
    desk.sync(mode=Mode.DRY_RUN)
    assert positions(desk) == {}
    assert events(desk) == [("opened", False, True, (row,))]
    desk.sync_again()
    assert positions(desk) == {"TPOS1": ("open", 0)}
    close_part(books, "1")
    desk.sync(mode=Mode.DRY_RUN)
    assert positions(desk) == {"TPOS1": ("open", 0)}
    assert events(desk)[-1][:3] == ("changed", False, True)


def test_a_failed_answer_is_no_empty_one_and_stops_no_other_account(desk: Desk, books: FakeBooks) -> None:
    open_position(books)
    other = desk.account("other")
    other.add("BTC", "1")
    desk.sync()
    before = desk.rows("select *, xmin::text from trading.margin_positions")

    def fail(endpoint: str) -> None:
        if endpoint == "OpenPositions":
            raise ExchangeUnavailableError("down", account="desk", endpoint=endpoint)

    desk.exchanges["desk"].before_call = fail
    books.add("USD", "7")
    other.add("BTC", "1")
    desk.sync()
    assert (desk.run()["status"], desk.run("other")["status"]) == ("failed", "succeeded")
    assert desk.rows("select *, xmin::text from trading.margin_positions") == before
    assert {alert["kind"] for alert in alerts(desk)} == {"sync_failure"}
    desk.exchanges["desk"].before_call = lambda _: None
    desk.sync()
    assert desk.run()["status"] == "succeeded"


def test_the_same_interval_again_leaves_the_same_rows(desk: Desk, books: FakeBooks) -> None:
    open_position(books)
    desk.sync()
    tables = ("margin_positions", "margin_position_events", "margin_checks")
    before = [desk.rows(f"select *, xmin::text from trading.{table}") for table in tables]
    desk.sync_again()
    assert [desk.rows(f"select *, xmin::text from trading.{table}") for table in tables] == before


def test_the_report_shows_positions_and_what_changed(desk: Desk, books: FakeBooks) -> None:
    row = open_position(books)
    desk.sync()
    with UnitOfWork(desk.engine) as unit:
        view = report(ReportStore(unit), None)
    (position,) = view["accounts"][0]["margin"]["positions"]
    assert (position["pair"], position["volume"], position["net"]) == ("XXBTZUSD", "2", "3.5")
    (change,) = view["accounts"][0]["margin"]["changes"]
    assert (change["action"], change["ledger_ids"]) == ("opened", [row])
    text = "\n".join(render_report(view))
    assert "margin TPOS1: buy 2 XXBTZUSD, 0 of it closed, cost 200, fees 1, result so far 3.5" in text
    assert f"margin TPOS1 was opened ({row})" in text


def test_positions_are_followed_through_kraken_itself(simulator: Simulator, database_url: str) -> None:
    desk = SimulatedDesk(simulator, database_url, ZUSD="9000", ZEUR="9000")

    def look() -> list[str]:
        """Sync at the next quarter of an hour; tell what was found."""
        known = len(events(desk))
        desk.look()
        assert all(explained for _, _, explained, _ in events(desk)[known:])
        return [action for action, *_ in events(desk)[known:]]

    def happen(kind: str, **fields: str) -> str:
        return str(desk.happen(kind, **fields).get("trade"))

    assert look() == []
    opened = happen("margin_open", pair="XBTUSD", side="buy", volume="0.5", price="60000")
    other = happen("margin_open", pair="ETHEUR", side="sell", volume="2", price="2700", to_asset="EURC")
    assert look() == ["opened", "opened"]
    happen("rollover", refid=opened)
    assert look() == ["changed"]
    happen("margin_close", refid=opened, volume="0.2", price="61000")
    assert look() == ["changed"]
    assert look() == []
    happen("liquidation", refid=opened, pair="XBTUSD", side="sell", volume="0.3", price="50000")
    happen("settled", refid=other)
    assert look() == ["closed", "closed"]
    assert {status for status, _ in positions(desk).values()} == {"closed"}
    assert look() == []
    assert desk.run()["api_calls"] == 1
    assert alerts(desk) == []


def test_a_doubt_about_something_else_begins_anew(desk: Desk, books: FakeBooks) -> None:
    open_position(books)
    desk.sync()
    for _ in range(3):
        close_part(books, "0.5", with_row=False)
        desk.sync()
    assert [event[0] for event in events(desk)[1:]] == ["awaiting_confirmation"] * 3
    assert positions(desk) == {"TPOS1": ("open", 0)}
    desk.sync()
    assert positions(desk) == {"TPOS1": ("open", D("1.5"))}

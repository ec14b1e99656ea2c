"""The desk's own orders are found at Kraken, taken over once, and verified against the desk's row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from desks.desk_databases import FREQTRADE_TABLES
from desks.orders import TradingDesk
from desks.own_orders import DECLARATION, KNOWN, BotDesk
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.checking import check_book
from kraken_recon.desk_books.declaring import DeclaredBook
from kraken_recon.desk_books.diffing import diff_account
from kraken_recon.desk_books.own_orders import row_store
from kraken_recon.desk_books.own_orders.verifying import verify_desk_orders
from kraken_recon.desk_books.run import settle_books
from kraken_recon.desk_books.store import DeskBookStore
from kraken_recon.orders.store import OrderStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from conftest import Simulator
    from desks.desk_databases import DeskDatabase
    from kraken_recon.accounts.account import Account
    from kraken_recon.orders.exchange import OrderRecords

FREQTRADE = """
name: freqtrade
connection: arena_db
accounts: {desk: all}
positions:
  query: select 'all' as account, pair, amount from trades where is_open = 1
  account: account
  asset: {column: pair, spelled: pair}
  quantity: amount
  decimals: 8
orders:
  query: select 'all' as account, orders.* from orders
  account: account
  id: order_id
  kraken_id: order_id
  pair: ft_pair
  side: ft_order_side
  volume: amount
  executed: filled
  price: average
  decimals: 8
  status: {column: status, ended: [closed, canceled, expired]}
  created_at: order_date
  changed_at: order_update_date
"""
VERIFIED = ("desk", "verified", "")


@pytest.fixture
def desk(simulator: Simulator, database_url: str) -> Iterator[TradingDesk]:
    made = TradingDesk(simulator, database_url)
    made.account()
    made.prices(XBTUSD="50000", ETHUSD="2500")
    made.sync()
    made.pause(60)
    yield made
    made.close()


@pytest.fixture
def bot(desk: TradingDesk, new_desk_database: Callable[[str], DeskDatabase]) -> BotDesk:
    return BotDesk(desk, new_desk_database("sqlite"))


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_orders_are_found_by_each_way_and_verified(
    desk: TradingDesk, new_desk_database: Callable[[str], DeskDatabase], kind: str
) -> None:
    bot = BotDesk(desk, new_desk_database(kind))
    bot.note("1", bot.trade("buy", "0.5"))
    bot.note("2", bot.trade("sell", "0.25", client_id="mine"), kraken_id=None, client_id="mine")
    bot.note("3", bot.trade("buy", "0.125"), kraken_id=None, symbol="BTC", side="buy")
    before = bot.database.dump()
    assert bot.find().given == 3
    bot.verify()
    assert bot.verdicts() == [VERIFIED] * 3
    assert bot.find().given == 0
    assert bot.database.dump() == before
    assert (bot.look(), bot.alerts()) == ({}, [])
    assert desk.positions()["BTC"] == Decimal("10.375")


def test_buying_raises_and_selling_lowers_and_several_are_verified_at_once(bot: BotDesk) -> None:
    for number in range(6):
        bot.note(str(number), bot.trade("sell" if number % 2 else "buy", f"0.{number + 1}"))
    bot.find()
    bot.verify()
    assert bot.verdicts() == [VERIFIED] * 6
    moved = bot.desk.rows(
        "select o.side, (l.observed ->> 'moved')::numeric > 0 as rose"
        " from trading.order_verification_levels l join trading.orders o using (order_id)"
        " where level = 'direction' and l.verdict = 'passed' order by order_id"
    )
    assert [(row["side"], row["rose"]) for row in moved] == [("buy", True), ("sell", False)] * 3


def test_an_order_that_was_verified_as_nobodys_is_verified_again_with_the_desks_row(bot: BotDesk) -> None:
    txid = bot.trade()
    bot.desk.pause(400)
    bot.desk.execute_orders()
    bot.verify()
    assert bot.desk.order()["source"] == "external"
    bot.note("1", txid, fee=Decimal("0.01"))
    bot.find()
    assert bot.verdicts() == [("desk", None, "")]
    bot.verify()
    assert bot.verdicts() == [("desk", "mismatch", "desk")]
    assert bot.desk.story(bot.desk.order()["order_id"])[-1] == "it is order 1 of the desk book arena"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"filled_quantity": Decimal("0.4")}, "expected executed 0.5, the desk says 0.4"),
        ({"filled_quantity": Decimal("0.50000001")}, "expected executed 0.5, the desk says 0.50000001"),
        ({"price": Decimal(50100)}, "expected price 50000, the desk says 50100"),
        ({"fee": Decimal(0)}, "the desk says 0"),
        ({"side": "SELL"}, "expected side buy, the desk says sell"),
        ({"status": "CANCELLED"}, "expected status closed, the desk says CANCELLED"),
        ({"symbol": "ETH/USD"}, "expected pair BTC/USD, the desk says ETH/USD"),
        ({"symbol": "BTC/EUR"}, "expected pair BTC/USD, the desk says BTC/EUR"),
        ({"quantity": Decimal(2)}, "expected volume 0.5, the desk says 2"),
    ],
)
def test_what_the_desk_says_wrong_is_a_mismatch_of_its_level_and_changes_nothing(
    bot: BotDesk, said: dict[str, Any], told: str
) -> None:
    bot.note("1", bot.trade("buy", "0.5"), **said)
    positions, before = bot.desk.positions(), bot.database.dump()
    bot.find()
    bot.verify()
    assert bot.verdicts() == [("desk", "mismatch", "desk")]
    assert told in bot.message()
    assert (bot.look(), bot.alerts()) == ({"1": "mismatch"}, ["verification_failure"])
    assert bot.database.dump() == before
    assert bot.desk.positions()["BTC"] == positions["BTC"] + Decimal("0.5")


def test_a_row_that_is_put_right_is_verified_again_and_its_alert_ends(bot: BotDesk) -> None:
    bot.note("1", bot.trade(), filled_quantity=Decimal("0.4"))
    bot.find()
    bot.verify()
    bot.desk.pause(900)
    bot.database.run(
        "update orders set filled_quantity = 0.5, updated_at = :now", now=bot.written(bot.desk.now())
    )
    assert bot.find().given == 1
    bot.verify()
    assert (bot.verdicts(), bot.alerts(), bot.look()) == ([VERIFIED], [], {})
    assert bot.find().given == 0


def test_an_order_that_was_cancelled_with_a_part_executed_has_ended(bot: BotDesk) -> None:
    txid = bot.trade("buy", "2", limit="30000")
    bot.desk.simulator.control.post("accounts/desk/fills", {"txid": txid, "volume": "0.75"})
    bot.cancel(txid)
    bot.note("1", txid, status="canceled")
    bot.note("2", status="canceled", filled_quantity=0, side="SELL")
    bot.note("3", status="OPEN", kraken_id=txid)
    bot.find()
    bot.verify()
    assert bot.verdicts() == [VERIFIED]


def test_several_that_fit_are_told_and_none_is_chosen(bot: BotDesk) -> None:
    ids = sorted(bot.trade("buy", "0.5") for _ in range(2))
    bot.note("1", ids[0], kraken_id=None)
    assert bot.look() == {"1": "ambiguous"}
    found = bot.find()
    assert [(one.problem, one.detail) for one in found.orders] == [
        ("ambiguous", f"may be any of several at Kraken: {', '.join(ids)}")
    ]
    assert (bot.verdicts(), bot.alerts(), bot.look()) == ([], ["desk_order_unmatched"], {"1": "ambiguous"})
    bot.database.run("update orders set kraken_id = :id", id=ids[1])
    assert bot.find().orders == ()
    bot.verify()
    assert (bot.verdicts(), bot.alerts(), bot.look()) == ([VERIFIED], [], {})


@pytest.mark.parametrize(
    "said",
    [{}, {"kraken_id": "OAAAAA-BBBBB-CCCCCC"}, {"kraken_id": "n/a"}, {"client_id": "never"}, {"price": 1}],
)
def test_what_was_filled_and_kraken_does_not_know_is_told_when_it_is_late(
    bot: BotDesk, said: dict[str, Any]
) -> None:
    bot.note("1", **said)
    bot.note("2", status="CANCELLED", filled_quantity=0)
    assert (bot.find().orders, bot.alerts()) == ((), [])
    bot.desk.pause(299)
    assert bot.find().orders == ()
    bot.desk.pause(2)
    assert bot.look() == {"1": "unmatched"}
    assert [(one.order_id, one.problem) for one in bot.find().orders] == [("1", "unmatched")]
    assert bot.alerts() == ["desk_order_unmatched"]
    bot.desk.pause(3 * 86_400)
    assert [one.order_id for one in bot.find().orders] == ["1"]
    bot.database.run("delete from orders where order_no = '1'")
    assert bot.find().orders == ()
    assert (bot.alerts(), bot.look()) == ([], {})


def test_an_order_that_kraken_still_shows_as_open_is_told_and_left_alone(bot: BotDesk) -> None:
    txid = bot.trade("buy", "1", limit="30000")
    bot.note("1", txid, status="CANCELLED", filled_quantity=Decimal("0.1"))
    assert bot.find().orders == ()
    bot.desk.pause(301)
    assert [one.problem for one in bot.find().orders] == ["open"]
    assert bot.desk.rows("select from trading.orders") == []
    assert [order["status"] for order in bot.desk.true_orders()] == ["open"]
    bot.cancel(txid)
    assert bot.find().given == 1
    bot.verify()
    assert (bot.verdicts(), bot.alerts()) == ([("desk", "mismatch", "desk")], ["verification_failure"])


def test_an_order_that_rested_for_months_does_not_make_kraken_tell_of_all_of_them(bot: BotDesk) -> None:
    txid = bot.trade("buy", "0.5", limit="40000")
    bot.desk.pause(100 * 86_400)
    bot.desk.prices(XBTUSD="39000")
    bot.desk.pause(5)
    bot.note("1", txid, kraken_id=None)
    asked: list[datetime] = []

    class Asked:
        def __init__(self, books: OrderRecords) -> None:
            self.open_orders, self.query_orders = books.open_orders, books.query_orders
            self.books = books

        def closed_orders(self, *, after: datetime) -> Any:
            asked.append(after)
            return self.books.closed_orders(after=after)

    @contextmanager
    def open_books(account: Account) -> Iterator[Any]:
        with bot.desk.open_exchange(account) as books:
            yield Asked(books)

    ports = replace(bot.ports, open_books=open_books)
    assert verify_desk_orders(bot.book, bot.accounts(), KNOWN, ports)["desk"].given == 1
    assert asked == [bot.desk.now() - timedelta(days=1)]


def test_late_books_of_kraken_are_waited_for(bot: BotDesk) -> None:
    txid = bot.trade()
    bot.note("1", txid)
    bot.desk.fault("lag", view="orders", seconds=60)
    assert (bot.find().given, bot.look()) == (0, {})
    bot.desk.pause(61)
    assert bot.find().given == 1
    bot.verify()
    assert bot.verdicts() == [VERIFIED]


def test_orders_of_days_without_the_desks_database_are_found_when_it_is_back(bot: BotDesk) -> None:
    bot.find()
    bot.note("1", bot.trade())
    bot.note("2", bot.trade("sell", "0.25"), kraken_id=None)
    bot.desk.pause(5 * 86_400)
    assert bot.find().given == 2
    bot.desk.sync()
    bot.verify()
    assert bot.verdicts() == [VERIFIED] * 2


def test_without_kraken_nothing_is_called_unmatched_however_long_that_lasts(bot: BotDesk) -> None:
    bot.note("1")
    bot.note("2", bot.trade())
    bot.note("3", bot.trade("sell", "0.25"), kraken_id=None)
    bot.desk.fault("api_error", text="EGeneral:Permission denied", endpoint="ClosedOrders")
    for days in (0.1, 3):
        bot.desk.pause(days * 86_400)
        found = bot.find()
        assert found.orders == ()
        assert any("Kraken could not be asked" in problem.what for problem in found.problems)
    assert [row["desk_order_id"] for row in bot.states("matched")] == ["2"]
    bot.desk.simulator.control.delete("faults")
    found = bot.find()
    assert (found.given, [one.order_id for one in found.orders]) == (1, ["1"])


def test_kraken_is_asked_for_what_it_does_not_show_only_for_a_day(bot: BotDesk) -> None:
    ids = [bot.trade("buy", "0.5") for _ in range(2)]
    bot.note("1", ids[0], kraken_id=None)
    bot.note("2", kraken_id="OAAAAA-BBBBB-CCCCCC")
    bot.desk.pause(400)
    told = bot.find().orders
    assert [one.problem for one in told] == ["ambiguous", "unmatched"]
    bot.desk.pause(86_401)
    bot.desk.fault("api_error", text="EGeneral:Permission denied", endpoint="ClosedOrders")
    bot.desk.fault("api_error", text="EGeneral:Permission denied", endpoint="QueryOrders")
    found = bot.find()
    assert (found.orders, found.problems) == (told, ())
    bot.desk.simulator.control.delete("faults")
    bot.desk.sync()
    bot.database.run("update orders set kraken_id = :id where order_no = '1'", id=ids[1])
    assert bot.find().given == 1


def test_one_order_at_kraken_is_not_two_of_the_desks(bot: BotDesk) -> None:
    txid = bot.trade()
    bot.note("1", txid)
    bot.find()
    bot.note("2", txid)
    bot.note("3", txid, kraken_id=None)
    found = bot.find()
    assert [(one.order_id, one.problem) for one in found.orders] == [("2", "ambiguous")]
    bot.desk.pause(400)
    assert [(o.order_id, o.problem) for o in bot.find().orders] == [("2", "ambiguous"), ("3", "unmatched")]


def test_an_order_of_ours_in_the_desks_table_stays_ours(bot: BotDesk) -> None:
    bot.desk.decide(volume="0.5")
    bot.desk.execute_orders()
    bot.note("1", bot.desk.order()["kraken_txid"], fee=None)
    bot.find()
    bot.verify()
    assert bot.verdicts() == [("manual", "verified", "")]


def test_an_order_that_we_sent_without_an_answer_is_not_the_desks(bot: BotDesk) -> None:
    bot.desk.fault("accept_then_fail", appearance="504", count=1)
    bot.desk.fault("lag", view="orders", seconds=120)
    bot.desk.decide(volume="0.5")
    bot.desk.execute_orders()
    [placed] = bot.desk.true_orders()
    bot.desk.simulator.control.delete("faults")
    assert bot.desk.order()["status"] == "unknown"
    bot.note("1", placed["txid"], fee=None)
    assert (bot.find().given, len(bot.states("waiting"))) == (0, 1)
    bot.desk.run_until_settled()
    assert bot.find().given == 1
    bot.verify()
    assert bot.verdicts() == [("manual", "verified", "")]


def test_a_row_goes_with_its_order_when_that_turns_out_to_be_ours(bot: BotDesk) -> None:
    bot.note("1", bot.trade(), fee=None)
    bot.find()
    bot.desk.decide(volume="0.25")
    bot.desk.execute_orders()
    found, ours = bot.desk.orders()
    with UnitOfWork(bot.desk.engine) as unit:
        OrderStore(unit).give_fills(found["order_id"], ours["order_id"])
        unit.commit()
    assert bot.desk.rows("select order_id from trading.desk_orders") == [{"order_id": ours["order_id"]}]


def test_our_own_orders_take_nothing_for_the_desks(bot: BotDesk) -> None:
    bot.note("1", bot.trade("buy", "10"))
    bot.find()
    bot.desk.execute_orders()
    order = bot.desk.order()
    assert (order["status"], order["reserved"], order["settled_at"] is not None) == ("closed", None, True)
    bot.verify()
    bot.desk.decide(side="sell", volume="20")
    bot.desk.execute_orders()
    assert [one["status"] for one in bot.desk.orders()] == ["closed", "closed"]


def test_a_run_over_the_book_gives_its_orders_on_and_ends_its_alerts_with_it(bot: BotDesk) -> None:
    bot.note("1", bot.trade())
    bot.note("2", kraken_id="OAAAAA-BBBBB-CCCCCC")
    bot.desk.pause(301)
    told = bot.reconcile().told
    assert "1 of the desk's orders given to the verification; 1 of them not as Kraken tells" in told
    bot.verify()
    assert bot.verdicts() == [VERIFIED]
    with UnitOfWork(bot.desk.engine) as unit:
        [account] = DeskBookStore(unit).proofs(["desk"], bot.desk.now())
    [seen] = diff_account(account, [DeclaredBook(Path("arena.yaml"), bot.book)], bot.book_ports)
    assert [(one.order_id, one.problem) for one in seen.orders] == [("2", "unmatched")]
    assert "desk_order_unmatched" in bot.alerts()
    settle_books([], bot.book_ports)
    assert "desk_order_unmatched" not in bot.alerts()


def test_orders_are_verified_of_an_account_that_was_not_proved(bot: BotDesk) -> None:
    bot.note("1", bot.trade())
    bot.desk.simulator.control.post("accounts/desk/residual", {"asset": "ZUSD", "amount": "500000"})
    assert "none judged; 1 of the desk's orders given to the verification" in bot.reconcile().told
    bot.verify()
    assert bot.verdicts() == [VERIFIED]


class _KilledError(Exception):
    """The process ends here."""


def test_a_run_that_is_killed_between_any_two_steps_gives_each_order_once(bot: BotDesk) -> None:
    for number in range(2):
        bot.note(str(number), bot.trade("buy", f"0.{number + 1}"))
    bot.note("lost")
    bot.desk.pause(301)
    for steps in range(40):
        left = iter(range(steps))

        def killed(engine: Any = bot.desk.engine, left: Iterator[int] = left) -> UnitOfWork:
            if next(left, None) is None:
                raise _KilledError
            return UnitOfWork(engine)

        try:
            verify_desk_orders(bot.book, bot.accounts(), KNOWN, replace(bot.ports, open_unit_of_work=killed))
        except _KilledError:
            continue
        break
    assert steps > 5
    assert bot.find().given == 0
    events = bot.desk.rows(
        "select from trading.order_events where starts_with(what, 'found at Kraken; it is order')"
    )
    assert len(events) == len(bot.desk.orders()) == 2
    bot.verify()
    assert bot.verdicts() == [VERIFIED] * 2
    assert bot.alerts() == ["desk_order_unmatched"]


def test_two_runs_at_once_give_each_order_once(bot: BotDesk) -> None:
    for number in range(5):
        bot.note(str(number), bot.trade("buy", f"0.{number + 1}"))
    with ThreadPoolExecutor(2) as pool:
        given = [run.result().given for run in [pool.submit(bot.find) for _ in range(2)]]
    assert sum(given) == 5
    bot.verify()
    assert bot.verdicts() == [VERIFIED] * 5


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        ("integer", lambda at: int(at.timestamp())),
        ("bigint", lambda at: int(at.timestamp() * 1000)),
        ("double precision", lambda at: at.timestamp()),
        ("timestamptz", lambda at: at.isoformat()),
        ("varchar(40)", lambda at: at.isoformat()),
        ("timestamp null", lambda at: at.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)),
    ],
)
def test_times_in_every_type(
    desk: TradingDesk,
    new_desk_database: Callable[[str], DeskDatabase],
    moment: str,
    written: Callable[[datetime], Any],
) -> None:
    zone = "changed_at: updated_at\n  zone: America/New_York"
    bot = BotDesk(
        desk,
        new_desk_database("postgresql"),
        DECLARATION.replace("changed_at: updated_at", zone),
        moment,
        written,
    )
    bot.note("1", bot.trade(), kraken_id=None)
    long_ago = desk.now() - timedelta(days=9)
    bot.note("2", created_at=written(long_ago), updated_at=written(long_ago))
    assert bot.find().given == 1
    bot.desk.pause(400)
    assert bot.find().orders == ()


def test_strange_rows_are_told_and_stop_no_other(bot: BotDesk) -> None:
    bot.note("1", bot.trade())
    bot.note("2", symbol="Bitcoin")
    bot.note("3", side="hold")
    bot.note("4", quantity="much")
    bot.note("5", updated_at="yesterday", created_at=None)
    bot.note("6", updated_at=None, created_at=None)
    bot.note("7", fee="dear")
    bot.note("8", side=None, symbol=None, quantity=None, status=None)
    bot.note("9", quantity=-1)
    found = bot.find()
    assert found.given == 1
    assert {problem.what for problem in found.problems} == {
        "each of 2 orders (5, 6) has no time of its change",
        "order 7 has no number as its fee",
        "each of 2 orders (4, 9) has a volume that is no amount",
        "order 3 is neither bought nor sold",
        "order 2 is of 'Bitcoin', which Kraken does not know",
    }
    assert all(problem.remedy for problem in found.problems)


@pytest.mark.parametrize(
    "name", ["BTC/USD", "XBTUSD", "BTCUSD", "XXBTZUSD", "xbt-usd", "BTC", "XXBT", "BTC_USD"]
)
def test_pairs_are_spelled_in_many_ways(bot: BotDesk, name: str) -> None:
    bot.note("1", bot.trade(), kraken_id=None, symbol=name)
    assert bot.find().given == 1
    bot.verify()
    assert bot.verdicts() == [VERIFIED]


def test_a_query_over_floats_and_scaled_whole_numbers(bot: BotDesk) -> None:
    bot.note("1", bot.trade("buy", "0.3"), kraken_id=None)
    bot.database.run("alter table orders add column scaled bigint; update orders set scaled = 300000")
    query = (
        "query: select account_id, order_no, symbol, side, scaled, scaled as filled, price * 1.0 as price,"
        " fee * 1.0 as fee, status, created_at, updated_at from orders"
    )
    text = DECLARATION.replace("table: orders", query).replace("volume: quantity", "volume: scaled")
    text = text.replace("executed: filled_quantity", "executed: filled\n  scaled_by: 1000000\n  decimals: 6")
    for column in ("kraken", "client"):
        text = text.replace(f"  {column}_id: {column}_id\n", "")
    bot.declaration = text
    assert bot.find().given == 1
    bot.verify()
    assert bot.verdicts() == [VERIFIED]


def test_orders_of_freqtrade_are_verified_as_it_keeps_them(
    desk: TradingDesk, new_desk_database: Callable[[str], DeskDatabase]
) -> None:
    bot = BotDesk(desk, new_desk_database("sqlite"), FREQTRADE)
    bot.database.run("drop table orders")
    bot.database.run(FREQTRADE_TABLES)
    for side, wrong in (("buy", 0.0), ("sell", 0.01)):
        told = bot.at_kraken(bot.trade(side, "0.3"))
        bot.database.run(
            "insert into orders (ft_trade_id, ft_order_side, ft_pair, order_id, status, amount, filled,"
            " average, order_date, order_update_date) values"
            " (1, :side, 'BTC/USD', :txid, 'closed', 0.3, :filled, :average, :at, :at)",
            side=side,
            txid=told.kraken_txid,
            filled=0.1 + 0.2 + wrong,
            average=float(told.price_average),
            at=bot.written(desk.now()),
        )
    assert bot.find().given == 2
    bot.verify()
    assert sorted(failed for _, _, failed in bot.verdicts()) == ["", "desk"]


def test_more_orders_than_are_read_at_once_are_told_and_read_by_later_runs(
    desk: TradingDesk,
    new_desk_database: Callable[[str], DeskDatabase],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bot = BotDesk(desk, new_desk_database("postgresql"))
    bot.note("1", bot.trade())
    bot.desk.pause(7200)
    bot.note("2", bot.trade())
    bot.note("3", bot.trade())
    monkeypatch.setattr(row_store, "ORDERS_MAX", 2)
    first = bot.find()
    assert first.given == 2
    [problem] = first.problems
    assert problem.what.startswith("more than 2 orders changed; those after ")
    second = bot.find()
    assert (second.given, second.problems) == (1, ())
    bot.verify()
    assert bot.verdicts() == [VERIFIED] * 3


def test_a_check_reads_the_orders_and_asks_kraken_for_none(bot: BotDesk) -> None:
    bot.note("1")
    bot.note("2", symbol="Bitcoin", updated_at="2026-01-05 11:59:00")
    bot.note("3", side="hold")
    check = check_book(DeclaredBook(Path("arena.yaml"), bot.book), bot.book_ports)
    told = " ".join(problem.what for problem in check.problems)
    assert "order 2 is of 'Bitcoin', which Kraken does not know" in told
    assert "order 3 is neither bought nor sold" in told
    assert "orders of desk: 3 ended in the last day, or since they were last read" in check.notes
    assert bot.desk.rows("select from trading.desk_orders") == []


def test_a_book_that_cannot_be_read_says_why(bot: BotDesk) -> None:
    bot.declaration = DECLARATION.replace("pair: symbol", "pair: symbl")
    [problem] = bot.find().problems
    assert "there is no column symbl; did you mean symbol?" in problem.what
    bot.database.run("drop table orders")
    [problem] = bot.find().problems
    assert "there is no table orders" in problem.what

"""The desk's own orders are found at Kraken, taken over once, and verified against the desk's row."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.orders import TradingDesk
from desks.own_orders import BotDesk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Simulator
    from desks.desk_databases import DeskDatabase

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


def test_late_books_of_kraken_are_waited_for(bot: BotDesk) -> None:
    txid = bot.trade()
    bot.note("1", txid)
    bot.desk.fault("lag", view="orders", seconds=60)
    assert (bot.find().given, bot.look()) == (0, {})
    bot.desk.pause(61)
    assert bot.find().given == 1
    bot.verify()
    assert bot.verdicts() == [VERIFIED]


def test_without_kraken_nothing_is_called_unmatched(bot: BotDesk) -> None:
    bot.note("1")
    bot.desk.pause(400)
    bot.desk.fault("api_error", text="EGeneral:Permission denied", endpoint="ClosedOrders")
    found = bot.find()
    assert found.orders == ()
    assert any("Kraken could not be asked" in problem.what for problem in found.problems)


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

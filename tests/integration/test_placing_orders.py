"""Orders from decision to position, on a real database and a simulated Kraken."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest

from desks.orders import READING, TRADING, TradingDesk
from kraken_recon.errors import RequestRefusedError
from kraken_recon.kraken.trading_client import TradingClient
from kraken_recon.orders.changing import amend_order, cancel_order
from kraken_recon.orders.deciding import accept_decisions


@pytest.fixture
def desk(simulator, database_url):
    desk = TradingDesk(simulator, database_url)
    desk.account()
    desk.prices(XBTUSD="50000", ETHUSD="2500")
    yield desk
    desk.close()


def test_a_market_order_is_filled_and_moves_the_position_by_the_ledger_alone(desk):
    desk.sync()
    before = desk.positions()
    desk.decide(volume="0.5", reason="the model said so")
    done = desk.execute_orders()
    assert (done.sent, dict(done.failures)) == (1, {})
    order = desk.order()
    assert (order["status"], order["volume_executed"], order["pair"]) == ("closed", Decimal("0.5"), "BTC/USD")
    assert order["settled_at"] is not None
    [fill] = desk.rows("select * from trading.fills")
    assert (fill["order_id"], fill["volume"], fill["cost"]) == (order["order_id"], Decimal("0.5"), 25000)
    truth = desk.truth()
    assert desk.positions()["BTC"] == before["BTC"] + Decimal("0.5") == Decimal(truth["balances"]["XXBT"])
    assert desk.positions()["USD"] == Decimal(truth["balances"]["ZUSD"])
    assert len(truth["orders"]) == 1
    desk.pause(60)
    desk.sync()
    assert desk.rows("select action from trading.discrepancies") == []


def test_what_is_wrong_with_a_decision_is_told_whole_and_kept(desk):
    desk.decide(volume="1", portion="0.5", type="limit", side="buy", colour="red")
    desk.decide(volume=0.1)  # a binary fraction arrives as its decimal text, exactly
    desk.decide(source="ai", volume="1")
    desk.decide(account="nobody", volume="1")
    desk.decide(pair="BTC/XYZ", volume="1")
    desk.execute_orders()
    kept = desk.rows("select * from trading.order_decisions order by decision_id")
    assert [row["status"] for row in kept] == ["refused", "accepted", "refused", "refused", "refused"]
    assert "either a volume or a portion" in kept[0]["refusal"] or "colour" in kept[0]["refusal"]
    assert kept[0]["payload"]["colour"] == "red"
    assert "ai_model" in kept[2]["refusal"]
    assert "ai_answer" in kept[2]["refusal"]
    assert "nobody" in kept[3]["refusal"]
    assert "BTC/XYZ" in kept[4]["refusal"]
    assert len(desk.orders()) == 1


def test_the_same_decision_twice_is_one_order(desk):
    first = desk.decide(volume="0.1", key="signal-1")
    assert desk.decide(volume="0.1", key="signal-1") == first
    desk.execute_orders()
    desk.execute_orders()
    assert len(desk.orders()) == len(desk.true_orders()) == 1


def test_what_no_database_keeps_is_refused_and_not_lost(desk):
    desk.decide(account="de\x00sk", volume="1")
    desk.decide(pair="BTC/\ud800USD", volume=float("nan"))
    desk.decide(volume="1", reason="a model's \x00 answer")
    desk.execute_orders()
    kept = desk.rows("select status, payload from trading.order_decisions order by decision_id")
    assert [row["status"] for row in kept] == ["refused", "refused", "accepted"]
    assert kept[0]["payload"]["account"] == "de\\x00sk"
    assert len(desk.rows("select * from trading.alerts where kind = 'order_refused'")) == 2


def test_a_key_that_comes_many_times_at_once_is_one_order(desk):
    payloads = [json.dumps({"account": "desk", "pair": "BTC/USD", "side": "buy", "volume": v}) for v in "121"]
    for payload in payloads:
        desk.execute(
            "insert into trading.order_decisions (decision_key, payload) values ('signal', %s)", payload
        )
    with ThreadPoolExecutor(4) as threads:
        wishes = [threads.submit(desk.decide, volume="1", key="signal") for _ in range(4)]
        judges = [threads.submit(accept_decisions, desk.ports) for _ in range(4)]
        assert len({wish.result() for wish in wishes}) == 1
        assert [judge.result() for judge in judges] == [{}] * 4
    accept_decisions(desk.ports)
    rows = desk.rows("select status, order_id from trading.order_decisions order by status")
    assert [row["status"] for row in rows] == ["accepted", "refused", "repeated"]
    assert len(desk.orders()) == 1


def test_portions_are_sized_from_what_is_available(desk):
    desk.decide(side="sell", type="limit", limit_price="60000", portion="0.25")
    desk.decide(side="sell", portion="1")
    desk.decide(side="buy", portion="0.5", pair="XETHZUSD")
    desk.execute_orders()
    resting, sold, bought = desk.orders()
    assert (resting["status"], resting["volume"]) == ("open", Decimal("2.5"))
    assert (sold["status"], sold["volume"]) == ("closed", Decimal("7.5"))
    assert bought["status"] == "closed"
    # Half of a million and what the sale brought, with room for the fee and for the price to move.
    assert Decimal(265) < bought["volume"] < Decimal(275)


@pytest.mark.parametrize(
    ("decided", "reason"),
    [
        ({"side": "sell", "volume": "11"}, "needs 11 BTC, of which 10 is available"),
        ({"side": "buy", "volume": "100"}, "USD, of which 1000000 is available"),
        ({"volume": "0.00001"}, "below Kraken's minimum"),
        ({"volume": "0.123456789"}, "at most 8 decimals"),
        ({"volume": "1", "type": "limit", "limit_price": "50000.123"}, "steps of"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_it_leaves(desk, decided, reason):
    desk.decide(**decided)
    assert desk.execute_orders().sent == 0
    order = desk.order()
    assert order["status"] == "refused"
    assert reason in order["status_reason"]
    assert desk.true_orders() == []


def test_a_sell_of_more_than_earlier_orders_leave_is_refused(desk):
    desk.decide(side="sell", volume="7", type="limit", limit_price="60000")
    desk.decide(side="sell", volume="7", type="limit", limit_price="60000")
    desk.execute_orders()
    assert [order["status"] for order in desk.orders()] == ["open", "refused"]
    assert "of which 3 is available" in desk.orders()[1]["status_reason"]


@pytest.mark.parametrize(
    ("decided", "status"),
    [
        ({"type": "limit", "limit_price": "51000"}, "closed"),
        ({"type": "limit", "limit_price": "49000"}, "open"),
        ({"type": "limit", "limit_price": "49000", "post_only": True}, "open"),
        ({"type": "limit", "limit_price": "51000", "post_only": True}, "canceled"),
        ({"type": "limit", "limit_price": "49000", "time_in_force": "IOC"}, "canceled"),
        ({"type": "limit", "limit_price": "49000", "time_in_force": "FOK"}, "canceled"),
        ({"type": "limit", "limit_price": "51000", "time_in_force": "FOK"}, "closed"),
        ({"type": "stop-loss", "trigger_price": "55000"}, "open"),
        ({"type": "take-profit", "trigger_price": "45000"}, "open"),
        ({"validate": True}, "validated"),
    ],
    ids=str,
)
def test_every_type_of_order_ends_where_kraken_puts_it(desk, decided, status):
    desk.decide(volume="1", **decided)
    done = desk.execute_orders()
    assert dict(done.failures) == {}
    order = desk.order()
    assert order["status"] == status, order["status_reason"]
    assert len(desk.true_orders()) == (status != "validated")


def test_a_good_till_date_order_expires(desk):
    at = desk.now()
    desk.decide(
        volume="1", type="limit", limit_price="49000", time_in_force="GTD",
        expires_at=at.replace(minute=30).isoformat(),
    )  # fmt: skip
    desk.execute_orders()
    assert desk.order()["status"] == "open"
    desk.pause(1900)
    desk.execute_orders()
    order = desk.order()
    assert (order["status"], order["volume_executed"]) == ("expired", 0)
    assert order["settled_at"] is not None


def test_a_triggered_stop_sells(desk):
    desk.decide(side="sell", volume="1", type="stop-loss", trigger_price="45000")
    desk.execute_orders()
    desk.prices(XBTUSD="44000")
    desk.execute_orders()
    assert desk.order()["status"] == "closed"


def test_a_partly_filled_order_that_is_cancelled_keeps_its_fills(desk):
    desk.simulator.control.post("liquidity", {"pair": "XBTUSD", "volume": "0.3"})
    desk.decide(volume="1", type="limit", limit_price="50000")
    desk.execute_orders()
    order = desk.order()
    assert (order["status"], order["volume_executed"]) == ("open", Decimal("0.3"))
    cancel_order(order["order_id"], desk.ports)
    desk.execute_orders()
    order = desk.order()
    assert (order["status"], order["volume_executed"]) == ("canceled", Decimal("0.3"))
    assert order["settled_at"] is not None
    assert desk.positions()["BTC"] == Decimal("0.3")  # not opened yet: what the ledger brought so far
    desk.sync()
    assert desk.positions()["BTC"] == Decimal("10.3")
    assert desk.rows("select volume from trading.fills") == [{"volume": Decimal("0.3")}]


def test_a_fill_that_wins_the_race_against_a_cancellation_is_the_answer(desk):
    desk.decide(volume="1", type="limit", limit_price="49000")
    desk.execute_orders()
    order = desk.order()
    desk.prices(XBTUSD="49000")
    assert cancel_order(order["order_id"], desk.ports).status == "closed"
    assert desk.order()["volume_executed"] == 1


def test_a_refused_change_is_told_and_the_order_stays(desk):
    desk.decide(volume="1", type="limit", limit_price="49000")
    desk.execute_orders()
    with pytest.raises(RequestRefusedError, match="EOrder"):
        amend_order(desk.order()["order_id"], desk.ports, volume=Decimal(10_000))
    assert (desk.order()["status"], desk.order()["volume"]) == ("open", 1)


def test_an_order_is_amended_in_place(desk):
    desk.decide(volume="1", type="limit", limit_price="49000")
    desk.execute_orders()
    before = desk.order()
    amend_order(before["order_id"], desk.ports, volume=Decimal(2), limit_price=Decimal(48000))
    after = desk.order()
    assert (after["volume"], after["limit_price"]) == (2, 48000)
    assert after["kraken_txid"] == before["kraken_txid"]
    assert "amended" in desk.story(after["order_id"])


def test_a_decided_order_can_be_taken_back(desk):
    desk.decide(volume="1")
    accept_decisions(desk.ports)
    assert cancel_order(desk.order()["order_id"], desk.ports).status == "refused"
    assert desk.execute_orders().sent == 0
    assert desk.true_orders() == []


def test_a_key_that_may_not_trade_is_told_before_anything_is_claimed(desk):
    desk.account("reader", permissions=READING, XXBT="1", ZUSD="1000")
    desk.decide("reader", volume="0.01")
    desk.decide("desk", volume="0.01")
    done = desk.execute_orders()
    assert "add close-trades, modify-trades" in done.failures["reader"]
    assert [order["status"] for order in desk.orders()] == ["decided", "closed"]
    [alert] = desk.rows("select kind, message from trading.alerts")
    assert alert["kind"] == "order_execution_failure"
    desk.simulator.control.patch("accounts/reader", {"permissions": list(TRADING)})
    assert desk.execute_orders().sent == 1
    assert desk.rows("select status from trading.alerts") == [{"status": "resolved"}]


def test_the_engine_limit_is_waited_for_within_the_deadline(desk):
    desk.fault("api_error", text="EOrder:Rate limit exceeded", endpoint="AddOrder", count=2)
    desk.decide(volume="0.1")
    desk.execute_orders()
    assert desk.order()["status"] == "closed"
    assert len(desk.true_orders()) == 1


def test_a_limit_that_stays_leaves_the_order_not_placed(desk):
    desk.fault("api_error", text="EOrder:Rate limit exceeded", endpoint="AddOrder")
    desk.decide(volume="0.1")
    desk.execute_orders()
    assert desk.order()["status"] == "not_placed"
    assert desk.true_orders() == []


def test_a_refused_nonce_is_told_as_a_nonce(desk):
    desk.fault("invalid_nonce", endpoint="AddOrder")
    desk.decide(volume="0.1")
    desk.execute_orders()
    order = desk.order()
    assert order["status"] == "not_placed"
    assert "nonce was not greater" in order["status_reason"]
    assert "another program" in order["status_reason"]


def test_a_throttled_order_waits_until_kraken_says(desk):
    until = int(desk.now().timestamp()) + 6
    desk.fault("api_error", text=f"EService:Throttled: {until}", endpoint="AddOrder", count=1)
    desk.decide(volume="0.1")
    desk.execute_orders()
    assert desk.order()["status"] == "closed"
    assert desk.now().timestamp() >= until


def test_an_order_throttled_for_longer_than_its_deadline_tells_until_when(desk):
    until = int(desk.now().timestamp()) + 3600
    desk.fault("api_error", text=f"EService:Throttled: {until}", endpoint="AddOrder")
    desk.decide(volume="0.1")
    desk.execute_orders()
    order = desk.order()
    assert order["status"] == "not_placed"
    assert "not before 2026-01-05T13:00" in order["status_reason"]
    assert desk.now().timestamp() < until
    assert desk.true_orders() == []


def test_a_refusal_of_krakens_is_final(desk):
    desk.simulator.control.post("pairs/XBTUSD", {"status": "cancel_only"})
    desk.decide(volume="0.1")
    desk.execute_orders()
    order = desk.order()
    assert (order["status"], order["status_reason"]) == ("rejected", "EService:Market in cancel_only mode")


def test_an_order_of_somebody_else_is_adopted_and_followed(desk):
    desk.simulator.control.post(
        "accounts/desk/events",
        {"kind": "manual_order", "pair": "XBTUSD", "side": "sell", "ordertype": "market", "volume": "0.2"},
    )
    assert desk.execute_orders().adopted == 1
    assert desk.execute_orders().adopted == 0
    order = desk.order()
    assert (order["source"], order["status"], order["volume_executed"]) == (
        "external",
        "closed",
        Decimal("0.2"),
    )
    assert order["cl_ord_id"] is None
    assert len(desk.rows("select * from trading.fills")) == 1


def test_whoever_waits_for_ends_is_notified_when_they_are_committed(desk):
    with psycopg.connect(desk.database_url, autocommit=True) as listener:
        listener.execute("listen kraken_recon_orders_ended")
        desk.decide(volume="0.1")
        desk.execute_orders()
        heard = list(listener.notifies(timeout=5, stop_after=1))
    assert [note.channel for note in heard] == ["kraken_recon_orders_ended"]


@pytest.mark.parametrize("sync_comes", ["first", "last", "between"])
def test_fill_or_sync_first_the_position_moves_once(desk, sync_comes):
    desk.sync()
    desk.fault("lag", view="ledger", seconds="60")
    desk.decide(volume="0.5")
    desk.execute_orders()
    assert desk.order()["status"] == "closed"
    assert desk.positions()["BTC"] == 10
    desk.simulator.control.delete("faults")
    desk.pause(60)
    if sync_comes == "first":
        desk.sync()
    desk.execute_orders()
    if sync_comes != "first":
        desk.sync()
    desk.execute_orders()
    assert desk.positions()["BTC"] == Decimal("10.5")
    assert desk.rows(
        "select count(*) as n from trading.position_events where asset = 'BTC' and cause = 'ledger'"
    ) == [{"n": 1}]
    assert desk.order()["settled_at"] is not None
    assert desk.rows("select message from trading.alerts") == []


def test_an_order_that_ends_while_the_books_are_read_is_seen_in_one_of_them(desk, monkeypatch):
    looks = []

    def then_fill(read):
        def reading(client, **options):
            seen = read(client, **options)
            looks.append(read.__name__)
            if len(looks) == 1:
                desk.prices(XBTUSD="49000")
            return seen

        return reading

    for name in ("open_orders", "closed_orders"):
        monkeypatch.setattr(TradingClient, name, then_fill(getattr(TradingClient, name)))
    desk.simulator.control.post(
        "accounts/desk/events",
        {
            "kind": "manual_order",
            "pair": "XBTUSD",
            "side": "buy",
            "ordertype": "limit",
            "volume": "1",
            "price": "49000",
        },
    )
    assert desk.execute_orders().adopted == 1
    assert desk.order()["status"] == "closed"

"""Orders: what is refused and how, what fills, what is held."""

from __future__ import annotations

from decimal import Decimal

import pytest

LIMIT = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "0.5", "price": "50000"}
MARKET = {"pair": "ETHUSD", "type": "sell", "ordertype": "market", "volume": "2"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"pair": "NOPAIR"}, "EQuery:Unknown asset pair"),
        ({"ordertype": "fancy"}, "EGeneral:Invalid arguments:ordertype"),
        ({"type": "hold"}, "EGeneral:Invalid arguments:type"),
        ({"volume": "lots"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "0.123456789"}, "EGeneral:Invalid arguments:volume"),
        ({"price": "0"}, "EGeneral:Invalid arguments:price"),
        (
            {"price": "50000.01"},
            "EOrder:Invalid price:XXBTZUSD price can only be specified up to 1 decimals.",
        ),
        ({"volume": "0.00001"}, "EOrder:Order minimum not met"),
        ({"volume": "0.0001", "price": "1"}, "EOrder:Cost minimum not met"),
        ({"volume": "500"}, "EOrder:Insufficient funds"),
        ({"userref": "1", "cl_ord_id": "a"}, "EGeneral:Invalid arguments"),
        ({"deadline": "2025-12-31T23:59:59Z"}, "EService:Deadline elapsed"),
        ({"deadline": "2026-01-01T01:00:00Z"}, "EGeneral:Invalid arguments:deadline"),
    ],
)
def test_refusals(desk, changes, code):
    assert desk.refusal("AddOrder", **(LIMIT | changes)) == [code]
    assert desk.statement()["orders"] == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("cancel_only", "EService:Market in cancel_only mode"),
        ("post_only", "EService:Market in post_only mode"),
        ("reduce_only", "EOrder:Reduce only:No position exists"),
    ],
)
def test_market_state_is_enforced(exchange, desk, status, code):
    exchange.post("/pairs/LINKUSD", {"status": status})
    order = LIMIT | {"pair": "LINKUSD", "volume": "5", "price": "10"}
    assert desk.refusal("AddOrder", **order) == [code]
    assert exchange.public("AssetPairs", pair="LINKUSD")["result"]["LINKUSD"]["status"] == status
    exchange.post("/pairs/LINKUSD", {"status": "online"})
    assert desk.call("AddOrder", **order)["txid"]


def test_validate_describes_and_leaves_no_trace(desk):
    reply = desk.call("AddOrder", validate="true", **LIMIT)
    assert reply == {"descr": {"order": "buy 0.50000000 XBTUSD @ limit 50000.0"}}
    assert desk.call("OpenOrders") == {"open": {}}


def test_open_order_holds_notional_and_fee_but_stays_in_the_balance(desk):
    before = desk.call("Balance")
    buy = desk.call("AddOrder", **LIMIT)["txid"][0]
    desk.call("AddOrder", pair="XETHZEUR", type="sell", ordertype="limit", volume="3", price="9000")
    assert desk.call("Balance") == before
    extended = desk.call("BalanceEx")
    assert extended["ZUSD"] == {"balance": "100000.0000", "hold_trade": "25100.0000"}
    assert extended["XETH"] == {"balance": "50.0000000000", "hold_trade": "3.0000000000"}
    assert desk.call("CancelOrder", txid=buy) == {"count": 1}
    assert desk.call("BalanceEx")["ZUSD"]["hold_trade"] == "0.0000"
    order = desk.call("QueryOrders", txid=buy)[buy]
    assert (order["status"], order["reason"], order["vol_exec"]) == (
        "canceled",
        "User requested",
        "0.00000000",
    )
    assert desk.refusal("CancelOrder", txid=buy) == ["EOrder:Unknown order"]


def test_market_order_fills_at_once_on_two_legs(desk):
    txid = desk.call("AddOrder", **MARKET)["txid"][0]
    order = desk.call("QueryOrders", txid=txid, trades="true")[txid]
    assert (order["status"], order["vol_exec"], order["cost"]) == ("closed", "2.00000000", "6000.00000")
    (trade_id,) = order["trades"]
    trade = desk.call("QueryTrades", txid=trade_id, ledgers="true")[trade_id]
    assert (trade["pair"], trade["ordertxid"], trade["fee"]) == ("XETHZUSD", txid, "24.00000")
    legs = desk.call("QueryLedgers", id=",".join(trade["ledgers"]))
    base, quote = sorted(legs.values(), key=lambda leg: leg["time"])
    assert (base["asset"], base["amount"], base["fee"]) == ("XETH", "-2.0000000000", "0.0000000000")
    assert (quote["asset"], quote["amount"], quote["fee"]) == ("ZUSD", "6000.0000", "24.0000")
    assert {leg["refid"] for leg in legs.values()} == {trade_id}
    assert (
        Decimal("0.005") <= base["time"] - trade["time"] <= quote["time"] - trade["time"] <= Decimal("0.165")
    )
    assert Decimal("0.0011") <= quote["time"] - base["time"] <= Decimal("0.0068")


def test_resting_order_fills_in_parts_and_then_is_canceled(desk):
    txid = desk.call("AddOrder", **LIMIT)["txid"][0]
    for volume in ("0.1", "0.15"):
        desk.simulator.post(f"/accounts/{desk.name}/fills", {"txid": txid, "volume": volume})
    order = desk.call("OpenOrders", trades="true")["open"][txid]
    assert (order["vol_exec"], order["cost"], len(order["trades"])) == ("0.25000000", "12500.00000", 2)
    desk.call("CancelOrder", txid=txid)
    closed = desk.call("ClosedOrders")["closed"][txid]
    assert (closed["status"], closed["misc"], closed["vol_exec"]) == ("canceled", "partial", "0.25000000")
    assert "trades" not in closed
    assert Decimal(desk.call("Balance")["XXBT"]) == Decimal("2.25")


def test_market_that_reaches_a_resting_order_fills_it_as_maker(exchange, desk):
    txid = desk.call("AddOrder", pair="XTZEUR", type="buy", ordertype="limit", volume="100", price="0.5")[
        "txid"
    ][0]
    assert txid in desk.call("OpenOrders")["open"]
    exchange.post("/prices", {"XTZEUR": "0.4999"})
    order = desk.call("ClosedOrders")["closed"][txid]
    assert (order["status"], order["price"], order["fee"]) == ("closed", "0.5000", "0.125000")
    assert exchange.public("Ticker", pair="XTZEUR")["result"]["XTZEUR"]["c"][0] == "0.4999"


def test_crossing_post_only_order_is_accepted_and_canceled(desk):
    txid = desk.call("AddOrder", **(LIMIT | {"price": "61000", "oflags": "post"}))["txid"][0]
    order = desk.call("ClosedOrders")["closed"][txid]
    assert (order["status"], order["reason"], order["oflags"]) == ("canceled", "Post only order", "post,fciq")


def test_client_order_id_is_unique_only_while_open(desk):
    first = desk.call("AddOrder", cl_ord_id="intent-1", **LIMIT)["txid"][0]
    assert desk.refusal("AddOrder", cl_ord_id="intent-1", **LIMIT) == ["EGeneral:Invalid arguments:cl_ord_id"]
    assert list(desk.call("OpenOrders", cl_ord_id="intent-1")["open"]) == [first]
    assert desk.call("CancelOrder", cl_ord_id="intent-1") == {"count": 1}
    second = desk.call("AddOrder", cl_ord_id="intent-1", **LIMIT)["txid"][0]
    assert list(desk.call("ClosedOrders", cl_ord_id="intent-1")["closed"]) == [first]
    assert second != first


def test_userref_is_not_unique_and_cancels_all(desk):
    for _ in range(3):
        desk.call("AddOrder", userref=7, **LIMIT)
    assert desk.call("CancelOrder", txid="7") == {"count": 3}


def test_fee_in_base_when_asked_for(desk):
    desk.call("AddOrder", oflags="fcib", **MARKET)
    base, quote = sorted(desk.call("Ledgers")["ledger"].values(), key=lambda leg: leg["time"])
    assert (base["fee"], quote["fee"]) == ("0.0080000000", "0.0000")
    (trade,) = desk.call("TradesHistory")["trades"].values()
    assert trade["fee"] == "24.00000"  # the history always tells the quote estimate


def test_fee_credits_leave_both_legs_free(exchange):
    desk = exchange.open(opening={"ZUSD": "1000", "KFEE": "5000"})
    desk.event("trade", pair="XBTUSD", volume="0.01", price="60000", fee_mode="kfee")
    rows = {row["asset"]: row for row in desk.call("Ledgers")["ledger"].values()}
    assert (rows["KFEE"]["amount"], rows["KFEE"]["fee"], rows["KFEE"]["balance"]) == (
        "0.00",
        "240.00",
        "4760.00",
    )
    assert rows["ZUSD"]["fee"] == "0.0000"


def test_order_totals_may_be_cut_off_as_in_2020(exchange):
    desk = exchange.open(opening={"ZEUR": "1000"}, order_totals="truncated")
    desk.event("trade", pair="XTZEUR", volume="200", price="2.1282", fee_percent="0.26")
    (order,) = desk.call("ClosedOrders")["closed"].values()
    (trade,) = desk.call("TradesHistory")["trades"].values()
    assert (trade["cost"], trade["fee"]) == ("425.640000", "1.106664")
    assert (order["cost"], order["fee"]) == ("425.6400", "1.1066")


def test_website_order_has_no_names_of_ours(desk):
    made = desk.event("manual_order", pair="ETHUSD", side="sell", volume="1", ordertype="market")
    order = desk.call("QueryOrders", txid=made["order"])[made["order"]]
    assert (order["cl_ord_id"], order["userref"], order["status"]) == (None, None, "closed")
    assert list(desk.call("ClosedOrders")["closed"]) == [made["order"]]
    (trade,) = desk.call("TradesHistory")["trades"].values()
    assert (trade["ordertxid"], trade["vol"]) == (made["order"], "1.00000000")


def test_website_order_may_rest_and_be_canceled_through_the_key(desk):
    made = desk.event("manual_order", pair="ETHUSD", volume="1", ordertype="limit", price="1000")
    order = desk.call("OpenOrders")["open"][made["order"]]
    assert (order["cl_ord_id"], order["userref"], made["trade"]) == (None, None, None)
    assert desk.call("BalanceEx")["ZUSD"]["hold_trade"] == "1004.0000"
    assert desk.call("CancelOrder", txid=made["order"]) == {"count": 1}


@pytest.mark.parametrize("expiretm", ["+60", "1767225660"])
def test_an_order_expires_and_releases_its_hold(desk, expiretm):
    txid = desk.call("AddOrder", timeinforce="GTD", expiretm=expiretm, **LIMIT)["txid"][0]
    desk.simulator.post(f"/accounts/{desk.name}/fills", {"txid": txid, "volume": "0.2"})
    desk.advance("59")
    assert desk.call("OpenOrders")["open"][txid]["expiretm"] >= 1767225660
    desk.advance("2")
    order = desk.call("ClosedOrders")["closed"][txid]
    assert (order["status"], order["vol_exec"], order["misc"]) == ("expired", "0.20000000", "partial")
    assert desk.call("BalanceEx")["ZUSD"]["hold_trade"] == "0.0000"
    assert desk.refusal("CancelOrder", txid=txid) == ["EOrder:Unknown order"]
    assert desk.refusal("AddOrder", expiretm="1767225600", **LIMIT) == ["EGeneral:Invalid arguments:expiretm"]


def test_selling_from_an_earning_balance_brings_it_back_first(exchange):
    desk = exchange.open(opening={"SOL": "1", "SOL.F": "9"})
    desk.call("AddOrder", pair="SOLUSD", type="sell", ordertype="limit", volume="8", price="200")
    extended = desk.call("BalanceEx")
    assert (extended["SOL"]["balance"], extended["SOL"]["hold_trade"]) == ("1.0000000000", "8.0000000000")
    exchange.post("/prices", {"SOLUSD": "201"})
    exchange.post("/prices", {"SOLUSD": "150"})
    kinds = [(row["asset"], row["type"], row["amount"]) for row in desk.call("Ledgers")["ledger"].values()][
        ::-1
    ]
    assert kinds == [
        ("SOL.F", "earn", "-7.0000000000"),
        ("SOL", "earn", "7.0000000000"),
        ("SOL", "trade", "-8.0000000000"),
        ("ZUSD", "trade", "1600.0000"),
    ]
    assert desk.call("Balance") == {"SOL": "0.0000000000", "SOL.F": "2.0000000000", "ZUSD": "1596.0000"}

"""Kinds of order and times in force: what triggers, what is filled in part, what is killed, what is held."""

from __future__ import annotations

from decimal import Decimal

import pytest

BUY = {"pair": "AVAXUSD", "type": "buy", "volume": "10"}
SELL = BUY | {"type": "sell"}


@pytest.fixture
def market(exchange):
    """A market of these tests' own, at 25 with any amount to be had, before and after."""

    def move(price=None, *, volume=None):
        if price is not None:
            exchange.post("/prices", {"AVAXUSD": price})
        else:
            exchange.post("/liquidity", {"pair": "AVAXUSD", "volume": volume})

    yield move
    move(volume=None)
    move("25")


@pytest.fixture
def trader(exchange):
    return exchange.open(opening={"ZUSD": "10000", "AVAX": "100"})


def place(desk, **order):
    return desk.call("AddOrder", **order)["txid"][0]


def look(desk, txid):
    return desk.call("QueryOrders", txid=txid, trades="true")[txid]


@pytest.mark.parametrize(
    ("order", "words", "held"),
    [
        (
            SELL | {"ordertype": "stop-loss", "price": "22"},
            "sell 10.00000000 AVAXUSD @ stop loss 22.00",
            {"AVAX": "10.0000000000", "ZUSD": "0.0000"},
        ),
        (
            SELL | {"ordertype": "stop-loss-limit", "price": "22", "price2": "21"},
            "sell 10.00000000 AVAXUSD @ stop loss 22.00 -> limit 21.00",
            {"AVAX": "10.0000000000", "ZUSD": "0.0000"},
        ),
        (
            BUY | {"ordertype": "take-profit", "price": "20"},
            "buy 10.00000000 AVAXUSD @ take profit 20.00",
            {"AVAX": "0.0000000000", "ZUSD": "200.8000"},
        ),
        (
            BUY | {"ordertype": "stop-loss-limit", "price": "28", "price2": "30"},
            "buy 10.00000000 AVAXUSD @ stop loss 28.00 -> limit 30.00",
            {"AVAX": "0.0000000000", "ZUSD": "301.2000"},
        ),
    ],
    ids=lambda value: value["ordertype"] if isinstance(value, dict) and "ordertype" in value else "",
)
def test_a_triggered_order_rests_with_its_hold(trader, market, order, words, held):
    del market
    order = look(trader, place(trader, **order)) | {"asked": order}
    asked = order["asked"]
    assert (order["status"], order["descr"]["order"], order["descr"]["ordertype"]) == (
        "open",
        words,
        asked["ordertype"],
    )
    assert Decimal(order["descr"]["price"]) == Decimal(asked["price"]) == Decimal(order["stopprice"])
    assert Decimal(order["descr"]["price2"]) == Decimal(asked.get("price2", "0"))
    assert (Decimal(order["limitprice"]), order["trigger"], order["misc"]) == (0, "last", "")
    assert {asset: row["hold_trade"] for asset, row in trader.call("BalanceEx").items()} == held


@pytest.mark.parametrize(
    ("order", "rests_at", "fires_at", "remark", "trade_type"),
    [
        (SELL | {"ordertype": "stop-loss", "price": "22"}, "22.01", "21.5", "stopped", "stop market"),
        (BUY | {"ordertype": "stop-loss", "price": "28"}, "27.99", "28.5", "stopped", "stop market"),
        (SELL | {"ordertype": "take-profit", "price": "28"}, "27.99", "28.5", "touched", "touched market"),
        (BUY | {"ordertype": "take-profit", "price": "22"}, "22.01", "21.5", "touched", "touched market"),
    ],
)
def test_a_trigger_fires_at_its_price_and_fills_at_the_markets(  # noqa: PLR0913, PLR0917
    trader, market, order, rests_at, fires_at, remark, trade_type
):
    txid = place(trader, **order)
    market(rests_at)
    assert look(trader, txid)["status"] == "open"
    market(fires_at)
    seen = look(trader, txid)
    assert (seen["status"], seen["misc"], Decimal(seen["price"])) == ("closed", remark, Decimal(fires_at))
    (trade,) = trader.call("QueryTrades", txid=seen["trades"][0]).values()
    assert (trade["ordertype"], seen["descr"]["ordertype"]) == (trade_type, order["ordertype"])
    assert len(trader.call("Ledgers")["ledger"]) == 2


def test_a_triggered_limit_waits_for_its_limit_and_keeps_it(trader, market):
    txid = place(trader, **SELL, ordertype="stop-loss-limit", price="22", price2="21.8")
    market("21")  # fell through both
    resting = look(trader, txid)
    assert (resting["status"], resting["misc"], Decimal(resting["limitprice"])) == (
        "open",
        "stopped",
        Decimal("21.8"),
    )
    market("23")
    filled = look(trader, txid)
    assert (filled["status"], Decimal(filled["price"])) == ("closed", Decimal("21.8"))


def test_an_order_whose_trigger_is_reached_already_fills_at_once(trader, market):
    del market
    order = look(trader, place(trader, **SELL, ordertype="stop-loss", price="26"))
    assert (order["status"], order["misc"], Decimal(order["price"])) == ("closed", "stopped", 25)


def test_immediate_or_cancel_takes_what_there_is(trader, market):
    market(volume="4")
    txid = place(trader, **BUY, ordertype="limit", price="26", timeinforce="IOC")
    order = look(trader, txid)
    assert (order["status"], order["vol_exec"], order["misc"]) == ("canceled", "4.00000000", "partial")
    assert (order["reason"], len(order["trades"])) == ("Immediate or cancel", 1)
    assert trader.call("BalanceEx")["ZUSD"]["hold_trade"] == "0.0000"
    nothing = look(trader, place(trader, **BUY, ordertype="limit", price="26", timeinforce="IOC"))
    assert (nothing["status"], nothing["vol_exec"]) == ("canceled", "0.00000000")


def test_fill_or_kill_fills_whole_or_not_at_all(trader, market):
    market(volume="9.99")
    killed = look(trader, place(trader, **BUY, ordertype="limit", price="26", timeinforce="FOK"))
    assert (killed["status"], killed["vol_exec"], killed["reason"]) == (
        "canceled",
        "0.00000000",
        "Fill or kill",
    )
    market(volume="10")
    filled = look(trader, place(trader, **BUY, ordertype="limit", price="26", timeinforce="FOK"))
    assert (filled["status"], filled["vol_exec"]) == ("closed", "10.00000000")


def test_what_is_left_of_a_limit_order_rests_and_of_a_market_order_is_canceled(trader, market):
    market(volume="3")
    limit = place(trader, **BUY, ordertype="limit", price="26")
    rest = look(trader, limit)
    assert (rest["status"], rest["vol_exec"], Decimal(rest["price"])) == ("open", "3.00000000", 25)
    market(volume="2")
    assert look(trader, limit)["vol_exec"] == "5.00000000"
    market(volume="6")
    whole = look(trader, limit)
    assert (whole["status"], len(whole["trades"])) == ("closed", 3)
    legs = [row for row in trader.call("Ledgers")["ledger"].values() if row["asset"] == "AVAX"]
    assert sum(Decimal(row["amount"]) for row in legs) == 10
    cut = look(trader, place(trader, **SELL, ordertype="market"))
    assert (cut["status"], cut["vol_exec"]) == ("canceled", "1.00000000")


def test_post_only_that_does_not_cross_is_filled_as_maker_later(trader, market):
    txid = place(trader, **BUY, ordertype="limit", price="24", oflags="post")
    assert look(trader, txid)["status"] == "open"
    market("23.5")
    order = look(trader, txid)
    (trade,) = trader.call("QueryTrades", txid=order["trades"][0]).values()
    assert (order["status"], trade["maker"], Decimal(trade["price"])) == ("closed", True, 24)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"timeinforce": "SOON"}, "EGeneral:Invalid arguments:timeinforce"),
        ({"timeinforce": "GTD"}, "EGeneral:Invalid arguments:expiretm"),
        ({"timeinforce": "GTD", "expiretm": "+4"}, "EGeneral:Invalid arguments:expiretm"),
        ({"timeinforce": "GTD", "expiretm": "+2678401"}, "EGeneral:Invalid arguments:expiretm"),
        ({"userref": "2147483648"}, "EGeneral:Invalid arguments:userref"),
        ({"cl_ord_id": "nineteen characters"}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": "größe"}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": "6d1b345e-2821-40e2-ad83-4ecb18a06876x"}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"ordertype": "stop-loss-limit", "price2": "0.001"}, "EOrder:Invalid price:"),
        ({"ordertype": "stop-loss-limit"}, "EGeneral:Invalid arguments:price2"),
        ({"close[ordertype]": "limit"}, "EAPI:Feature disabled"),
        ({"close[price]": "25"}, "EAPI:Feature disabled"),
        ({"leverage": "2"}, "EAPI:Feature disabled"),
        ({"leverage": "2:1"}, "EAPI:Feature disabled"),
        ({"displayvol": "0.1"}, "EAPI:Feature disabled"),
        ({"reduce_only": "true"}, "EAPI:Feature disabled"),
        ({"starttm": "+10"}, "EAPI:Feature disabled"),
        ({"ordertype": "iceberg"}, "EAPI:Feature disabled"),
        ({"ordertype": "settle-position"}, "EAPI:Feature disabled"),
        ({"ordertype": "trailing-stop"}, "EAPI:Feature disabled"),
        ({"execution_venue": "bitnomial_exchange"}, "EGeneral:Invalid arguments:execution_venue"),
    ],
)
def test_refusals(trader, changes, code):
    (said,) = trader.refusal("AddOrder", **(BUY | {"ordertype": "limit", "price": "20"} | changes))
    assert said.startswith(code)
    assert trader.statement()["orders"] == []


def test_an_order_that_wants_no_leverage_says_so(trader):
    assert place(trader, **BUY, ordertype="limit", price="20", leverage="none", reduce_only="false")


@pytest.mark.parametrize(
    "client_id",
    ["6d1b345e-2821-40e2-ad83-4ecb18a06876", "da8e4ad59b78481c93e589746b0cf91f", "eighteen ascii chr"],
)
def test_the_three_forms_of_a_client_order_id(trader, client_id):
    order = BUY | {"ordertype": "limit", "price": "20", "cl_ord_id": client_id}
    txid = place(trader, **order)
    assert look(trader, txid)["cl_ord_id"] == client_id
    assert trader.refusal("AddOrder", **order) == ["EGeneral:Invalid arguments:cl_ord_id"]
    assert trader.call("CancelOrder", cl_ord_id=client_id) == {"count": 1}
    assert place(trader, **order) != txid


@pytest.mark.parametrize(
    ("seconds", "refusal"),
    [
        ("-1", "EService:Deadline elapsed"),
        ("1", "EGeneral:Invalid arguments:deadline"),
        ("61", "EGeneral:Invalid arguments:deadline"),
        ("2", None),
        ("60", None),
    ],
)
def test_a_deadline_is_two_to_sixty_seconds_off(trader, seconds, refusal):
    moment = 1767225600 + int(seconds)  # the desk's clock stands at New Year
    minute, second = divmod(moment - 1767225600, 60)
    deadline = f"2026-01-01T00:{minute:02}:{second:02}Z" if moment >= 1767225600 else "2025-12-31T23:59:59Z"
    order = BUY | {"ordertype": "market", "deadline": deadline}
    if refusal:
        assert trader.refusal("AddOrder", **order) == [refusal]
    assert bool(refusal) or trader.call("AddOrder", **order)["txid"]

"""Changing, canceling and finding orders: what keeps its name, what gets a new one, what is counted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from decimal import Decimal

import pytest

LIMIT = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "0.5", "price": "50000"}


def place(desk, **changes):
    return desk.call("AddOrder", **(LIMIT | changes))["txid"][0]


def look(desk, txid):
    return desk.call("QueryOrders", txid=txid, trades="true")[txid]


def fill(desk, txid, volume):
    desk.simulator.post(f"/accounts/{desk.name}/fills", {"txid": txid, "volume": volume})


def test_an_amended_order_keeps_its_names_and_fills(desk):
    txid = place(desk, cl_ord_id="mine")
    fill(desk, txid, "0.2")
    reply = desk.call("AmendOrder", cl_ord_id="mine", order_qty="0.8", limit_price="51000")
    assert list(reply) == ["amend_id"]
    order = look(desk, txid)
    assert (order["vol"], order["vol_exec"], order["cl_ord_id"], order["misc"]) == (
        "0.80000000",
        "0.20000000",
        "mine",
        "amended",
    )
    assert order["descr"]["price"] == "51000.0"
    assert desk.call("BalanceEx")["ZUSD"]["hold_trade"] == "30722.4000"  # 0.6 x 51000 and the fee


def test_amending_below_what_is_filled_cancels_the_rest(desk):
    txid = place(desk)
    fill(desk, txid, "0.2")
    desk.call("AmendOrder", txid=txid, order_qty="0.1")
    order = look(desk, txid)
    assert (order["status"], order["vol_exec"], order["misc"]) == (
        "canceled",
        "0.20000000",
        "partial,amended",
    )


def test_an_amended_price_may_cross_unless_it_must_not(desk):
    txid = place(desk)
    assert desk.refusal("AmendOrder", txid=txid, limit_price="61000", post_only="true") == [
        "EOrder:Post only order"
    ]
    assert look(desk, txid)["descr"]["price"] == "50000.0"
    desk.call("AmendOrder", txid=txid, limit_price="61000")
    order = look(desk, txid)
    assert (order["status"], order["price"]) == ("closed", "60000.0")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"order_qty": "50"}, "EOrder:Insufficient funds"),
        ({"order_qty": "0"}, "EGeneral:Invalid arguments:order_qty"),
        (
            {"limit_price": "1.23"},
            "EOrder:Invalid price:XXBTZUSD price can only be specified up to 1 decimals.",
        ),
        ({"deadline": "2025-12-31T23:59:59Z"}, "EService:Deadline elapsed"),
        ({"cl_ord_id": "both"}, "EGeneral:Invalid arguments"),
    ],
)
def test_a_refused_amendment_changes_nothing(desk, changes, code):
    txid = place(desk)
    before = look(desk, txid)
    assert desk.refusal("AmendOrder", txid=txid, **changes) == [code]
    assert look(desk, txid) == before


def test_what_is_not_open_can_neither_be_amended_nor_edited(desk):
    txid = place(desk)
    fill(desk, txid, "0.5")
    for endpoint in ("AmendOrder", "EditOrder", "CancelOrder"):
        assert desk.refusal(endpoint, txid=txid) == ["EOrder:Unknown order"]


def test_an_edited_order_is_another_one(desk):
    old = place(desk, userref=5)
    fill(desk, old, "0.1")
    reply = desk.call("EditOrder", txid=old, pair="XBTUSD", price="49000", volume="0.4")
    assert (reply["originaltxid"], reply["orders_cancelled"], reply["volume"]) == (old, 1, "0.40000000")
    before, after = look(desk, old), look(desk, reply["txid"])
    assert (before["status"], before["reason"], before["vol_exec"]) == (
        "canceled",
        "Order replaced",
        "0.10000000",
    )
    assert (after["status"], after["vol_exec"], after["userref"], after["descr"]["price"]) == (
        "open",
        "0.00000000",
        0,
        "49000.0",
    )


def test_an_edit_that_cannot_be_paid_leaves_the_old_order(desk):
    old = place(desk)
    assert desk.refusal("EditOrder", txid=old, volume="50") == ["EOrder:Insufficient funds"]
    assert look(desk, old)["status"] == "open"
    assert desk.call("CancelAll") == {"count": 1}
    named = place(desk, cl_ord_id="mine")
    assert desk.refusal("EditOrder", txid=named, volume="0.1") == ["EOrder:Invalid order"]


def in_json(desk, endpoint, **parameters):
    """Call with a JSON body, as only batches need; tell the whole reply."""
    path, nonce = f"/0/private/{endpoint}", str(next(desk.api.nonces))
    body = json.dumps({"nonce": nonce, **parameters}).encode()
    digest = path.encode() + hashlib.sha256(nonce.encode() + body).digest()
    signature = base64.b64encode(hmac.digest(base64.b64decode(desk.secret), digest, "sha512"))
    headers = {"API-Key": desk.key, "API-Sign": signature, "Content-Type": "application/json"}
    return desk.simulator.session.post(desk.simulator.url + path, body, headers=headers, timeout=10).json()


def test_each_order_of_a_batch_has_its_own_fate(desk):
    order = {name: LIMIT[name] for name in ("type", "ordertype", "volume", "price")}
    orders = [order | {"cl_ord_id": "one"}, order | {"volume": "99"}, order | {"cl_ord_id": "one"}]
    reply = in_json(desk, "AddOrderBatch", pair="XBTUSD", orders=orders)["result"]["orders"]
    assert desk.call("OpenOrders")["open"].keys() == {reply[0]["txid"]}
    assert reply[1:] == [
        {"error": "EOrder:Insufficient funds"},
        {"error": "EGeneral:Invalid arguments:cl_ord_id"},
    ]


def test_a_batch_with_an_order_that_is_none_is_refused_as_a_whole(desk):
    order = {name: LIMIT[name] for name in ("type", "ordertype", "volume", "price")}
    for batch, code in (
        ([order, order | {"type": "hold"}], "EGeneral:Invalid arguments:type"),
        ([order], "EGeneral:Invalid arguments:orders"),
        ("orders", "EGeneral:Invalid arguments:orders"),
    ):
        assert in_json(desk, "AddOrderBatch", pair="XBTUSD", orders=batch) == {"error": [code]}
    assert desk.statement()["orders"] == []


def test_canceling_many(desk):
    first, second, third = place(desk, cl_ord_id="a"), place(desk, cl_ord_id="b"), place(desk, userref=3)
    assert desk.call("CancelOrderBatch", orders=f"{first},{first}", cl_ord_ids="b") == {"count": 2}
    assert list(desk.call("OpenOrders")["open"]) == [third]
    assert desk.call("CancelAll") == {"count": 1}
    assert desk.call("CancelAll") == {"count": 0}
    assert look(desk, second)["reason"] == "User requested"
    assert desk.call("BalanceEx")["ZUSD"]["hold_trade"] == "0.0000"


def test_the_countdown_cancels_everything_unless_it_is_wound_up(desk):
    txid = place(desk)
    assert desk.call("CancelAllOrdersAfter", timeout=60) == {
        "currentTime": "2026-01-01T00:00:00Z",
        "triggerTime": "2026-01-01T00:01:00Z",
    }
    desk.advance(50)
    desk.call("CancelAllOrdersAfter", timeout=60)
    desk.advance(50)
    assert look(desk, txid)["status"] == "open"
    desk.advance(11)
    order = look(desk, txid)
    assert (order["status"], order["closetm"]) == ("canceled", Decimal(1767225710))
    second = place(desk)
    desk.call("CancelAllOrdersAfter", timeout=10)
    assert desk.call("CancelAllOrdersAfter", timeout=0)["triggerTime"] == "0"
    desk.advance(11)
    assert look(desk, second)["status"] == "open"
    assert desk.refusal("CancelAllOrdersAfter", timeout="soon") == ["EGeneral:Invalid arguments:timeout"]


def test_orders_are_found_by_what_they_are_called(desk):
    mine, numbered = place(desk, cl_ord_id="mine"), place(desk, userref=9)
    website = desk.event("manual_order", pair="ETHUSD", volume="1", ordertype="limit", price="1000")["order"]
    assert list(desk.call("OpenOrders", cl_ord_id="mine")["open"]) == [mine]
    assert list(desk.call("OpenOrders", userref=9)["open"]) == [numbered]
    assert desk.call("OpenOrders", cl_ord_id="other") == {"open": {}}
    everything = f"{mine},{numbered},{website},OAAAAA-AAAAA-AAAAAA"
    assert desk.call("QueryOrders", txid=everything).keys() == {mine, numbered, website}
    assert desk.call("QueryOrders", txid=everything, userref=9).keys() == {numbered}
    # It has no such filter; Open- and ClosedOrders have.
    assert desk.call("QueryOrders", txid=everything, cl_ord_id="mine").keys() == {mine, numbered, website}
    desk.call("CancelAll")
    assert list(desk.call("ClosedOrders", cl_ord_id="mine")["closed"]) == [mine]
    assert list(desk.call("ClosedOrders", userref=9)["closed"]) == [numbered]


def test_closed_orders_are_cut_by_opening_or_closing_time(desk):
    start = Decimal(1767225600)
    txids = []
    for _ in range(3):
        txids.append(place(desk))
        desk.advance(100)
    for txid in txids:
        desk.call("CancelOrder", txid=txid)
        desk.advance(10)

    def found(**window):
        return list(desk.call("ClosedOrders", **window)["closed"])[::-1]

    assert found() == txids
    assert found(start=start, closetime="open") == txids[1:]  # exclusive
    assert found(end=start + 100, closetime="open") == txids[:2]  # inclusive
    assert found(start=txids[0], closetime="open") == txids[1:]
    assert found(start=start + 300, closetime="close") == txids[1:]
    assert found(end=start + 310, closetime="close") == txids[:2]
    assert found(start=start + 300, end=start + 300) == []
    assert found(ofs=1) == txids[:2]
    assert "count" not in desk.call("ClosedOrders", without_count="true")


@pytest.mark.parametrize("kind", ["manual_order", "trade"])
def test_orders_that_nobody_here_placed_have_no_client_order_id(desk, kind):
    made = desk.event(kind, pair="XBTUSD", side="buy", volume="0.01")
    order = look(desk, made["order"])
    assert (order["cl_ord_id"], order["userref"], order["status"]) == (None, None, "closed")
    (trade,) = desk.call("QueryTrades", txid=made["trade"]).values()
    assert "cl_ord_id" not in trade
    (known,) = desk.statement()["orders"]
    assert (known["source"], known["cl_ord_id"]) == ("website", None)

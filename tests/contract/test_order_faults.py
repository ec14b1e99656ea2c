"""Orders whose client learns nothing, or the wrong thing: each fault, aimed, and any two at once."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import requests

ORDER = {"pair": "XBTUSD", "type": "buy", "ordertype": "market", "volume": "0.1"}
LOOKS = ["timeout", "reset", "502", "504", "520"]


@pytest.fixture
def fired(exchange):
    before = len(exchange.get("/truth")["faults"])
    return lambda: exchange.get("/truth")["faults"][before:]


def send(desk, **changes):
    """Place an order; tell the reply, or the failure to get one."""
    try:
        return desk.api.query_private("AddOrder", ORDER | changes, timeout=10)
    except (requests.RequestException, ValueError) as failure:
        return failure


def poll(look):
    """Look until there is something; tell what was seen last."""
    patience = time.monotonic() + 10
    while not (seen := look()) and time.monotonic() < patience:
        time.sleep(0.02)
    return seen


def outside(failure):
    """Tell what a client can know of a failure."""
    response = getattr(failure, "response", None)
    return type(failure), None if response is None else (response.status_code, response.text)


@pytest.mark.parametrize("look", LOOKS)
def test_four_fates_have_one_look(desk, fired, look):
    fates = {
        "fail_before_accept": [],
        "accept_then_fail": ["closed"],
        "late_accept": ["closed"],
        "refused": [],
    }
    looks = set()
    for number, (fate, statuses) in enumerate(fates.items()):
        name, changes = ("late_accept", {"volume": "99"}) if fate == "refused" else (fate, {})
        cl_ord_id = f"{look}-{number}"
        desk.fault(name, appearance=look, seconds="0.05", order=cl_ord_id)
        looks.add(outside(send(desk, cl_ord_id=cl_ord_id, **changes)))
        desk.advance(6)
        orders = [order for order in desk.statement()["orders"] if order["cl_ord_id"] == cl_ord_id]
        assert [order["status"] for order in orders] == statuses, fate
    assert len(looks) == 1
    assert [record["outcome"] for record in fired()] == ["nothing", "accepted", "accepted", "refused"]
    assert fired()[-1]["error"] == "EOrder:Insufficient funds"


def test_a_late_order_is_nowhere_until_it_arrives(desk, fired):
    desk.fault("late_accept", appearance="504", after_seconds="30", count=1)
    send(desk, cl_ord_id="late", deadline="2026-01-01T00:00:45Z")
    (record,) = fired()
    assert (record["outcome"], record["due"], record["about"]) == ("waiting", "1767225630", ["late"])
    for moment, found in ((0, 0), (29, 0), (1, 1)):
        desk.advance(moment)
        assert len(desk.call("ClosedOrders", cl_ord_id="late")["closed"]) == found
        assert desk.call("TradesHistory")["count"] == found
        assert desk.call("Ledgers")["count"] == 2 * found
    (order,) = desk.call("ClosedOrders", cl_ord_id="late")["closed"].values()
    assert order["opentm"] == Decimal(1767225630)
    (record,) = fired()
    assert (record["outcome"], record["result"]["txid"]) == (
        "accepted",
        [desk.statement()["orders"][0]["txid"]],
    )


def test_a_late_order_never_appears_after_its_deadline(desk, fired):
    desk.fault("late_accept", appearance="504", after_seconds="30", count=1)
    send(desk, cl_ord_id="late", deadline="2026-01-01T00:00:20Z")
    desk.advance(120)
    assert desk.call("ClosedOrders")["closed"] == {}
    assert desk.statement()["orders"] == []
    (record,) = fired()
    assert (record["outcome"], record["error"]) == ("refused", "EService:Deadline elapsed")


def test_a_late_order_obeys_what_holds_when_it_arrives(desk):
    desk.fault("late_accept", appearance="504", after_seconds="30", count=1)
    send(desk, cl_ord_id="same")
    resting = ORDER | {"ordertype": "limit", "price": "100", "cl_ord_id": "same"}
    first = desk.call("AddOrder", **resting)["txid"]
    desk.advance(31)
    assert [order["txid"] for order in desk.statement()["orders"]] == first  # the id was taken by then


def test_a_late_cancel(desk):
    txid = desk.call("AddOrder", **(ORDER | {"ordertype": "limit", "price": "100"}))["txid"][0]
    desk.fault("late_accept", endpoint="CancelOrder", appearance="502", after_seconds="10")
    with pytest.raises(requests.HTTPError):
        desk.call("CancelOrder", txid=txid)
    assert txid in desk.call("OpenOrders")["open"]
    desk.advance(11)
    assert desk.call("QueryOrders", txid=txid)[txid]["closetm"] == Decimal(1767225610)


def test_only_a_write_can_be_late(desk):
    fault = {"name": "late_accept", "endpoint": "Balance"}
    assert "expected an endpoint" in desk.simulator.post("/faults", fault, status=400)["detail"]


def test_late_orders_arrive_by_a_real_clock_too(exchange):
    desk = exchange.open(now=None, opening={"ZUSD": "100000"})
    desk.fault("late_accept", appearance="reset", after_seconds="1.2", count=1)
    send(desk)
    assert desk.statement()["orders"] == []
    orders = poll(lambda: desk.statement()["orders"])
    assert [order["status"] for order in orders] == ["closed"]


def test_a_deadline_passes_while_an_order_is_slow(desk, fired):
    desk.fault("slow", seconds="1.2", endpoint="AddOrder", count=1)
    with ThreadPoolExecutor(1) as thread:
        sent = thread.submit(send, desk, deadline="2026-01-01T00:00:10Z")
        poll(fired)
        desk.advance(11)
        assert sent.result()["error"] == ["EService:Deadline elapsed"]
    assert fired()[0]["outcome"] == "refused"


def test_a_hanging_order_is_taken_at_once(desk, fired):
    desk.fault("hang", seconds="0.4", endpoint="AddOrder", count=1)
    with pytest.raises(requests.ReadTimeout):
        desk.api.query_private("AddOrder", dict(ORDER), timeout=0.15)
    assert [order["status"] for order in poll(lambda: desk.statement()["orders"])] == ["closed"]
    assert fired()[0]["outcome"] == "accepted"


def test_an_answer_is_cut_off_halfway(desk, fired):
    desk.fault("reset_mid_answer", endpoint="AddOrder", count=1)
    sent = desk.another_api()
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        sent.query_private("AddOrder", dict(ORDER), timeout=10)
    assert len(desk.call("ClosedOrders")["closed"]) == 1
    assert fired()[0]["outcome"] == "accepted"


def test_faults_are_aimed_by_name_by_turn_and_by_dice(exchange, desk, fired):
    desk.fault("api_error", endpoint="AddOrder", order="chosen")
    desk.fault("api_error", endpoint="AddOrder", nth=4, count=1, text="EService:Busy")
    errors = [send(desk, cl_ord_id=name)["error"] for name in ("a", "chosen", "b", "c", "d", "e", "chosen")]
    assert errors == [[], ["EService:Unavailable"], [], [], ["EService:Busy"], [], ["EService:Unavailable"]]
    assert [record["about"] for record in fired()] == [["chosen"], ["d"], ["chosen"]]
    txid = desk.call("ClosedOrders", cl_ord_id="a")["closed"].popitem()[0]
    desk.fault("empty_body", endpoint="QueryOrders", order="a")
    with pytest.raises(ValueError, match="Expecting value"):
        desk.call("QueryOrders", txid=txid)  # by its other name
    exchange.control("DELETE", "/faults")
    small = {"volume": "0.001"}
    desk.fault("accept_then_fail", appearance="504", probability="0.5")
    desk.fault("fail_before_accept", appearance="504", probability="0.5")
    before = len(desk.statement()["orders"])
    failed = sum(not isinstance(send(desk, **small), dict) for _ in range(40))
    taken = len(desk.statement()["orders"]) - before
    assert 10 < failed < 40
    assert 8 < taken < 32


#: What may strike one AddOrder, and whether the order is there once everything is over.
KINDS = {
    "accepted": ({"name": "accept_then_fail", "appearance": "504"}, True),
    "reset after": ({"name": "accept_then_fail", "appearance": "reset"}, True),
    "failed before": ({"name": "fail_before_accept", "appearance": "502"}, False),
    "refused": ({"name": "api_error", "text": "EService:Busy"}, False),
    "busy after": ({"name": "api_error", "text": "EService:Busy", "executed": True}, True),
    "late": ({"name": "late_accept", "appearance": "504", "after_seconds": "30"}, True),
    "slow": ({"name": "slow", "seconds": "0.03"}, True),
    "hang": ({"name": "hang", "seconds": "0.03"}, True),
    "cut": ({"name": "reset_mid_answer"}, True),
    "html": ({"name": "html_200"}, True),
    "orders lag": ({"name": "lag", "view": "orders", "seconds": "60"}, True),
    "ledger lags": ({"name": "lag", "view": "ledger", "seconds": "60"}, True),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(KINDS, 2)))
def test_any_two_faults_at_once_leave_one_order_or_none(exchange, first, second):
    desk = exchange.open(opening={"ZUSD": "100000"})
    before = len(exchange.get("/truth")["faults"])
    placed = [KINDS[name][1] for name in (first, second)]
    for name in (first, second):
        fault = KINDS[name][0]
        desk.fault(**fault, order="twice", endpoint=None if fault["name"] == "lag" else "AddOrder")
    send(desk, cl_ord_id="twice", deadline="2026-01-01T00:00:50Z")
    struck = exchange.get("/truth")["faults"][before:]
    assert struck or {first, second} == {"orders lag", "ledger lags"}
    desk.advance(120)
    # What came late is there whatever else was said; otherwise a refusal comes first.
    expected = 1 if "late" in {first, second} else int(all(placed))
    assert len(desk.statement()["orders"]) == expected
    assert len(desk.call("ClosedOrders", cl_ord_id="twice")["closed"]) == expected
    assert desk.call("Ledgers")["count"] == 2 * expected
    outcomes = {record.get("outcome") for record in exchange.get("/truth")["faults"][before:]}
    assert outcomes <= ({"accepted", None} if expected else {"nothing", "refused"})
    exchange.control("DELETE", "/faults")
    exchange.control("DELETE", f"/accounts/{desk.name}")


VIEWS = {
    "orders": lambda desk, txid: bool(desk.call("QueryOrders", txid=txid)),
    "trades": lambda desk, _: desk.call("TradesHistory")["count"] > 0,
    "ledger": lambda desk, _: desk.call("Ledgers")["count"] > 0,
    "balance": lambda desk, _: desk.call("Balance").get("XXBT", "2.0000000000") != "2.0000000000",
}


@pytest.mark.parametrize("order", list(itertools.permutations(VIEWS)))
def test_views_of_one_order_catch_up_in_any_order(exchange, order):
    desk = exchange.open(opening={"ZUSD": "100000", "XXBT": "2"})
    for place, view in enumerate(order, start=1):
        desk.fault("lag", view=view, seconds=str(30 * place), order="slow")
    txid = desk.call("AddOrder", cl_ord_id="slow", **ORDER)["txid"][0]
    seen = []
    for _ in range(5):
        seen.append([view for view in order if VIEWS[view](desk, txid)])
        desk.advance("30.2")
    assert seen == [list(order[:count]) for count in range(5)]
    exchange.control("DELETE", "/faults")
    exchange.control("DELETE", f"/accounts/{desk.name}")


def test_a_lagging_order_hides_no_other_but_holds_back_the_books(desk):
    for view in ("orders", "trades", "ledger", "balance"):
        desk.fault("lag", view=view, seconds="60", order="slow")
    before = desk.call("AddOrder", cl_ord_id="before", **ORDER)["txid"][0]
    desk.advance(1)
    desk.call("AddOrder", cl_ord_id="slow", **ORDER)
    desk.advance(1)
    after = desk.call("AddOrder", cl_ord_id="after", **ORDER)["txid"][0]
    assert desk.call("ClosedOrders")["closed"].keys() == {before, after}
    assert desk.call("TradesHistory")["count"] == 2
    rows = desk.call("Ledgers")["ledger"].values()
    assert [row["asset"] for row in rows] == ["ZUSD", "XXBT"]  # a whole beginning: no gap in the balances
    assert desk.call("Balance")["XXBT"] == "2.1000000000"
    desk.advance(60)
    assert desk.call("Ledgers")["count"] == 6
    assert len(desk.call("ClosedOrders")["closed"]) == 3

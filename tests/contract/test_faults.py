"""Every fault shows its symptom, only where it is aimed at, and is written down."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import requests

ORDER = {"pair": "XBTUSD", "type": "buy", "ordertype": "market", "volume": "0.1"}


@pytest.fixture
def fired(exchange):
    before = len(exchange.get("/truth")["faults"])
    return lambda: exchange.get("/truth")["faults"][before:]


@pytest.mark.parametrize("appearance", ["timeout", "reset", "502", "504", "520"])
def test_accept_then_fail_has_executed(desk, fired, appearance):
    desk.fault("accept_then_fail", appearance=appearance, count=1, seconds=0.3)
    with pytest.raises(requests.RequestException) as failure:
        desk.call("AddOrder", cl_ord_id="doubtful", **ORDER)
    if appearance.isdigit():
        assert failure.value.response.status_code == int(appearance)
        assert failure.value.response.text.startswith("<html>")
    else:
        assert isinstance(failure.value, requests.ConnectionError)
    (order,) = desk.call("ClosedOrders", cl_ord_id="doubtful")["closed"].values()
    assert (order["status"], order["vol_exec"]) == ("closed", "0.10000000")
    (record,) = fired()
    assert record["name"] == "accept_then_fail"
    assert desk.statement()["orders"][0]["txid"] in record["answer"]


def test_accept_then_fail_waits_for_an_order_that_is_accepted(desk):
    desk.fault("accept_then_fail", appearance="502", count=1)
    desk.refusal("AddOrder", **(ORDER | {"volume": "9999"}))
    with pytest.raises(requests.HTTPError):
        desk.call("AddOrder", **ORDER)


def test_client_timeout_is_shorter_than_the_silence(desk):
    desk.fault("accept_then_fail", appearance="timeout", count=1)
    with pytest.raises(requests.ReadTimeout):
        desk.api.query_private("AddOrder", dict(ORDER), timeout=0.3)
    assert len(desk.call("ClosedOrders")["closed"]) == 1


@pytest.mark.parametrize("name", ["http_error", "reset"])
def test_failing_before_leaves_nothing_behind(desk, name):
    desk.fault(name, count=1, endpoint="AddOrder")
    with pytest.raises(requests.RequestException):
        desk.call("AddOrder", **ORDER)
    assert desk.statement()["orders"] == []
    assert desk.call("AddOrder", **ORDER)["txid"]


def test_an_order_may_be_taken_after_its_client_gave_up(exchange):
    desk = exchange.open(now=None, opening={"ZUSD": "100000"})
    desk.fault("slow", seconds="0.6", endpoint="AddOrder", count=1)
    with pytest.raises(requests.ReadTimeout):
        desk.api.query_private("AddOrder", dict(ORDER), timeout=0.1)
    assert desk.statement()["orders"] == []
    patience = time.monotonic() + 10
    while not (orders := desk.statement()["orders"]) and time.monotonic() < patience:
        time.sleep(0.05)
    assert len(orders) == 1


def test_a_silence_before_acceptance_leaves_nothing(desk):
    desk.fault("reset", seconds="0.3", count=1)
    with pytest.raises(requests.ReadTimeout):
        desk.api.query_private("AddOrder", dict(ORDER), timeout=0.1)
    time.sleep(0.3)
    assert desk.statement()["orders"] == []


def test_slow(desk):
    desk.fault("slow", seconds="0.25", count=1)
    started = time.monotonic()
    desk.call("Balance")
    assert time.monotonic() - started >= 0.25


@pytest.mark.parametrize("name", ["html_200", "truncated_json", "empty_body"])
def test_body_that_is_not_json(desk, name):
    desk.fault(name, count=1)
    with pytest.raises(requests.exceptions.JSONDecodeError):
        desk.call("Balance")
    assert desk.call("Balance")


def test_no_result_warning_and_redirect(desk):
    desk.fault("no_result", count=1)
    assert desk.call("Balance") is None
    desk.fault("warning", count=1, text="WGeneral:Something")
    reply = desk.api.query_private("Balance", {}, timeout=10)
    assert reply["error"] == ["WGeneral:Something"]
    assert "ZUSD" in reply["result"]
    desk.fault("redirect_302", count=1)
    assert "unixtime" in desk.call("Balance")  # krakenex follows a POST as GET


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"name": "api_error", "text": "EService:Busy"}, "EService:Busy"),
        ({"name": "api_error"}, "EService:Unavailable"),
        ({"name": "rate_limited"}, "EAPI:Rate limit exceeded"),
        ({"name": "invalid_nonce"}, "EAPI:Invalid nonce"),
        ({"name": "throttled", "seconds": 5}, "EService: Throttled: 1767225605"),
    ],
)
def test_refusals_that_nothing_caused(desk, fault, code):
    desk.fault(**fault, count=1)
    assert desk.refusal("AddOrder", **ORDER) == [code]
    assert desk.statement()["orders"] == []


DOUBTFUL = ("EService:Busy", "EService:Unavailable", "EGeneral:Internal error", "EDatabase:Internal error")


@pytest.mark.parametrize("code", DOUBTFUL)
@pytest.mark.parametrize("executed", [False, True])
def test_an_error_tells_nothing_about_a_write(desk, code, executed):
    desk.fault("api_error", text=code, executed=executed, endpoint="AddOrder", count=1)
    assert desk.refusal("AddOrder", **ORDER) == [code]
    assert [order["status"] for order in desk.statement()["orders"]] == ["closed"] * executed
    assert desk.call("Ledgers")["count"] == 2 * executed
    resting = desk.call("AddOrder", **(ORDER | {"ordertype": "limit", "price": "100"}))["txid"][0]
    desk.fault("api_error", text=code, executed=executed, endpoint="CancelOrder", count=1)
    assert desk.refusal("CancelOrder", txid=resting) == [code]
    assert desk.call("QueryOrders", txid=resting)[resting]["status"] == ("canceled" if executed else "open")


def test_an_error_without_execution_never_strikes_after_it(desk):
    desk.fault("api_error", endpoint="AddOrder", probability="0.5")
    order = ORDER | {"volume": "0.001"}
    replies = [desk.api.query_private("AddOrder", dict(order), timeout=10) for _ in range(40)]
    taken = sum(not reply["error"] for reply in replies)
    assert 5 < taken < 35
    assert len(desk.statement()["orders"]) == taken


def at_once(desk, calls):
    """Make slow calls of one key at the same time; tell what each was refused with."""
    desk.fault("slow", seconds="0.4")
    desk.change(nonce_window=1000)  # they may arrive in any order

    def ask(_):
        return desk.another_api().query_private("Balance", {}, timeout=10)["error"]

    with ThreadPoolExecutor(calls) as threads:
        return sorted(threads.map(ask, range(calls)))


def test_throttling_of_concurrent_calls_only(exchange, desk):
    desk.fault("throttled", only_concurrent=True)
    assert desk.call("Balance")
    assert at_once(desk, 2) == [[], ["EService: Throttled: 1767225605"]]
    exchange.control("DELETE", "/faults")
    desk.fault("throttled", only_concurrent=False, count=1)
    assert desk.refusal("Balance") == ["EService: Throttled: 1767225605"]


def test_too_many_calls_at_once_are_throttled_without_any_fault(exchange, desk):
    other = exchange.open(opening={"ZUSD": "1"})
    desk.change(concurrent_limit=3)
    assert at_once(desk, 5) == [[], [], [], *[["EService: Throttled: 1767225605"]] * 2]
    assert at_once(desk, 3) == [[]] * 3
    assert at_once(other, 5) == [[]] * 5


def test_unknown_and_missing_fields(desk):
    desk.call("AddOrder", **ORDER)
    desk.fault("extra_fields", endpoint="Ledgers", count=1)
    assert all("simulated_field" in row for row in desk.call("Ledgers")["ledger"].values())
    desk.fault("extra_fields", endpoint="BalanceEx", count=1)
    assert all("simulated_field" in row for row in desk.call("BalanceEx").values())
    desk.fault("missing_fields", endpoint="Ledgers", count=1)
    assert not any("subtype" in row for row in desk.call("Ledgers")["ledger"].values())
    desk.fault("missing_fields", endpoint="ClosedOrders", count=1)
    assert not any("reason" in row for row in desk.call("ClosedOrders")["closed"].values())
    desk.fault("missing_fields", endpoint="TradesHistory", count=1)
    assert not any("maker" in row for row in desk.call("TradesHistory")["trades"].values())


def test_implausible_balances(desk):
    desk.fault("empty_balances", endpoint="BalanceEx", count=1)
    assert desk.call("BalanceEx") == {}
    desk.fault("partial_balances", assets=["XXBT"], count=1)
    assert desk.call("Balance").keys() == {"ZUSD", "ZEUR", "XETH", "XXDG"}
    desk.fault("nan_amount", count=1)
    assert desk.call("Balance")["ZUSD"] == "NaN"
    desk.fault("nan_amount", endpoint="BalanceEx", count=1)
    assert desk.call("BalanceEx")["ZUSD"]["balance"] == "NaN"


@pytest.fixture
def paged(exchange):
    rows = [
        {
            "id": f"ROW{number}",
            "refid": "Q",
            "time": str(number),
            "type": "deposit",
            "asset": "XXBT",
            "amount": "1",
        }
        for number in range(1, 121)
    ]
    yield exchange.open(entries=rows)
    exchange.control("DELETE", "/faults")


def page(desk, offset):
    reply = desk.call("Ledgers", ofs=offset)
    return [name for name in reply["ledger"] if name.startswith("ROW")], reply["count"]


def test_paging_faults(paged):
    clean, second = page(paged, 0)[0], page(paged, 50)[0]
    paged.fault("insert_between_pages", page=1, rows=2, asset="XXBT", count=1)
    assert page(paged, 0) == (clean, 120)
    shifted, count = page(paged, 50)
    assert (shifted[:2], count) == (clean[-2:], 122)
    paged.fault("count_drift", by=3, count=1)
    assert page(paged, 2) == (clean, 125)
    paged.fault("empty_page_early", page=1, count=1)
    assert page(paged, 2)[0] == clean
    assert page(paged, 52)[0] == []
    paged.fault("duplicate_row", page=1, count=1)
    assert page(paged, 52)[0] == [clean[-1], *second]
    paged.fault("missing_row", row=4, count=1)
    assert page(paged, 2)[0] == clean[:4] + clean[5:]
    paged.fault("missing_page", page=1, count=1)
    assert page(paged, 52)[0] == [f"ROW{number}" for number in range(20, 0, -1)]
    assert page(paged, 52) == (second, 122)


@pytest.mark.parametrize(
    ("view", "endpoint", "field"),
    [
        ("ledger", "Ledgers", "ledger"),
        ("trades", "TradesHistory", "trades"),
        ("orders", "ClosedOrders", "closed"),
    ],
)
def test_each_view_lags_on_its_own(desk, view, endpoint, field):
    desk.call("AddOrder", **ORDER)
    desk.fault("lag", view=view, seconds="90")
    assert desk.call(endpoint)[field] == {}
    assert Decimal(desk.call("Balance")["XXBT"]) == Decimal("2.1")
    desk.advance(91)
    assert len(desk.call(endpoint)[field]) > 0


def test_balance_lags_behind_the_ledger(desk):
    desk.call("AddOrder", **ORDER)
    desk.fault("lag", view="balance", seconds="5")
    assert desk.call("Balance")["XXBT"] == "2.0000000000"
    assert len(desk.call("Ledgers")["ledger"]) == 2


def test_extended_balance_runs_ahead_of_the_ledger_or_behind_it_with_its_holds(exchange, desk):
    desk.call("AddOrder", **(ORDER | {"ordertype": "limit", "price": "50000"}))
    desk.advance(60)
    desk.call("AddOrder", **ORDER)
    desk.fault("lag", view="ledger", seconds="30")
    assert desk.call("BalanceEx")["XXBT"]["balance"] == "2.1000000000"
    assert desk.call("Ledgers")["count"] == 0
    exchange.control("DELETE", "/faults")
    desk.fault("lag", view="balance", seconds="30")
    assert desk.call("BalanceEx")["ZUSD"] == {"balance": "100000.0000", "hold_trade": "5020.0000"}
    assert desk.call("Ledgers")["count"] == 2
    exchange.control("DELETE", "/faults")
    desk.fault("lag", view="balance", seconds="90")
    assert desk.call("BalanceEx")["ZUSD"] == {"balance": "100000.0000", "hold_trade": "0.0000"}


def test_a_fill_is_on_the_order_before_it_is_in_the_trades(desk):
    desk.fault("lag", view="trades", seconds="30")
    txid = desk.call("AddOrder", **ORDER)["txid"][0]
    order = desk.call("ClosedOrders", trades="true")["closed"][txid]
    assert (order["status"], order["vol_exec"]) == ("closed", "0.10000000")
    assert desk.call("TradesHistory") == {"trades": {}, "count": 0}
    assert desk.call("QueryTrades", txid=order["trades"][0]) == {}
    desk.advance(31)
    assert list(desk.call("TradesHistory")["trades"]) == order["trades"]


def test_views_lag_by_different_times_at_once(desk):
    lags = {"orders": 10, "trades": 20, "ledger": 120, "balance": 40}
    for view, seconds in lags.items():
        desk.fault("lag", view=view, seconds=str(seconds))
    desk.call("AddOrder", **ORDER)
    seen, passed = {}, 0
    for moment in (0, 11, 21, 41, 121):
        desk.advance(moment - passed)
        passed = moment
        seen[moment] = (
            len(desk.call("ClosedOrders")["closed"]),
            len(desk.call("TradesHistory")["trades"]),
            int(desk.call("Balance")["XXBT"] == "2.1000000000"),
            len(desk.call("Ledgers")["ledger"]),
        )
    assert seen == {0: (0, 0, 0, 0), 11: (1, 0, 0, 0), 21: (1, 1, 0, 0), 41: (1, 1, 1, 0), 121: (1, 1, 1, 2)}


@pytest.mark.parametrize("seconds", ["0", "1", "2"])
def test_new_order_is_invisible_for_a_while(desk, seconds):
    desk.fault("lag", view="orders", seconds=seconds, endpoint="QueryOrders")
    txid = desk.call("AddOrder", **(ORDER | {"ordertype": "limit", "price": "100"}))["txid"][0]
    assert (desk.call("QueryOrders", txid=txid) == {}) == (seconds != "0")
    assert txid in desk.call("OpenOrders")["open"]
    desk.advance(seconds)
    assert desk.call("QueryOrders", txid=txid)[txid]["status"] == "open"


def test_aim_count_and_record(exchange, desk, fired):
    other = exchange.open(opening={"ZUSD": "1"})
    desk.fault("api_error", endpoint="Balance", count=2)
    assert other.call("Balance") == {"ZUSD": "1.0000"}
    assert desk.call("BalanceEx")
    for _ in range(2):
        assert desk.refusal("Balance") == ["EService:Unavailable"]
    assert desk.call("Balance")
    assert [(record["account"], record["endpoint"]) for record in fired()] == [(desk.name, "Balance")] * 2


def test_probability_is_drawn_from_the_seed(exchange, desk):
    desk.fault("api_error", endpoint="Balance", probability="0.5")
    outcomes = [desk.api.query_private("Balance", {}, timeout=10)["error"] == [] for _ in range(60)]
    assert 10 < sum(outcomes) < 50
    exchange.control("DELETE", "/faults")
    assert exchange.get("/faults") == []


def test_a_fault_may_strike_public_calls(exchange, desk):
    exchange.post("/faults", {"name": "http_error", "status": 520, "endpoint": "Ticker", "count": 1})
    reply = requests.get(f"{exchange.url}/0/public/Ticker", timeout=10)
    assert (reply.status_code, desk.call("Balance") != {}) == (520, True)
    assert exchange.public("Ticker", pair="XBTUSD")["error"] == []


@pytest.mark.parametrize("path", ["_sim/truth", "private/_sim/truth", "public/truth"])
def test_the_truth_is_not_for_clients(exchange, path):
    reply = requests.get(f"{exchange.url}/0/{path}", timeout=10)
    assert reply.json() == {"error": ["EGeneral:Unknown method"]}

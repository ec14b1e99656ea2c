"""Planted wrongs: each differs from the truth in one place, and in no other."""

from __future__ import annotations

from decimal import Decimal

import pytest

BUY = {"pair": "XBTUSD", "type": "buy", "ordertype": "market", "volume": "0.1"}


@pytest.fixture
def twin(exchange):
    return exchange.open(opening={"ZUSD": "1000", "XXBT": "1"})


def books(desk):
    """Tell order, trade and legs of the only order."""
    (order,) = desk.call("ClosedOrders", trades="true")["closed"].values()
    trade = next(iter(desk.call("TradesHistory")["trades"].values()), None)
    legs = {
        row["asset"]: (Decimal(row["amount"]), Decimal(row["fee"]))
        for row in desk.call("Ledgers")["ledger"].values()
    }
    return order, trade, legs


RIGHT = {"XXBT": (Decimal("0.1"), Decimal(0)), "ZUSD": (Decimal(-6000), Decimal(24))}


@pytest.mark.parametrize(
    ("name", "options", "legs"),
    [
        ("ledger_wrong_fee", {}, {"ZUSD": (Decimal(-6000), Decimal(48))}),
        ("ledger_wrong_fee", {"factor": "0"}, {"ZUSD": (Decimal(-6000), Decimal(0))}),
        ("ledger_wrong_volume", {}, {"XXBT": (Decimal("0.11"), Decimal(0))}),
        (
            "ledger_wrong_side",
            {},
            {"XXBT": (Decimal("-0.1"), Decimal(0)), "ZUSD": (Decimal(6000), Decimal(24))},
        ),
        ("ledger_missing_leg", {"leg": "base"}, {"XXBT": None}),
        ("ledger_missing_leg", {}, {"ZUSD": None}),
    ],
)
def test_the_ledger_differs_from_the_trade(exchange, desk, name, options, legs):
    fault = desk.fault(name, count=1, order="wrong", **options)
    assert fault["order"] == "wrong"
    desk.call("AddOrder", cl_ord_id="wrong", **BUY)
    order, trade, found = books(desk)
    assert (order["vol_exec"], order["fee"], trade["vol"], trade["fee"], trade["type"]) == (
        "0.10000000",
        "24.00000",
        "0.10000000",
        "24.00000",
        "buy",
    )
    assert found == {asset: row for asset, row in (RIGHT | legs).items() if row is not None}
    balances = {asset: Decimal(amount) for asset, amount in desk.call("Balance").items()}
    moved = {asset: amount - fee for asset, (amount, fee) in found.items()}
    assert balances["XXBT"] == 2 + moved.get("XXBT", 0)  # the books add up all the same
    assert balances["ZUSD"] == 100000 + moved.get("ZUSD", 0)
    record = exchange.get("/truth")["faults"][-1]
    assert (record["name"], set(record["about"])) == (name, {"wrong", desk.statement()["orders"][0]["txid"]})


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("trade_wrong_fee", "fee", "48.00000"),
        ("trade_wrong_volume", "vol", "0.11000000"),
        ("trade_wrong_side", "type", "sell"),
    ],
)
def test_the_trade_differs_from_its_order(desk, name, field, value):
    desk.call("AddOrder", **BUY)
    right = books(desk)[1]
    desk.fault(name, count=1)
    desk.advance(1)
    desk.call("AddOrder", **BUY)
    wrong = next(iter(desk.call("TradesHistory")["trades"].values()))
    assert wrong[field] == value != right[field]
    own = {"ordertxid", "time", "trade_id", field}
    assert {key: wrong[key] for key in wrong.keys() - own} == {key: right[key] for key in right.keys() - own}
    for order in desk.call("ClosedOrders")["closed"].values():
        assert (order["vol_exec"], order["fee"], order["descr"]["type"]) == ("0.10000000", "24.00000", "buy")


def test_a_trade_is_missing(desk):
    desk.fault("trade_missing", count=1)
    desk.call("AddOrder", **BUY)
    order, trade, legs = books(desk)
    assert (trade, legs, len(order["trades"])) == (None, RIGHT, 1)


def test_the_books_of_another_account(desk, twin):
    desk.fault("ledger_wrong_account", to_account=twin.name, count=1)
    desk.fault("trade_wrong_account", to_account=twin.name, count=1)
    txid = desk.call("AddOrder", **BUY)["txid"][0]
    assert books(desk)[1:] == (None, {})
    assert desk.call("Balance")["XXBT"] == "2.0000000000"
    twin.advance(1)
    assert [trade["ordertxid"] for trade in twin.call("TradesHistory")["trades"].values()] == [txid]
    assert Decimal(twin.call("Balance")["XXBT"]) == Decimal("1.1")
    assert Decimal(twin.call("Balance")["ZUSD"]) == Decimal(-5024)
    refused = desk.simulator.post("/faults", {"name": "ledger_wrong_account"}, status=400)
    assert "expected an account out of" in refused["detail"]


def test_two_wrongs_at_once(desk):
    desk.fault("ledger_wrong_volume", count=1)
    desk.fault("ledger_wrong_fee", count=1)
    desk.fault("trade_wrong_side", count=1)
    desk.call("AddOrder", **BUY)
    _, trade, legs = books(desk)
    assert trade["type"] == "sell"
    assert legs == {"XXBT": (Decimal("0.11"), Decimal(0)), "ZUSD": (Decimal(-6000), Decimal(48))}


def test_only_the_chosen_fill_is_wrong(desk):
    desk.fault("ledger_missing_leg", nth=2, count=1)
    for _ in range(3):
        desk.call("AddOrder", **BUY)
        desk.advance(1)
    rows = list(desk.call("Ledgers")["ledger"].values())[::-1]
    assert [row["asset"] for row in rows] == ["XXBT", "ZUSD", "XXBT", "XXBT", "ZUSD"]

"""Whatever happens, the books hold together."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: Enough for ten of the largest orders one way, so that none is refused.
OPENING = {"ZUSD": "2000000", "XXBT": "80", "XETH": "80", "SOL": "400", "SOL.F": "100"}
PRICES = {"XBTUSD": Decimal(60000), "ETHUSD": Decimal(3000), "SOLUSD": Decimal(150)}
volumes = st.decimals(min_value="0.02", max_value="1.5", places=8)
amounts = st.decimals(min_value="0.0001", max_value="5", places=4).map(str)

orders = st.fixed_dictionaries(
    {
        "pair": st.sampled_from(sorted(PRICES)),
        "type": st.sampled_from(["buy", "sell"]),
        "ordertype": st.sampled_from(["market", "limit"]),
        "volume": volumes.map(str),
        "percent": st.integers(90, 110),
        "oflags": st.sampled_from(["fciq", "fcib"]),
    }
)
events = st.one_of(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["deposit", "withdrawal", "withdrawal_reversed", "earn_reward"]),
            "asset": st.sampled_from(sorted(OPENING)),
            "amount": amounts,
            "fee": st.sampled_from(["0", "0.0001"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("earn_allocation"),
            "asset": st.just("SOL"),
            "amount": amounts,
            "to_asset": st.just("SOL.F"),
        }
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("instant_buy"),
            "asset": st.just("ZUSD"),
            "amount": amounts,
            "to_asset": st.just("XETH"),
            "to_amount": amounts,
        }
    ),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("order"), orders),
        st.tuples(st.just("event"), events),
        st.tuples(st.just("cancel"), st.none()),
        st.tuples(st.just("amend"), volumes.map(str)),
    ),
    min_size=1,
    max_size=10,
)


def perform(desk, step, detail):
    if step == "event":
        desk.event(**detail)
    elif step == "cancel":
        for txid in list(desk.call("OpenOrders")["open"])[:1]:
            desk.call("CancelOrder", txid=txid)
    elif step == "amend":
        for txid in list(desk.call("OpenOrders")["open"])[:1]:
            desk.call("AmendOrder", txid=txid, order_qty=detail)
    else:
        price = PRICES[detail["pair"]] * detail["percent"] / 100
        fields = {name: detail[name] for name in ("pair", "type", "ordertype", "volume", "oflags")}
        desk.call("AddOrder", **fields, price=f"{price:.1f}")
    desk.advance("1.5")


def check_chain(rows, balances):
    running = {asset: Decimal(amount) for asset, amount in OPENING.items()}
    for row in rows:
        running[row["asset"]] = running[row["asset"]] + Decimal(row["amount"]) - Decimal(row["fee"])
        assert running[row["asset"]] == Decimal(row["balance"])
    assert running == {asset: Decimal(amount) for asset, amount in balances.items()}
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)


def check_orders(desk):
    trades = desk.call("TradesHistory")["trades"]
    closed = desk.call("ClosedOrders", trades="true")["closed"]
    everything = closed | desk.call("OpenOrders", trades="true")["open"]
    for order in everything.values():
        mine = [trades[trade] for trade in order.get("trades", [])]
        for field, total in (("vol", "vol_exec"), ("cost", "cost"), ("fee", "fee")):
            assert sum(Decimal(trade[field]) for trade in mine) == Decimal(order[total])
    assert sum(len(order.get("trades", [])) for order in everything.values()) == len(trades)


def check_holds(desk):
    held = dict.fromkeys(OPENING, Decimal(0))
    for order in desk.call("OpenOrders")["open"].values():
        left = Decimal(order["vol"]) - Decimal(order["vol_exec"])
        asset = {"XBTUSD": "XXBT", "ETHUSD": "XETH", "SOLUSD": "SOL"}[order["descr"]["pair"]]
        if order["descr"]["type"] == "sell":
            held[asset] += left
        else:
            held["ZUSD"] += left * Decimal(order["descr"]["price"]) * Decimal("1.004")
    for asset, row in desk.call("BalanceEx").items():
        assert abs(held[asset] - Decimal(row["hold_trade"])) <= Decimal("0.00005"), asset


@pytest.mark.usefixtures("exchange")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=steps)
def test_any_workload_keeps_the_books_whole(exchange, script):
    desk = exchange.open(opening=OPENING)
    for step, detail in script:
        perform(desk, step, detail)
    reply = desk.call("Ledgers")
    rows = list(reply["ledger"].values())[::-1]
    assert len(rows) == reply["count"]
    check_chain(rows, desk.call("Balance"))
    check_orders(desk)
    check_holds(desk)
    exchange.control("DELETE", f"/accounts/{desk.name}")

"""Three independent clients read the simulator as they read Kraken: only the address differs."""

from __future__ import annotations

import time

import ccxt
import pytest
from kraken.spot import Trade, User


@pytest.fixture
def funded(exchange):
    """An account by the real clock, as these clients choose their own nonces."""
    return exchange.open(now=None, opening={"ZUSD": "100000", "XXBT": "2", "XETH": "50"})


def test_krakenex(funded):
    txid = funded.call("AddOrder", pair="XBTUSD", type="sell", ordertype="market", volume="0.5")["txid"][0]
    assert funded.call("Balance") == {"ZUSD": "129880.0000", "XXBT": "1.5000000000", "XETH": "50.0000000000"}
    assert funded.call("ClosedOrders")["closed"][txid]["status"] == "closed"
    assert (funded.call("Ledgers")["count"], funded.call("TradesHistory")["count"]) == (2, 1)


def test_ccxt(funded):
    client = ccxt.kraken({"apiKey": funded.key, "secret": funded.secret, "enableRateLimit": False})
    client.urls["api"] = dict.fromkeys(client.urls["api"], funded.simulator.url)
    client.load_markets()
    made = client.create_order("BTC/USD", "market", "sell", 0.5)
    resting = client.create_order("ETH/USD", "limit", "buy", 1, 2000)
    balance = client.fetch_balance()
    assert (balance["BTC"]["total"], balance["USD"]["total"], balance["ETH"]["total"]) == (
        1.5,
        129880.0,
        50.0,
    )
    assert balance["USD"]["used"] == 2008.0
    (closed,) = client.fetch_closed_orders()
    assert (closed["id"], closed["symbol"], closed["filled"], closed["cost"]) == (
        made["id"],
        "BTC/USD",
        0.5,
        30000.0,
    )
    (trade,) = client.fetch_my_trades()
    assert (trade["order"], trade["price"], trade["fee"]) == (
        made["id"],
        60000.0,
        {"currency": "USD", "cost": 120.0},
    )
    ledger = {
        row["currency"]: (row["direction"], row["amount"], row["after"]) for row in client.fetch_ledger()
    }
    assert ledger == {"BTC": ("out", 0.5, 1.5), "USD": ("in", 30000.0, 129880.0)}
    assert [order["id"] for order in client.fetch_open_orders()] == [resting["id"]]
    client.cancel_order(resting["id"])
    assert client.fetch_open_orders() == []
    client.close()


def test_python_kraken_sdk(funded):
    login = {"key": funded.key, "secret": funded.secret, "url": funded.simulator.url}
    user, trade = User(**login), Trade(**login)

    def in_turn(method, **parameters):
        time.sleep(0.002)  # its nonces are milliseconds
        return method(**parameters)

    made = in_turn(trade.create_order, ordertype="market", side="sell", pair="XBTUSD", volume="0.5")
    (txid,) = made["txid"]
    assert in_turn(user.get_account_balance)["ZUSD"] == "129880.0000"
    assert in_turn(user.get_balances)["ZUSD"]["hold_trade"] == "0.0000"
    assert list(in_turn(user.get_closed_orders)["closed"]) == [txid]
    assert {row["asset"] for row in in_turn(user.get_ledgers_info)["ledger"].values()} == {"XXBT", "ZUSD"}
    assert [row["ordertxid"] for row in in_turn(user.get_trades_history)["trades"].values()] == [txid]

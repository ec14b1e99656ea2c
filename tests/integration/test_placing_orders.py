"""Orders from decision to position, on a real database and a simulated Kraken."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from trading_desk import TradingDesk


@pytest.fixture
def desk(simulator, database_url):
    desk = TradingDesk(simulator, database_url)
    desk.account()
    desk.prices(XBTUSD="50000", ETHUSD="2500")
    return desk


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

"""Recorded orders, trades and markets of the real Kraken go through our parsers, and agree with each other.

The recordings are not part of the project: set KRAKEN_DATA_DIR to their directory.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from kraken_recon.errors import PayloadInvalidError
from kraken_recon.kraken import parse_account, parse_orders
from kraken_recon.orders.rules.order import OrderStatus, OrderType
from kraken_recon.orders.rules.sizing import Markets

if TYPE_CHECKING:
    from pathlib import Path


MEMBERS = {
    "OpenOrders": "open",
    "ClosedOrders": "closed",
    "QueryOrders": None,
    "TradesHistory": "trades",
    "QueryTrades": None,
}


def results(directory: Path, owner: str, endpoint: str) -> list[dict[str, Any]]:
    """Decode every recorded reply of one endpoint."""
    found = []
    for path in sorted(directory.glob(f"{owner}/cassettes/*.json")):
        for exchange in json.loads(path.read_text()):
            reply = exchange["response"]["json"]
            asked = urlsplit(exchange["request"]["uri"]).path.rpartition("/")[2]
            if asked == endpoint and isinstance(reply, dict) and not reply.get("error"):
                decoded = parse_account.decode_reply(
                    json.dumps(reply).encode(), account="", endpoint=endpoint
                ).result
                assert isinstance(decoded, dict)
                member = MEMBERS.get(endpoint)
                found.append(decoded[member] if member else decoded)
    return found


@pytest.fixture(scope="module")
def markets(kraken_data_dir: Path) -> Markets:
    [path] = kraken_data_dir.glob("*/AssetPairs_kraken_pairs.json")
    text = path.read_text()
    return parse_orders.parse_markets(
        parse_account.decode_reply(text.encode(), account="", endpoint="AssetPairs").result
    )


def test_a_whole_snapshot_of_markets_is_read(markets: Markets) -> None:
    market = markets.find("BTC/USD")
    assert market is not None
    assert (market.pair_id, market.altname, market.lot_decimals) == ("XXBTZUSD", "XBTUSD", 8)
    assert market.order_minimum > 0
    assert market.tick_size > 0
    assert Decimal("0.1") < market.fee_percent < 1
    doge = markets.find("XDGUSD")
    assert doge is not None
    assert doge.name == "DOGE/USD"


@pytest.mark.parametrize("owner", ["shideneyu__kraken_client", "asmodehn__aiokraken"])
def test_recorded_orders_and_trades_are_read(kraken_data_dir: Path, markets: Markets, owner: str) -> None:
    types: Counter[OrderType] = Counter()
    for endpoint in ("OpenOrders", "ClosedOrders", "QueryOrders"):
        for result in results(kraken_data_dir, owner, endpoint):
            orders = parse_orders.parse_orders(result, markets=markets, account="", endpoint=endpoint)
            assert len(orders) == len(result)
            for order in orders.values():
                types[order.order_type] += 1
                assert order.volume_executed <= order.volume
                assert (order.status is OrderStatus.OPEN) == (order.closed_at is None)
                assert (order.limit_price is not None) == (order.order_type is OrderType.LIMIT)
                if order.status is OrderStatus.CLOSED:
                    assert order.volume_executed == order.volume
    for endpoint in ("TradesHistory", "QueryTrades"):
        for result in results(kraken_data_dir, owner, endpoint):
            trades = parse_orders.parse_trades(result, markets=markets, account="", endpoint=endpoint)
            assert len(trades) == len(result)
            assert all(trade.volume > 0 for trade in trades.values())
    assert types[OrderType.LIMIT] > 5


def test_the_trades_of_a_live_account_add_up_to_its_orders(kraken_data_dir: Path, markets: Markets) -> None:
    owner = "shideneyu__kraken_client"
    [closed] = results(kraken_data_dir, owner, "ClosedOrders")
    [history] = results(kraken_data_dir, owner, "TradesHistory")
    orders = parse_orders.parse_orders(closed, markets=markets, account="", endpoint="ClosedOrders")
    trades = parse_orders.parse_trades(history, markets=markets, account="", endpoint="TradesHistory")
    executed: dict[str, Decimal] = {}
    for trade in trades.values():
        executed[trade.kraken_txid] = executed.get(trade.kraken_txid, Decimal(0)) + trade.volume
    compared = [txid for txid in executed if txid in orders]
    assert len(compared) > 10
    assert all(executed[txid] == orders[txid].volume_executed for txid in compared)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"status": "lost"}, "status"),
        ({"vol_exec": 0.5}, "vol_exec"),
        ({"vol": None}, "vol"),
        ({"descr": None}, "descr"),
        ({"opentm": "yesterday"}, "opentm"),
        ({"trades": "T1"}, "trades"),
    ],
    ids=str,
)
def test_an_order_that_makes_no_sense_is_refused(change: dict[str, Any], told: str) -> None:
    order = {
        "status": "open",
        "opentm": Decimal("1700000000.5"),
        "descr": {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "100.0"},
        "vol": "1.0",
        "vol_exec": "0.0",
        "cost": "0",
        "fee": "0",
    }
    empty = Markets([])
    assert parse_orders.parse_orders({"O1": order}, markets=empty, account="", endpoint="OpenOrders")
    with pytest.raises(PayloadInvalidError, match=told):
        parse_orders.parse_orders({"O1": order | change}, markets=empty, account="", endpoint="OpenOrders")


def test_an_answer_to_an_order_is_its_id_or_nothing() -> None:
    described = {"descr": {"order": "buy 0.01 XBTUSD @ market"}}
    assert parse_orders.parse_placed(described, account="") is None
    assert parse_orders.parse_placed(described | {"txid": ["OABC"]}, account="") == "OABC"
    for odd in ({"txid": []}, {"txid": ["O1", "O2"]}, {"txid": "O1"}):
        with pytest.raises(PayloadInvalidError, match="one order id"):
            parse_orders.parse_placed(described | odd, account="")

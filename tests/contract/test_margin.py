"""Margin positions: what ``OpenPositions`` says follows from the events, and each has a row in the ledger."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import ccxt
import pytest
from kraken.spot import User

HOURS = 3600


@pytest.fixture
def opened(desk):
    """A long of one bitcoin at 60,000 dollars, opened at New Year; tell its id."""
    return desk.event("margin_open", pair="XBTUSD", side="buy", volume="1", price="60000", leverage=5)[
        "trade"
    ]


def ledger(desk):
    """Ledger rows, oldest first, as (refid, asset, type, amount, fee)."""
    rows = list(desk.call("Ledgers")["ledger"].values())[::-1]
    return [tuple(row[name] for name in ("refid", "asset", "type", "amount", "fee")) for row in rows]


def test_an_account_without_positions_has_an_empty_answer(desk):
    assert desk.call("OpenPositions") == {}
    assert desk.call("OpenPositions", consolidation="market") == []


def test_an_opened_position_has_an_order_a_trade_and_a_fee(desk, opened):
    (position,) = desk.call("OpenPositions").items()
    assert position == (
        opened,
        {
            "ordertxid": desk.call("TradesHistory")["trades"][opened]["ordertxid"],
            "posstatus": "open",
            "pair": "XXBTZUSD",
            "time": desk.call("TradesHistory")["trades"][opened]["time"],
            "type": "buy",
            "ordertype": "market",
            "cost": "60000.00000",
            "fee": "12.00000",
            "vol": "1.00000000",
            "vol_closed": "0.00000000",
            "margin": "12000.00000",
            "terms": "0.0200% per 4 hours",
            "rollovertm": str(1767225600 + 4 * HOURS),
            "misc": "",
            "oflags": "",
        },
    )
    assert ledger(desk) == [(opened, "ZUSD", "margin", "0.0000", "12.0000")]
    assert desk.call("BalanceEx")["XXBT"]["balance"] == "2.0000000000"


def test_the_result_is_only_counted_on_demand(desk, opened, exchange):
    exchange.post("/prices", {"XBTUSD": "61000"})
    counted = desk.call("OpenPositions", docalcs="true")[opened]
    assert (counted["value"], counted["net"]) == ("61000.0", "+1000.0000")
    assert {"value", "net"}.isdisjoint(desk.call("OpenPositions")[opened])
    exchange.post("/prices", {"XBTUSD": "59500"})
    assert desk.call("OpenPositions", docalcs="true")[opened]["net"] == "-500.0000"
    balance = desk.call("TradeBalance")
    assert (balance["m"], balance["n"], balance["c"], balance["v"]) == (
        "12000.0000",
        "-500.0000",
        "60000.0000",
        "59500.0000",
    )
    assert Decimal(balance["e"]) == Decimal(balance["eb"]) - 500
    assert Decimal(balance["mf"]) == Decimal(balance["e"]) - 12000
    assert "ml" in balance
    exchange.post("/prices", {"XBTUSD": "60000"})


def test_a_rollover_carries_the_opening_trade_and_moves_the_next_one_on(desk, opened):
    desk.advance(4 * HOURS)
    desk.event("rollover", refid=opened)
    position = desk.call("OpenPositions")[opened]
    assert (position["fee"], position["rollovertm"]) == ("24.00000", str(1767225600 + 8 * HOURS))
    assert ledger(desk)[-1] == (opened, "ZUSD", "rollover", "0.0000", "12.0000")


def test_a_position_is_closed_in_parts_with_a_row_for_each(desk, opened):
    first = desk.event("margin_close", refid=opened, volume="0.25", price="62000")
    position = desk.call("OpenPositions")[opened]
    assert (position["vol"], position["vol_closed"], position["posstatus"]) == (
        "1.00000000",
        "0.25000000",
        "open",
    )
    trade = desk.call("TradesHistory")["trades"][first["trade"]]
    assert (trade["postxid"], trade["misc"], trade["type"]) == (opened, "closing", "sell")
    assert ledger(desk)[-1] == (first["trade"], "ZUSD", "margin", "500.0000", "3.1000")
    last = desk.event("margin_close", refid=opened, price="59000")
    assert desk.call("OpenPositions") == {}
    assert ledger(desk)[-1] == (last["trade"], "ZUSD", "margin", "-750.0000", "8.8500")


def test_a_short_gains_when_the_price_falls(desk):
    short = desk.event("margin_open", pair="ETHUSD", side="sell", volume="10", price="3000")["trade"]
    desk.event("margin_close", refid=short, price="2900")
    assert ledger(desk)[-1][2:4] == ("margin", "1000.0000")


@pytest.mark.parametrize(
    ("side", "usd", "btc"), [("buy", "-60000.0000", "1.0000000000"), ("sell", "60000.0000", "-1.0000000000")]
)
def test_a_settled_position_changes_hands_at_the_price_it_was_opened_at(desk, side, usd, btc):
    position = desk.event("margin_open", pair="XBTUSD", side=side, volume="1", price="60000")["trade"]
    refid = desk.event("settled", refid=position)["trade"]
    assert ledger(desk)[1:] == [
        (refid, "ZUSD", "settled", usd, "0.0000"),
        (refid, "XXBT", "settled", btc, "0.0000000000"),
    ]
    assert desk.call("OpenPositions") == {}


def test_a_liquidation_closes_a_position_on_file(desk, opened):
    trade = desk.event("liquidation", refid=opened, price="52000", pair="XBTUSD", side="sell", volume="1")[
        "trade"
    ]
    assert desk.call("OpenPositions") == {}
    assert desk.call("TradesHistory")["trades"][trade]["misc"] == "closing,liquidated"
    assert ledger(desk)[-1][:4] == (trade, "ZUSD", "margin", "-8000.0000")


def test_collateral_is_converted_before_the_row_that_needs_it(desk):
    opened = desk.event("margin_open", pair="ETHEUR", side="buy", volume="1", price="2000", to_asset="EURC")[
        "trade"
    ]
    assert ledger(desk) == [
        (opened, "ZEUR", "collateralconversion", "-0.4000", "0.0000"),
        (opened, "EURC", "collateralconversion", "0.40000000", "0.00000000"),
        (opened, "EURC", "margin", "0.00000000", "0.40000000"),
    ]
    closing = desk.event("margin_close", refid=opened, price="1900", to_asset="EURC")["trade"]
    assert ledger(desk)[3:] == [
        (closing, "ZEUR", "collateralconversion", "-100.3800", "0.0000"),
        (closing, "EURC", "collateralconversion", "100.38000000", "0.00000000"),
        (closing, "EURC", "margin", "-100.00000000", "0.38000000"),
    ]
    assert desk.call("Balance")["EURC"] == "0.00000000"


def test_positions_are_named_one_by_one_or_added_up_by_market(desk, opened):
    more = desk.event("margin_open", pair="XBTUSD", side="buy", volume="0.5", price="50000", leverage=5)[
        "trade"
    ]
    desk.event("margin_open", pair="ETHUSD", side="sell", volume="2", price="3000")
    assert set(desk.call("OpenPositions", txid=f"{more},{opened}")) == {more, opened}
    assert desk.call("OpenPositions", txid="TAAAAA-BBBBB-CCCCCC") == {}
    bitcoin, ether = desk.call("OpenPositions", consolidation="market", docalcs="true")
    assert bitcoin == {
        "pair": "XXBTZUSD",
        "positions": "2",
        "type": "buy",
        "leverage": "5.00000000",
        "cost": "85000.00000000",
        "fee": "17.00000000",
        "vol": "1.50000000",
        "vol_closed": "0.00000000",
        "margin": "17000.00000000",
        "value": "90000.00000000",
        "net": "+5000.00000000",
    }
    assert (ether["type"], ether["positions"]) == ("sell", "1")
    assert desk.refusal("OpenPositions", consolidation="month") == [
        "EGeneral:Invalid arguments:consolidation"
    ]


def test_positions_need_the_right_to_see_open_trades(desk):
    desk.change(permissions=["query-funds", "query-ledger", "query-closed-trades"])
    assert desk.refusal("OpenPositions") == ["EGeneral:Permission denied"]


def test_recorded_positions_have_fields_of_the_same_names_and_kinds(desk, opened, kraken_data_dir):
    text = next((kraken_data_dir / "JKorf__Kraken.Net").glob("*OpenPositions*")).read_text()
    recorded = json.loads(text[text.index("{") :], parse_float=Decimal)["result"].values()
    made = desk.call("OpenPositions", docalcs="true")[opened]
    made["time"] += Decimal("0.5")  # a whole second is an integer in JSON
    for position in recorded:
        assert list(position) == list(made)
        assert {name: type(value) for name, value in position.items()} == {
            name: type(value) for name, value in made.items()
        }
        assert re.fullmatch(r"[+-]\d+\.\d{4}", position["net"])
        assert re.fullmatch(r"[+-]\d+\.\d{4}", made["net"])


def test_foreign_clients_read_positions(exchange):
    desk = exchange.open(now=None, opening={"ZUSD": "100000"})
    opened = desk.event("margin_open", pair="XBTUSD", side="buy", volume="0.5", price="60000")["trade"]
    client = ccxt.kraken({"apiKey": desk.key, "secret": desk.secret, "enableRateLimit": False})
    client.urls["api"] = dict.fromkeys(client.urls["api"], desk.simulator.url)
    client.load_markets()
    (position,) = client.fetch_positions()
    assert (position["symbol"], position["side"], position["contracts"]) == ("BTC/USD", "long", 0.5)
    client.close()
    user = User(key=desk.key, secret=desk.secret, url=desk.simulator.url)
    assert user.get_open_positions(docalcs=True, consolidation="")[opened]["vol"] == "0.50000000"
    assert user.get_open_positions()[0]["vol"] == "0.50000000"


def test_a_withdrawal_that_fails_leaves_no_trace_or_takes_its_row_back(desk):
    for when, rows in (("when_done", 0), ("at_request", 2)):
        before = desk.call("Balance")["ZUSD"]
        refid = desk.event("withdrawal_pending", asset="ZUSD", amount="100", fee="5", ledger_row=when)[
            "refid"
        ]
        assert desk.call("Balance")["ZUSD"] == "99895.0000"
        desk.advance(60)
        desk.event("withdrawal_failed", refid=refid)
        assert desk.call("Balance")["ZUSD"] == before == "100000.0000"
        assert len(desk.call("Ledgers")["ledger"]) == rows
    reply = desk.simulator.post(
        f"/accounts/{desk.name}/events", {"kind": "withdrawal_failed", "refid": refid}, status=400
    )
    assert "expected the refid of a pending withdrawal" in reply["detail"]

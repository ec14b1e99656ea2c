"""Against real replies: replay, shapes, rounding, and the pairs of a recorded market."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from decimal import Decimal

import pytest

IDENTIFIER = re.compile(r"^[A-Z0-9]{6}-[A-Z0-9]{5}-[A-Z0-9]{6}$")


@pytest.fixture(scope="module")
def replayed(exchange, kraken_data_dir):
    """The account of 2015 with its clock moved past its last row."""
    loaded = exchange.post("/recordings", {"directory": str(kraken_data_dir), "names": ["shideneyu"]})
    (row,) = loaded
    exchange.post("/clock", {"account": "shideneyu", "now": row["last_entry_time"]})
    secret, name = row["api_secret"], row["name"]
    desk = exchange.open()
    desk.name, desk.key, desk.secret = name, row["api_key"], secret
    desk.api = desk.another_api()
    return desk


def test_ledger_is_replayed_field_by_field(replayed, cassette):
    recorded = cassette("ledgers")["result"]["ledger"]
    answered = replayed.call("Ledgers")["ledger"]
    assert list(answered.items()) == list(recorded.items())


def test_balance_agrees_with_the_recording(replayed, cassette):
    assert replayed.call("Balance") == cassette("balance")["result"]


def test_recorded_open_orders_hold_funds_from_their_opening_on(replayed, cassette):
    opened = {order["descr"]["type"]: order for order in cassette("open_orders")["result"]["open"].values()}

    def held_at(moment):
        replayed.simulator.post("/clock", {"account": "shideneyu", "now": str(moment)})
        assert replayed.call("Balance") == cassette("balance")["result"]
        extended = replayed.call("BalanceEx")
        assert {asset: row["balance"] for asset, row in extended.items()} == replayed.call("Balance")
        return extended["ZEUR"]["hold_trade"], extended["XETH"]["hold_trade"]

    assert held_at(opened["sell"]["opentm"] - 1) == ("0.0000", "0.0000000000")
    assert held_at(opened["sell"]["opentm"]) == ("0.0000", "99.7497200000")
    assert held_at(opened["buy"]["opentm"] - 1) == ("0.0000", "99.7497200000")
    # 1204 at 1.19 are 1432.7600; of a fee there can be reserved only what is left of 1433.0939.
    assert held_at(opened["buy"]["opentm"]) == ("1433.0939", "99.7497200000")
    assert replayed.call("OpenOrders") == cassette("open_orders")["result"]


def test_a_recorded_buy_holds_its_fee_too_when_there_is_money_for_it(market_of_2015, kraken_data_dir):
    market_of_2015.post("/recordings", {"directory": str(kraken_data_dir), "names": ["shideneyu"]})
    market_of_2015.post("/clock", {"account": "shideneyu", "now": "1440400000"})
    deposit = {"kind": "deposit", "asset": "ZEUR", "amount": "1000"}
    market_of_2015.post("/accounts/shideneyu/events", deposit)
    held = market_of_2015.get("/accounts/shideneyu/statement")["holds"]
    assert held == {"XETH": "99.7497200000", "ZEUR": "1436.4852"}  # 1432.76 and 0.26 percent


def test_trades_and_orders_are_replayed_field_by_field(replayed, cassette):
    replayed.simulator.post("/clock", {"account": "shideneyu", "now": "1440400000"})
    assert list(replayed.call("TradesHistory")["trades"].items()) == list(
        cassette("trades_history")["result"]["trades"].items()
    )
    assert list(replayed.call("ClosedOrders")["closed"].items()) == list(
        cassette("closed_orders")["result"]["closed"].items()
    )
    assert replayed.call("OpenOrders") == cassette("open_orders")["result"]
    order = cassette("query_orders")["result"]
    assert replayed.call("QueryOrders", txid=next(iter(order))) == order


@pytest.mark.parametrize("name", ["zhaow-de", "asmodehn", "knowm", "jkorf"])
def test_other_books_load_before_their_first_row(exchange, kraken_data_dir, name):
    (row,) = exchange.post("/recordings", {"directory": str(kraken_data_dir), "names": [name]})
    clock = exchange.get(f"/clock?account={name}")
    assert Decimal(clock["now"]) == Decimal(row["first_entry_time"]) - 1
    rows = exchange.get(f"/accounts/{name}/statement")["ledger"]
    assert len(rows) == row["entries"]
    if name == "asmodehn":  # two pages of one filtered reading, each chain whole
        assert (len(rows), {row["asset"] for row in rows}) == (12, {"XTZ", "XXBT"})
        for older, newer in itertools.pairwise(row for row in rows if row["asset"] == "XTZ"):
            before, change = Decimal(older["balance"]), Decimal(newer["amount"]) - Decimal(newer["fee"])
            assert before + change == Decimal(newer["balance"])
    if name == "zhaow-de":  # the export whose chain is whole
        balances = {}
        for entry in rows:
            before = balances.get(entry["asset"], Decimal(0))
            change = Decimal(entry["amount"]) - Decimal(entry["fee"])
            assert before + change == Decimal(entry["balance"]), entry
            balances[entry["asset"]] = Decimal(entry["balance"])
        assert {"ZEUR", "EURC", "ATOM", "NEAR"} <= balances.keys()


def scale(value):
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return f"amount.{len(value.partition('.')[2])}"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value).__name__
    return "number"


def shape(value, path="", asset=""):
    """Map every key path to what may stand there; ids become ``*``, and amounts keep their asset."""
    found = {}
    if isinstance(value, dict):
        of_asset = f"[{value['asset']}]" if "asset" in value else asset
        for name, item in value.items():
            place = "*" if IDENTIFIER.match(name) else name
            for key, kinds in shape(item, f"{path}.{place}", of_asset).items():
                found.setdefault(key, set()).update(kinds)
    elif isinstance(value, list):
        for item in value:
            for key, kinds in shape(item, f"{path}[]", asset).items():
                found.setdefault(key, set()).update(kinds)
    else:
        found[path + asset] = {scale(value)}
    return found


@pytest.fixture(scope="module")
def desk_of_2015(market_of_2015):
    """An account that did what the recorded one did, in its market."""
    desk = market_of_2015.open(opening={"ZEUR": "20000", "XETH": "3000", "XXBT": "1"}, now="1440290000")
    market_of_2015.post("/prices", {"ETHEUR": "1.25", "XBTEUR": "205"})
    desk.event("trade", pair="XBTEUR", side="sell", volume="0.1", price="205.1")
    limit = {"pair": "ETHEUR", "ordertype": "limit", "type": "buy", "price": "1.19", "volume": "1204"}
    desk.call("CancelOrder", txid=desk.call("AddOrder", **limit)["txid"][0])
    desk.call("AddOrder", **limit)
    desk.call("AddOrder", pair="ETHEUR", ordertype="market", type="buy", volume="0.1")
    desk.call("AddOrder", pair="ETHEUR", ordertype="market", type="sell", volume="0.1")
    return desk


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [
        ("balance", "Balance"),
        ("ledgers", "Ledgers"),
        ("trades_history", "TradesHistory"),
        ("closed_orders", "ClosedOrders"),
        ("open_orders", "OpenOrders"),
        ("trade_balance", "TradeBalance"),
    ],
)
def test_live_answers_have_the_recorded_keys_types_and_scales(desk_of_2015, cassette, name, endpoint):
    recorded, answered = shape(cassette(name)["result"]), shape(desk_of_2015.call(endpoint))
    assert recorded.keys() <= answered.keys() | {".trades.*.misc"}
    for path, kinds in recorded.items():
        if path.endswith(("userref", ".reason", "descr.price", ".count")):  # null or text in 2015
            continue
        assert kinds & answered[path] or kinds == {"number"} == answered[path], path


def test_write_and_public_answers_have_the_recorded_shape(desk_of_2015, market_of_2015, cassette):
    order = desk_of_2015.call("AddOrder", pair="ETHEUR", type="buy", ordertype="market", volume="0.1")
    assert shape(order).keys() == shape(cassette("add_order")["result"]).keys()
    assert order["descr"]["order"] == "buy 0.10000000 ETHEUR @ market"
    assert shape(market_of_2015.public("Time")) == shape(cassette("server_time"))
    assert market_of_2015.public("Assets") == cassette("assets")
    assert market_of_2015.public("AssetPairs")["result"].keys() == cassette("assets_pairs")["result"].keys()
    recorded = shape(cassette("ticker")["result"]["XXBTZEUR"]).keys()
    assert shape(market_of_2015.public("Ticker", pair="XBTEUR")["result"]["XXBTZEUR"]).keys() == recorded
    refusal = desk_of_2015.refusal(
        "AddOrder", pair="ETHEUR", type="buy", ordertype="market", volume="99999999"
    )
    assert refusal == cassette("add_order_error_insufficient_funds")["error"]


def exchanges(path):
    """Read the results of recorded exchanges by endpoint."""
    found = {}
    for item in json.loads(path.read_text(), parse_float=Decimal):
        result = (item["response"]["json"] or {}).get("result")
        if result:
            found.setdefault(item["request"]["uri"].rpartition("/")[2].partition("?")[0], []).append(result)
    return found


@pytest.mark.parametrize(
    ("name", "endpoint", "position_only"),
    [
        ("rest__test_balance__test_balance", "Balance", set()),
        ("test_ledgers__test_ledger", "Ledgers", set()),
        ("test_trades__test_trades", "TradesHistory", {".trades.*.posstatus"}),
        ("rest__test_closedorders__test_closedorders_nonempty", "ClosedOrders", set()),
        ("rest__test_openorders__test_openorders_one_high_limit_sell", "OpenOrders", set()),
        ("rest__test_websockettoken__test_websocket", "GetWebSocketsToken", set()),
    ],
)
def test_live_answers_have_the_keys_of_2020(exchange, kraken_data_dir, name, endpoint, position_only):
    opening = dict.fromkeys(
        ("ZEUR", "XXBT", "XXRP", "XETH", "XETC", "EOS", "BCH", "ADA", "XTZ", "BSV"), "500"
    )
    desk = exchange.open(opening=opening)
    desk.call("AddOrder", pair="XTZEUR", type="buy", ordertype="market", volume="100")
    desk.call("AddOrder", pair="XBTEUR", type="sell", ordertype="limit", volume="0.01", price="99999")
    answered = shape(desk.call(endpoint, trades="true"))
    recorded = {}
    for result in exchanges(kraken_data_dir / "asmodehn__aiokraken" / "cassettes" / f"{name}.json")[endpoint]:
        recorded |= shape(result)
    places = {re.sub(r"\[\w+\]$", "", path) for path in recorded} - position_only
    assert places
    assert places <= {re.sub(r"\[\w+\]$", "", path) for path in answered}
    if endpoint in {"Balance", "Ledgers"}:  # the scale of an asset has not changed since
        common = recorded.keys() & answered.keys() - {".ledger.*.time[XTZ]", ".count"}
        assert common
        assert all(recorded[path] == answered[path] for path in common)


def test_every_recorded_fill_is_rounded_as_it_was(market_of_2015, cassette):
    """Feed each recorded fill's price and volume; both legs must come out to the last digit."""
    desk = market_of_2015.open(opening={"ZEUR": "20000", "XETH": "3000", "XXBT": "1"}, now="1440100000")
    legs = {}
    for row in cassette("ledgers")["result"]["ledger"].values():
        legs.setdefault(row["refid"], {})[row["asset"]] = (row["amount"], row["fee"])
    decidable = 0
    for trade_id, trade in cassette("trades_history")["result"]["trades"].items():
        if trade_id not in legs:
            continue  # lies beyond the recorded page, which ends between two legs
        percent = "0.26" if Decimal(trade["fee"]) / Decimal(trade["cost"]) > Decimal("0.0025") else "0.16"
        percent = "0.16" if Decimal(trade["cost"]) < Decimal("0.01") else percent
        made = desk.event(
            "trade",
            pair=trade["pair"],
            side=trade["type"],
            volume=trade["vol"],
            price=trade["price"],
            fee_percent=percent,
        )
        (answered,) = desk.call("QueryTrades", txid=made["trade"]).values()
        for field in ("pair", "type", "price", "cost", "fee", "vol", "margin", "misc"):
            assert answered[field] == trade[field], (trade_id, field)
        rows = desk.call("QueryLedgers", id=",".join(made["ledger_ids"])).values()
        answered_legs = {row["asset"]: (row["amount"], row["fee"]) for row in rows}
        assert legs[trade_id].items() <= answered_legs.items()
        if "ZEUR" in legs[trade_id]:  # five decimals in the trade, four in the book
            decidable += sum(not trade[field].endswith("0") for field in ("cost", "fee"))
    assert decidable == 35


@pytest.fixture(scope="module")
def market_of_2025(kraken_data_dir, tmp_path_factory, start_simulator):
    directory = tmp_path_factory.mktemp("market-of-2025")
    pairs = kraken_data_dir / "Richierichman15__finance" / "AssetPairs_kraken_pairs.json"
    shutil.copy(pairs, directory / "AssetPairs.json")
    shutil.copy(
        kraken_data_dir / "maurobaraldi__cripto-history-data" / "kraken_assets.json",
        directory / "Assets.json",
    )
    with start_simulator("--reference-dir", str(directory)) as simulator:
        yield simulator


def test_a_recorded_market_loads_whole(market_of_2025, kraken_data_dir):
    text = (kraken_data_dir / "Richierichman15__finance" / "AssetPairs_kraken_pairs.json").read_text()
    recorded = json.loads(text, parse_float=Decimal)["result"]
    answered = market_of_2025.public("AssetPairs")["result"]
    assert len(answered) == 1218
    assert answered == recorded
    pair = market_of_2025.public("AssetPairs", pair="XDGUSD")["result"]["XDGUSD"]
    assert (pair["base"], pair["quote"]) == ("XXDG", "ZUSD")
    assert list(market_of_2025.public("AssetPairs", pair="XBTUSD")["result"]) == ["XXBTZUSD"]
    assets = market_of_2025.public("Assets")["result"]
    assert {"DOT28.S", "ETH2.S", "EUR.HOLD"} <= assets.keys()
    assert {pair["base"] for pair in answered.values()} <= assets.keys()


@pytest.fixture(scope="module")
def market_of_2026(tmp_path_factory, start_simulator):
    """Bitcoin at two venues, the other one listed first, and a stock beside the currencies."""
    directory = tmp_path_factory.mktemp("market-of-2026")
    pair = {
        "altname": "XBTUSD",
        "wsname": "XBT/USD",
        "base": "XXBT",
        "quote": "ZUSD",
        "pair_decimals": 1,
        "lot_decimals": 8,
        "fees": [[0, 0.4]],
        "ordermin": "0.0001",
        "execution_venue": "international",
    }
    other = pair | {"altname": "XBTUSD:BTNL", "execution_venue": "bitnomial_exchange", "ordermin": "0.01"}
    assets = {
        name: {"aclass": aclass, "altname": altname, "decimals": 8}
        for name, altname, aclass in (
            ("XXBT", "XBT", "currency"),
            ("ZUSD", "USD", "currency"),
            ("NVDAx", "NVDAx", "tokenized_asset"),
        )
    }
    (directory / "AssetPairs.json").write_text(json.dumps({"XBTUSD:BTNL": other, "XXBTZUSD": pair}))
    (directory / "Assets.json").write_text(json.dumps(assets))
    with start_simulator("--reference-dir", str(directory)) as simulator:
        yield simulator


def test_a_plain_name_is_the_international_market_of_two_venues(market_of_2026):
    assert len(market_of_2026.public("AssetPairs")["result"]) == 2
    for name in ("XBTUSD", "XBT/USD", "XXBTZUSD"):
        assert list(market_of_2026.public("AssetPairs", pair=name)["result"]) == ["XXBTZUSD"]
    for endpoint in ("AssetPairs", "Ticker"):
        answer = market_of_2026.public(endpoint, execution_venue="bitnomial_exchange")["result"]
        assert list(answer) == ["XBTUSD:BTNL"]
    desk = market_of_2026.open(opening={"ZUSD": "1000"})
    order = {"type": "buy", "ordertype": "limit", "volume": "0.001", "price": "1000"}
    elsewhere = order | {"pair": "XBTUSD:BTNL"}
    assert desk.call("AddOrder", **order, pair="XBTUSD", execution_venue="international")["txid"]
    assert desk.refusal("AddOrder", **elsewhere) == ["EOrder:Order minimum not met"]
    wrong = desk.refusal("AddOrder", **elsewhere, execution_venue="international")
    assert wrong == ["EGeneral:Invalid arguments:execution_venue"]


def test_assets_and_ledgers_answer_for_one_class(market_of_2026, exchange):
    def assets(**options):
        return set(market_of_2026.public("Assets", **options)["result"])

    assert assets() == assets(aclass="currency") == {"XXBT", "ZUSD"}
    assert assets(aclass="tokenized_asset") == {"NVDAx"}
    assert market_of_2026.public("Assets", aclass="forex")["error"] == ["EGeneral:Invalid arguments:aclass"]
    assert exchange.public("Assets", aclass="tokenized_asset")["result"].keys() == {"NVDAx", "TSLAx"}
    row = {"refid": "R1", "time": "1767225600", "type": "receive", "amount": "1"}
    rows = [row | {"asset": "ZUSD"}, row | {"asset": "NVDAx", "aclass": "tokenized_asset"}]
    desk = market_of_2026.open(entries=rows)
    desk.advance(60)
    for aclass, asset in (("currency", "ZUSD"), ("tokenized_asset", "NVDAx")):
        ledger = desk.call("Ledgers", aclass=aclass)["ledger"]
        assert [entry["asset"] for entry in ledger.values()] == [asset]
    assert desk.call("Ledgers")["count"] == 1


def test_orders_obey_the_recorded_market(market_of_2025):
    desk = market_of_2025.open(opening={"ZUSD": "1000", "XXBT": "1"})
    pairs = market_of_2025.public("AssetPairs")["result"]
    closed = next(name for name, pair in pairs.items() if pair["status"] == "reduce_only")
    order = {"type": "buy", "ordertype": "limit", "volume": "100", "price": "1"}
    assert desk.refusal("AddOrder", pair=closed, **order) == ["EOrder:Reduce only:No position exists"]
    coarse = order | {"pair": "MIRRORUSD", "price": "1.00005"}  # five decimals, in steps of 0.0001
    assert desk.refusal("AddOrder", **coarse) == ["EOrder:Tick size check failed"]
    market_of_2025.post("/pairs/XBTUSD", {"status": "cancel_only"})
    assert desk.refusal("AddOrder", pair="XBTUSD", **order) == ["EService:Market in cancel_only mode"]

"""Kraken's replies are read exactly, and refused when they are not what Kraken documents."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken_recon.errors import PayloadInvalidError, RateLimitedError
from kraken_recon.kraken import parse_account, parse_ledger, parse_orders
from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerEntry
from kraken_recon.orders.rules.sizing import assets_of

ENTRY = {
    "refid": "TGGPX6-6RB25-OBRPHS",
    "time": Decimal("1440193797.3844"),
    "type": "trade",
    "subtype": "tradespot",
    "aclass": "currency",
    "asset": "ZEUR",
    "amount": "1226.9568",
    "fee": "1.9631",
    "balance": "1433.0939",
}
NOT_AMOUNTS = [
    None,
    True,
    1,
    1.5,
    Decimal("1.5"),
    "",
    " 1",
    "1 ",
    "1_000",
    "1,5",
    "+1",
    ".5",
    "5.",
    "1e5",
    "1E-8",
    "NaN",
    "sNaN",
    "Infinity",
    "-inf",
    "0x10",
    "\u0661",
    [],
    {},
    "1" * 21,
    "0." + "1" * 19,
]


def decode(body: str | bytes):
    return parse_account.decode_reply(
        body if isinstance(body, bytes) else body.encode(), account="alpha", endpoint="BalanceEx"
    )


def test_result_is_handed_on():
    assert decode('{"error":[],"result":{"a":1.50}}') == parse_account.Reply(
        {"a": Decimal("1.50")}, has_result=True
    )


def test_missing_result_is_told_from_null():
    assert decode('{"error":[]}') == parse_account.Reply(None, has_result=False)
    assert decode('{"error":[],"result":null}') == parse_account.Reply(None, has_result=True)


def test_warning_does_not_hide_the_result():
    assert decode('{"error":["WDatabase:No change"],"result":{"a":"1"}}').result == {"a": "1"}


def test_number_keeps_every_digit():
    assert str(decode('{"error":[],"result":1705260464.9731748}').result) == "1705260464.9731748"


def test_error_is_raised_although_there_is_a_result():
    with pytest.raises(RateLimitedError) as raised:
        decode('{"error":["EAPI:Rate limit exceeded"],"result":{"a":"1"}}')
    assert raised.value.codes == ("EAPI:Rate limit exceeded",)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "   ",
        "null",
        "[]",
        '"text"',
        "17",
        "{}",
        '{"result":{}}',
        '{"error":null,"result":{}}',
        '{"error":"EAPI:Invalid key"}',
        '{"error":[1]}',
        '{"error":["maintenance"]}',
        '{"error":[],"result":{"a":"1"',
        '{"error":[],"result":{"a":NaN}}',
        '{"error":[],"result":{"a":-Infinity}}',
        '{"error":[],"result":{"a":1e99999999999999999999}}',
        '{"error":[],"result":{"a":"1","a":"2"}}',
        "<html><body>502 Bad Gateway</body></html>",
        b"\xff\xfe\x00",
        "[" * 100_000,
        '{"error":[],"result":' + "9" * 5000 + "}",
    ],
)
def test_reply_that_is_not_the_envelope_is_refused(body):
    with pytest.raises(PayloadInvalidError) as raised:
        decode(body)
    assert (raised.value.account, raised.value.endpoint) == ("alpha", "BalanceEx")
    assert len(str(raised.value)) < 200


def test_a_name_of_any_length_is_told_in_one_short_line():
    name = "a\\n" + "x" * 3_000_000
    with pytest.raises(PayloadInvalidError, match="expected each name once in an object") as raised:
        decode(f'{{"error":[],"result":{{"{name}":"1","{name}":"2"}}}}')
    assert len(str(raised.value)) < 600
    assert str(raised.value).isprintable()


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(body):
    with pytest.raises(PayloadInvalidError):
        decode(body)


def test_balances_by_holding():
    result = {
        "ZEUR": {"balance": "1433.0939", "hold_trade": "10.0000"},
        "XBT.F": {"balance": "0.5", "hold_trade": "0", "credit": "2", "credit_used": "1", "new_field": [1]},
        "USDG": {"balance": "-0.0001", "hold_trade": "2937"},
    }
    assert parse_account.parse_balances(result) == {
        HoldingKey("EUR", "spot"): Balance(Decimal("1433.0939"), Decimal(10), Decimal(0), Decimal(0)),
        HoldingKey("BTC", "F"): Balance(Decimal("0.5"), Decimal(0), Decimal(2), Decimal(1)),
        HoldingKey("USDG", "spot"): Balance(Decimal("-0.0001"), Decimal(2937), Decimal(0), Decimal(0)),
    }


@pytest.mark.parametrize("value", NOT_AMOUNTS)
@pytest.mark.parametrize("field", ["balance", "hold_trade", "credit", "credit_used"])
def test_balance_that_is_no_amount_is_refused(field, value):
    row = {"balance": "1", "hold_trade": "0", field: value}
    with pytest.raises(PayloadInvalidError, match=rf"BalanceEx: expected result\.XXBT\.{field} to be"):
        parse_account.parse_balances({"XXBT": row})


@pytest.mark.parametrize("field", ["balance", "hold_trade"])
def test_balance_without_a_field_is_refused(field):
    row = {"balance": "1", "hold_trade": "0"}
    del row[field]
    with pytest.raises(PayloadInvalidError, match=rf"result\.XXBT\.{field} .*missing"):
        parse_account.parse_balances({"XXBT": row}, account="alpha")


@pytest.mark.parametrize(
    "result", [None, [], "x", {"XXBT": "1.0"}, {"": {"balance": "1", "hold_trade": "0"}}]
)
def test_balances_of_another_shape_are_refused(result):
    with pytest.raises(PayloadInvalidError, match="BalanceEx"):
        parse_account.parse_balances(result)


ZERO_ROW = {"balance": "0.0000", "hold_trade": "0"}
ONE_ROW = {"balance": "1", "hold_trade": "0"}


@pytest.mark.parametrize("rows", [(ZERO_ROW, ONE_ROW), (ONE_ROW, ZERO_ROW)])
def test_empty_second_name_of_a_holding_is_ignored(rows):
    balances = parse_account.parse_balances(dict(zip(("XXBT", "BTC"), rows, strict=True)))
    assert [balance.balance for balance in balances.values()] == [1]


def test_two_balances_of_one_holding_are_refused():
    told = r"BalanceEx: result\.XBT: a second balance of BTC beside result\.XXBT$"
    with pytest.raises(PayloadInvalidError, match=told):
        parse_account.parse_balances({"XXBT": ONE_ROW, "XBT": ONE_ROW})


def test_ledger_page():
    page = parse_ledger.parse_ledger_page({"ledger": {"LRSNYS-DICDD-3QM34P": ENTRY}, "count": 58})
    assert page.count == 58
    assert page.entries == (
        LedgerEntry(
            ledger_id="LRSNYS-DICDD-3QM34P",
            refid="TGGPX6-6RB25-OBRPHS",
            entry_time=datetime(2015, 8, 21, 21, 49, 57, 384400, tzinfo=UTC),
            entry_type="trade",
            subtype="tradespot",
            asset="EUR",
            wallet="spot",
            amount=Decimal("1226.9568"),
            fee=Decimal("1.9631"),
            balance=Decimal("1433.0939"),
        ),
    )


def entry_with(**changes):
    row = {**ENTRY, **changes}
    return {"ledger": {"L1": {name: value for name, value in row.items() if value is not ...}}}


def test_old_entry_has_no_subtype_and_no_count():
    page = parse_ledger.parse_ledger_page(entry_with(subtype=...))
    assert page.entries[0].subtype == ""
    assert page.count is None


def test_unknown_type_asset_and_mixed_case_id_are_kept():
    page = parse_ledger.parse_ledger_page(
        entry_with(type="invite bonus", asset="NEWx.T", refid="FTQcuak-V6Za8qrWnhzTx67yYHz8Tg", extra=1)
    )
    entry = page.entries[0]
    assert (entry.entry_type, entry.key, entry.refid) == (
        "invite bonus",
        HoldingKey("NEWx", "T"),
        "FTQcuak-V6Za8qrWnhzTx67yYHz8Tg",
    )


def test_time_finer_than_a_microsecond_is_cut_off():
    page = parse_ledger.parse_ledger_page(entry_with(time=Decimal("1705260464.9999999")))
    assert page.entries[0].entry_time == datetime(2024, 1, 14, 19, 27, 44, 999999, tzinfo=UTC)


def test_a_time_as_text_is_read():
    page = parse_ledger.parse_ledger_page({"ledger": {"L1": ENTRY | {"time": "1440193797.3844"}}})
    assert page == parse_ledger.parse_ledger_page({"ledger": {"L1": ENTRY}})


def test_whole_second_time_is_read():
    page = parse_ledger.parse_ledger_page(entry_with(time=1705260464))
    assert page.entries[0].entry_time == datetime(2024, 1, 14, 19, 27, 44, tzinfo=UTC)


@pytest.mark.parametrize("value", NOT_AMOUNTS)
@pytest.mark.parametrize("field", ["amount", "fee", "balance"])
def test_entry_amount_that_is_none_is_refused(field, value):
    with pytest.raises(PayloadInvalidError, match=rf"Ledgers: expected result\.ledger\.L1\.{field} to be"):
        parse_ledger.parse_ledger_page(entry_with(**{field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, ...) for field in ("refid", "time", "type", "asset", "amount", "fee", "balance")),
        ("time", "yesterday"),
        ("time", "1e9"),
        ("time", "9" * 5000),
        ("time", [1440193797]),
        ("time", True),
        ("time", 0),
        ("time", Decimal("-1.5")),
        ("time", Decimal("1e999999999999")),
        ("type", ""),
        ("type", 3),
        ("subtype", None),
        ("asset", ""),
        ("asset", "XX\x00BT"),
        ("asset", "XX\ud800BT"),
        ("refid", "L\x85"),
        ("refid", "L\u202e"),
        ("refid", "L" * 501),
        ("subtype", "\udfff"),
        ("refid", None),
    ],
)
def test_entry_with_a_wrong_field_is_refused(field, value):
    with pytest.raises(PayloadInvalidError, match=rf"result\.ledger\.L1\.{field} "):
        parse_ledger.parse_ledger_page(entry_with(**{field: value}))


@pytest.mark.parametrize(
    "result", [None, {}, {"ledger": []}, {"ledger": {"": ENTRY}}, {"ledger": {"L1": []}}]
)
def test_ledger_page_of_another_shape_is_refused(result):
    with pytest.raises(PayloadInvalidError, match="Ledgers"):
        parse_ledger.parse_ledger_page(result)


@pytest.mark.parametrize("count", [True, -1, "many", Decimal("1.5"), [], "\u0661"])
def test_count_that_is_no_number_is_refused(count):
    with pytest.raises(PayloadInvalidError, match=r"result\.count"):
        parse_ledger.parse_ledger_page({"ledger": {}, "count": count})


def test_refusal_shows_little_of_the_value():
    with pytest.raises(PayloadInvalidError) as raised:
        parse_ledger.parse_ledger_page(entry_with(amount="9" * 10_000))
    assert len(str(raised.value)) < 200


def test_key_info():
    info = parse_account.parse_key_info(
        {
            "apiKeyName": "recon",
            "apiKey": "abc",
            "nonceWindow": 0,
            "permissions": ["query-funds", "query-ledger"],
            "queryFrom": "0",
            "queryTo": "",
            "validUntil": "1748300000",
        }
    )
    assert info == parse_account.KeyInfo(
        name="recon",
        permissions=frozenset({"query-funds", "query-ledger"}),
        query_from=None,
        query_to=None,
        valid_until=datetime(2025, 5, 26, 22, 53, 20, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "change", [{"permissions": None}, {"permissions": [1]}, {"queryFrom": "soon"}, {"validUntil": []}]
)
def test_key_info_of_another_shape_is_refused(change):
    with pytest.raises(PayloadInvalidError, match="GetApiKeyInfo"):
        parse_account.parse_key_info({"permissions": [], **change})


def test_prices_by_asset():
    pairs = parse_account.parse_pairs(
        {
            "XXBTZEUR": {"base": "XXBT", "quote": "ZEUR"},
            "XXBTZEUR.d": {"base": "XXBT", "quote": "ZEUR"},
            "XDGEUR": {"base": "XXDG", "quote": "ZEUR"},
            "XXBTZUSD": {"base": "XXBT", "quote": "ZUSD"},
            "NEWEUR": {"base": "NEW", "quote": "ZEUR"},
            "GONEEUR": {"base": "GONE", "quote": "ZEUR"},
        }
    )
    last_prices = parse_account.parse_last_prices(
        {
            "XXBTZEUR": {"c": ["57000.1", "0.1"]},
            "XXBTZEUR.d": {"c": ["1", "0.1"]},
            "XDGEUR": {"c": ["0.07", "1"]},
            "XXBTZUSD": {"c": ["61000.0", "1"]},
            "NEWEUR": {"c": ["0.0000", "0"]},
        }
    )
    assert parse_account.prices_in("EUR", pairs, last_prices) == {
        "BTC": Decimal("57000.1"),
        "DOGE": Decimal("0.07"),
        "EUR": Decimal(1),
    }
    assert parse_account.prices_in("BTC", pairs, last_prices)["EUR"] == 1 / Decimal("57000.1")


LISTED = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "base": "XXBT",
    "quote": "ZUSD",
    "pair_decimals": 1,
    "lot_decimals": 8,
    "ordermin": "0.00005",
    "status": "online",
    "execution_venue": "international",
}
ELSEWHERE = LISTED | {
    "altname": "XBTUSD:BTNL",
    "execution_venue": "bitnomial_exchange",
    "ordermin": "0.01",
}
IN_EUROS = LISTED | {"altname": "XBTEUR", "wsname": "XBT/EUR", "quote": "ZEUR"}
VENUES = {"XXBTZUSD": LISTED, "XBTUSD:BTNL": ELSEWHERE, "XXBTZEUR": IN_EUROS}


@pytest.mark.parametrize("order", list(permutations(VENUES)), ids=" ".join)
def test_a_plain_name_means_the_international_market_in_any_order_of_the_reply(order):
    reply = {name: VENUES[name] for name in order}
    markets = parse_orders.parse_markets(reply)
    for name in ("BTC/USD", "XBT/USD", "BTCUSD", "XBTUSD", "XXBTZUSD", "btc/usd"):
        assert markets.find(name).pair_id == "XXBTZUSD", name
    for name in ("XBTUSD:BTNL", "BTC/USD:bitnomial_exchange"):
        assert markets.find(name).order_minimum == Decimal("0.01")
    assert markets.name_of("XBTUSD:BTNL") == "BTC/USD:bitnomial_exchange"
    assert assets_of(markets.name_of("XBTUSD:BTNL")) == ("BTC", "USD")
    last_prices = {"XXBTZUSD": Decimal(60000), "XBTUSD:BTNL": Decimal(55000)}
    assert parse_account.prices_in("USD", parse_account.parse_pairs(reply), last_prices)["BTC"] == 60000


@pytest.mark.parametrize("here", [None, "", "International", "absent"])
@pytest.mark.parametrize("there", ["Bitnomial_Exchange", None, "", "absent"])
def test_a_venue_may_be_told_by_the_id_alone(here, there):
    pairs = {
        "XBTUSD:BTNL": ELSEWHERE | {"execution_venue": there},
        "XXBTZUSD": LISTED | {"execution_venue": here},
    }
    told = {
        pair_id: {name: value for name, value in fields.items() if value != "absent"}
        for pair_id, fields in pairs.items()
    }
    for reply in (told, dict(reversed(told.items()))):
        assert parse_orders.parse_markets(reply).find("BTC/USD").pair_id == "XXBTZUSD"
        assert set(parse_account.parse_pairs(reply)) == {"XXBTZUSD"}


def test_a_market_of_another_venue_alone_is_not_taken_for_what_was_meant():
    for altname in ("XBTUSD:BTNL", "XBTUSD"):
        markets = parse_orders.parse_markets({"XBTUSD:BTNL": ELSEWHERE | {"altname": altname}})
        for name in ("BTC/USD", "BTCUSD", "XBTUSD"):
            assert markets.find(name) is None
            told = markets.why_not(name)
            assert "bitnomial_exchange alone" in told
            assert "call it BTC/USD:bitnomial_exchange" in told
    assert parse_account.parse_pairs({"XBTUSD:BTNL": ELSEWHERE}) == {}
    assert markets.why_not("ABC/XYZ") == "Kraken has no market ABC/XYZ"


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        LISTED | {"pair_decimals": "1"},
        LISTED | {"base": "XX\x00"},
        LISTED | {"fees": [[0, "a"]]},
        LISTED | {"execution_venue": 7},
        LISTED | {"ordermin": "1" * 5000},
    ],
    ids=str,
)
def test_one_odd_pair_refuses_that_pair_and_no_other(odd, caplog):
    reply = {f"{name}USD": LISTED | {"base": name, "altname": f"{name}USD"} for name in ("ADA", "SOL")}
    markets = parse_orders.parse_markets(reply | {"ODDUSD": odd})
    assert markets.find("ADA/USD")
    assert markets.find("SOL/USD")
    assert markets.find("ODDUSD") is None
    assert "makes no sense: AssetPairs: expected result.ODDUSD" in markets.why_not("ODDUSD")
    assert "1 of 3 pairs make no sense and are left out: ODDUSD" in caplog.text


@pytest.mark.parametrize("odd", [None, {}, {"c": []}, {"c": [1]}, {"c": ["NaN"]}])
def test_one_odd_price_is_left_out(odd):
    assert parse_account.parse_last_prices({"ADAUSD": {"c": ["0.4", "1"]}, "ODDUSD": odd}) == {
        "ADAUSD": Decimal("0.4")
    }


@pytest.mark.parametrize("row", [None, {}, {"c": "1"}, {"c": []}, {"c": [1]}, {"c": ["NaN"]}])
def test_ticker_of_another_shape_is_refused(row):
    with pytest.raises(PayloadInvalidError, match="Ticker"):
        parse_account.parse_last_prices({"XXBTZEUR": row})


@pytest.mark.parametrize("row", [None, {"base": "XXBT"}, {"base": "XXBT", "quote": ""}])
def test_pair_of_another_shape_is_refused(row):
    with pytest.raises(PayloadInvalidError, match="AssetPairs"):
        parse_account.parse_pairs({"XXBTZEUR": row})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.decimals(allow_nan=False),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.one_of(
        JSON_VALUES, st.fixed_dictionaries({"ledger": st.dictionaries(st.text(max_size=3), JSON_VALUES)})
    )
)
def test_no_json_raises_anything_but_a_refusal(value):
    for parse in (
        parse_account.parse_balances,
        parse_ledger.parse_ledger_page,
        parse_ledger.parse_ledger_entries,
        parse_account.parse_key_info,
        parse_account.parse_pairs,
        parse_account.parse_last_prices,
    ):
        with suppress(PayloadInvalidError):
            parse(value)


def test_envelope_of_every_kind_of_text_survives():
    text = "\u20ac \u4e2d"
    assert decode(json.dumps({"error": [], "result": {"a": text}})).result == {"a": text}

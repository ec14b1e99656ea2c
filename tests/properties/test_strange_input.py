"""Whatever stands in a field, a parser reads it or raises its own error, and what is read can be kept.

Every field of a true sample is replaced, one at a time, by every strange value; besides, whole replies and
files are made up.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import zipfile
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desks.certificate_evidence import DOCUMENT
from desks.exports import ROW, TRADE, ledgers, trades
from desks.margin_positions import POSITION
from kraken_recon.certificates.certifying import verify
from kraken_recon.errors import (
    CertificateError,
    ConfigurationError,
    ExchangeError,
    ImportRefusedError,
    PayloadInvalidError,
)
from kraken_recon.kraken import parse_account, parse_ledger, parse_margin, parse_orders
from kraken_recon.kraken.credentials import (
    ConnectionFields,
    credentials_from_connection,
    credentials_from_environment,
)
from kraken_recon.kraken.error_codes import error_from_codes
from kraken_recon.kraken.export_files import parse_export, read_exports
from kraken_recon.orders.decisions import differing, key_in, read_decision
from kraken_recon.plain_text import can_be_kept
from kraken_recon.values.money import parse_amount
from session_lint.linting import lint_sessions
from session_lint.python_sources import read_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


TEXTS = [
    "",
    " ",
    "\x00",
    "\ud800",
    "a\udfffb",
    "\x1b[31m",
    "\u202e",
    "two\nlines",
    "x" * 10_000,
    "\uff11",
    "\u0661",
    "1_0",
    "NaN",
    "-Infinity",
    "1e400000",
    "9" * 5000,
    "0" * 5000,
    "0." + "0" * 5000 + "1",
    "0000-00-00 00:00:00",
    "9999-12-31 23:59:59",
]
STRANGE = [
    *TEXTS,
    None,
    True,
    False,
    0,
    -1,
    10**4000,
    Decimal("1e400000"),
    Decimal("-1e-400000"),
    Decimal("99999999999.999999999"),
    [],
    {},
    [None],
    [[]],
    {"": None},
    {"\ud800": {"\x00": []}},
    nested(200),
]

MARKET = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "base": "XXBT",
    "quote": "ZUSD",
    "pair_decimals": 1,
    "lot_decimals": 8,
    "ordermin": "0.00005",
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
    "fees": [[0, Decimal("0.4")]],
    "execution_venue": "international",
}
MARKETS = parse_orders.parse_markets({"XXBTZUSD": MARKET})
SAMPLES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "BalanceEx": (
        parse_account.parse_balances,
        {"XXBT": {"balance": "1", "hold_trade": "0", "credit": "0", "credit_used": "0"}},
    ),
    "Ledgers": (
        parse_ledger.parse_ledger_page,
        {
            "count": 1,
            "ledger": {
                "L1": {
                    "refid": "T1",
                    "time": Decimal("1440193797.3844"),
                    "type": "trade",
                    "subtype": "tradespot",
                    "asset": "ZEUR",
                    "amount": "1",
                    "fee": "0",
                    "balance": "1",
                }
            },
        },
    ),
    "GetApiKeyInfo": (
        parse_account.parse_key_info,
        {
            "apiKeyName": "recon",
            "permissions": ["query-funds"],
            "queryFrom": "0",
            "queryTo": 0,
            "validUntil": "1800000000",
        },
    ),
    "AssetPairs": (parse_orders.parse_markets, {"XXBTZUSD": MARKET, "SOUND": MARKET}),
    "AssetPairs for prices": (parse_account.parse_pairs, {"XXBTZUSD": MARKET, "SOUND": MARKET}),
    "Ticker": (parse_account.parse_last_prices, {"XXBTZUSD": {"c": ["57000.1", "0.1"]}}),
    "Assets": (
        parse_account.parse_assets,
        {"XXBT": {"aclass": "currency", "altname": "XBT"}, "DOT.S": {"aclass": "currency"}},
    ),
    "Ticker of one market": (
        parse_orders.parse_market_prices,
        {"XXBTZUSD": {"a": ["57000.2", "1", "1.0"], "b": ["57000.0", "1", "1.0"], "c": ["57000.1", "0.1"]}},
    ),
    "Time": (
        parse_account.parse_server_time,
        {"unixtime": 1767600000, "rfc1123": "Mon,  5 Jan 26 08:00:00 +0000"},
    ),
    "SystemStatus": (
        parse_account.parse_system_status,
        {"status": "online", "timestamp": "2026-01-05T08:00:00Z"},
    ),
    "QueryLedgers": (
        parse_ledger.parse_ledger_entries,
        {
            "L1": {
                "refid": "T1",
                "time": 1,
                "type": "trade",
                "asset": "ZEUR",
                "amount": "1",
                "fee": "0",
                "balance": "1",
            }
        },
    ),
    "OpenPositions": (parse_margin.parse_open_positions, {"TF5GVO": POSITION}),
    "AddOrder": (
        lambda result: parse_orders.parse_placed(result, account="a"),
        {"descr": {"order": "buy"}, "txid": ["O1"]},
    ),
    "OpenOrders": (
        lambda result: parse_orders.parse_orders(
            parse_orders.parse_members(result, "open", account="a", endpoint="OpenOrders"),
            markets=MARKETS,
            account="a",
            endpoint="OpenOrders",
        ),
        {
            "open": {
                "O1": {
                    "status": "closed",
                    "cl_ord_id": "c1",
                    "opentm": Decimal("1700000000.5"),
                    "closetm": Decimal("1700000001.5"),
                    "expiretm": 1700000002,
                    "descr": {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "100.0"},
                    "vol": "1.0",
                    "vol_exec": "0.0",
                    "cost": "0",
                    "fee": "0",
                    "price": "0",
                    "reason": None,
                    "oflags": "fciq",
                    "trades": ["T1"],
                }
            }
        },
    ),
    "TradesHistory": (
        lambda result: parse_orders.parse_trades(
            result, markets=MARKETS, account="a", endpoint="TradesHistory"
        ),
        {
            "T1": {
                "ordertxid": "O1",
                "pair": "XXBTZUSD",
                "type": "buy",
                "time": Decimal("1700000000.5"),
                "price": "1",
                "vol": "1",
                "cost": "1",
                "fee": "0",
                "maker": True,
            }
        },
    ),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name every place in a sample, the sample itself included."""
    yield path
    if isinstance(value, (dict, list)):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[name], (*path, name))


def put(sample: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(sample)
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return changed


def renamed(sample: Any, path: tuple[Any, ...], name: str) -> Any:
    """Call a member by another name."""
    changed = copy.deepcopy(sample)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[name] = place.pop(path[-1])
    return changed


def tried(read: Callable[[], Any], *kinds: type[Exception]) -> tuple[Any, str | None]:
    """Return what was read, or how it was refused; the refusal can be kept and shown, too."""
    try:
        return read(), None
    except kinds as error:
        told = str(error)
    assert told
    assert can_be_kept(told)
    assert len(told) < 1000
    return None, told


def unkept(value: Any) -> list[Any]:
    """Find texts that cannot be kept, however deep."""
    found, waiting = [], [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and not can_be_kept(one):
            found.append(one)
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, (list, tuple)):
            waiting += one
    return found


def assert_kept(value: Any) -> None:
    """What was read can be written to a row."""
    rows = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
    for row in rows:
        is_record = dataclasses.is_dataclass(row) and not isinstance(row, type)
        assert unkept(dataclasses.asdict(row) if is_record else row) == []


def test_every_parser_of_a_reply_is_tried() -> None:
    parsers = {
        parser
        for module in (parse_account, parse_ledger, parse_orders, parse_margin)
        for name, parser in vars(module).items()
        if name.startswith("parse_") and parser.__module__ == module.__name__ and name != "parse_pair"
    }
    tried_here = {
        name for parse, _ in SAMPLES.values() for name in (parse.__name__, *parse.__code__.co_names)
    }
    assert {parser.__name__ for parser in parsers} <= tried_here


@pytest.mark.parametrize("endpoint", SAMPLES)
def test_every_field_of_every_reply_with_every_strange_value(endpoint: str) -> None:
    parse, sample = SAMPLES[endpoint]
    parse(sample)
    for path in places(sample):
        changes = [put(sample, path, value) for value in STRANGE]
        if path and isinstance(path[-1], str):
            changes += [renamed(sample, path, text) for text in TEXTS]
        for changed in changes:
            assert_kept(tried(partial(parse, changed), PayloadInvalidError)[0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(STRANGE),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from(sorted(SAMPLES)))
def test_a_made_up_reply(value: Any, endpoint: str) -> None:
    assert_kept(tried(partial(SAMPLES[endpoint][0], value), PayloadInvalidError)[0])


BODIES = [
    b'{"error":[],"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"error":[],"result":' + b"9" * 5000 + b"}",
    b'{"error":[],"result":1e999999999999999999999}',
    b'{"error":[],"result":NaN}',
    b'{"error":["E\\ud800:\\u0000"]}',
    b'{"error":["E' + b"x" * 1_000_000 + b'"]}',
    b'{"error":[],"error":[]}',
    b'{"error":{}}',
    b'{"error":[["E"]]}',
    b"\xed\xa0\x80",
    b"\xff\xfe\x00",
    b"{\x00}",
]
MADE_UP_JSON = JSON.map(lambda value: repr(value).encode("utf-8", "replace"))


@given(st.sampled_from(BODIES) | st.binary(max_size=50) | MADE_UP_JSON)
def test_a_made_up_body(body: bytes) -> None:
    for endpoint in ("BalanceEx", "AddOrder"):
        tried(partial(parse_account.decode_reply, body, account="a", endpoint=endpoint), ExchangeError)


CODES = st.text(max_size=20) | st.sampled_from(TEXTS).map(lambda text: f"E{text}:{text}")


@given(st.lists(CODES, max_size=3))
def test_a_made_up_error(codes: list[str]) -> None:
    error = error_from_codes(codes, account="a", endpoint="AddOrder")
    assert error is None or can_be_kept("".join((str(error), *error.codes)))


@pytest.mark.parametrize(("sample", "written"), [(ROW, ledgers), (TRADE, trades)], ids=["ledgers", "trades"])
def test_every_cell_of_an_export(sample: dict[str, str], written: Callable[[dict[str, str]], bytes]) -> None:
    for column in sample:
        for text in TEXTS:
            content = written({column: "HERE"}).replace(b"HERE", text.encode("utf-8", "surrogatepass"))
            assert_kept(tried(partial(parse_export, "x.csv", content), ImportRefusedError)[0])


@given(st.data())
def test_a_damaged_export(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ledgers.csv", ledgers({}))
    content = bytearray(data.draw(st.sampled_from([zipped.getvalue(), ledgers({}), trades({})])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged"
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    exports, _ = tried(partial(read_exports, file), ImportRefusedError)
    assert_kept(tuple(exports or ()))


def test_every_value_of_a_certificate() -> None:
    for path in places(DOCUMENT):
        for value in (None, True, [], {}, [{}], nested(200), "\x00", "\ud800", "NaN", "9" * 5000, "\u0661"):
            text = json.dumps(put(DOCUMENT, path, value)).encode()
            view, told = tried(partial(verify, text), CertificateError)
            assert told or view["verified"] or view["failed"]


@given(st.binary(max_size=30) | st.sampled_from(BODIES))
def test_a_made_up_certificate(body: bytes) -> None:
    with pytest.raises(CertificateError):
        verify(body)


CONNECTION = {
    "conn_type": "kraken",
    "login": "key",
    "password": "c2VjcmV0",
    "host": "api.kraken.com",
    "port": 443,
    "schema": "https",
    "extra": '{"tier": "pro"}',
}
DEEP_JSON = "[" * 100_000
HOSTS = {"api.kraken.com"}


@pytest.mark.parametrize("field", CONNECTION)
def test_every_field_of_a_connection(field: str) -> None:
    extras = [DEEP_JSON, '{"tier": [1]}', '{"tier": "\\u0000"}', {"tier": []}]
    for value in [*STRANGE, *extras, float("inf"), float("nan"), 99_999]:
        changed = CONNECTION | {field: value}
        uri = f"kraken://{value}:c2VjcmV0@{value}:1/?{value}={value}"
        for text in (json.dumps(changed, default=str), uri, str(value)):
            variables = {"AIRFLOW_CONN_C": text}
            read = partial(credentials_from_environment, "c", variables, allowed_hosts=HOSTS)
            tried(read, ConfigurationError)
        if field not in {"conn_type", "port"} and (isinstance(value, str) or field == "extra"):
            fields = ConnectionFields(**{name: changed[name] for name in changed.keys() - {"conn_type"}})
            tried(partial(credentials_from_connection, "c", fields, allowed_hosts=HOSTS), ConfigurationError)


DECISION = {"account": "desk", "pair": "BTC/USD", "side": "buy", "volume": "1", "decision_key": "k"}
OTHER_FIELDS = ["limit_price", "valid_minutes", "expires_at", "reason", "post_only", "time_in_force"]
RAW = ["9" * 5000, "1e999", "NaN", "-0", DEEP_JSON]


@pytest.mark.parametrize("field", [*DECISION, *OTHER_FIELDS])
def test_every_field_of_a_decision(field: str) -> None:
    payloads = [json.dumps(DECISION | {field: value}, default=str) for value in STRANGE]
    payloads += [f'{json.dumps(DECISION)[:-1]}, "{field}": {raw}}}' for raw in RAW]
    for payload in payloads:
        key_in(payload)
        differing(payload, json.dumps(DECISION), None)
        tried(partial(read_decision, payload), ValueError)


@given(st.text() | st.integers() | st.decimals() | st.floats() | st.sampled_from(STRANGE))
def test_an_amount(value: Any) -> None:
    amount, told = tried(partial(parse_amount, value), ValueError)
    assert told or amount.is_finite()


def test_strange_python_is_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    strange = {
        "deep.py": b"(" * 5_000,
        "tall.py": b"x = " + b"-" * 100_000 + b"1",
        "wide.py": b"x = " + b"1 + " * 100_000 + b"1",
        "null.py": b"x = 1\x00",
        "bytes.py": b"\xff\xfe",
        "encoding.py": b"# -*- coding: nonsense -*-\n",
        "surrogate.py": b"x = '\xed\xa0\x80'",
        "good.py": b"x = 1\n",
    }
    for name, content in strange.items():
        (tmp_path / name).write_bytes(content)
    view = lint_sessions(read_sources([tmp_path, tmp_path / ("n" * 300)]))
    named = {item["path"].rpartition("/")[2] for item in view["unreadable"]}
    assert view["files"] == len(strange) + 1
    assert named == {*strange, "n" * 300} - {"good.py"}

"""Keys, signatures, nonces, lockout and permissions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading

import krakenex
import pytest
import requests

VECTOR_SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
VECTOR_BODY = "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
VECTOR_JSON = (
    '{"nonce":"1616492376594","ordertype":"limit","pair":"XBTUSD","price":37500,"type":"buy","volume":1.25}'
)
VECTOR_SIGNATURE = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
VECTOR_JSON_SIGNATURE = (
    "BVT3EumzzXSJHlvrinSwICz5uKKlSZPXL9cJIuKqn7ZMhHSbbtXhGdvwoDBmRz6ALXI+GVxFD0ZlGuOmfi2bxA=="
)


@pytest.fixture
def vector_desk(desk):
    desk.change(api_secret=VECTOR_SECRET)
    return desk


def send(desk, body, signature, content_type="application/x-www-form-urlencoded", path="/0/private/AddOrder"):
    headers = {"API-Key": desk.key, "API-Sign": signature, "Content-Type": content_type}
    reply = requests.post(desk.simulator.url + path, data=body, headers=headers, timeout=10)
    assert reply.status_code == 200
    return reply.json()


def test_official_signature_vector_is_accepted(vector_desk):
    reply = send(vector_desk, VECTOR_BODY, VECTOR_SIGNATURE)
    assert reply["error"] == []
    assert reply["result"]["descr"]["order"] == "buy 1.25000000 XBTUSD @ limit 37500.0"


def test_json_body_is_signed_as_its_exact_text(vector_desk):
    reply = send(vector_desk, VECTOR_JSON, VECTOR_JSON_SIGNATURE, "application/json")
    assert reply["error"] == []


def test_flipped_byte_is_refused(vector_desk):
    reply = send(vector_desk, VECTOR_BODY.replace("1.25", "1.26"), VECTOR_SIGNATURE)
    assert reply == {"error": ["EAPI:Invalid signature"]}
    assert vector_desk.statement()["orders"] == []
    assert vector_desk.statement()["refusals"] == {"EAPI:Invalid signature": 1}


def test_unknown_key_is_refused(exchange):
    reply = requests.post(f"{exchange.url}/0/private/Balance", data={"nonce": 1}, timeout=10)
    assert reply.json() == {"error": ["EAPI:Invalid key"]}


def test_get_of_a_private_endpoint_is_refused_as_recorded(exchange):
    reply = requests.get(f"{exchange.url}/0/private/Balance", timeout=10)
    assert reply.json() == {"error": ["EGeneral:Invalid arguments"]}


def test_unknown_method(exchange, desk):
    assert desk.refusal("Nonsense") == ["EGeneral:Unknown method"]
    assert exchange.public("Nonsense") == {"error": ["EGeneral:Unknown method"]}


def test_krakenex_with_a_none_value_fails(desk):
    assert desk.refusal("Ledgers", start=None) == ["EAPI:Invalid signature"]


def test_nonce_must_rise(desk):
    body = "nonce=100"

    def signature():
        digest = hashlib.sha256(b"100" + body.encode()).digest()
        path = b"/0/private/Balance"
        return base64.b64encode(
            hmac.new(base64.b64decode(desk.secret), path + digest, hashlib.sha512).digest()
        ).decode()

    assert send(desk, body, signature(), path="/0/private/Balance")["error"] == []
    assert send(desk, body, signature(), path="/0/private/Balance") == {"error": ["EAPI:Invalid nonce"]}


def test_nonce_window_allows_disorder_but_no_replay(desk):
    desk.change(nonce_window=10)
    api = desk.another_api()

    def ask(nonce):
        api._nonce = lambda: nonce  # noqa: SLF001 - krakenex's only hook
        return api.query_private("Balance", {}, timeout=10)["error"]

    assert ask(1000) == []
    assert ask(995) == []
    assert ask(995) == ["EAPI:Invalid nonce"]
    assert ask(990) == ["EAPI:Invalid nonce"]


def test_two_threads_with_plain_krakenex_collide(exchange):
    desk = exchange.open(lockout_after=100_000, opening={"ZUSD": "1"})
    codes, stop = [], threading.Event()

    def work():
        api = desk.another_api(krakenex.API)
        for _ in range(400):
            codes.extend(api.query_private("Balance", {}, timeout=10)["error"])
            if codes or stop.is_set():
                stop.set()
                return

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) == {"EAPI:Invalid nonce"}


def test_refusals_in_a_row_lock_the_key_out_for_fifteen_minutes(desk):
    wrong = desk.another_api()
    wrong.secret = base64.b64encode(b"another").decode()
    for _ in range(10):
        assert wrong.query_private("Balance", {}, timeout=10) == {"error": ["EAPI:Invalid signature"]}
    assert desk.refusal("Balance") == ["EGeneral:Temporary lockout"]
    desk.advance(899)
    assert desk.refusal("Balance") == ["EGeneral:Temporary lockout"]
    desk.advance(2)
    assert desk.call("Balance")


def test_key_rotation_makes_the_old_secret_wrong(desk):
    desk.change(api_secret=VECTOR_SECRET)
    assert desk.refusal("Balance") == ["EAPI:Invalid signature"]


def test_key_is_rotated_in_the_middle_of_a_paged_read(exchange, desk):
    for _ in range(51):
        desk.event("deposit", asset="ZUSD", amount="1")
    assert len(desk.call("Ledgers")["ledger"]) == 50
    desk.advance(60)
    desk.change(api_key=f"{desk.key}-new", api_secret=VECTOR_SECRET)
    assert desk.refusal("Ledgers", ofs=50) == ["EAPI:Invalid key"]
    desk.key, desk.secret = f"{desk.key}-new", VECTOR_SECRET
    desk.api = desk.another_api()
    desk.api._nonce = iter(range(1, 10)).__next__  # noqa: SLF001 - a new key's nonces start afresh
    assert len(desk.call("Ledgers", ofs=50)["ledger"]) == 1
    info = desk.call("GetApiKeyInfo")
    assert info["apiKey"] == desk.key
    assert 1767225660 <= float(info["createdTime"]) == float(info["modifiedTime"]) < 1767225662
    assert exchange.get(f"/accounts/{desk.name}/statement")["visible_entries"] == 51


@pytest.mark.parametrize(
    ("endpoint", "permission"),
    [
        ("Balance", "query-funds"),
        ("BalanceEx", "query-funds"),
        ("Ledgers", "query-ledger"),
        ("TradesHistory", "query-closed-trades"),
        ("OpenOrders", "query-open-trades"),
        ("GetWebSocketsToken", "create-ws-token"),
        ("TradeBalance", "query-open-trades"),
        ("ClosedOrders", "query-closed-trades"),
        ("QueryTrades", "query-closed-trades"),
        ("QueryLedgers", "query-ledger"),
        ("AddOrder", "modify-trades"),
    ],
)
def test_missing_permission(desk, endpoint, permission):
    info = desk.call("GetApiKeyInfo")
    parameters = {
        "QueryTrades": {"txid": "T"},
        "QueryLedgers": {"id": "L"},
        "AddOrder": {"pair": "XBTUSD", "type": "buy", "ordertype": "market", "volume": "0.1"},
    }.get(endpoint, {})
    desk.call(endpoint, **parameters)
    desk.change(permissions=[name for name in info["permissions"] if name != permission])
    assert desk.refusal(endpoint, **parameters) == ["EGeneral:Permission denied"]
    assert permission not in desk.call("GetApiKeyInfo")["permissions"]


def test_two_permissions_open_the_same_endpoint(desk):
    order = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "0.1", "price": "100"}
    first, second = (desk.call("AddOrder", **order)["txid"][0] for _ in range(2))
    desk.change(permissions=["query-open-trades", "close-trades"])
    assert list(desk.call("QueryOrders", txid=first)) == [first]
    assert desk.call("CancelOrder", txid=first) == {"count": 1}
    desk.change(permissions=["query-closed-trades", "modify-trades"])
    assert list(desk.call("QueryOrders", txid=first)) == [first]
    desk.change(permissions=["query-funds"])
    assert desk.refusal("QueryOrders", txid=first) == ["EGeneral:Permission denied"]
    assert desk.refusal("CancelOrder", txid=second) == ["EGeneral:Permission denied"]


def test_foreign_address(desk):
    desk.change(ip_allowlist=["203.0.113.7"])
    assert desk.refusal("Balance") == ["EGeneral:Permission denied"]
    desk.change(ip_allowlist=["203.0.113.7", "127.0.0.1"])
    assert desk.call("Balance")
    assert desk.call("GetApiKeyInfo")["ipAllowlist"] == ["203.0.113.7", "127.0.0.1"]


def test_a_key_expires_while_in_use(desk):
    desk.change(valid_until="1767225660")
    assert desk.call("GetApiKeyInfo")["validUntil"] == "1767225660"
    desk.advance(61)
    assert desk.refusal("Balance") == ["EAPI:Invalid key"]


def test_key_info_tells_the_truth(desk):
    desk.change(nonce_window=5, query_from="100", query_to="1767225700", permissions=["query-ledger"])
    desk.advance(10)
    desk.call("Ledgers")
    info = desk.call("GetApiKeyInfo")
    assert all(isinstance(info[name], str) for name in ("nonce", "validUntil", "queryFrom", "lastUsed"))
    assert {name: info[name] for name in ("apiKeyName", "apiKey", "nonceWindow", "permissions")} == {
        "apiKeyName": desk.name,
        "apiKey": desk.key,
        "nonceWindow": 5,
        "permissions": ["query-ledger"],
    }
    assert (info["queryFrom"], info["queryTo"], info["validUntil"]) == ("100", "1767225700", "0")
    assert (info["modifiedTime"], info["lastUsed"]) == ("1767225600", "1767225610")


def test_date_window_hides_rows_without_a_word(desk):
    old = desk.event("deposit", asset="ZUSD", amount="1")["ledger_ids"]
    desk.advance(100)
    new = desk.event("deposit", asset="ZUSD", amount="2")["ledger_ids"]
    desk.change(query_from="1767225650")
    assert list(desk.call("Ledgers")["ledger"]) == new
    assert desk.call("QueryLedgers", id=",".join(old + new)).keys() == set(new)
    info = desk.call("GetApiKeyInfo")
    assert (info["queryFrom"], info["queryTo"]) == ("1767225650", "0")


def test_date_window_hides_the_future_and_every_kind_of_row(desk):
    order = {"pair": "XBTUSD", "type": "buy", "ordertype": "market", "volume": "0.1"}
    made = []
    for _ in range(3):
        made.append(desk.call("AddOrder", **order)["txid"][0])
        desk.advance(100)
    trades = list(desk.call("TradesHistory")["trades"])[::-1]
    before = desk.call("Balance")
    desk.change(query_from="1767225650", query_to="1767225750")
    assert list(desk.call("TradesHistory")["trades"]) == [trades[1]]
    assert list(desk.call("QueryTrades", txid=",".join(trades))) == [trades[1]]
    assert list(desk.call("ClosedOrders")["closed"]) == [made[1]]
    assert list(desk.call("QueryOrders", txid=",".join(made))) == [made[1]]
    reply = desk.call("Ledgers")
    assert (len(reply["ledger"]), reply["count"]) == (2, 2)
    assert desk.call("Balance") == before  # which is how a reader can tell that rows are missing

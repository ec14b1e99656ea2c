"""The client over real HTTP: what it sends, what it makes of every answer, and what it never does."""

from __future__ import annotations

import gzip
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from desks.reported_orders import order
from desks.scripted_server import API_KEY, PRIVATE_KEY, Answer, ScriptedServer, error, result
from kraken_recon.errors import (
    AuthenticationError,
    ConfigurationError,
    ExchangeError,
    ExchangeUnavailableError,
    NonceRejectedError,
    PayloadInvalidError,
    RateLimitedError,
    RequestRefusedError,
)
from kraken_recon.kraken import transport
from kraken_recon.kraken.client import KrakenClient, RetryPolicy
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.trading_client import TradingClient
from kraken_recon.ledger.entries import Balance, HoldingKey

LATELY = datetime(2026, 1, 5, tzinfo=UTC)
MARKET = {"altname": "XBTUSD", "base": "XXBT", "quote": "ZUSD", "pair_decimals": 1, "lot_decimals": 8}
ONCE = RetryPolicy(attempts_max=1, nonce_attempts_max=1)
KEY_INFO = {
    "apiKeyName": "recon",
    "permissions": ["query-funds", "query-ledger", "query-open-trades", "query-closed-trades"],
    "queryFrom": "0",
    "queryTo": "0",
    "validUntil": "0",
}


@pytest.fixture
def kraken():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def credentials(kraken):
    return KrakenCredentials(API_KEY, PRIVATE_KEY, kraken.url, "pro")


@pytest.fixture
def sleeps():
    return []


@pytest.fixture
def open_client(credentials, sleeps):
    clients = []

    def opened(**options):
        options.setdefault("slots", InProcessCallSlots())
        clients.append(KrakenClient(credentials, account="alpha", sleep=sleeps.append, **options))
        return clients[-1]

    yield opened
    for client in clients:
        client.close()


@pytest.fixture
def client(open_client):
    return open_client()


@pytest.fixture
def impatient(open_client):
    """Return a client that tries once, with short timeouts."""
    return open_client(retries=ONCE, timeout_seconds=(0.3, 0.3))


# --- what is sent


def test_private_call_is_signed_and_counted(kraken, client):
    client.balances()
    (request,) = kraken.requests
    assert (request.method, request.path) == ("POST", "/0/private/BalanceEx")
    assert request.is_signed()
    assert client.calls == 1


def test_nonces_are_microseconds_and_rise(kraken, client):
    before = time.time_ns() // 1000
    for _ in range(20):
        client.balances()
    nonces = [request.nonce for request in kraken.requests]
    assert nonces == sorted(set(nonces))
    assert before <= nonces[0] < nonces[-1] <= time.time_ns() // 1000 + 20


def test_threads_that_share_slots_never_send_a_nonce_out_of_order(kraken, open_client):
    slots = InProcessCallSlots()
    clients = [open_client(slots=slots) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for finished in [pool.submit(client.balances) for client in clients for _ in range(5)]:
            finished.result()
    nonces = [request.nonce for request in kraken.requests]
    assert len(nonces) == 40
    assert nonces == sorted(set(nonces))


def test_ledger_page_of_the_head_sends_no_filter(kraken, client):
    kraken.answers.append(result({"ledger": {}, "count": 0}))
    assert client.ledger_page(after=None, until=None, offset=0).entries == ()
    assert set(kraken.requests[0].form) == {"nonce"}
    assert kraken.requests[0].is_signed()


def test_ledger_page_sends_its_bounds_exactly(kraken, client):
    kraken.answers.append(result({"ledger": {}, "count": 7}))
    after = datetime(2024, 1, 14, 19, 27, 44, 973174, tzinfo=UTC)
    assert client.ledger_page(after=after, until="LRSNYS-DICDD-3QM34P", offset=50).count == 7
    form = kraken.requests[0].form
    del form["nonce"]
    assert form == {"start": "1705260464.973174", "end": "LRSNYS-DICDD-3QM34P", "ofs": "50"}


def test_assets_of_every_class_are_known(kraken, client):
    kraken.answers.extend([result({"XXBT": {}, "DOT.S": {}, "ZUSD": {}}), result({"AAPLx.T": {}})])
    assert client.known_assets() == {"BTC", "DOT", "USD", "AAPLx"}
    assert [request.path for request in kraken.requests] == [
        "/0/public/Assets?aclass=currency",
        "/0/public/Assets?aclass=tokenized_asset",
    ]


def test_public_call_is_a_plain_get(kraken, client):
    kraken.answers.extend(
        [
            result({"XXBTZEUR": {"base": "XXBT", "quote": "ZEUR"}}),
            result({"XXBTZEUR": {"c": ["57000.1", "0.1"]}}),
        ]
    )
    assert client.prices("EUR") == {"BTC": Decimal("57000.1"), "EUR": Decimal(1)}
    assert [(request.method, request.path) for request in kraken.requests] == [
        ("GET", "/0/public/AssetPairs"),
        ("GET", "/0/public/Ticker"),
    ]
    assert not any(name.startswith("api-") for request in kraken.requests for name in request.headers)
    assert client.calls == 0


def test_environment_can_not_redirect_requests(kraken, client, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client.balances()
    assert "authorization" not in kraken.requests[0].headers


# --- what is made of the answer


def test_balances(kraken, client):
    kraken.answers.append(result({"XXBT": {"balance": "0.5000000000", "hold_trade": "0.1"}}))
    assert client.balances() == {
        HoldingKey("BTC", "spot"): Balance(Decimal("0.5"), Decimal("0.1"), Decimal(0), Decimal(0))
    }


def test_balances_without_a_result_are_none(kraken, client):
    kraken.answers.append(Answer(body=b'{"error":[]}'))
    assert client.balances() == {}


def test_null_is_no_balance(kraken, impatient):
    kraken.answers.append(result(None))
    with pytest.raises(PayloadInvalidError):
        impatient.balances()


def test_ledger_page_without_a_result_is_refused(kraken, impatient):
    kraken.answers.append(Answer(body=b'{"error":[]}'))
    with pytest.raises(PayloadInvalidError, match="Ledgers: expected a result"):
        impatient.ledger_page(after=None, until=None, offset=0)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("EAPI:Invalid key", AuthenticationError),
        ("EGeneral:Permission denied", AuthenticationError),
        ("EGeneral:Invalid arguments:start", RequestRefusedError),
        ("EService:Unavailable", ExchangeUnavailableError),
        ("EAPI:Rate limit exceeded", RateLimitedError),
        ("EAPI:Invalid nonce", NonceRejectedError),
    ],
)
def test_error_in_a_reply_is_raised(kraken, impatient, code, expected):
    kraken.answers.append(error(code))
    with pytest.raises(expected) as raised:
        impatient.balances()
    assert (raised.value.account, raised.value.endpoint, raised.value.codes) == (
        "alpha",
        "BalanceEx",
        (code,),
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            Answer(body=b"<html>maintenance</html>", headers={"Content-Type": "text/html"}),
            PayloadInvalidError,
        ),
        (Answer(body=b""), PayloadInvalidError),
        (Answer(body=b'{"error":[],"result":{"XXBT"'), PayloadInvalidError),
        (Answer(body=b"[]"), PayloadInvalidError),
        (Answer(body=b'{"error":[],"result":{"XXBT":{"balance":NaN}}}'), PayloadInvalidError),
        (Answer(status=204, body=b""), ExchangeUnavailableError),
        (Answer(status=202), ExchangeUnavailableError),
        (Answer(status=403, body=b"<html>blocked</html>"), ExchangeUnavailableError),
        (Answer(status=429), ExchangeUnavailableError),
        (Answer(status=500), ExchangeUnavailableError),
        (Answer(status=502, body=b"<html>bad gateway</html>"), ExchangeUnavailableError),
        (Answer(status=520, body=b"<html>unknown error</html>"), ExchangeUnavailableError),
        # Cut off: the server promised more bytes than it sent.
        (Answer(claimed_length=1000), ExchangeUnavailableError),
        (Answer(body=b"no gzip", headers={"Content-Encoding": "gzip"}), ExchangeUnavailableError),
        (Answer(delay_seconds=30), ExchangeUnavailableError),
        (Answer(body=b" " * 1000, drip_seconds=0.05), ExchangeUnavailableError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status}-{value.body[:20]!r}",
)
def test_unusable_answer_is_an_error_and_ends_in_time(kraken, impatient, answer, expected):
    kraken.answers.append(answer)
    started = time.monotonic()
    with pytest.raises(expected) as raised:
        impatient.balances()
    assert time.monotonic() - started < 5
    assert type(raised.value) is expected
    assert (raised.value.account, raised.value.endpoint) == ("alpha", "BalanceEx")
    assert_tells_no_secret(raised.value)


def assert_tells_no_secret(raised: ExchangeError) -> None:
    """Look through the message, the traceback and every chained error with its request."""
    told = "".join(traceback.format_exception(raised)) + repr(vars(raised))
    chained = raised.__cause__ or raised.__context__
    while chained is not None:
        told += (
            repr(chained)
            + repr(vars(chained))
            + repr(getattr(getattr(chained, "request", None), "headers", ""))
        )
        chained = chained.__cause__ or chained.__context__
    assert PRIVATE_KEY not in told
    assert API_KEY not in told
    assert "API-Sign" not in told


def test_nobody_listening_is_unavailable():
    with ScriptedServer() as gone:
        pass
    nowhere = KrakenCredentials(API_KEY, PRIVATE_KEY, gone.url, "pro")
    with (
        KrakenClient(nowhere, account="alpha", slots=InProcessCallSlots(), retries=ONCE) as client,
        pytest.raises(ExchangeUnavailableError, match="ConnectionError") as raised,
    ):
        client.balances()
    assert_tells_no_secret(raised.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_never_followed(kraken, impatient, status):
    kraken.answers.append(Answer(status=status, headers={"Location": "/elsewhere"}))
    with pytest.raises(ExchangeUnavailableError):
        impatient.balances()
    assert [request.path for request in kraken.requests] == ["/0/private/BalanceEx"]


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_endless_reply_is_cut(kraken, impatient, monkeypatch, headers):
    monkeypatch.setattr(transport, "REPLY_BYTES_MAX", 100_000)
    body = b" " * 1_000_000
    kraken.answers.append(Answer(body=gzip.compress(body) if headers else body, headers=headers))
    with pytest.raises(PayloadInvalidError, match="at most 100000 bytes"):
        impatient.balances()


def test_compressed_reply_is_read(kraken, client):
    body = gzip.compress(b'{"error":[],"result":{"XXBT":{"balance":"1","hold_trade":"0"}}}')
    kraken.answers.append(Answer(body=body, headers={"Content-Encoding": "gzip"}))
    assert set(client.balances()) == {HoldingKey("BTC", "spot")}


def test_large_reply_is_read_whole(kraken, client):
    rows = {f"TOKEN{number}": {"balance": "1", "hold_trade": "0"} for number in range(10_000)}
    kraken.answers.append(result(rows))
    assert len(client.balances()) == 10_000


# --- what is repeated


@pytest.mark.parametrize(
    "failure",
    [
        Answer(status=502),
        error("EService:Busy"),
        error("EAPI:Rate limit exceeded"),
        error("EAuth:Rate limit exceeded"),
        error("EAPI:Invalid nonce"),
    ],
    ids=["502", "busy", "rate limit", "rate limit of another name", "nonce"],
)
def test_read_is_repeated_with_a_new_nonce(kraken, client, sleeps, failure):
    kraken.answers.extend([failure, failure, result({"XXBT": {"balance": "1", "hold_trade": "0"}})])
    assert len(client.balances()) == 1
    assert client.calls == 3
    nonces = [request.nonce for request in kraken.requests]
    assert nonces == sorted(set(nonces))
    assert len(nonces) == 3
    assert len(sleeps) == 2
    assert 0 < sleeps[0] < sleeps[1]


def test_public_read_is_repeated(kraken, client):
    kraken.answers.extend([Answer(status=520), result({}), error("EGeneral:Too many requests"), result({})])
    assert client.prices("EUR") == {"EUR": Decimal(1)}
    assert len(kraken.requests) == 4


@pytest.mark.parametrize(
    ("failure", "attempts"),
    [
        (Answer(status=502), 5),
        (error("EAPI:Rate limit exceeded"), 5),
        (error("EAPI:Invalid nonce"), 3),
        (error("EAPI:Invalid key"), 1),
        (error("EGeneral:Temporary lockout"), 1),
        (error("EGeneral:Invalid arguments"), 1),
        (Answer(body=b"<html>"), 5),
        (Answer(body=b""), 5),
        (result({"XXBT": {"balance": "1"}}), 5),
        (error("EAuth:Too many requests"), 5),
        (error("ENobody:Ever heard of this"), 5),
    ],
)
def test_attempts_are_bounded_by_what_failed(kraken, client, failure, attempts):
    kraken.fallback = lambda _: failure
    with pytest.raises(ExchangeError):
        client.balances()
    assert len(kraken.requests) == client.calls == attempts


def test_rate_limit_waits_longer_than_a_hiccup(kraken, client, sleeps):
    kraken.answers.extend([error("EAPI:Rate limit exceeded"), Answer()])
    client.balances()
    assert sleeps[0] >= 5


BALANCE = result({"XXBT": {"balance": "1", "hold_trade": "0"}})
READS = {
    "BalanceEx": (lambda client: client.balances(), BALANCE),
    "Ledgers": (
        lambda client: client.ledger_page(after=None, until=None, offset=0),
        result({"ledger": {}, "count": 0}),
    ),
    "OpenPositions": (lambda client: client.open_positions(), result({})),
    "GetApiKeyInfo": (lambda client: client.check_key(), result(KEY_INFO)),
    "AssetPairs": (lambda client: client.markets(), result({"XXBTZUSD": MARKET})),
    "QueryOrders": (lambda client: client.query_orders(["O1"]), result({})),
    "OpenOrders": (lambda client: client.open_orders(), result({"open": {}})),
    "ClosedOrders": (lambda client: client.closed_orders(after=LATELY), result({"closed": {}})),
    "TradesHistory": (lambda client: client.trades(after=LATELY), result({"trades": {}})),
    "QueryTrades": (lambda client: client.trades_of(["T1"]), result({})),
    "withdrawals": (lambda client: client.transfers(), result({"withdrawals": []})),
    "deposits": (lambda client: client.transfers(), result({"deposits": []})),
    "Ticker": (lambda client: client.prices("USD"), result({})),
    "Assets": (lambda client: client.known_assets(), result({})),
    "Time": (lambda client: client.server_time(), result({"unixtime": 1700000000})),
}
BAD_BODIES = {
    "cut off": Answer(body=b'{"error":[],"result":{"XXBT"'),
    "empty": Answer(body=b""),
    "a page": Answer(body=b"<html>", headers={"Content-Type": "text/html"}),
    "no envelope": Answer(body=b"[]"),
    "null": result(None),
    "a list": result([1]),
    "a strange row": result(
        {"X": 7, "open": {"O1": 7}, "closed": 1, "trades": {"T": []}, "ledger": {"L": 1}}
    ),
    "no error list": Answer(body=b'{"result":{}}'),
    "half a surrogate pair": Answer(body=rb'{"error":["E\ud800"],"result":{}}'),
}


@pytest.mark.parametrize("endpoint", READS)
@pytest.mark.parametrize("bad", BAD_BODIES)
def test_a_read_is_repeated_whatever_was_wrong_with_its_body(kraken, credentials, endpoint, bad):
    read, good = READS[endpoint]
    if endpoint == "GetApiKeyInfo" and bad == "a list":
        bad = "null"
    asked = []

    def answer(request):
        name = request.path.rpartition("/")[2].partition("?")[0]
        if name != endpoint:
            return READS[name][1]
        asked.append(request)
        return good if len(asked) > 1 else BAD_BODIES[bad]

    kraken.fallback = answer
    slots = InProcessCallSlots()
    with TradingClient(credentials, account="alpha", slots=slots, sleep=lambda _: None) as client:
        read(client)
    assert len(asked) == (3 if endpoint == "Assets" else 2), "of each class once, and one again"
    if endpoint not in {"AssetPairs", "Ticker", "Assets", "Time"}:
        assert asked[0].nonce < asked[1].nonce


def test_a_market_is_looked_for_twice_and_no_more(kraken, credentials):
    other = MARKET | {"altname": "ETHUSD", "base": "XETH"}
    partial, whole = result({"XETHZUSD": other}), result({"XXBTZUSD": MARKET, "XETHZUSD": other})
    kraken.answers.extend([partial, whole])
    with TradingClient(credentials, account="alpha", slots=InProcessCallSlots()) as client:
        for name, asked in [
            ("BTC/USD", 2),  # the first reply lacks it
            ("BTC/EURO", 3),  # the second one lacks it, too
            ("BTC/EURO", 3),
            ("BTC/USD", 3),
            *((f"BTC/EURO{number}", min(4 + number, 22)) for number in range(25)),
        ]:
            kraken.answers.extend([partial] * (asked - len(kraken.requests)))
            found = client.markets(name).find(name)
            assert (found is not None, len(kraken.requests)) == (name == "BTC/USD", asked)


@pytest.mark.parametrize(
    ("pair", "altname", "venue"),
    [
        ("BTC/USD", "XBTUSD", "international"),
        ("BTC/USD:bitnomial_exchange", "XBTUSD:BTNL", "bitnomial_exchange"),
    ],
)
def test_an_order_names_the_venue_of_its_market(kraken, credentials, pair, altname, venue):
    elsewhere = {"altname": "XBTUSD:BTNL", "execution_venue": "bitnomial_exchange"}
    kraken.answers.append(
        result({"XXBTZUSD": MARKET | {"execution_venue": "international"}, "XBTUSD:BTNL": MARKET | elsewhere})
    )
    kraken.answers.append(result({"descr": {"order": "buy"}, "txid": ["O1"]}))
    with TradingClient(credentials, account="alpha", slots=InProcessCallSlots()) as client:
        assert client.add_order(order(pair=pair, deadline=LATELY)) == "O1"
    form = kraken.requests[-1].form
    assert (form["pair"], form["execution_venue"]) == (altname, venue)


@pytest.mark.parametrize("bad", BAD_BODIES)
def test_an_order_is_never_sent_twice_whatever_was_wrong_with_the_answer(kraken, credentials, bad):
    asked = []

    def answer(request):
        asked.append(request.path.rpartition("/")[2])
        return BAD_BODIES[bad] if asked[-1] == "AddOrder" else result({"XXBTZUSD": MARKET})

    kraken.fallback = answer
    slots = InProcessCallSlots()
    with (
        TradingClient(credentials, account="alpha", slots=slots) as client,
        pytest.raises((PayloadInvalidError, ExchangeUnavailableError)),
    ):
        client.add_order(order(pair="BTC/USD", cl_ord_id="6d1b345e", deadline=LATELY))
    assert asked == ["AssetPairs", "AddOrder"]


def test_a_throttled_read_comes_back_when_kraken_says(kraken, client, sleeps):
    kraken.answers.extend([error(f"EService:Throttled: {int(time.time()) + 30}"), BALANCE])
    assert len(client.balances()) == 1
    assert 28 < sleeps[0] < 33


def test_a_throttled_read_that_cannot_wait_so_long_tells_when(kraken, client, sleeps):
    until = int(time.time()) + 3600
    kraken.fallback = lambda _: error(f"EService:Throttled: {until}")
    with pytest.raises(RateLimitedError) as raised:
        client.balances()
    assert (len(kraken.requests), sleeps) == (1, [])
    assert datetime.fromtimestamp(until, UTC).isoformat() in str(raised.value)


def test_repetition_ends_at_its_deadline(kraken, open_client, sleeps):
    kraken.fallback = lambda _: Answer(status=502)
    client = open_client(
        retries=RetryPolicy(attempts_max=1000, wait_first_seconds=4, deadline_seconds=10, wait_max_seconds=60)
    )
    with pytest.raises(ExchangeUnavailableError):
        client.balances()
    assert client.calls < 4
    assert all(seconds <= 10 for seconds in sleeps)


def test_call_is_answered_inside_its_slot(kraken, open_client):
    """The next nonce must not leave before this call's answer is in, whatever the answer."""
    slots = InProcessCallSlots()
    is_held = []
    kraken.fallback = lambda _: (is_held.append(slots._lock.locked()), error("EService:Busy"))[1]  # noqa: SLF001
    with pytest.raises(ExchangeUnavailableError):
        open_client(slots=slots, retries=ONCE).balances()
    assert is_held == [True]
    assert not slots._lock.locked()  # noqa: SLF001


def test_costs_are_asked_of_the_slots(kraken, open_client):
    costs = []

    class CostRecorder(InProcessCallSlots):
        def take(self, cost):
            costs.append(cost)
            return super().take(cost)

    kraken.fallback = lambda request: result(
        {"ledger": {}} if "Ledgers" in request.path else KEY_INFO if "Key" in request.path else {}
    )
    client = open_client(slots=CostRecorder())
    client.balances()
    client.ledger_page(after=None, until=None, offset=0)
    client.check_key()
    assert costs == [1, 4, 1]


# --- which keys are used


def test_good_key_passes(kraken, client):
    kraken.answers.append(result(KEY_INFO))
    client.check_key()
    assert kraken.requests[0].path == "/0/private/GetApiKeyInfo"


def test_key_may_trade(kraken, client):
    permissions = [*KEY_INFO["permissions"], "modify-trades", "close-trades", "export-data"]
    kraken.answers.append(result({**KEY_INFO, "permissions": permissions}))
    client.check_key()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"permissions": [*KEY_INFO["permissions"], "withdraw-funds"]}, "take away withdraw-funds"),
        (
            {"permissions": [*KEY_INFO["permissions"], "add-withdraw-address"]},
            "take away add-withdraw-address",
        ),
        ({"permissions": KEY_INFO["permissions"][1:]}, "add query-funds"),
        ({"permissions": []}, "add query-closed-trades, query-funds, query-ledger, query-open-trades"),
        ({"queryFrom": "1700000000"}, "remove its query start and end dates"),
        ({"queryTo": "1700000000"}, "remove its query start and end dates"),
        ({"validUntil": "1700000000"}, "replace it, it expired at 2023-11-14T22:13:20"),
    ],
)
def test_bad_key_is_refused_with_what_to_change(kraken, client, change, message):
    kraken.answers.append(result({**KEY_INFO, **change}))
    with pytest.raises(ConfigurationError) as raised:
        client.check_key()
    assert message in str(raised.value)
    assert "account alpha" in str(raised.value)


def test_key_that_expires_later_passes(kraken, client):
    kraken.answers.append(result({**KEY_INFO, "validUntil": "4102444800"}))
    client.check_key()

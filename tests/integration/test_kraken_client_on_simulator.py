"""The client against the simulator: an account's whole reading, and each fault that the simulator knows."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest

from kraken_recon.errors import (
    AuthenticationError,
    ConfigurationError,
    ExchangeUnavailableError,
    NonceRejectedError,
    PayloadInvalidError,
    RateLimitedError,
    RequestRefusedError,
)
from kraken_recon.kraken.call_slots import PostgresCallSlots
from kraken_recon.kraken.client import KrakenClient, RetryPolicy
from kraken_recon.kraken.credentials import credentials_from_connection
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.slot_sessions import SlotSessions
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.values.connection_fields import ConnectionFields

SECRET = base64.b64encode(b"the simulator's copy of the private key").decode()
READ = ["query-funds", "query-open-trades", "query-closed-trades", "query-ledger"]
BTC, USD = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot")
DEPOSITS = 120


@pytest.fixture
def desk(simulator):
    """Open an account whose ledger has three pages."""
    deposits = [
        {
            "refid": f"Q{number:04d}",
            "time": str(1_750_000_000 + number),
            "type": "deposit",
            "asset": ("XXBT", "ZUSD", "DOT28.S")[number % 3],
            "amount": f"1.{number:04d}",
        }
        for number in range(DEPOSITS)
    ]
    key = {"api_key": "key-alpha", "api_secret": SECRET, "tier": "unlimited", "permissions": READ}
    simulator.control.post("accounts", {"name": "alpha", "entries": deposits, **key})
    return simulator


@pytest.fixture
def credentials(desk):
    fields = ConnectionFields(
        login="key-alpha", password=SECRET, host=desk.base_url, extra={"tier": "unlimited"}
    )
    return credentials_from_connection("kraken_alpha", fields, allowed_hosts={"127.0.0.1"})


@pytest.fixture
def client(credentials):
    with KrakenClient(
        credentials, account="alpha", slots=InProcessCallSlots(), sleep=lambda _: None
    ) as opened:
        yield opened


@pytest.fixture
def impatient(credentials):
    once = RetryPolicy(attempts_max=1, nonce_attempts_max=1)
    with KrakenClient(
        credentials, account="alpha", slots=InProcessCallSlots(), retries=once, timeout_seconds=(1, 0.5)
    ) as opened:
        yield opened


def whole_ledger(client):
    entries = []
    while page := client.ledger_page(after=None, until=None, offset=len(entries)).entries:
        entries.extend(page)
    return entries


def test_balances_equal_the_ledger_by_holding(client):
    totals = {}
    for entry in whole_ledger(client):
        totals[entry.key] = totals.get(entry.key, Decimal(0)) + entry.change
    assert {key: reported.balance for key, reported in client.balances().items()} == totals
    assert set(totals) == {BTC, USD, HoldingKey("DOT", "28.S")}


def test_ledger_is_read_page_by_page(client):
    entries = whole_ledger(client)
    assert len({entry.ledger_id for entry in entries}) == len(entries) == DEPOSITS
    assert client.calls == 4
    assert client.ledger_page(after=None, until=None, offset=0).count == DEPOSITS


def test_bounds_of_a_page_mean_what_the_port_says(client):
    entries = whole_ledger(client)
    newest, tenth = entries[0], entries[10]
    until = client.ledger_page(after=None, until=tenth.ledger_id, offset=0).entries
    assert until[0] == tenth
    after = client.ledger_page(
        after=newest.entry_time - timedelta(microseconds=1), until=None, offset=0
    ).entries
    assert newest in after
    later = client.ledger_page(after=newest.entry_time + timedelta(seconds=1), until=None, offset=0).entries
    assert later == ()


def test_prices_have_normalised_names(client):
    prices = client.prices("USD")
    assert prices["BTC"] > prices["ETH"] > 0
    assert client.calls == 0


def test_every_asset_is_known_by_its_normalised_name(client):
    known = client.known_assets()
    assert {"BTC", "DOGE", "USD"} <= known
    assert not {"XXBT", "XBT", "ZUSD"} & known
    assert client.calls == 0


def test_read_only_key_passes_and_a_withdrawing_key_does_not(client, desk):
    client.check_key()
    desk.control.patch("accounts/alpha", {"permissions": [*READ, "withdraw-funds"]})
    with pytest.raises(ConfigurationError, match="take away withdraw-funds"):
        client.check_key()


def test_blind_key_is_refused(client, desk):
    desk.control.patch("accounts/alpha", {"query_from": "1700000000"})
    with pytest.raises(ConfigurationError, match="query start and end"):
        client.check_key()


def test_key_without_a_permission_is_not_asked_again(client, desk):
    desk.control.patch("accounts/alpha", {"permissions": ["query-funds"]})
    with pytest.raises(AuthenticationError):
        client.ledger_page(after=None, until=None, offset=0)
    assert client.calls == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"name": "html_200"}, PayloadInvalidError),
        ({"name": "truncated_json"}, PayloadInvalidError),
        ({"name": "empty_body"}, PayloadInvalidError),
        ({"name": "no_result"}, PayloadInvalidError),
        ({"name": "nan_amount", "endpoint": "Ledgers"}, PayloadInvalidError),
        ({"name": "nan_amount", "endpoint": "Ledgers", "value": "1e3"}, PayloadInvalidError),
        ({"name": "missing_fields", "fields": ["amount"]}, PayloadInvalidError),
        ({"name": "missing_fields", "fields": ["time"]}, PayloadInvalidError),
        ({"name": "http_error", "status": 502}, ExchangeUnavailableError),
        ({"name": "http_error", "status": 520}, ExchangeUnavailableError),
        ({"name": "reset"}, ExchangeUnavailableError),
        ({"name": "redirect_302"}, ExchangeUnavailableError),
        ({"name": "api_error", "text": "EService:Busy"}, ExchangeUnavailableError),
        ({"name": "api_error", "text": "EGeneral:Invalid arguments:start"}, RequestRefusedError),
        ({"name": "throttled"}, RateLimitedError),
        ({"name": "rate_limited"}, RateLimitedError),
        ({"name": "invalid_nonce"}, NonceRejectedError),
    ],
    ids=str,
)
def test_fault_is_an_error_of_its_kind(desk, impatient, fault, expected):
    desk.control.post("faults", {"count": 1, **fault})
    with pytest.raises(expected) as raised:
        impatient.ledger_page(after=None, until=None, offset=0)
    assert type(raised.value) is expected
    assert SECRET not in repr(raised.value)


PASSING = [
    "http_error",
    "reset",
    "redirect_302",
    "throttled",
    "invalid_nonce",
    "html_200",
    "truncated_json",
    "empty_body",
    "no_result",
]


@pytest.mark.parametrize("name", PASSING)
def test_passing_fault_is_read_over(desk, client, name):
    desk.control.post("faults", {"name": name, "count": 2})
    assert len(client.ledger_page(after=None, until=None, offset=0).entries) == 50
    assert client.calls == 3


@pytest.mark.parametrize("name", ["extra_fields", "missing_fields", "warning"])
def test_harmless_novelty_is_read_over(desk, client, name):
    desk.control.post("faults", {"name": name})
    assert len(client.ledger_page(after=None, until=None, offset=0).entries) == 50
    assert len(client.balances()) == 3


def test_workers_of_one_key_never_break_its_rules(desk, credentials, database_url):
    """Pro's budget is 20, then one call a second: 26 calls of six workers must all be accepted."""
    desk.control.patch("accounts/alpha", {"tier": "pro"})
    once = RetryPolicy(attempts_max=1, nonce_attempts_max=1)

    def work(calls):
        with (
            PostgresCallSlots(SlotSessions(database_url), api_key=credentials.api_key, tier="pro") as slots,
            KrakenClient(credentials, account="alpha", slots=slots, retries=once) as client,
        ):
            for _ in range(calls):
                client.balances()
            return client.calls

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, [4, 4, 4, 4, 5, 5])) == 26

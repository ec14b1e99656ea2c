"""A connection becomes credentials only if its requests can't go where they should not."""

from __future__ import annotations

import base64
import json
import traceback
from urllib.parse import quote

import pytest

from kraken_recon.errors import ConfigurationError
from kraken_recon.kraken.credentials import (
    DEFAULT_ALLOWED_HOSTS,
    KrakenCredentials,
    allowed_hosts,
    credentials_from_connection,
    credentials_from_environment,
)
from kraken_recon.values.connection_fields import ConnectionFields

API_KEY = "PublicKey/abc+123"
# Full of characters that a URI must quote.
PRIVATE_KEY = base64.b64encode(bytes([251, 239, 190] * 20 + [255])).decode()
LOCAL = frozenset({"127.0.0.1", "localhost", "::1", "api.kraken.com", "example.com"})


def credentials(allowed_hosts=LOCAL, **changes):
    fields = {"login": API_KEY, "password": PRIVATE_KEY, **changes}
    return credentials_from_connection(
        "kraken_alpha", ConnectionFields(**fields), allowed_hosts=allowed_hosts
    )


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, "https://api.kraken.com"),
        ({"host": ""}, "https://api.kraken.com"),
        ({"host": "api.kraken.com"}, "https://api.kraken.com"),
        ({"host": "https://API.kraken.com/"}, "https://api.kraken.com"),
        ({"host": "example.com", "port": 8443}, "https://example.com:8443"),
        ({"host": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080"),
        ({"host": "http://127.0.0.1", "port": 8080}, "http://127.0.0.1:8080"),
        ({"host": "127.0.0.1", "port": 8080, "schema": "http"}, "http://127.0.0.1:8080"),
        ({"host": "http://localhost:8080", "port": 8080}, "http://localhost:8080"),
        ({"host": "http://[::1]:8080"}, "http://[::1]:8080"),
    ],
)
def test_base_url(fields, base_url):
    assert credentials(**fields) == KrakenCredentials(API_KEY, PRIVATE_KEY, base_url, "starter")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": "evil.example"}, "host evil.example is not allowed"),
        ({"host": "https://api.kraken.com.evil.example"}, "is not allowed"),
        ({"host": "https://api.kraken.com@evil.example"}, "expected host to be"),
        ({"host": "https://evil.example/api.kraken.com"}, "expected host to be"),
        ({"host": "https://api.kraken.com/0/private"}, "expected host to be"),
        ({"host": "https://api.kraken.com?x=1"}, "expected host to be"),
        ({"host": "https://api.kraken.com#x"}, "expected host to be"),
        ({"host": "api.kraken.com."}, "is not allowed"),
        ({"host": "https://"}, "expected host to be"),
        ({"host": "https://api.kraken.com:99999"}, "expected host to be"),
        ({"host": "http://api.kraken.com"}, "expected https, was http"),
        ({"host": "http://example.com"}, "expected https, was http"),
        ({"host": "ftp://127.0.0.1"}, "expected https, was ftp"),
        ({"host": "http://127.0.0.1:1", "port": 2}, "names port 1, its port is 2"),
        ({"port": 8080}, "needs a host"),
        ({"login": None}, "login must be the API key"),
        ({"login": "two words"}, "login is not an API key"),
        ({"login": "line\nbreak"}, "login is not an API key"),
        ({"password": None}, "password must be the private key"),
        ({"password": " "}, "password must be the private key"),
        ({"password": "not-base64!"}, "not base64"),
        ({"password": PRIVATE_KEY[:-1]}, "not base64"),
        ({"extra": {"tier": "gold"}}, "tier one of starter, intermediate, pro, unlimited"),
        ({"extra": {"tier": None}}, "tier one of"),
        ({"extra": {"tier": ["pro"]}}, "tier one of"),
        ({"extra": "not json"}, "tier one of"),
        ({"extra": "[1]"}, "tier one of"),
        ({"extra": {"tier": "unlimited"}}, "unlimited is refused for Kraken's own host"),
    ],
)
def test_field_is_refused(fields, message):
    with pytest.raises(ConfigurationError, match="connection kraken_alpha: ") as raised:
        credentials(**fields)
    assert message in str(raised.value)
    assert_no_secret(raised.value)
    assert "not-base64!" not in str(raised.value)


def assert_no_secret(error: BaseException) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error.__context__)
    for secret in (PRIVATE_KEY, PRIVATE_KEY[:-1], quote(PRIVATE_KEY, safe="")):
        assert secret not in told


def test_port_of_a_loopback_host_is_no_part_of_the_allow_list():
    assert (
        credentials(frozenset({"127.0.0.1"}), host="http://127.0.0.1:9999").base_url
        == "http://127.0.0.1:9999"
    )


def test_loopback_is_not_allowed_by_default():
    with pytest.raises(ConfigurationError, match="KRAKEN_RECON_ALLOWED_HOSTS"):
        credentials(DEFAULT_ALLOWED_HOSTS, host="http://127.0.0.1:8080")


@pytest.mark.parametrize("extra", [{"tier": "pro"}, '{"tier": "pro", "base_url": "https://evil.example"}'])
def test_tier_is_all_that_is_read_from_extra(extra):
    found = credentials(extra=extra)
    assert (found.tier, found.base_url) == ("pro", "https://api.kraken.com")


def test_unlimited_tier_is_for_other_hosts():
    assert credentials(host="http://127.0.0.1:8080", extra={"tier": "unlimited"}).tier == "unlimited"


def test_nothing_shows_the_keys():
    fields = ConnectionFields(login=API_KEY, password=PRIVATE_KEY, extra={"tier": "pro"})
    shown = repr(credentials()) + repr(fields)
    assert PRIVATE_KEY not in shown
    assert API_KEY not in shown


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", {"api.kraken.com"}),
        (" , ", {"api.kraken.com"}),
        ("127.0.0.1, API.kraken.com", {"127.0.0.1", "api.kraken.com"}),
    ],
)
def test_allowed_hosts(text, hosts):
    assert allowed_hosts({"KRAKEN_RECON_ALLOWED_HOSTS": text}) == hosts


def test_without_a_setting_keys_go_to_kraken_alone():
    assert allowed_hosts({}) == {"api.kraken.com"}


def from_environment(text: str, conn_id: str = "kraken_alpha"):
    return credentials_from_environment(conn_id, {"AIRFLOW_CONN_KRAKEN_ALPHA": text}, allowed_hosts=LOCAL)


USER = f"{quote(API_KEY, safe='')}:{quote(PRIVATE_KEY, safe='')}"


@pytest.mark.parametrize(
    "text",
    [
        f"kraken://{USER}@http%3A%2F%2F127.0.0.1%3A8080/?tier=pro",
        f"kraken://{USER}@http%3A%2F%2F127.0.0.1:8080/?tier=pro",
        f"kraken://http://{USER}@127.0.0.1:8080/?tier=pro",
        f"kraken://{USER}@127.0.0.1:8080/http?tier=pro",
        f"kraken://{USER}@http%3A%2F%2F127.0.0.1%3A8080/?__extra__=%7B%22tier%22%3A+%22pro%22%7D",
        json.dumps(
            {
                "conn_type": "kraken",
                "login": API_KEY,
                "password": PRIVATE_KEY,
                "host": "http://127.0.0.1:8080",
                "extra": {"tier": "pro"},
            }
        ),
        json.dumps(
            {
                "conn_type": "kraken",
                "login": API_KEY,
                "password": PRIVATE_KEY,
                "host": "http://127.0.0.1",
                "port": "8080",
                "extra": '{"tier": "pro"}',
            }
        ),
    ],
)
def test_environment_variable(text):
    assert from_environment(text) == KrakenCredentials(API_KEY, PRIVATE_KEY, "http://127.0.0.1:8080", "pro")


@pytest.mark.parametrize(
    "text", [f"kraken://{USER}@", f"kraken://{USER}@/", f"kraken://{USER}@api.kraken.com"]
)
def test_short_uri_means_kraken(text):
    assert from_environment(text) == KrakenCredentials(
        API_KEY, PRIVATE_KEY, "https://api.kraken.com", "starter"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"conn_type": "kraken", "password": "' + PRIVATE_KEY,
        json.dumps({"conn_type": "kraken", "login": 1, "password": PRIVATE_KEY}),
        json.dumps({"conn_type": "kraken", "login": API_KEY, "password": PRIVATE_KEY, "port": PRIVATE_KEY}),
        json.dumps({"conn_type": "http", "login": API_KEY, "password": PRIVATE_KEY}),
        f"http://{USER}@api.kraken.com",
        PRIVATE_KEY,
        # A key that was not percent-encoded: its slash ends the authority and leaves the rest as a "port".
        f"kraken://{API_KEY}:{PRIVATE_KEY}@api.kraken.com",
        f"kraken://key:{PRIVATE_KEY}@api.kraken.com",
    ],
)
def test_unreadable_variable_is_refused_without_showing_it(text):
    with pytest.raises(ConfigurationError, match="connection kraken_alpha: ") as raised:
        from_environment(text)
    assert_no_secret(raised.value)


def test_missing_variable_is_named():
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_KRAKEN_BETA"):
        from_environment("", "kraken_beta")

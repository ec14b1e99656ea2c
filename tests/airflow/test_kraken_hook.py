"""From a connection of type `kraken` to credentials, and the connection form's Test button."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from airflow.sdk._shared.secrets_masker import _secrets_masker, redact
from fastapi.testclient import TestClient

from desks.forward_proxy import ForwardProxy
from kraken_airflow.hooks.kraken import KrakenHook
from kraken_airflow.hooks.unset_ports import without_unset_port
from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from desks.airflow import AirflowDesk

TRADING = [
    "query-funds",
    "query-ledger",
    "query-open-trades",
    "query-closed-trades",
    "modify-trades",
    "close-trades",
]
PRIVATE_KEY = base64.b64encode(b"a private key".ljust(64)).decode()


def define(monkeypatch: pytest.MonkeyPatch, **fields: object) -> KrakenHook:
    connection = {"conn_type": "kraken", "login": "an-api-key", "password": PRIVATE_KEY, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_DESK", json.dumps(connection))
    return KrakenHook("desk")


def test_an_empty_host_is_kraken(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = define(monkeypatch).credentials()
    assert (credentials.base_url, credentials.tier) == ("https://api.kraken.com", "starter")
    assert (credentials.api_key, credentials.private_key) == ("an-api-key", PRIVATE_KEY)


def test_a_foreign_host_never_gets_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = define(monkeypatch, host="https://api.kraken.com.evil.example")
    with pytest.raises(
        ConfigurationError, match=r"connection desk: host api\.kraken\.com\.evil\.example is not"
    ):
        hook.credentials()


def test_the_private_key_is_hidden_from_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, password=f" {PRIVATE_KEY}\n").credentials()
    assert redact(f"secret {PRIVATE_KEY}") == "secret ***"


def test_the_keys_of_many_accounts_are_hidden_by_one_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow makes one pattern of all secrets anew with each: a thousand keys took a minute."""
    keys = [base64.b64encode(number.to_bytes(64)).decode() for number in range(1_000)]
    for key in keys[:2]:
        define(monkeypatch, password=key).credentials()
    known = len(_secrets_masker().patterns)
    began = time.process_time()
    for key in keys:
        assert define(monkeypatch, password=key).credentials().private_key == key
    assert time.process_time() - began < 2
    assert len(_secrets_masker().patterns) == known
    assert all(redact(f"secret {key}") == "secret ***" for key in keys)


def test_a_key_of_another_shape_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    short = base64.b64encode(b"a key that is too short").decode()
    define(monkeypatch, password=short).credentials()
    assert redact(f"secret {short}") == "secret ***"


def test_a_missing_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="connection nowhere does not exist"):
        KrakenHook("nowhere").credentials()
    with pytest.raises(ConfigurationError, match="expected type kraken, was http"):
        define(monkeypatch, conn_type="http").credentials()


def pressed(desk: AirflowDesk, name: str) -> tuple[bool, str]:
    """Press Test, as the API server does."""
    hook = KrakenHook(f"kraken_{name}")
    ended, message = hook.test_connection()
    assert desk.secrets[name] not in message
    return ended, message


def test_the_test_button_says_what_the_account_holds(desk: AirflowDesk) -> None:
    desk.account("desk", USD="10", XXBT="1")
    works, message = pressed(desk, "desk")
    assert works
    assert "holds 2 assets" in message


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"permissions": ["query-funds", "query-ledger"]}, "add query-closed-trades, query-open-trades"),
        (
            {
                "permissions": [
                    "query-funds",
                    "query-ledger",
                    "query-open-trades",
                    "query-closed-trades",
                    "withdraw-funds",
                ]
            },
            "take away withdraw-funds",
        ),
        ({"valid_until": 1}, "check the key"),
        ({"ip_allowlist": ["203.0.113.7"]}, "its address list at Kraken"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_test_button_says_what_to_change(
    desk: AirflowDesk, change: dict[str, object], advice: str
) -> None:
    desk.account("desk", USD="10")
    desk.simulator.control.patch("accounts/desk", change)
    works, message = pressed(desk, "desk")
    assert not works
    assert advice in message


def test_the_test_button_asks_by_the_proxy_and_hides_its_password(
    desk: AirflowDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.account("desk", USD="10")
    connection = json.loads(os.environ["AIRFLOW_CONN_KRAKEN_DESK"])
    with ForwardProxy(login="desk:hidden@7") as proxy:
        way = {"proxy": proxy.url, "proxy_login": "desk", "proxy_password": "hidden@7"}
        monkeypatch.setenv(
            "AIRFLOW_CONN_KRAKEN_DESK", json.dumps(connection | {"extra": connection["extra"] | way})
        )
        works, _ = pressed(desk, "desk")
        assert works
        assert len(proxy.asked) == 2
    assert redact("by hidden@7 or hidden%407") == "by *** or ***"
    works, message = pressed(desk, "desk")
    assert not works
    assert "by way of the proxy 127.0.0.1" in message
    assert "hidden" not in message


def test_the_test_button_tells_a_wrong_key_from_a_wrong_address(
    desk: AirflowDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.account("desk", has_right_key=False)
    works, message = pressed(desk, "desk")
    assert not works
    assert "copy API key and private key here again" in message
    monkeypatch.setenv("KRAKEN_RECON_ALLOWED_HOSTS", "localhost")
    works, message = define(monkeypatch, host="http://localhost:1").test_connection()
    assert not works
    assert "check the base URL and the network" in message
    works, message = define(monkeypatch, host="https://elsewhere.example").test_connection()
    assert not works
    assert "KRAKEN_RECON_ALLOWED_HOSTS" in message


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")  # by Airflow's own API server
def test_the_form_s_button_reaches_the_hook(
    desk: AirflowDesk,
    monkeypatch: pytest.MonkeyPatch,
    api_app: FastAPI,
    token_of: Callable[[str | None], str],
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
    desk.account("desk", USD="10")
    body = {
        "connection_id": "new_desk",
        "conn_type": "kraken",
        "host": desk.simulator.base_url,
        "login": "key-of-desk",
        "password": desk.secrets["desk"],
        "extra": '{"tier": "unlimited"}',
    }
    headers = {"Authorization": f"Bearer {token_of('ADMIN')}"}
    reply = TestClient(api_app).post("/api/v2/connections/test", json=body, headers=headers)
    assert reply.json()["status"], reply.text
    assert "holds 1 asset;" in reply.json()["message"]


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")  # by Airflow's own API server
def test_the_form_s_button_says_what_is_wrong_and_no_secret(
    desk: AirflowDesk,
    monkeypatch: pytest.MonkeyPatch,
    api_app: FastAPI,
    token_of: Callable[[str | None], str],
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
    desk.account("desk", USD="10")
    form = {"connection_id": "new_desk", "conn_type": "kraken", "login": "key-of-desk", "extra": "{}"}
    client = TestClient(api_app, headers={"Authorization": f"Bearer {token_of('ADMIN')}"})
    for changes, told in (
        (
            {"password": PRIVATE_KEY, "host": desk.simulator.base_url},
            "copy API key and private key here again",
        ),
        ({"password": "not base64!", "host": desk.simulator.base_url}, "private key"),
        (
            {"password": desk.secrets["desk"], "host": "https://elsewhere.example"},
            "KRAKEN_RECON_ALLOWED_HOSTS",
        ),
    ):
        reply = client.post("/api/v2/connections/test", json={**form, **changes}).json()
        assert not reply["status"]
        assert told in reply["message"]
        assert changes["password"] not in reply["message"]


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")  # by Airflow's own API server
def test_the_list_s_button_tests_what_is_stored(
    desk: AirflowDesk,
    monkeypatch: pytest.MonkeyPatch,
    api_app: FastAPI,
    token_of: Callable[[str | None], str],
) -> None:
    """The list of connections posts the stored fields, a secret as stars and a missing port as 0."""
    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
    desk.account("desk", USD="10")
    client = TestClient(api_app, headers={"Authorization": f"Bearer {token_of('ADMIN')}"})
    stored = {
        "connection_id": "stored_desk",
        "conn_type": "kraken",
        "host": desk.simulator.base_url,
        "login": "key-of-desk",
        "password": desk.secrets["desk"],
    }
    assert client.post("/api/v2/connections", json=stored).status_code == 201
    listed = client.get("/api/v2/connections/stored_desk").json()
    posted = {name: value or "" for name, value in listed.items() if name not in {"team_name", "port"}}
    posted |= {"extra": "{}", "port": 0}
    try:
        reply = client.post("/api/v2/connections/test", json=posted)
        assert reply.json()["status"], reply.text
        assert "cannot trade, and cannot withdraw" in reply.json()["message"]
        desk.simulator.control.patch("accounts/desk", {"permissions": TRADING})
        told = client.post("/api/v2/connections/test", json=posted).json()["message"]
        assert "may place and cancel orders, and cannot withdraw" in told
        # Another destination still never gets the stored key.
        for changes in ({"host": "https://elsewhere.example"}, {"port": 1}):
            assert client.post("/api/v2/connections/test", json=posted | changes).status_code == 400
    finally:
        client.delete("/api/v2/connections/stored_desk")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[0]",
        b"{",
        b'{"conn_type": "kraken", "port": 5432}',
        b'{"conn_type": "kraken", "port": null}',
        b'{"conn_type": "kraken", "port": false}',
        b'{"conn_type": "http", "port": 0}',
        b'{"port": 0}',
        b"\xff",
    ],
)
def test_only_a_port_of_zero_of_a_connection_to_kraken_is_taken_out(body: bytes) -> None:
    assert without_unset_port(body) == body
    ours = b'{"conn_type": "kraken", "port": 0, "host": "x"}'
    assert json.loads(without_unset_port(ours)) == {"conn_type": "kraken", "host": "x"}


def test_the_form_names_its_fields_and_offers_the_tiers(
    api_app: FastAPI, token_of: Callable[[str | None], str]
) -> None:
    headers = {"Authorization": f"Bearer {token_of('ADMIN')}"}
    forms = TestClient(api_app).get("/ui/connections/hook_meta", headers=headers).json()
    (form,) = [form for form in forms if form["connection_type"] == "kraken"]
    tier = form["extra_fields"]["tier"]["schema"]
    assert tier["enum"] == ["starter", "intermediate", "pro", "unlimited"]
    assert tier["default"] == "starter"
    assert tier["type"] == "string"
    assert "how often Kraken may be asked" in form["extra_fields"]["tier"]["description"]
    assert form["hook_name"] == "Kraken"
    fields = form["standard_fields"]
    titles = {name: field["title"] for name, field in fields.items() if field and field.get("title")}
    assert titles == {"login": "API key", "password": "Private key", "host": "Base URL"}
    assert "https://api.kraken.com" in fields["host"]["placeholder"]
    assert {name for name, field in fields.items() if field and field.get("hidden")} == {
        "url_schema",
        "port",
    }

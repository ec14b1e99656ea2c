"""Accounts of one process share connections to the exchange, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from desks.forward_proxy import ForwardProxy
from desks.scripted_server import PRIVATE_KEY, Answer, Request, ScriptedServer, result
from kraken_recon.errors import ExchangeUnavailableError, KrakenReconError
from kraken_recon.kraken import http_connections, transport
from kraken_recon.kraken.client import KrakenClient
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.transport import KrakenTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

EVIL = Answer(status=200, body=b'{"error":[],"result":{"whose":"nobody"}}')
FORK = """
import json, os, sys
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.kraken.transport import KrakenTransport

url, key = sys.argv[1:]
def ask(account):
    sender = KrakenTransport(KrakenCredentials(account, key, url, "pro"), account="", timeout_seconds=(2, 2))
    assert json.loads(sender.send_private("Balance", {}, nonce=1))["result"] == {"whose": account}

ask("parent")
child = os.fork()
if not child:
    ask("child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
ask("parent")
"""


def whose(request: Request) -> Answer:
    """Answer with the key that asked."""
    return result({"whose": request.headers.get("api-key")})


@pytest.fixture
def kraken() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.fallback = whose
        yield server


def sender(kraken: ScriptedServer, account: str, proxy: str = "") -> KrakenTransport:
    made = KrakenCredentials(account, PRIVATE_KEY, kraken.url, "pro", proxy)
    return KrakenTransport(made, account=account, timeout_seconds=(2, 2))


def asked(kraken: ScriptedServer, account: str, proxy: str = "") -> object:
    """Ask as an account, whose key has its name, and return whose answer came."""
    body = sender(kraken, account, proxy).send_private("Balance", {}, nonce=1)
    return json.loads(body)["result"]["whose"]


def test_many_accounts_share_a_connection_per_thread(kraken: ScriptedServer) -> None:
    accounts = [f"account-{number}" for number in range(80)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda account: asked(kraken, account), accounts)) == accounts
    assert 1 <= kraken.connections <= 4


def test_no_cookie_and_no_header_of_one_account_reaches_another(kraken: ScriptedServer) -> None:
    kraken.answers.append(replace(EVIL, headers={"Set-Cookie": "session=canary; Path=/"}))
    asked(kraken, "first")
    asked(kraken, "second")
    sender(kraken, "third").send_public("Time", {})
    first, second, public = kraken.requests
    assert kraken.connections == 1
    assert "cookie" not in second.headers
    assert set(first.headers) == set(second.headers)
    assert second.headers["api-key"] == "second"
    assert not [name for name in public.headers if name.startswith("api-") or name == "cookie"]
    assert public.body == b""


@pytest.mark.parametrize(
    "answer",
    [
        replace(EVIL, status=502),
        replace(EVIL, status=302, headers={"Location": "/0/private/Balance"}),
        replace(EVIL, claimed_length=1000),
        replace(EVIL, drip_seconds=0.02),
        replace(EVIL, body=b"[" * 600),
        replace(EVIL, unasked=b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + EVIL.body),
    ],
    ids=["refused", "redirected", "cut", "dripped", "too large", "said more"],
)
def test_nobody_gets_what_is_left_of_anothers_answer(
    kraken: ScriptedServer, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "REPLY_BYTES_MAX", 500)
    kraken.answers.append(answer)
    impatient = sender(kraken, "first")
    impatient._timeout_seconds = (0.2, 0.2)  # noqa: SLF001 - no account has another
    with suppress(KrakenReconError):
        impatient.send_private("Balance", {}, nonce=1)
    time.sleep(0.05)
    assert asked(kraken, "second") == "second"
    assert [request.headers["api-key"] for request in kraken.requests] == ["first", "second"]


@pytest.mark.parametrize("is_closed_by", ["server", "age"])
def test_a_connection_that_is_dead_or_old_is_not_used(
    kraken: ScriptedServer, is_closed_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order on it would be in doubt, although it never left."""
    if is_closed_by == "server":
        kraken.answers.append(replace(EVIL, hangs_up=True))
    else:
        monkeypatch.setattr(http_connections, "IDLE_SECONDS_MAX", 0.05)
    asked(kraken, "first")
    time.sleep(0.1)
    sender(kraken, "first").send_private("AddOrder", {}, nonce=2)
    assert len(kraken.requests) == kraken.connections == 2


def test_what_was_sent_on_a_used_connection_is_not_sent_again(kraken: ScriptedServer) -> None:
    asked(kraken, "first")
    kraken.answers.append(Answer(is_lost=True))
    with pytest.raises(ExchangeUnavailableError):
        sender(kraken, "first").send_private("AddOrder", {}, nonce=2)
    assert [request.path for request in kraken.requests] == ["/0/private/Balance", "/0/private/AddOrder"]


def test_a_read_is_repeated_with_a_new_nonce(kraken: ScriptedServer) -> None:
    asked(kraken, "first")
    kraken.answers.extend([Answer(is_lost=True), Answer()])
    made = KrakenCredentials("first", PRIVATE_KEY, kraken.url, "pro")
    KrakenClient(made, account="first", slots=InProcessCallSlots(), sleep=lambda _: None).balances()
    _, lost, again = kraken.requests
    assert lost.nonce < again.nonce
    assert kraken.connections == 2


def test_each_login_at_a_proxy_has_connections_of_its_own(kraken: ScriptedServer) -> None:
    accounts = [("first", "first:canary"), ("second", "second:canary"), ("third", "")] * 3
    with ForwardProxy() as proxy:
        for account, login in accounts:
            way = proxy.url.replace("http://", f"http://{login}@") if login else ""
            assert asked(kraken, account, way) == account
        lines = set(proxy.lines)
    assert len(lines) == len({port for port, _ in lines}) == 2
    assert len({login for _, login in lines}) == 2
    assert "proxy-authorization" not in {name for request in kraken.requests for name in request.headers}


def test_a_forked_process_uses_no_connection_of_its_parent(
    kraken: ScriptedServer, project_environment: dict[str, str]
) -> None:
    subprocess.run([sys.executable, "-c", FORK, kraken.url, PRIVATE_KEY], env=project_environment, check=True)
    assert [request.headers["api-key"] for request in kraken.requests] == ["parent", "child", "parent"]
    assert kraken.connections == 2

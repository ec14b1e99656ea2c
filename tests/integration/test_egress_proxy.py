"""Calls to Kraken leave by the proxy that is set, and by no other; its login is told to nobody."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from desks.forward_proxy import ForwardProxy
from desks.logins import as_writer
from desks.orders import TRADING
from desks.scripted_server import API_KEY, PRIVATE_KEY, ScriptedServer
from kraken_recon.cli.main import main
from kraken_recon.errors import ConfigurationError, ExchangeUnavailableError
from kraken_recon.kraken import http_connections
from kraken_recon.kraken.credentials import KrakenCredentials, credentials_from_environment
from kraken_recon.kraken.transport import KrakenTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Simulator

HOSTS = frozenset({"api.kraken.com", "127.0.0.1"})
SECRET = "ZGVzay1zZWNyZXQ="


def credentials(host: str, extra: dict[str, object], **environ: str) -> KrakenCredentials:
    connection = {
        "conn_type": "kraken", "login": API_KEY, "password": PRIVATE_KEY, "host": host, "extra": extra
    }  # fmt: skip
    variables = {"AIRFLOW_CONN_DESK": json.dumps(connection), **environ}
    return credentials_from_environment("desk", variables, allowed_hosts=HOSTS)


def test_each_way_of_setting_it() -> None:
    url, other = "http://proxy.internal:3128", "https://other.internal"
    assert credentials("", {}).proxy == ""
    assert credentials("", {}, HTTPS_PROXY=url, ALL_PROXY=url).proxy == ""
    assert credentials("", {}, KRAKEN_RECON_EGRESS_PROXY=f" {url} ").proxy == url
    assert credentials("", {"proxy": other}, KRAKEN_RECON_EGRESS_PROXY=url).proxy == other
    assert credentials("", {"proxy": "none"}, KRAKEN_RECON_EGRESS_PROXY=url).proxy == ""
    for empty in ("", None):
        assert credentials("", {"proxy": empty}, KRAKEN_RECON_EGRESS_PROXY=url).proxy == url
    login = {"proxy_login": "de:sk", "proxy_password": "p@ss/word"}
    made = credentials("", login, KRAKEN_RECON_EGRESS_PROXY=url)
    assert made.proxy == "http://de%3Ask:p%40ss%2Fword@proxy.internal:3128"
    assert "ss" not in repr(made)


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy.internal:3128",
        "socks5://proxy.internal:1080",
        "http://user:canary@proxy.internal:3128",
        "http://canary@proxy.internal:3128",
        "http://proxy.internal:3128/canary",
        "http://proxy.internal:3128?canary",
        "http://proxy.internal:port",
        "http://proxy.internal:99999",
        "http://",
        "http://proxy internal",
        "http://[::1",
        "http://pröxy.internal:3128",
        "http://proxy.internal:3128\r\nX-Canary: 1",
    ],
)
def test_what_is_no_proxy_is_refused_and_not_quoted(proxy: str) -> None:
    for extra, environ in (({"proxy": proxy}, {}), ({}, {"KRAKEN_RECON_EGRESS_PROXY": proxy})):
        with pytest.raises(ConfigurationError, match=r"such as http://proxy.internal:3128") as refused:
            credentials("", extra, **environ)
        assert "canary" not in str(refused.value).lower()
    with pytest.raises(ConfigurationError, match="proxy_login"):
        credentials("", {"proxy": "http://proxy.internal", "proxy_password": "canary"})
    with pytest.raises(ConfigurationError, match="expected texts"):
        credentials("", {"proxy": ["http://proxy.internal"]})


def test_a_key_in_plain_text_is_given_to_no_proxy_elsewhere() -> None:
    with pytest.raises(ConfigurationError, match='"proxy": "none"'):
        credentials("http://127.0.0.1:8000", {"proxy": "http://proxy.internal:3128"})
    assert credentials("http://127.0.0.1:8000", {"proxy": "http://127.0.0.1:3128"}).proxy


def test_commands_and_orders_go_through_it(
    simulator: Simulator,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Reading, placing and public calls alike; what is wrong with the login is told without it."""
    account = {"name": "desk", "api_key": "key", "api_secret": SECRET, "tier": "unlimited"}
    account |= {"permissions": TRADING}
    simulator.control.post("accounts", {**account, "opening": {"ZUSD": "1000", "XXBT": "1"}})
    connection = {"conn_type": "kraken", "login": "key", "password": SECRET, "host": simulator.base_url}
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))
    monkeypatch.setenv("KRAKEN_RECON_ALLOWED_HOSTS", "127.0.0.1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    caplog.set_level(logging.DEBUG)

    def run(*arguments: str, login: str = "desk") -> int:
        extra = {"tier": "unlimited", "proxy_login": login, "proxy_password": "canary"}
        monkeypatch.setenv("AIRFLOW_CONN_DESK", json.dumps(connection | {"extra": extra}))
        return main(arguments)

    with ForwardProxy(login="desk:canary") as proxy:
        monkeypatch.setenv("KRAKEN_RECON_EGRESS_PROXY", proxy.url)
        assert run("account", "add", "desk", "--connection", "desk") == 0
        assert run("check-key", "desk") == 0
        assert run("sync", "--account", "desk") == 0
        order = ("--account", "desk", "--pair", "XBT/USD", "--side", "sell", "--volume", "0.1")
        assert run("order", *order, "--limit", "99999", "--validate") == 0
        endpoints = {target.rpartition("/")[2].partition("?")[0] for _, target in proxy.asked}
        assert {"BalanceEx", "Ledgers", "AddOrder", "AssetPairs"} <= endpoints
        assert all(target.startswith(simulator.base_url) for _, target in proxy.asked)
        capsys.readouterr()
        assert run("check-key", "desk", login="nobody") != 0
    told = capsys.readouterr().err
    assert "HTTP status 407" in told
    assert f"by way of the proxy {proxy.url.removeprefix('http://')}" in told
    assert "canary" not in told + caplog.text


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the address of a server that speaks TLS, and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "certificate.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both = tmp_path / "both.pem"
    both.write_bytes(private + pem.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}", pem
    server.shutdown()
    server.server_close()


def test_what_is_encrypted_goes_through_a_tunnel(
    encrypted: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy learns host and port, and no key: nothing but CONNECT is asked of it."""
    url, certificate = encrypted
    monkeypatch.setattr(http_connections, "CERTIFICATES", str(certificate))
    with ForwardProxy(login="desk:canary") as proxy:
        way = proxy.url.replace("http://", "http://desk:canary@")
        made = KrakenCredentials(API_KEY, PRIVATE_KEY, url, "pro", way)
        with closing(KrakenTransport(made, account="desk", timeout_seconds=(2, 2))) as sender:
            assert sender.send_private("Balance", {}, nonce=1) == b"{}"
        assert proxy.asked == [("CONNECT", url.removeprefix("https://"))]
        wrong = KrakenCredentials(API_KEY, PRIVATE_KEY, url, "pro", proxy.url)
        with (
            closing(KrakenTransport(wrong, account="desk", timeout_seconds=(2, 2))) as sender,
            pytest.raises(ExchangeUnavailableError, match=r"by way of the proxy .*ProxyError"),
        ):
            sender.send_private("Balance", {}, nonce=2)


def test_a_proxy_that_is_down_sends_nothing_past_it() -> None:
    with ForwardProxy() as gone:
        pass
    with ScriptedServer() as kraken:
        made = KrakenCredentials(API_KEY, PRIVATE_KEY, kraken.url, "pro", gone.url)
        with (
            closing(KrakenTransport(made, account="desk", timeout_seconds=(1, 1))) as sender,
            pytest.raises(ExchangeUnavailableError, match="by way of the proxy"),
        ):
            sender.send_private("Balance", {}, nonce=1)
        assert kraken.requests == []

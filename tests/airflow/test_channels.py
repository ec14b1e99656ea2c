"""Each channel on a server of its own: what really arrives."""

from __future__ import annotations

import email
import hashlib
import hmac
import json
import re
import socketserver
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import requests

from kraken_airflow import watch_rounds
from kraken_airflow.alerting.channels import send
from kraken_airflow.watch import main
from kraken_recon.alerts import blindness
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.rules import Notification
from kraken_recon.alerts.run_coverage import RunOfDag
from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.errors import ConfigurationError
from kraken_recon.settings import ALERT_CHANNELS
from local_stack.databases import postgres_connection
from local_stack.ports import free_port
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINK = "https://desk.example/kraken-recon/differences?account=desk&run=7"
RUNBOOK = "https://desk.example/r#x"
NOTE = Notification(
    7, UUID(int=7), "opened", "[opened] held repair: desk BTC", "desk: BTC <differs> & waits", (42,),
    datetime(2026, 3, 1, tzinfo=UTC), 1, {"account": "desk", "links": {"page": LINK, "runbook": RUNBOOK}},
)  # fmt: skip
SECRET = "shared secret"
LATE_RUN = RunOfDag("position_sync", "run", "scheduled", NOTE.created_at)


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class HttpHandler(BaseHTTPRequestHandler):
    """Answer every POST with the status that the path ends in, and keep it."""

    arrived: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.arrived.append((self.path, dict(self.headers), body))
        self.send_response(503 if self.path.endswith("503") else 200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class MailHandler(socketserver.StreamRequestHandler):
    """As much of SMTP as it takes to receive one message."""

    arrived: list[bytes]

    def handle(self) -> None:
        self.wfile.write(b"220 mail\r\n")
        while line := self.rfile.readline().strip():
            command = line.split()[0].upper()
            if command == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.arrived.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")


@pytest.fixture
def http() -> Iterator[tuple[int, list[tuple[str, dict[str, str], bytes]]]]:
    handler = type("Handler", (HttpHandler,), {"arrived": []})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as port:
        yield port, handler.arrived  # type: ignore[attr-defined]


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CHANNEL", json.dumps(fields))


def test_a_webhook_is_signed(monkeypatch: pytest.MonkeyPatch, http: tuple[int, list[Any]]) -> None:
    port, arrived = http
    connect(
        monkeypatch,
        conn_type="http",
        host=f"http://127.0.0.1:{port}",
        password=SECRET,
        extra={"path": "/alerts"},
    )
    send("channel", NOTE)
    path, headers, body = arrived[0]
    assert path == "/alerts"
    assert json.loads(body)["subject"] == NOTE.subject
    assert json.loads(body)["alert_ids"] == [42]
    assert json.loads(body)["details"] == NOTE.details
    assert headers["Idempotency-Key"] == str(NOTE.idempotency_key)
    at, given = (part.partition("=")[2] for part in headers["X-Kraken-Recon-Signature"].split(","))
    assert given == hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def test_a_webhook_that_refuses_is_an_error(
    monkeypatch: pytest.MonkeyPatch, http: tuple[int, list[Any]]
) -> None:
    connect(
        monkeypatch, conn_type="http", host="127.0.0.1", port=http[0], schema="http", extra={"path": "/503"}
    )
    with pytest.raises(requests.HTTPError, match="503"):
        send("channel", NOTE)


def test_slack_gets_its_text(monkeypatch: pytest.MonkeyPatch, http: tuple[int, list[Any]]) -> None:
    port, arrived = http
    connect(monkeypatch, conn_type="slackwebhook", host=f"http://127.0.0.1:{port}", password="T/B/token")
    send("channel", NOTE)
    path, _, body = arrived[0]
    assert path.endswith("T/B/token")
    message = json.loads(body)
    assert message["text"] == f"{NOTE.subject}\ndesk: BTC &lt;differs&gt; &amp; waits"
    header, text, links = message["blocks"]
    assert (header["text"]["type"], header["text"]["text"]) == ("plain_text", NOTE.subject)
    assert (text["text"]["type"], text["text"]["text"]) == ("plain_text", NOTE.body)
    assert links["text"]["text"] == f"<{LINK.replace('&', '&amp;')}|Page> · <{RUNBOOK}|Runbook>"


def test_slack_finds_no_markup_in_what_is_quoted(
    monkeypatch: pytest.MonkeyPatch, http: tuple[int, list[Any]]
) -> None:
    port, arrived = http
    connect(monkeypatch, conn_type="slackwebhook", host=f"http://127.0.0.1:{port}", password="T/B/token")
    link = "<https://evil.example|Approve> https://evil.example"
    hostile = f"<!channel> *bold* _it_ ~no~ `code` {link} @here {{{{ 7*7 }}}}"
    send("channel", replace(NOTE, subject=hostile, body=hostile + "x" * 5_000))
    message = json.loads(arrived[0][2])
    text = message["text"]
    assert not re.search(r"<|>|://|[*_~`@#](?!\u200b)", text)
    assert "{{ 7" in text
    quoted = [block["text"] for block in message["blocks"][:2]]
    assert {part["type"] for part in quoted} == {"plain_text"}
    assert [len(part["text"]) for part in quoted] == [len(hostile), 3_000]
    assert all(part["emoji"] is False for part in quoted)
    assert (message["unfurl_links"], message["unfurl_media"]) == (False, False)


@contextmanager
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    handler = type("Handler", (MailHandler,), {"arrived": []})
    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)) as port:
        extra = {"from_email": "recon@desk.example", "to_email": "ann@desk.example", "disable_ssl": True}
        connect(
            monkeypatch,
            conn_type="smtp",
            host="127.0.0.1",
            port=port,
            extra=extra | {"disable_tls": True, "timeout": 5, "retry_limit": 1},
        )
        yield handler.arrived  # type: ignore[attr-defined]


def test_a_mail_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    with mailbox(monkeypatch) as arrived:
        send("channel", NOTE)
    message = email.message_from_bytes(arrived[0])
    assert message["Subject"] == NOTE.subject
    assert message["To"] == "ann@desk.example"
    assert message["X-Idempotency-Key"] == str(NOTE.idempotency_key)
    text = message.get_payload(0).get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert "desk: BTC &lt;differs&gt; &amp; waits" in text
    assert f'<a href="{LINK.replace("&", "&amp;")}">Page</a>' in text


def test_a_mail_is_one_message_whatever_it_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "desk\r\nBcc: everybody@desk.example\r\n\r\n<script>alert(1)</script>"
    with mailbox(monkeypatch) as arrived:
        send("channel", replace(NOTE, subject=hostile, body=hostile))
    message = email.message_from_bytes(arrived[0])
    assert message["Bcc"] is None
    assert message["Subject"].startswith("desk Bcc:")
    assert b"<script>" not in message.get_payload(0).get_payload(decode=True)  # type: ignore[union-attr,operator]


@pytest.mark.parametrize(
    ("connection", "says"),
    [({"conn_type": "ftp"}, "smtp, slackwebhook or http"), ({"conn_type": "smtp"}, "to_email")],
)
def test_a_connection_that_is_no_channel_says_what_to_change(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, str], says: str
) -> None:
    connect(monkeypatch, **connection)
    with pytest.raises(ConfigurationError, match=says):
        send("channel", NOTE)


@pytest.mark.parametrize(("kind", "extra"), [("smtp", "smtp"), ("slackwebhook", "slack")])
def test_a_channel_without_its_provider_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, kind: str, extra: str
) -> None:
    # What Python keeps of a module that is not there; the parent's attribute would be taken else.
    for name in [name for name in sys.modules if name.startswith(f"airflow.providers.{extra}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, f"airflow.providers.{extra}", None)
    connect(monkeypatch, conn_type=kind, host="127.0.0.1", extra={"to_email": "desk@example.com"})
    with pytest.raises(ConfigurationError, match=rf"pip install 'kraken-recon\[{extra}\]'"):
        send("channel", NOTE)


def test_channels_are_named_in_one_variable() -> None:
    assert ALERT_CHANNELS.listed({ALERT_CHANNELS.name: " mail, chat,,mail "}) == ["mail", "chat"]
    assert ALERT_CHANNELS.listed({}) == []


def test_one_round_of_the_watch(
    monkeypatch: pytest.MonkeyPatch, http: tuple[int, list[Any]], trading_db: str, tmp_path: Path
) -> None:
    port, arrived = http
    connect(monkeypatch, conn_type="http", host=f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", postgres_connection(trading_db))
    monkeypatch.setenv(ALERT_CHANNELS.name, "missing,channel")
    with UnitOfWork(create_engine(trading_db)) as unit:
        AlertStore(unit).raise_run_alert(AlertKind.DEADLINE_MISSED, LATE_RUN, "late", {})
        unit.commit()
    assert main(["--once"]) == 0
    assert [json.loads(body)["reason"] for _, _, body in arrived] == ["opened"]
    with UnitOfWork(create_engine(trading_db)) as unit:
        left = AlertStore(unit).unsent()
    assert left == [{"channel": "missing", "waiting": 1, "last_error": "ConfigurationError"}]
    heartbeat = tmp_path / "heartbeat"
    assert main(["--check", "--heartbeat", str(heartbeat)]) == 1
    heartbeat.touch()
    assert main(["--check", "--heartbeat", str(heartbeat)]) == 0


def test_a_watch_without_its_database_says_so_and_lives(
    monkeypatch: pytest.MonkeyPatch, http: tuple[int, list[Any]], trading_db: str, tmp_path: Path
) -> None:
    port, arrived = http
    connect(monkeypatch, conn_type="http", host=f"http://127.0.0.1:{port}")
    monkeypatch.setattr(blindness, "BLIND_AFTER", timedelta(seconds=0.3))
    monkeypatch.setattr(watch_rounds, "ROUND_SECONDS", 0.05)
    nowhere = urlsplit(trading_db)._replace(netloc=f"anybody:canary@127.0.0.1:{free_port()}").geturl()
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", postgres_connection(nowhere))
    heartbeat, over = tmp_path / "heartbeat", threading.Event()
    watching = threading.Thread(target=watch_rounds.run_rounds, args=(["channel"], heartbeat, over))
    watching.start()

    def reasons() -> list[str]:
        return [json.loads(body)["reason"] for _, _, body in arrived]

    try:
        assert poll_until(lambda: reasons() == ["opened"], timeout_seconds=20)
        # To start it again would mend nothing, and make it forget whom it has told.
        assert main(["--check", "--heartbeat", str(heartbeat)]) == 0
        monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", postgres_connection(trading_db))
        assert poll_until(lambda: reasons() == ["opened", "recovered"], timeout_seconds=20)
    finally:
        over.set()
        watching.join()
    told = b"".join(body for _, _, body in arrived)
    assert b"StoreUnreachableError" in told
    assert b"canary" not in told

"""A real HTTP server on loopback that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Callable

API_KEY = "public-key-of-the-test"
PRIVATE_KEY = base64.b64encode(b"private key of the test, 64 bytes long or so").decode()


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True))

    @property
    def nonce(self) -> int:
        return int(self.headers.get("api-nonce") or self.form["nonce"])

    def is_signed(self) -> bool:
        """Check the signature over the bytes that arrived, by Kraken's published rule."""
        message = self.path.encode() + hashlib.sha256(str(self.nonce).encode() + self.body).digest()
        expected = hmac.new(base64.b64decode(PRIVATE_KEY), message, hashlib.sha512).digest()
        return (
            self.headers["api-key"] == API_KEY
            and self.headers["api-sign"] == base64.b64encode(expected).decode()
        )


@dataclass
class Answer:
    """What to send back; ``drip_seconds`` passes between any two bytes of the body.

    ``unasked`` follows the answer, after which the server ``hangs_up``, if it does; one that ``is_lost`` is
    never sent, and the connection closed.
    """

    status: int = 200
    body: bytes = b'{"error":[],"result":{}}'
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    claimed_length: int | None = None
    unasked: bytes = b""
    hangs_up: bool = False
    is_lost: bool = False


def result(value: Any) -> Answer:
    return Answer(body=json.dumps({"error": [], "result": value}).encode())


def error(*codes: str) -> Answer:
    return Answer(body=json.dumps({"error": codes}).encode())


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up: some tests are about that."""


class ScriptedServer:
    """Answers from a queue, then from ``fallback``."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: deque[Answer] = deque()
        self.fallback: Callable[[Request], Answer] = lambda _: Answer()
        self.stopping = threading.Event()
        self._server = _QuietServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def connections(self) -> int:
        """How many connections were ever opened."""
        return self._server.connections

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answers.popleft() if self.answers else self.fallback(request)


def _handler_of(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def respond(self) -> None:
            length = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(Request(self.command, self.path, headers, self.rfile.read(length)))
            server.stopping.wait(answer.delay_seconds)
            if answer.is_lost:
                self.close_connection = True
                return
            try:
                self.write(answer)
            except OSError:
                self.close_connection = True

        do_GET = do_POST = respond  # noqa: N815 - names that http.server looks for

        def write(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(answer.claimed_length or len(answer.body)))
            self.end_headers()
            if answer.drip_seconds:
                for byte in answer.body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(answer.drip_seconds)
            else:
                self.wfile.write(answer.body)
            self.wfile.write(answer.unasked)
            self.close_connection = answer.hangs_up or answer.claimed_length is not None

        def log_message(self, *_: object) -> None:
            """Say nothing: the test looks at ``requests``."""

    return Handler

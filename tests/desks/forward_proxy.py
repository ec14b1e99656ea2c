"""A small forward proxy on loopback: it forwards plain requests, opens tunnels, and remembers both."""

from __future__ import annotations

import base64
import http.client
import select
import socket
import threading
from contextlib import closing, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

HOP_BY_HOP = {"proxy-authorization", "proxy-connection", "connection", "keep-alive", "transfer-encoding"}


class ForwardProxy:
    """Forward whatever comes, if it brings the login.

    ``asked`` holds method and target of each request, ``lines`` on which connection, by its port, which login
    was told.
    """

    def __init__(self, *, login: str = "") -> None:
        self.asked: list[tuple[str, str]] = []
        self.lines: list[tuple[int, str | None]] = []
        self._open: list[socket.socket] = []
        self.wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        # Who keeps a line for its next request finds it gone, as with a proxy that has ended.
        for line in self._open:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def took(self, line: socket.socket) -> None:
        """Remember a line, to cut it at the end."""
        self._open.append(line)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: ForwardProxy, *arguments: Any) -> None:
        self._proxy = proxy
        proxy.took(arguments[0])
        super().__init__(*arguments)

    def _is_refused(self) -> bool:
        self._proxy.asked.append((self.command, self.path))
        self._proxy.lines.append((self.client_address[1], self.headers.get("Proxy-Authorization")))
        if self._proxy.wanted in (None, self.headers.get("Proxy-Authorization")):
            return False
        self.send_response(407)
        self.send_header("Proxy-Authenticate", "Basic")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def _forward(self) -> None:
        if self._is_refused():
            return
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with closing(http.client.HTTPConnection(parts.netloc, timeout=10)) as there:
            sent = {name: text for name, text in self.headers.items() if name.lower() not in HOP_BY_HOP}
            there.request(self.command, f"{parts.path}?{parts.query}".rstrip("?"), body, sent)
            reply = there.getresponse()
            content = reply.read()
        self.send_response(reply.status)
        for name, text in reply.getheaders():
            if name.lower() not in {*HOP_BY_HOP, "content-length"}:
                self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _forward  # noqa: N815 - the base class's names

    def do_CONNECT(self) -> None:
        self.close_connection = True
        if self._is_refused():
            return
        host, _, port = self.path.rpartition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=10) as there:
            self.send_response(200)
            self.end_headers()
            pair = {self.connection: there, there: self.connection}
            while readable := select.select(list(pair), [], [], 10)[0]:
                for one in readable:
                    if not (data := one.recv(65_536)):
                        return
                    pair[one].sendall(data)

    def log_message(self, *_: object) -> None:
        pass

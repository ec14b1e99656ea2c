"""A pooler between clients and a server: what a client leaves, it keeps, under the name that the client gave.

As PgBouncer does, it tells each client a process number of its own making. Unlike PgBouncer it gives no kept
connection to a second client: what is looked at here is what stays behind.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER_BYTES: Final = 5
KEY_DATA: Final = b"K"
TERMINATE: Final = b"X"
MADE_UP_NUMBER: Final = 424242


class Pooler:
    """Listens on a free port until it is closed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._kept: list[socket.socket] = []
        port = self._listening.getsockname()[1]
        user, _, _ = parts.netloc.rpartition("@")
        place = f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"
        self.url = f"{parts._replace(netloc=place).geturl()}?sslmode=disable&gssencmode=disable"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let go of every connection."""
        for kept in (self._listening, *self._kept):
            with suppress(OSError):
                kept.shutdown(socket.SHUT_RDWR)
            kept.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                self._kept += [client, server]
                for pump in (self._to_server, self._to_client):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            (length,) = struct.unpack("!i", client.recv(4, socket.MSG_WAITALL))
            server.sendall(struct.pack("!i", length) + client.recv(length - 4, socket.MSG_WAITALL))
            for kind, message in _messages(client):
                if kind == TERMINATE:
                    return  # the client leaves, the connection stays
                server.sendall(message)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            for kind, message in _messages(server):
                told = message
                if kind == KEY_DATA:
                    told = message[:HEADER_BYTES] + struct.pack("!i", MADE_UP_NUMBER) + message[9:]
                client.sendall(told)


def _messages(source: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    while len(header := source.recv(HEADER_BYTES, socket.MSG_WAITALL)) == HEADER_BYTES:
        (length,) = struct.unpack("!i", header[1:])
        body = source.recv(length - 4, socket.MSG_WAITALL) if length > HEADER_BYTES - 1 else b""
        yield header[:1], header + body

"""Let the Test button of Airflow's list of connections work where a connection of ours has no port.

The list posts the connection as it is stored, its port as a number: where none is stored that is 0 (Airflow
3.3.2). The API then sees another endpoint than the stored one, will not send the stored key there, and
answers *Bad Request*. No connection leads to port 0, so that the field is left out before the API reads it.
Connections of other types, which belong to others, pass as they are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.kraken.credentials import CONNECTION_TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]

TEST_PATH: Final = "/api/v2/connections/test"
BODY_BYTES_MAX: Final = 1_000_000


class UnsetPorts:
    """ASGI middleware around Airflow's API server: takes a port of 0 out of a connection that is tested."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on; only a test of a connection is looked into."""
        is_test = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(TEST_PATH)
        await self._app(scope, _Rewritten(receive) if is_test else receive, send)


class _Rewritten:
    """Receives a request's body in one message, without a port of 0."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_read = False

    async def __call__(self) -> Message:
        """Receive the next message."""
        message = await self._receive()
        if self._is_read or message["type"] != "http.request":
            return message
        body = bytearray(message.get("body", b""))
        while message.get("more_body") and len(body) <= BODY_BYTES_MAX:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            body += message.get("body", b"")
        self._is_read = True
        return {**message, "body": without_unset_port(bytes(body))}


def without_unset_port(body: bytes) -> bytes:
    """Take the port out of the JSON of a connection to Kraken where it is 0; all else is left as it is."""
    try:
        connection = json.loads(body)
    except ValueError:
        return body
    if not isinstance(connection, dict) or connection.get("conn_type") != CONNECTION_TYPE:
        return body
    if connection.get("port") != 0 or connection["port"] is False:
        return body
    return json.dumps({name: value for name, value in connection.items() if name != "port"}).encode()

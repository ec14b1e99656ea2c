"""Answers that are there in time: a server that sends a byte now and then would else hold a call for ever.

A timeout of a socket bounds one silence. What is bounded here is the whole of an answer: its head, every line
between its chunks, and its body.
"""

from __future__ import annotations

import http.client
import io
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket


class _Hurried(io.RawIOBase):
    """What a socket brings, until a moment."""

    def __init__(self, raw: io.RawIOBase, line: socket.socket, until: float) -> None:
        super().__init__()
        self._raw, self._line, self._until = raw, line, until

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - whatever can be written to
        """Read what is there; the silence may last no longer than the time that is left."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        patience = self._line.gettimeout()
        if patience is None or left < patience:
            self._line.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        """Let the socket go."""
        self._raw.close()
        super().close()


class HurriedResponse(http.client.HTTPResponse):
    """An answer that raises ``TimeoutError`` where it is not complete in ``seconds``; else in one silence."""

    def __init__(
        self,
        sock: socket.socket,
        *arguments: Any,  # noqa: ANN401 - as the base class has them
        seconds: float | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(sock, *arguments, **options)
        whole_seconds = seconds or sock.gettimeout()
        if whole_seconds is not None:
            raw: Any = self.fp.detach()
            self.fp = io.BufferedReader(_Hurried(raw, sock, time.monotonic() + whole_seconds))

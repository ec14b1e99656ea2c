"""What kept an answer from coming, in words for whoever has to do something about it."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final

from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINKS_MAX: Final = 10
_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (socket.gaierror, "its name leads nowhere, ask DNS"),
    (ConnectionRefusedError, "nothing listens there"),
    (TimeoutError, "no complete answer in time"),
    (ConnectionError, "the line was cut"),
)


def told(error: BaseException) -> str:
    """Name an error of the network and what is behind it; nothing of the request is in it."""
    name = type(error).__name__
    behind = list(_behind(error))
    for one in behind:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"{name}: its certificate is refused, {one_line(one.verify_message)}"
    for kind, words in _WORDS:
        if any(isinstance(one, kind) for one in behind):
            return f"{name}: {words}"
    if any(isinstance(one, ssl.SSLError) for one in behind):
        return f"{name}: no TLS can be spoken there"
    return name


def _behind(error: BaseException) -> Iterator[BaseException]:
    """Follow an error to what it comes from: a cause, a context, a reason or an argument."""
    waiting, seen = [error], 0
    while waiting and seen < _LINKS_MAX:
        one = waiting.pop(0)
        seen += 1
        yield one
        links = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        waiting += [link for link in links if isinstance(link, BaseException)]

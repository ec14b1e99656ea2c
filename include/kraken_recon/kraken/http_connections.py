"""The HTTP connections of this process, each kept for whichever account calls next.

A handshake for each account would cost more than all else that a quiet one needs.

Invariants:
1. Accounts share a connection and nothing more: no cookie is kept, and a request has the headers of its own
   caller alone. Those who reach the exchange by a proxy share only with whoever has the same login there.
2. Nobody gets a connection of which an answer is not read to its end.
3. Nothing is sent twice here. What was idle for long, or has said anything unasked, is closed and not used:
   on a connection that is dead a request would be lost, and an order in doubt.
4. A process that was forked has connections of its own.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection

from kraken_recon.kraken.hurried_answers import HurriedResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

# Servers, and what stands on the way, keep an idle connection for longer; uvicorn's 5 seconds are the least.
IDLE_SECONDS_MAX: Final = 4.0
CONNECTIONS_PER_HOST_MAX: Final = 32
CERTIFICATES: Final = DEFAULT_CA_BUNDLE_PATH
# Of each process, as a fork has those of its parent as well, and each way to the exchange: a proxy, or none.
_pools: Final[dict[tuple[int, str], urllib3.PoolManager]] = {}
_making = threading.Lock()


class _Plain(HTTPConnection):
    answered_at = 0.0
    response_class = HurriedResponse  # of a proxy that is asked for a way

    @property
    def is_connected(self) -> bool:
        return _is_fresh(self.answered_at) and super().is_connected

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # as urllib3 says of its own
        self.answered_at = time.monotonic()
        self.response_class = _in_time(self)
        return super().getresponse()


class _Encrypted(_Plain, HTTPSConnection):
    """The same over TLS."""


def _in_time(connection: HTTPConnection) -> Any:  # noqa: ANN401 - what makes an answer
    """Give an answer as long as it may take to connect and to be silent, together."""
    silence_seconds = connection.sock.gettimeout() or 0.0
    connect_seconds = connection.timeout if isinstance(connection.timeout, (int, float)) else 0.0
    return partial(HurriedResponse, seconds=silence_seconds + connect_seconds)


def _is_fresh(answered_at: float) -> bool:
    return time.monotonic() - answered_at < IDLE_SECONDS_MAX


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Encrypted


def send(  # noqa: PLR0913 - a request has as many parts
    method: str,
    url: str,
    *,
    body: str | None,
    headers: Mapping[str, str],
    proxy: str,
    timeout_seconds: tuple[float, float],
) -> urllib3.HTTPResponse:
    """Send a request once and return its answer, of which nothing but the head is read.

    Args:
        method: GET or POST.
        url: with its query.
        body: as it was signed.
        headers: all that are not HTTP's own.
        proxy: by which it goes, with its login; empty for none.
        timeout_seconds: to connect, and between any two parts of the answer.

    Raises:
        urllib3.exceptions.HTTPError: there is no answer; what was asked may have happened.
    """
    response = _pools_of(proxy).urlopen(
        method,
        url,
        body=body,
        headers=headers,
        timeout=urllib3.Timeout(*timeout_seconds),
        retries=False,
        redirect=False,
        preload_content=False,
    )
    assert isinstance(response, urllib3.HTTPResponse)  # noqa: S101 - for the type checker
    return response


def _pools_of(proxy: str) -> urllib3.PoolManager:
    way = os.getpid(), proxy
    if way not in _pools:
        with _making:
            if way not in _pools:
                _pools[way] = _make_pools(proxy)
    return _pools[way]


def _renew_lock() -> None:
    """Leave to the parent a lock that another of its threads may have held."""
    global _making  # noqa: PLW0603 - nothing else is to be had where a process was forked
    _making = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _make_pools(proxy: str) -> urllib3.PoolManager:
    """Make the pools of a way to the exchange, one for each host."""
    # Neither this nor urllib3 reads a variable of the environment, as libraries above them do.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATES)
    if not proxy:
        pools = urllib3.PoolManager(maxsize=CONNECTIONS_PER_HOST_MAX, ssl_context=context)
    else:
        parts = urlsplit(proxy)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        pools = urllib3.ProxyManager(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            proxy_headers=urllib3.make_headers(proxy_basic_auth=login),
            proxy_ssl_context=context,
            maxsize=CONNECTIONS_PER_HOST_MAX,
            ssl_context=context,
        )
    pools.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}
    return pools

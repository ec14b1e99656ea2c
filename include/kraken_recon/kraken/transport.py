"""krakenex with the network part made safe.

krakenex signs; everything that it leaves open (2.2.2) is closed here:
1. Every request has timeouts, and the whole reply a deadline and a size limit.
2. A redirect is never followed: its session would repeat a signed POST as a GET elsewhere. Not that session
   is used, but the connections of the process (``http_connections``), which no account has for itself.
3. The nonce comes from the caller; krakenex's own collides within a millisecond and goes back with the clock.
4. Parameters are text before they are signed, so that what is signed is what is sent.
5. Failures become the project's errors, without a trace of the request: its headers hold key and signature.
6. The environment is not trusted: a proxy, a ``.netrc`` or a CA bundle named by a variable could read or
   redirect signed requests. A proxy is only what the credentials name.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlencode

import krakenex
import urllib3

from kraken_recon.errors import ExchangeUnavailableError, PayloadInvalidError
from kraken_recon.kraken.call_spans import calling
from kraken_recon.kraken.egress_proxy import without_login
from kraken_recon.kraken.http_connections import send
from kraken_recon.kraken.line_failures import told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.kraken.credentials import KrakenCredentials

    Parameter: TypeAlias = str | int | Decimal | Sequence[str] | None

HTTP_OK: Final = 200
REPLY_BYTES_MAX: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 65_536
HEADERS: Final = {
    "User-Agent": f"krakenex/{krakenex.version.__version__} (+{krakenex.version.__url__})",
    "Accept-Encoding": "gzip, deflate",
}
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_TRANSPORT_ERRORS: Final = (urllib3.exceptions.HTTPError, OSError)


class _ReplyTooLargeError(Exception):
    """The body passed the size limit."""


def encode_parameters(parameters: Mapping[str, Parameter]) -> dict[str, str]:
    """Write parameters as Kraken wants them; None is left out, a list is joined by commas.

    Raises:
        TypeError: for a float, or any type whose text would be a guess.
        ValueError: for a Decimal that is not finite, or a list item that holds a comma.
    """
    return {name: _encode(name, value) for name, value in parameters.items() if value is not None}


def _encode(name: str, value: Parameter) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"expected {name} to be finite, was {value}")
        return format(value, "f")
    if isinstance(value, (list, tuple)):
        if not all(isinstance(item, str) and "," not in item for item in value):
            raise ValueError(f"expected {name} to be a list of texts without commas")
        return ",".join(value)
    raise TypeError(f"expected {name} to be text, a whole number or a Decimal, was {type(value).__name__}")


class KrakenTransport(krakenex.API):  # type: ignore[misc] # krakenex has no types
    """Send one request and return the body of a complete answer with status 200."""

    def __init__(
        self, credentials: KrakenCredentials, *, account: str, timeout_seconds: tuple[float, float]
    ) -> None:
        super().__init__(key=credentials.api_key, secret=credentials.private_key)
        self.uri = credentials.base_url
        self._proxy = credentials.proxy
        self._way = f" by way of the proxy {without_login(self._proxy)}" if self._proxy else ""
        self._account = account
        self._timeout_seconds = timeout_seconds
        self._next_nonce: int | None = None
        #: How often the request that is sent next was sent before.
        self.resent = 0

    def send_public(self, endpoint: str, parameters: Mapping[str, Parameter]) -> bytes:
        """Read a public endpoint.

        Raises:
            ExchangeUnavailableError: no answer, or one with a status other than 200.
            PayloadInvalidError: the answer is larger than the limit.
        """
        body: bytes = self.query_public(endpoint, encode_parameters(parameters))
        return body

    def send_private(self, endpoint: str, parameters: Mapping[str, Parameter], *, nonce: int) -> bytes:
        """Sign and send a private call; after an ``ExchangeUnavailableError`` a write may have happened.

        Raises:
            ExchangeUnavailableError: no answer, or one with a status other than 200.
            PayloadInvalidError: the answer is larger than the limit.
        """
        if "nonce" in parameters:
            raise ValueError("expected no nonce among the parameters")
        self._next_nonce = nonce
        body: bytes = self.query_private(endpoint, encode_parameters(parameters))
        return body

    def send_funding(self, endpoint: str, parameters: Mapping[str, Parameter], *, nonce: int) -> bytes:
        """Sign and send a request of the Funding (Beta) API: a GET whose nonce is a header.

        Raises:
            ExchangeUnavailableError: no answer, or one with a status other than 200.
            PayloadInvalidError: the answer is larger than the limit.
        """
        path = f"/funding/v1/{endpoint}?{urlencode(encode_parameters(parameters))}"
        message = path.encode() + hashlib.sha256(str(nonce).encode()).digest()
        signature = hmac.new(base64.b64decode(self.secret), message, hashlib.sha512).digest()
        headers = {
            "API-Key": self.key,
            "API-Nonce": str(nonce),
            "API-Sign": base64.b64encode(signature).decode(),
        }
        return self._query(path, {}, headers)

    def _nonce(self) -> int:
        """Hand the caller's nonce to krakenex, once."""
        nonce, self._next_nonce = self._next_nonce, None
        if nonce is None:
            raise RuntimeError("expected send_private to have set a nonce")
        return nonce

    def _query(
        self,
        urlpath: str,
        data: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        timeout: object = None,  # noqa: ARG002 - krakenex's signature; ours is always set
    ) -> bytes:
        is_private = "/private/" in urlpath
        endpoint = urlpath.partition("?")[0].rpartition("/")[2]
        method, url, fields = "POST" if is_private else "GET", self.uri + urlpath, urlencode(data)
        try:
            with (
                calling(method, url, resent=self.resent) as answered,
                send(
                    method,
                    f"{url}?{fields}" if fields and not is_private else url,
                    body=fields if is_private else None,
                    headers={**HEADERS, **(FORM if is_private else {}), **(headers or {})},
                    proxy=self._proxy,
                    timeout_seconds=self._timeout_seconds,
                ) as response,
            ):
                status = response.status
                answered(status)
                body = self._read(response) if status == HTTP_OK else b""
        except _TRANSPORT_ERRORS as error:
            failure = told(error)
        except _ReplyTooLargeError:
            failure = None
        else:
            if status == HTTP_OK:
                return body
            failure = f"HTTP status {status}"
        # Raised outside the except blocks: the caught errors hold the request with its key and signature.
        if failure is None:
            raise PayloadInvalidError(
                f"{endpoint}: expected a reply of at most {REPLY_BYTES_MAX} bytes, was larger",
                account=self._account,
                endpoint=endpoint,
            )
        raise ExchangeUnavailableError(
            f"{endpoint}: no usable answer from {self.uri}{self._way} ({failure})",
            account=self._account,
            endpoint=endpoint,
        )

    def _read(self, response: urllib3.HTTPResponse) -> bytes:
        """Read the body within a size; the time is bounded where it comes from."""
        body = bytearray()
        while chunk := response.read1(_CHUNK_BYTES, decode_content=True):
            body += chunk
            if len(body) > REPLY_BYTES_MAX:
                raise _ReplyTooLargeError
        return bytes(body)

"""The span of one HTTP request to Kraken, as OpenTelemetry's conventions for HTTP clients name its parts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kraken_recon.values.spans import asking, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORTS: Final = {"https": 443, "http": 80}
FIRST_BAD_STATUS: Final = 400


@contextmanager
def calling(method: str, url: str, *, resent: int) -> Iterator[Callable[[int], None]]:
    """Make a span for as long as the block lasts; call what it gives with the status of the answer.

    Args:
        method: GET or POST.
        url: what is asked for; a login or a query in it is left out of the span.
        resent: how often the same was asked before.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    attributes = {
        "http.request.method": method,
        "server.address": parts.hostname,
        "server.port": parts.port or PORTS.get(parts.scheme),
        "url.full": f"{parts.scheme}://{host}{parts.path}",
        # No path of Kraken's holds a value.
        "url.template": parts.path,
        "http.request.resend_count": resent or None,
    }
    with asking(f"{method} {parts.path}", attributes) as span:

        def answered(status: int) -> None:
            if span is not None:
                span.set_attribute("http.response.status_code", status)
                if status >= FIRST_BAD_STATUS:
                    fail(span, str(status))

        yield answered

"""Spans of what is asked of others, Kraken and databases, where somebody collects traces.

Nothing is set up here. Airflow makes a tracer provider where its ``[traces] otel_on`` says so; where nobody
has made one, a span costs a look at that.

Invariants:
1. A span holds names, numbers and codes: no text of a statement, no bound value, no header, no body.
2. What an error says may hold a value, so of an error a span has the code or the class alone.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.trace import Span, Tracer

SCOPE: Final = "kraken_recon"


def tracer() -> Tracer | None:
    """Give what makes spans; None where nobody collects them.

    OpenTelemetry is not imported: whoever has set it up has done that.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, (api.ProxyTracerProvider, api.NoOpTracerProvider)):
        return None
    made: Tracer = provider.get_tracer(SCOPE)
    return made


@contextmanager
def asking(name: str, attributes: Mapping[str, Any]) -> Iterator[Span | None]:
    """Make the span of one request to somebody else, a child of whatever span is open.

    It is None where nobody collects spans. An error that leaves the block makes it the span of a failure.
    """
    maker = tracer()
    if maker is None:
        yield None
        return
    api = sys.modules["opentelemetry.trace"]
    with maker.start_as_current_span(
        name,
        kind=api.SpanKind.CLIENT,
        attributes={key: value for key, value in attributes.items() if value is not None},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            fail(span, type(error).__name__)
            raise


def fail(span: Span, error_type: str) -> None:
    """Say of a span that what was asked failed, unless that is said already."""
    status = getattr(span, "status", None)
    api = sys.modules["opentelemetry.trace"]
    if status is None or status.status_code is not api.StatusCode.ERROR:
        span.set_attribute("error.type", error_type)
        span.set_status(api.Status(api.StatusCode.ERROR))

"""As much of an OpenTelemetry collector as receives metrics and traces by HTTP, and shows them."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Handler(BaseHTTPRequestHandler):
    received: ClassVar[list[tuple[str, ExportMetricsServiceRequest]]]
    traces: ClassVar[list[ExportTraceServiceRequest]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            self.traces.append(ExportTraceServiceRequest.FromString(body))
        else:
            self.received.append((self.path, ExportMetricsServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class OtlpCollector:
    """A collector on a port of its own; a context manager.

    Attributes:
        received: each request's path and content, oldest first, of metrics.
        traces: each request's content, oldest first, of spans.
        port: where it listens.
    """

    def __init__(self) -> None:
        self.received: list[tuple[str, ExportMetricsServiceRequest]] = []
        self.traces: list[ExportTraceServiceRequest] = []
        handler = type("Handler", (_Handler,), {"received": self.received, "traces": self.traces})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def settings(self) -> dict[str, str]:
        """The variables that lead a process's metrics here, as the how-to tells to set them."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
        }

    def spans(self, scope: str) -> list[Any]:
        """List the spans that were made under a name of an instrumentation."""
        return [
            span
            for request in list(self.traces)
            for resource in request.resource_spans
            for scoped in resource.scope_spans
            if scoped.scope.name == scope
            for span in scoped.spans
        ]

    def services(self) -> set[str]:
        """Name who sent."""
        return {
            attribute.value.string_value
            for _, request in list(self.received)
            for resource in request.resource_metrics
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }

    def points(self, prefix: str) -> Iterator[tuple[str, str, Any]]:
        """List the points of metrics whose name begins so: the rest of it with their tags, kind, point."""
        for metric in self._metrics():
            if metric.name.startswith(prefix):
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    tags = sorted(f"{tag.key}={tag.value.string_value}" for tag in point.attributes)
                    yield ",".join([metric.name.removeprefix(prefix), *tags]), kind, point

    def _metrics(self) -> Iterator[Any]:
        for _, request in list(self.received):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    yield from scope.metrics

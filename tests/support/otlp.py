"""A collector of OpenTelemetry: takes spans by OTLP over HTTP, as a real one does, and keeps them."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.serving import Handler, serving

_WAIT_S_MAX = 60.0


@dataclass(frozen=True)
class Span:
    """What came in, in plain values."""

    name: str
    process: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    failed: bool
    seconds: float
    attributes: dict[str, Any]


class Collector:
    """Keeps every span it was sent, and the raw bytes of each request."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.spans: list[Span] = []
        self._came = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._answering())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def wait_for(self, enough: Any) -> list[Span]:
        """The spans, once `enough` of them is true."""
        deadline = time.monotonic() + _WAIT_S_MAX
        with self._came:
            while not enough(self.spans):
                left = deadline - time.monotonic()
                assert left > 0, f"only {[span.name for span in self.spans]} came"
                self._came.wait(left)
            return list(self.spans)

    def named(self, name: str) -> list[Span]:
        """The spans of one name, of those that came."""
        with self._came:
            return [span for span in self.spans if span.name == name]

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._came:
            self.bodies.append(body)
            for resource in request.resource_spans:
                about = _values(resource.resource.attributes)
                for scope in resource.scope_spans:
                    self.spans += [_span(span, about) for span in scope.spans]
            self._came.notify_all()

    def _answering(self) -> type[Handler]:
        take = self._take

        class Answering(Handler, BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.taken()
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status = 200 if self.path == "/v1/traces" else 404
                if status == 200:
                    take(body)
                self.give(status, content_type="application/x-protobuf")

        return Answering

    @contextmanager
    def running(self) -> Iterator[Collector]:
        """While this is entered, it answers."""
        with serving(self._server):
            yield self


def _span(span: Any, about: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        process=about.get("bulkrate.process", ""),
        service=about.get("service.name", ""),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple(link.trace_id.hex() for link in span.links),
        failed=span.status.code == 2,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        attributes=_values(span.attributes),
    )


def _values(pairs: Any) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found

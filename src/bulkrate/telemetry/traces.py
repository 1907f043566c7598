"""OpenTelemetry traces, for those who ask for them.

Until `start` was given an endpoint, nothing of OpenTelemetry is imported and every call here returns at once.
The trace of a batch has an id made from the batch's own, so that all processes, restarts and upstreams write
into one without telling each other. Never a prompt, an answer or a key is in a span: a span names batches,
upstreams, models, outcomes and numbers.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from bulkrate import __version__
from bulkrate.core.outcome import Answered, Failed, Outcome
from bulkrate.core.stats import ANSWERED, REFUSED
from bulkrate.telemetry.log import log_event

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, SpanContext, Tracer

# How long the end of a process waits for its last spans to be taken.
_STOP_S_MAX = 3.0
# A commit of a thousand small batches links to so many of them.
_LINKS_MAX = 64

Attributes = Mapping[str, str | int | Sequence[str]]


class Attempt:
    """One attempt that is traced, from its making to `end`."""

    def __init__(self, span: Span, headers: Mapping[str, str]) -> None:
        self._span = span
        #: To be sent along (`traceparent`), so that the upstream's own spans join the trace.
        self.headers = headers

    def end(self, outcome: Outcome) -> None:
        """It came to this."""
        span = self._span
        if outcome.answer is not None:
            span.set_attribute("http.response.status_code", outcome.answer.status)
        if isinstance(outcome, Answered):
            span.set_attribute("bulkrate.outcome", ANSWERED)
            span.set_attribute("gen_ai.usage.input_tokens", outcome.usage.input_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", outcome.usage.output_tokens)
        else:
            code = outcome.failure.code if isinstance(outcome, Failed) else REFUSED
            span.set_attribute("bulkrate.outcome", code)
            _mark_failed(span, code)
        span.end()


@dataclass
class Asked:
    """What is learned of a request to the API while it is answered. One that is not `wanted` gets no span."""

    route: str | None = None
    status: int | None = None
    batch: str | None = None
    wanted: bool = True


class _Traces:
    """What exists only while traces are on."""

    def __init__(self, provider: TracerProvider, tracer: Tracer, ids: _Ids, share: float) -> None:
        self.provider = provider
        self.tracer = tracer
        self.ids = ids
        self.share = share

    def chosen(self) -> bool:
        """Whether this attempt or commit is one of those that get a span."""
        return random.random() < self.share  # noqa: S311


class _Ids:
    """Ids for the SDK: random, but for the one root span of each batch."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        self._random = RandomIdGenerator()
        self._next = threading.local()

    @contextmanager
    def of(self, batch_id: str) -> Iterator[None]:
        """While this is entered, a span without parent is the batch's root."""
        self._next.ids = _ids_of(batch_id)
        try:
            yield
        finally:
            self._next.ids = None

    def generate_trace_id(self) -> int:
        ids: tuple[int, int] | None = getattr(self._next, "ids", None)
        return ids[0] if ids else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        ids: tuple[int, int] | None = getattr(self._next, "ids", None)
        return ids[1] if ids else self._random.generate_span_id()

    def is_trace_id_random(self) -> bool:
        return False


_traces: _Traces | None = None


def start(process: str, endpoint: str | None, attempts_share: float) -> None:
    """Send spans of this process to `endpoint`, if there is one and the extra is installed."""
    global _traces  # noqa: PLW0603  # one per process, as OpenTelemetry has it
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log_event(logging.WARNING, "traces_off", reason="install bulkrate[otel] to send traces")
        return
    ids = _Ids()
    provider = TracerProvider(
        resource=_resource(process),
        id_generator=ids,  # type: ignore[arg-type]  # its base class is nothing but these methods
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    _traces = _Traces(provider, provider.get_tracer("bulkrate"), ids, attempts_share)


def stop() -> None:
    """Send what is left, for a moment at most, and trace nothing more."""
    global _traces  # noqa: PLW0603
    if _traces is None:
        return
    # The SDK would wait for half a minute for a collector that does not answer.
    last = threading.Thread(target=_traces.provider.shutdown, daemon=True)
    _traces = None
    last.start()
    last.join(_STOP_S_MAX)


def on() -> bool:
    """Whether traces are sent."""
    return _traces is not None


def attempt(batch_id: str, *, upstream: str, model: str) -> Attempt | None:
    """Begin the span of one attempt at a line; None unless it is one that is traced."""
    if _traces is None or not _traces.chosen():
        return None
    from opentelemetry.trace import SpanKind

    context = _context_of(batch_id)
    span = _traces.tracer.start_span(
        "attempt",
        context,
        SpanKind.CLIENT,
        {"bulkrate.batch.id": batch_id, "bulkrate.upstream": upstream, "gen_ai.request.model": model},
    )
    return Attempt(span, _headers_for(span))


def step(name: str, batch_id: str) -> AbstractContextManager[None]:
    """A span around what is done for one batch: `admit`, `finish`."""
    if _traces is None:
        return contextlib.nullcontext()
    return _spanned(_traces, name, _context_of(batch_id), {"bulkrate.batch.id": batch_id}, ())


def commit(batch_ids: Sequence[str], *, lines: int) -> AbstractContextManager[None]:
    """A span around a commit, linked to the traces of its batches; a share of commits gets one."""
    if _traces is None or not _traces.chosen():
        return contextlib.nullcontext()
    from opentelemetry.trace import Link

    named = list(batch_ids[:_LINKS_MAX])
    told: Attributes = {"bulkrate.lines": lines, "bulkrate.batch.ids": named}
    return _spanned(_traces, "commit", None, told, [Link(_root_of(batch_id)) for batch_id in named])


def ended(batch_id: str, *, status: str, created_at: int, now: float, lines: int) -> None:
    """A batch has ended: write the span that all others of its trace stand under."""
    if _traces is None:
        return
    from opentelemetry.context import Context

    told: Attributes = {
        "bulkrate.batch.id": batch_id,
        "bulkrate.batch.status": status,
        "bulkrate.lines": lines,
    }
    with _traces.ids.of(batch_id):
        span = _traces.tracer.start_span(
            "batch", Context(), attributes=told, start_time=_nanoseconds(created_at)
        )
    if status == "failed":
        _mark_failed(span, status)
    span.end(_nanoseconds(now))


@contextmanager
def request(method: str, headers: Mapping[str, str], asked: Asked) -> Iterator[None]:
    """A span around a request to the API, of which `asked` is filled in meanwhile.

    It joins the trace of the caller's `traceparent`.
    """
    if _traces is None:
        yield
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    caller = TraceContextTextMapPropagator().extract(headers)
    span = _traces.tracer.start_span(method, caller, SpanKind.SERVER, {"http.request.method": method})
    try:
        yield
    finally:
        if asked.wanted:  # a span that does not end is never sent
            _tell(span, method, asked)
            span.end()


def _tell(span: Span, method: str, asked: Asked) -> None:
    """What was learned of a request. The path alone is not told: it may hold anything."""
    if asked.route is not None:
        span.update_name(f"{method} {asked.route}")
        span.set_attribute("http.route", asked.route)
    if asked.batch is not None:
        span.set_attribute("bulkrate.batch.id", asked.batch)
        span.add_link(_root_of(asked.batch))
    if asked.status is not None:
        span.set_attribute("http.response.status_code", asked.status)
    if asked.status is None or asked.status >= 500:
        _mark_failed(span, "no answer" if asked.status is None else str(asked.status))


@contextmanager
def _spanned(
    traces: _Traces, name: str, context: Context | None, told: Attributes, links: Sequence[Link]
) -> Iterator[None]:
    span = traces.tracer.start_span(name, context, attributes=told, links=links)
    try:
        yield
    except BaseException as error:
        _mark_failed(span, type(error).__name__)  # its kind alone: its words may quote a line
        raise
    finally:
        span.end()


def _mark_failed(span: Span, why: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", why)
    span.set_status(Status(StatusCode.ERROR))


def _headers_for(span: Span) -> dict[str, str]:
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, set_span_in_context(span))
    return headers


def _ids_of(batch_id: str) -> tuple[int, int]:
    """The trace of a batch, and its root span: the same wherever and whenever it is asked."""
    digest = blake2b(batch_id.encode(), digest_size=24).digest()
    return int.from_bytes(digest[:16]), int.from_bytes(digest[16:])


def _root_of(batch_id: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    trace_id, span_id = _ids_of(batch_id)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _context_of(batch_id: str) -> Context:
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    return set_span_in_context(NonRecordingSpan(_root_of(batch_id)))


def _resource(process: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    ours = Resource({"service.name": "bulkrate", "service.version": __version__})
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say counts before our own.
    theirs = Resource.create({"bulkrate.process": process})
    named = {
        key: value for key, value in theirs.attributes.items() if not str(value).startswith("unknown_service")
    }
    return ours.merge(Resource(named))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)

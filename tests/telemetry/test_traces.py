"""Traces as a collector sees them, and nothing at all without one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bulkrate.core.outcome import Answer, Answered, Failed, Failure, Refused
from bulkrate.providers.usage import Usage
from bulkrate.telemetry import traces
from tests.support.otlp import Collector


@pytest.fixture
def collector():
    with Collector().running() as collector:
        yield collector


@pytest.fixture
def traced(collector):
    """Traces of this process, each attempt among them."""
    traces.start("sender-0", f"{collector.url}/v1/traces", 1.0)
    try:
        yield collector
    finally:
        traces.stop()


def test_without_an_endpoint_nothing_is_imported_and_nothing_happens():
    script = """
import sys
from bulkrate.telemetry import traces
traces.start("server", None, 1.0)
assert traces.attempt("batch_1", upstream="u", model="m") is None
with traces.step("admit", "batch_1"), traces.commit(["batch_1"], lines=1):
    pass
with traces.request("GET", {}, traces.Asked()):
    pass
traces.ended("batch_1", status="completed", created_at=0, now=1.0, lines=1)
traces.stop()
assert not traces.on()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_the_extra_it_is_said_once_and_the_server_goes_on():
    script = """
import sys
sys.modules["opentelemetry.sdk.trace"] = None
from bulkrate.telemetry import log_to_stderr, traces
log_to_stderr("server")
traces.start("server", "http://127.0.0.1:9/v1/traces", 1.0)
assert not traces.on()
"""
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "traces_off" in ran.stderr
    assert "bulkrate[otel]" in ran.stderr


def test_all_that_is_done_for_a_batch_is_one_trace_under_one_root(traced):
    with traces.step("admit", "batch_1"):
        pass
    attempt = traces.attempt("batch_1", upstream="gpu-1", model="qwen")
    assert attempt is not None
    attempt.end(Answered(Answer(200, b"my secret answer"), Usage(10, 0, 5, 0, 15)))
    lost = traces.attempt("batch_1", upstream="gpu-1", model="qwen")
    assert lost is not None
    lost.end(Failed(Failure.LOST, "the connection was lost"))
    traces.ended("batch_1", status="completed", created_at=1_000, now=1_060.5, lines=2)
    traces.stop()

    spans = traced.wait_for(lambda spans: len(spans) == 4)
    (root,) = [span for span in spans if span.name == "batch"]
    assert root.parent_id == ""
    assert root.seconds == pytest.approx(60.5)
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert {span.parent_id for span in spans if span is not root} == {root.span_id}
    answered, failed = [span for span in spans if span.name == "attempt"]
    assert answered.attributes == {
        "bulkrate.batch.id": "batch_1",
        "bulkrate.upstream": "gpu-1",
        "gen_ai.request.model": "qwen",
        "bulkrate.outcome": "answered",
        "http.response.status_code": 200,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
    }
    assert (answered.failed, failed.failed) == (False, True)
    assert failed.attributes["error.type"] == "connection_lost"
    assert b"secret" not in b"".join(traced.bodies)
    assert {(span.service, span.process) for span in spans} == {("bulkrate", "sender-0")}


def test_an_attempt_tells_the_upstream_which_span_it_belongs_to(traced):
    attempt = traces.attempt("batch_1", upstream="gpu-1", model="qwen")
    assert attempt is not None
    attempt.end(Refused(Answer(400, b"")))
    traces.stop()
    (span,) = traced.wait_for(len)
    assert attempt.headers == {"traceparent": f"00-{span.trace_id}-{span.span_id}-01"}


def test_two_batches_are_two_traces_and_a_commit_links_to_both(traced):
    traces.ended("batch_1", status="completed", created_at=0, now=1.0, lines=1)
    traces.ended("batch_2", status="failed", created_at=0, now=1.0, lines=1)
    with traces.commit(["batch_1", "batch_2"], lines=7):
        pass
    traces.stop()
    spans = {span.name: span for span in traced.wait_for(lambda spans: len(spans) == 3)}
    roots = {span.trace_id for span in traced.spans if span.name == "batch"}
    assert len(roots) == 2
    assert set(spans["commit"].links) == roots
    assert spans["commit"].attributes == {"bulkrate.lines": 7, "bulkrate.batch.ids": ["batch_1", "batch_2"]}


def test_what_an_error_says_is_in_no_span(traced):
    with pytest.raises(ValueError, match="secret"), traces.step("admit", "batch_1"):
        raise ValueError("my secret prompt")
    traces.stop()
    (span,) = traced.wait_for(len)
    assert span.failed
    assert span.attributes["error.type"] == "ValueError"
    assert b"secret" not in b"".join(traced.bodies)


def test_only_a_share_of_attempts_is_traced(collector):
    traces.start("sender-0", f"{collector.url}/v1/traces", 0.0)
    try:
        assert traces.attempt("batch_1", upstream="gpu-1", model="qwen") is None
    finally:
        traces.stop()


def test_a_request_joins_the_callers_trace_and_one_that_is_not_wanted_is_not_sent(traced):
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    asked = traces.Asked()
    with traces.request("GET", {"traceparent": caller}, asked):
        asked.route, asked.status, asked.batch = "/v1/batches/{batch_id}", 200, "batch_1"
    unwanted = traces.Asked(wanted=False)
    with traces.request("GET", {}, unwanted):
        unwanted.route, unwanted.status = "/health", 200
    traces.ended("batch_1", status="completed", created_at=0, now=1.0, lines=1)
    traces.stop()
    spans = traced.wait_for(lambda spans: len(spans) == 2)
    request, root = spans
    assert request.name == "GET /v1/batches/{batch_id}"
    assert request.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert request.parent_id == "b7ad6b7169203331"
    assert request.links == (root.trace_id,)

"""Traces of a real server, as a collector gets them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.http import Http
from tests.support.otlp import Collector, Span
from tests.support.processes import Server, chat_line, jsonl, running, submit, wait_until_ended
from tests.support.serving import Handler, serving

pytestmark = pytest.mark.server

PROMPT = "xyzzy-what-a-person-asked"
LINES = 5
ASKER = "b7ad6b7169203331"


class Upstream:
    """Answers every line, and keeps the `traceparent` that came with it."""

    def __init__(self) -> None:
        self.heard: list[str | None] = []
        heard = self.heard

        class Answering(Handler, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.give(404, b"{}")

            def do_POST(self) -> None:
                self.taken()
                heard.append(self.headers.get("traceparent"))
                self.give(200, b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}')

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @contextmanager
    def running(self) -> Iterator[Upstream]:
        """While this is entered, it answers."""
        with serving(self._server):
            yield self


def test_a_batch_is_one_trace_from_its_reading_to_its_end_through_all_processes(data: Path):
    with Collector().running() as collector, Upstream().running() as upstream:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "BULKRATE_TRACES__ATTEMPTS_SHARE": "1",
        }
        with running(Server(data, upstream.url, env=env)) as server:
            content = jsonl(*(chat_line(f"{PROMPT}-{n}", PROMPT) for n in range(LINES)))
            batch = wait_until_ended(server.client, submit(server.client, content).id)
            http = Http(server.port)
            http.get(f"/v1/batches/{batch.id}", traceparent=f"00-0af7651916cd43dd8448eb211c80319c-{ASKER}-01")
            http.get("/health")
            wanted = {"batch", "admit", "finish", "commit"}

            def all_came(spans: list[Span]) -> bool:
                attempts = sum(span.name == "attempt" for span in spans)
                asked = any(span.parent_id == ASKER for span in spans)
                return wanted <= {span.name for span in spans} and attempts == LINES and asked

            spans = collector.wait_for(all_came)
            assert server.stop() == 0

    (root,) = [span for span in spans if span.name == "batch"]
    assert root.attributes["bulkrate.batch.id"] == batch.id
    assert root.attributes["bulkrate.batch.status"] == "completed"
    mine = [span for span in spans if span.trace_id == root.trace_id and span is not root]
    assert {span.name for span in mine} == {"admit", "finish", "attempt"}
    assert {span.parent_id for span in mine} == {root.span_id}
    assert len({span.process for span in mine}) == 2  # the clerk and a sender
    assert all(root.trace_id in span.links for span in spans if span.name == "commit")
    (asked,) = [span for span in spans if span.parent_id == ASKER]
    assert (asked.name, asked.links) == ("GET /v1/batches/{batch_id}", (root.trace_id,))
    assert asked.attributes["http.response.status_code"] == 200
    assert not [span for span in spans if "health" in span.name]
    assert b"xyzzy" not in b"".join(collector.bodies)
    attempts = {span.span_id for span in mine if span.name == "attempt"}
    assert set(upstream.heard) == {f"00-{root.trace_id}-{span}-01" for span in attempts}

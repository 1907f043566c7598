"""Whatever happens to an attempt, an outcome comes of it that says what to do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bulkrate.config import Upstream
from bulkrate.core.health import Health
from bulkrate.core.outcome import Failed, Failure, Outcome, Refused
from bulkrate.core.retry import Retry
from bulkrate.dispatch.attempt import Attempts
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.client import Client
from bulkrate.errors import BlobError
from tests.support.serving import Handler, serving


class Readable:
    """A load of lines."""

    batch_id = "batch_1"
    model = "m"
    endpoint = "/v1/chat/completions"
    more = False

    def take(self) -> Work | None:
        return None

    def body(self, work: Work) -> bytes:
        return b"{}"

    def settle(self, work: Work, outcome: Outcome) -> None: ...

    def emptied(self) -> None: ...


class Broken(Readable):
    """A load whose lines cannot be read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def body(self, work: Work) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "limits.answer_bytes_max"),
        (BlobError("the input is gone"), "the input is gone"),
        (ZeroDivisionError("a secret of the line"), "(ZeroDivisionError)"),
    ],
)
def test_a_line_that_trips_us_fails_and_the_reason_says_what_can_be_done(error, told):
    async def run() -> Outcome:
        upstream = Upstream(url="http://127.0.0.1:1/v1")
        client = Client(upstream, answer_bytes_max=1)
        attempts = Attempts("u", upstream, client, Retry(), name_for=lambda model: model, health=Health())
        try:
            return await attempts.make(Broken(error), Work(1))
        finally:
            await client.close()

    outcome = asyncio.run(run())
    assert isinstance(outcome, Failed)
    assert outcome.failure is Failure.ERROR
    assert told in outcome.detail
    assert "secret" not in outcome.detail


def attempted(
    line: tuple[int, bytes],
    models: tuple[int, bytes],
    *,
    health: Health | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Outcome:
    """What comes of a line at a server that answers so to lines, and so when it is asked for its models,
    after what happens `meanwhile`.
    """

    class Answers(Handler, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            meanwhile()
            self.give(*models)

        def do_POST(self) -> None:
            self.taken()
            self.give(*line)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)

    async def run() -> Outcome:
        upstream = Upstream(url=f"http://127.0.0.1:{server.server_port}/v1")
        client = Client(upstream, answer_bytes_max=1 << 20)
        known = health if health is not None else Health()
        attempts = Attempts("u", upstream, client, Retry(), name_for=lambda model: model, health=known)
        try:
            return await attempts.make(Readable(), Work(1))
        finally:
            await client.close()

    with serving(server):
        return asyncio.run(run())


NOWHERE = (404, b'{"detail":"Not Found"}')
LIST = (200, b'{"object":"list","data":[{"id":"m"}]}')


@pytest.mark.parametrize("line", [NOWHERE, (404, b"<html>Not Found</html>"), (405, b"")])
@pytest.mark.parametrize("models", [NOWHERE, (200, b"<html>Welcome</html>")])
def test_a_server_without_the_api_is_out_and_the_line_waits(line, models):
    outcome = attempted(line, models)
    assert isinstance(outcome, Failed)
    assert outcome.failure is Failure.UNREACHABLE
    assert re.search(
        r"127\.0\.0\.1:\d+/v1/chat/completions answers 40[45].* URL may be wrong", outcome.detail
    )


@pytest.mark.parametrize(
    ("line", "models"),
    [(NOWHERE, LIST), ((404, b'{"error":{"message":"no such model: m"}}'), NOWHERE), ((400, b"{}"), NOWHERE)],
    ids=["an-api-without-that-endpoint", "no-such-model", "a-bad-line"],
)
def test_an_api_that_knows_no_such_endpoint_or_model_refuses_the_line(line, models):
    assert isinstance(attempted(line, models), Refused)


def test_a_server_that_answered_others_is_believed():
    health = Health()
    health.succeeded()
    assert isinstance(attempted(NOWHERE, NOWHERE, health=health), Refused)


def test_a_server_that_answers_others_just_then_is_believed():
    """Lines for an unknown model, sent beside the first good ones, paused their upstream once more."""
    health = Health()
    assert isinstance(attempted(NOWHERE, NOWHERE, health=health, meanwhile=health.succeeded), Refused)

"""Whatever happens to an attempt, an outcome comes of it that says what to do."""

from __future__ import annotations

import asyncio

import pytest

from bulkrate.config import Upstream
from bulkrate.core.outcome import Failed, Failure, Outcome
from bulkrate.core.retry import Retry
from bulkrate.dispatch.attempt import Attempts
from bulkrate.dispatch.base import Work
from bulkrate.dispatch.client import Client
from bulkrate.errors import BlobError


class Broken:
    """A load whose lines cannot be read."""

    batch_id = "batch_1"
    model = "m"
    endpoint = "/v1/chat/completions"
    more = False

    def __init__(self, error: Exception) -> None:
        self._error = error

    def take(self) -> Work | None:
        return None

    def body(self, work: Work) -> bytes:
        raise self._error

    def settle(self, work: Work, outcome: Outcome) -> None: ...

    def emptied(self) -> None: ...


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
        attempts = Attempts(
            "u", upstream, client, Retry(), name_for=lambda model: model, answers_others=lambda: False
        )
        try:
            return await attempts.make(Broken(error), Work(1))
        finally:
            await client.close()

    outcome = asyncio.run(run())
    assert isinstance(outcome, Failed)
    assert outcome.failure is Failure.ERROR
    assert told in outcome.detail
    assert "secret" not in outcome.detail

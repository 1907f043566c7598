"""Anthropic's own SDK finds the double to be Message Batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import anthropic as sdk
import pytest

from tests.testing.conftest import Running

Clients = Callable[..., sdk.Anthropic]


@pytest.fixture
def client() -> Iterator[Clients]:
    """Makes clients of a double, which are closed with the test."""
    with ExitStack() as made:

        def connected(running: Running, key: str = "test-key") -> sdk.Anthropic:
            return made.enter_context(sdk.Anthropic(api_key=key, base_url=running.url, max_retries=0))

        yield connected


def requests(count: int) -> list[dict]:
    return [
        {
            "custom_id": f"line-{number}",
            "params": {
                "model": "claude-haiku-4-5",
                "max_tokens": 64,
                "messages": [{"role": "user", "content": f"question {number}"}],
            },
        }
        for number in range(count)
    ]


def test_a_batch_is_created_listed_and_answered(anthropic: Running, client: Clients) -> None:
    batches = client(anthropic).messages.batches
    made = batches.create(requests=requests(3))
    assert made.type == "message_batch"
    assert [batch.id for batch in batches.list()] == [made.id]
    ended = batches.retrieve(made.id)
    assert ended.processing_status == "ended"
    assert ended.request_counts.succeeded == 3
    results = {one.custom_id: one.result for one in batches.results(made.id)}
    assert set(results) == {"line-0", "line-1", "line-2"}
    assert results["line-1"].message.content[0].text.endswith("question 1")
    assert results["line-1"].message.stop_reason == "end_turn"
    assert results["line-1"].message.usage.service_tier == "batch"


def test_pages_follow_each_other(anthropic: Running, client: Clients) -> None:
    batches = client(anthropic).messages.batches
    made = [batches.create(requests=requests(1)).id for _ in range(5)]
    assert [batch.id for batch in batches.list(limit=2)] == made[::-1]


def test_a_running_batch_is_cancelled_and_keeps_what_had_run(anthropic: Running, client: Clients) -> None:
    anthropic.tell("faults", slow_s=1000)
    batches = client(anthropic).messages.batches
    made = batches.create(requests=requests(4))
    assert batches.retrieve(made.id).processing_status == "in_progress"
    anthropic.tell("clock", advance_s=500)
    assert batches.cancel(made.id).processing_status == "canceling"
    ended = batches.retrieve(made.id)
    assert (ended.request_counts.succeeded, ended.request_counts.canceled) == (2, 2)
    kinds = sorted(one.result.type for one in batches.results(made.id))
    assert kinds == ["canceled", "canceled", "succeeded", "succeeded"]
    assert batches.delete(made.id).type == "message_batch_deleted"
    with pytest.raises(sdk.NotFoundError):
        batches.retrieve(made.id)


def test_a_running_batch_is_not_deleted(anthropic: Running, client: Clients) -> None:
    anthropic.tell("faults", slow_s=1000)
    batches = client(anthropic).messages.batches
    made = batches.create(requests=requests(1))
    with pytest.raises(sdk.BadRequestError):
        batches.delete(made.id)


def test_bad_params_are_errors_of_their_line(anthropic: Running, client: Clients) -> None:
    lines = requests(2)
    lines[1]["params"]["messages"] = []
    batches = client(anthropic).messages.batches
    made = batches.create(requests=lines)
    results = {one.custom_id: one.result for one in batches.results(made.id)}
    assert results["line-0"].type == "succeeded"
    assert results["line-1"].type == "errored"
    assert results["line-1"].error.error.type == "invalid_request_error"


def test_bad_custom_ids_and_bad_keys_are_refused(anthropic: Running, client: Clients) -> None:
    lines = requests(1)
    lines[0]["custom_id"] = "not a good id"
    with pytest.raises(sdk.BadRequestError):
        client(anthropic).messages.batches.create(requests=lines)
    with pytest.raises(sdk.BadRequestError):
        client(anthropic).messages.batches.create(requests=requests(1) * 2)
    with pytest.raises(sdk.AuthenticationError):
        client(anthropic, "wrong").messages.batches.create(requests=requests(1))


def test_a_lost_answer_leaves_a_batch_behind(anthropic: Running, client: Clients) -> None:
    anthropic.tell("faults", lose_create=1)
    batches = client(anthropic).messages.batches
    with pytest.raises(sdk.APIConnectionError):
        batches.create(requests=requests(2))
    assert len(list(batches.list())) == 1


def test_time_runs_out(anthropic: Running, client: Clients) -> None:
    anthropic.tell("faults", expire_after=1)
    batches = client(anthropic).messages.batches
    made = batches.create(requests=requests(3))
    assert batches.retrieve(made.id).request_counts.expired == 2
    assert sorted(one.result.type for one in batches.results(made.id)) == ["expired", "expired", "succeeded"]
    assert anthropic.books()["texts"] == {"question 0": 1}

"""A batch of any size is cut to what its provider takes, and each limit can be set."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bulkrate.testing.providers import MistralDouble, serving
from tests.engine.delegate.conftest import MODEL, Clock, Provider, delegated, fresh_ids, housed

HOUR_S = 3_600


@pytest.fixture
def mistral() -> Iterator[Provider]:
    double = MistralDouble()
    with serving(double) as url:
        yield Provider(double, url, "mistral-batch")


def embedding(custom_id: str, texts: str | list[str]) -> bytes:
    body = {"model": MODEL, "input": texts}
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}
    return json.dumps(line).encode() + b"\n"


async def test_embedding_inputs_are_counted_and_not_lines(data, openai):
    lines = [embedding(each, ["one", "two", "three"]) for each in fresh_ids(4)]
    lines += [embedding(each, "alone") for each in fresh_ids(3)]
    lines.append(embedding(*fresh_ids(1), [f"text {number}" for number in range(20)]))
    upstream = delegated(openai, batch_inputs_max=7)
    async with housed(data, {"provider": upstream}) as house:
        batch_id = await house.begin_with(b"".join(lines), endpoint="/v1/embeddings")
        assert (await house.until_ended(batch_id)).request_counts.completed == 8
        output, _ = await house.results(batch_id)
        remotes = house.context.store.remotes.of_batch(batch_id)
    assert {len(line["response"]["body"]["data"]) for line in output.values()} == {1, 3, 20}
    # 3 + 3, 3 + 3 + 1, 1 + 1, and the one that is too large for any goes alone.
    assert [one.lines for one in remotes] == [2, 3, 2, 1]


async def test_input_tokens_of_a_batch_can_be_limited(data, openai):
    ids = fresh_ids(12)
    async with housed(data, {"provider": delegated(openai, batch_tokens_max=100)}) as house:
        batch_id = await house.begin(ids)
        assert (await house.until_ended(batch_id)).request_counts.completed == 12
        remotes = house.context.store.remotes.of_batch(batch_id)
    assert len(remotes) > 1
    assert max(one.tokens for one in remotes) <= 100


async def test_no_more_batches_are_on_their_way_than_the_provider_takes(data, openai):
    openai.go_wrong(slow_s=1_000)
    upstream = delegated(openai, batch_lines_max=2, batches_max=2)
    async with housed(data, {"provider": upstream}) as house:
        batch_id = await house.begin(fresh_ids(8))
        waiting = await house.until(batch_id, lambda batch: batch.progress.remote.lines == 4)
        waiting = await house.until(batch_id, lambda batch: batch.progress.remote.waiting is not None)
        assert "2 batches are on their way" in waiting.progress.remote.waiting
        assert openai.created == [2, 2]
        openai.go_wrong()
        openai.double._ahead_s += 1_000
        assert (await house.until_ended(batch_id)).request_counts.completed == 8
    assert openai.created == [2, 2, 2, 2]


async def test_creations_of_an_hour_are_counted_over_restarts_and_waited_for(data, openai):
    clock = Clock()
    upstreams = {"provider": delegated(openai, batch_lines_max=2, creates_per_hour=2)}
    async with housed(data, upstreams, clock=clock) as house:
        batch_id = await house.begin(fresh_ids(6))
        await house.until(batch_id, lambda batch: batch.request_counts.completed == 4)
    async with housed(data, upstreams, clock=clock) as house:
        waiting = await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        assert "2 new batches an hour" in waiting.progress.paused
        assert openai.created == [2, 2]
        clock.ahead_s += HOUR_S + 1
        assert (await house.until_ended(batch_id)).request_counts.completed == 6
    assert openai.created == [2, 2, 2]


async def test_creations_that_the_provider_refuses_for_their_number_are_waited_for(data, openai):
    clock = Clock()
    openai.go_wrong(creates_per_hour=2)
    async with housed(data, {"provider": delegated(openai, batch_lines_max=2)}, clock=clock) as house:
        batch_id = await house.begin(fresh_ids(6))
        waiting = await house.until(
            batch_id,
            lambda batch: "too many batches" in f"{batch.progress.remote}",
        )
        assert waiting.status == "in_progress"
        openai.double._ahead_s += HOUR_S + 1
        assert (await house.until_ended(batch_id)).request_counts.completed == 6
    assert openai.created == [2, 2, 2]


async def test_a_window_may_be_said_in_days(data, mistral):
    """It was once not understood, and the batch was begun anew every half a minute."""
    async with housed(data, {"provider": delegated(mistral, window="7d")}) as house:
        batch_id = await house.begin(fresh_ids(1))
        assert (await house.until_ended(batch_id)).request_counts.completed == 1

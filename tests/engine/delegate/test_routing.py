"""Who answers which line when several could, and what happens when our own time is up."""

from __future__ import annotations

import contextlib

import msgspec
import pytest

from bulkrate.config import Upstream
from bulkrate.core.delegation import OnLate
from bulkrate.testing.providers import AnthropicDouble, GeminiDouble, MistralDouble, serving
from tests.engine.delegate.conftest import MODEL, Clock, Provider, delegated, fresh_ids, housed, text_of
from tests.support.processes import Process, chat_line, jsonl

HOUR_S = 3_600
DAY_S = 86_400


@pytest.fixture
def online(upstream: Process) -> Upstream:
    """An upstream that answers each line at once."""
    return Upstream(url=upstream.url, models=[MODEL])


async def test_long_windows_are_delegated_and_short_ones_answered_at_once(data, openai, online):
    long, short = fresh_ids(6), fresh_ids(6)
    async with housed(data, {"provider": delegated(openai), "gpu": online}) as house:
        batches = [await house.begin(long, window="24h"), await house.begin(short, window="1h")]
        for batch_id in batches:
            assert (await house.until_ended(batch_id)).request_counts.completed == 6
        bought = house.context.store.remotes.purchases(batches)
    assert openai.created == [6]
    assert set(openai.bought(long + short)) == set(long)
    assert [(one.batch_id, one.lines) for one in bought] == [(batches[0], 6)]


async def test_thousands_of_delegated_shards_hold_up_no_batch_that_is_answered_at_once(data, openai, online):
    openai.go_wrong(slow_s=1_000)
    # Each model is a shard: more of them wait for the provider than a sender looks at in one go.
    lines = jsonl(*(chat_line(f"{number}", "hello", model=f"m-{number}") for number in range(470)))
    provider = delegated(openai, models=["m-*"], creates_per_hour=1)
    gpu = msgspec.structs.replace(online, models=["m-*"])
    async with housed(data, {"provider": provider, "gpu": gpu}) as house:
        waiting = [await house.begin_with(lines, window="24h") for _ in range(9)]
        for batch_id in waiting:
            await house.until(batch_id, lambda batch: batch.status == "in_progress")
        short = await house.begin(fresh_ids(5), window="1h", model="m-7")
        assert (await house.until_ended(short)).request_counts.completed == 5
        batches = [await house.batch(batch_id) for batch_id in waiting]
    assert {(batch.status, batch.request_counts.completed) for batch in batches} == {("in_progress", 0)}
    assert sum(openai.created) <= 1


async def test_the_setting_says_how_long_a_window_must_be(data, openai, online):
    upstreams = {"provider": delegated(openai, from_window="1h"), "gpu": online}
    async with housed(data, upstreams) as house:
        batch_id = await house.begin(fresh_ids(3), window="1h")
        assert (await house.until_ended(batch_id)).request_counts.completed == 3
    assert openai.created == [3]


async def test_where_there_is_no_other_every_window_is_delegated(data, openai):
    async with housed(data, {"provider": delegated(openai)}) as house:
        batch_id = await house.begin(fresh_ids(3), window="1h")
        assert (await house.until_ended(batch_id)).request_counts.completed == 3
    assert openai.created == [3]


async def test_each_model_of_a_batch_goes_where_it_is_served(data, openai, online):
    here, there = fresh_ids(3), fresh_ids(3)
    lines = [chat_line(custom_id, text_of(custom_id)) for custom_id in there]
    lines += [chat_line(custom_id, text_of(custom_id), model="mine") for custom_id in here]
    gpu = Upstream(url=online.url, models=["mine"])
    async with housed(data, {"provider": delegated(openai), "gpu": gpu}) as house:
        batch_id = await house.begin_with(jsonl(*lines))
        assert (await house.until_ended(batch_id)).request_counts.completed == 6
        output, _ = await house.results(batch_id)
    assert set(output) == {*here, *there}
    assert set(openai.bought(here + there)) == set(there)


async def test_a_batch_whose_models_are_at_several_providers_loses_no_answer_of_any(data):
    with contextlib.ExitStack() as stack:
        providers = []
        for double in (AnthropicDouble(), GeminiDouble(), MistralDouble()):
            kind = type(double).__name__.removesuffix("Double").lower()
            providers.append(Provider(double, stack.enter_context(serving(double)), f"{kind}-batch"))
        upstreams = {
            one.kind: delegated(one, models=[one.kind], batch_lines_max=3, poll_s=0.01) for one in providers
        }
        ids = {one.kind: fresh_ids(60) for one in providers}
        lines = [chat_line(each, text_of(each), model=kind) for kind in ids for each in ids[kind]]
        async with housed(data, upstreams) as house:
            batch_id = await house.begin_with(jsonl(*lines))
            batch = await house.until_ended(batch_id)
            output, _ = await house.results(batch_id)
    assert batch.request_counts.completed == 180
    assert {one.upstream: one.lines for one in batch.delegated} == dict.fromkeys(ids, 60)
    for one in providers:
        assert one.bought(ids[one.kind]) == dict.fromkeys(ids[one.kind], 1)
        assert {output[each]["response"]["body"]["model"] for each in ids[one.kind]} == {one.kind}


async def test_at_the_deadline_what_was_answered_is_kept_and_theirs_is_cancelled(data, openai):
    ids, clock = fresh_ids(10), Clock()
    openai.go_wrong(slow_s=1_000)
    async with housed(data, {"provider": delegated(openai)}, clock=clock) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 10)
        openai.double._ahead_s += 450
        clock.ahead_s += DAY_S + 1
        batch = await house.until_ended(batch_id)
        output, errors = await house.results(batch_id)
    assert batch.status == "expired"
    assert len(openai.double.books.cancelled) == 1
    assert len(output) == 4
    assert {line["error"]["code"] for line in errors.values()} == {"batch_expired"}
    assert openai.created == [10]


async def test_near_the_deadline_lines_may_go_online_and_are_not_bought_twice(data, openai, online):
    ids, clock = fresh_ids(10), Clock()
    openai.go_wrong(slow_s=1_000)
    provider = delegated(openai, on_late=OnLate.ONLINE, late_s=HOUR_S)
    async with housed(data, {"provider": provider, "gpu": online}, clock=clock) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 10)
        openai.double._ahead_s += 450
        clock.ahead_s += DAY_S - HOUR_S + 60
        batch = await house.until_ended(batch_id)
        output, errors = await house.results(batch_id)
        [bought] = house.context.store.remotes.purchases([batch_id])
    assert (batch.status, len(output), errors) == ("completed", 10, {})
    assert bought.lines == 4
    # Each line says how it was bought, and what says so adds up to what is told of the batch.
    sold = [line["response"]["body"]["usage"] for line in output.values() if "delegated" in line]
    assert {line.get("delegated") for line in output.values()} == {"provider", None}
    assert len(sold) == batch.delegated[0].lines == 4
    assert sum(usage["prompt_tokens"] for usage in sold) == batch.delegated[0].input_tokens
    assert sum(usage["completion_tokens"] for usage in sold) == batch.delegated[0].output_tokens
    assert sum(openai.bought(ids).values()) == 4
    assert openai.created == [10]


async def test_a_provider_may_be_waited_for_beyond_the_deadline(data, openai):
    ids, clock = fresh_ids(4), Clock()
    openai.go_wrong(slow_s=1_000)
    async with housed(data, {"provider": delegated(openai, on_late=OnLate.WAIT)}, clock=clock) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 4)
        clock.ahead_s += DAY_S + 1
        await house.until(batch_id, lambda batch: batch.status == "finalizing")
        openai.double._ahead_s += 1_000
        clock.ahead_s += HOUR_S
        batch = await house.until_ended(batch_id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 4)
    assert openai.double.books.cancelled == []


async def test_a_batch_that_was_cancelled_does_not_wait_for_ever_for_a_provider_that_is_gone(data, openai):
    clock = Clock()
    openai.go_wrong(slow_s=1_000)
    async with housed(data, {"provider": delegated(openai)}, clock=clock) as house:
        batch_id = await house.begin(fresh_ids(4))
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 4)
        openai.go_wrong(down=True)
        await house.engine.batches.cancel("default", batch_id)
        await house.until(batch_id, lambda batch: batch.progress.remote.waiting is not None)
        clock.ahead_s += HOUR_S + 60
        assert (await house.until_ended(batch_id)).status == "cancelled"


async def test_a_batch_does_not_wait_for_an_upstream_that_is_configured_no_more(data, openai, server):
    openai.go_wrong(slow_s=1_000)
    async with housed(data, {"provider": delegated(openai)}) as house:
        batch_id = await house.begin(fresh_ids(4))
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 4)
    async with housed(data, {"another": delegated(openai)}) as house:
        await house.engine.batches.cancel("default", batch_id)
        assert (await house.until_ended(batch_id)).status == "cancelled"
    assert openai.created == [4]


async def test_what_the_provider_has_no_batches_for_is_said_of_each_line(data, openai):
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": MODEL, "input": "x"},
    }
    groq = msgspec.structs.replace(delegated(openai), provider="groq")
    async with housed(data, {"provider": groq}) as house:
        batch_id = await house.begin_with(jsonl(line), endpoint="/v1/embeddings")
        batch = await house.until_ended(batch_id)
        _, errors = await house.results(batch_id)
    assert (batch.status, openai.created) == ("completed", [])
    assert errors["a"]["error"]["code"] == "unsupported_by_provider"
    assert "/v1/embeddings" in errors["a"]["error"]["message"]


async def test_a_batch_whose_input_is_gone_holds_up_no_other(data, openai):
    async with housed(data, {"provider": delegated(openai)}) as house:
        openai.go_wrong(down=True)
        first = [await house.begin(fresh_ids(2)) for _ in range(4)]
        await house.until(first[3], lambda batch: batch.progress.remote.waiting is not None)
        lost = await house.begin(fresh_ids(2))
        found = await house.until(lost, lambda batch: batch.status == "in_progress")
        house.context.blobs.delete(f"files/{found.input_file_id}")
        openai.go_wrong()
        after = await house.begin(fresh_ids(2))
        for batch_id in (*first, after):
            assert (await house.until_ended(batch_id)).request_counts.completed == 2
        assert (await house.batch(lost)).status == "in_progress"

"""What is wrong at a provider is said in words, holds up nothing else, and a retry goes on afterwards."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bulkrate.config import Upstream
from bulkrate.testing.providers import AnthropicDouble, serving
from tests.engine.delegate.conftest import (
    MODEL,
    Clock,
    House,
    Provider,
    delegated,
    fresh_ids,
    housed,
    text_of,
)
from tests.support.processes import Process, chat_line, jsonl

HOUR_S = 3_600
DAY_S = 86_400


def once(ids: list[str]) -> Counter[str]:
    return Counter(dict.fromkeys(ids, 1))


@pytest.fixture
def upstreams(openai: Provider, upstream: Process) -> dict[str, Upstream]:
    """A provider, and beside it one that answers another model at once."""
    return {"provider": delegated(openai), "gpu": Upstream(url=upstream.url, models=["mine"])}


async def begin_both(house: House, there: list[str], here: list[str]) -> str:
    """A batch whose lines go to both, once those that are answered at once are there."""
    lines = [chat_line(custom_id, text_of(custom_id)) for custom_id in there]
    lines += [chat_line(custom_id, text_of(custom_id), model="mine") for custom_id in here]
    batch_id = await house.begin_with(jsonl(*lines))
    await house.until(batch_id, lambda batch: batch.request_counts.completed == len(here))
    return batch_id


async def retried(house: House, batch_id: str) -> int:
    """How many lines a retry of the batch had answered."""
    again = await house.engine.batches.retry("default", batch_id)
    counts = (await house.until_ended(again.id)).request_counts
    assert counts.completed == counts.total
    return counts.total


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"down": True}, "the double is down"),
        ({"broke": True}, "exceeded your current quota"),
        ({"key": "another"}, "the key is not valid"),
        ({"quota_full": -1}, "Enqueued token limit reached"),
    ],
    ids=["down for hours", "over its limit", "wrong key", "full quota"],
)
async def test_what_may_pass_is_waited_for_until_the_window_closes(data, openai, upstreams, fault, said):
    there, here, clock = fresh_ids(3), fresh_ids(2), Clock()
    fault, key = dict(fault), openai.double.key
    openai.double.key = fault.pop("key", key)
    openai.go_wrong(**fault)
    async with housed(data, upstreams, clock=clock) as house:
        batch_id = await begin_both(house, there, here)
        waiting = await house.until(
            batch_id, lambda batch: said in f"{batch.progress.paused} {batch.progress.remote.waiting}"
        )
        assert waiting.status == "in_progress"
        clock.ahead_s += 5 * 3_600
        assert (await house.batch(batch_id)).status == "in_progress"
        clock.ahead_s += DAY_S
        assert (await house.until_ended(batch_id)).status == "expired"
        _, errors = await house.results(batch_id)
        assert {errors[custom_id]["error"]["code"] for custom_id in there} == {"batch_expired"}
        openai.double.key = key
        openai.go_wrong()
        clock.ahead_s += 2 * 3_600  # beyond the longest pause between two tries
        assert await retried(house, batch_id) == 3
    assert openai.bought(there) == once(there)


async def test_each_provider_says_what_it_is_waited_for_while_others_answer(data, openai):
    openai.go_wrong(slow_s=HOUR_S)
    with serving(AnthropicDouble(key="another")) as url:
        upstreams = {
            "provider": delegated(openai, enqueued_tokens=200),
            "claude": Upstream(kind="anthropic-batch", url=url, key="ours", models=["theirs"], poll_s=0.05),
        }
        async with housed(data, upstreams) as house:
            lines = [chat_line(each, text_of(each)) for each in fresh_ids(20)]
            lines += [chat_line(each, text_of(each), model="theirs") for each in fresh_ids(3)]
            batch_id = await house.begin_with(jsonl(*lines))
            said = ("claude: the key is not valid", "tokens are enqueued for gpt-4o-mini")
            batch = await house.until(
                batch_id, lambda batch: all(one in f"{batch.progress.remote.waiting}" for one in said)
            )
    assert batch.progress.in_flight > 0
    assert batch.progress.paused is None


async def test_a_model_without_batches_fails_its_own_lines_and_says_so(data, openai, upstreams):
    there, here = fresh_ids(3), fresh_ids(2)
    openai.go_wrong(models=["another"])
    async with housed(data, upstreams) as house:
        batch_id = await begin_both(house, there, here)
        assert (await house.until_ended(batch_id)).status == "completed"
        output, errors = await house.results(batch_id)
        assert (set(output), set(errors)) == (set(here), set(there))
        error: dict[str, Any] = errors[there[0]]["response"]["body"]["error"]
        assert error["code"] == "model_not_found"
        assert f"The model `{MODEL}` does not exist" in error["message"]
        openai.go_wrong()
        assert await retried(house, batch_id) == 3
    assert openai.bought(there) == once(there)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("remote_results_gone", "are gone: "),
        ("remote_batch_gone", "was deleted at provider before its answers were read; retry"),
    ],
)
async def test_what_is_gone_at_the_provider_is_said_and_bought_again_when_asked_for(
    data, openai, upstreams, code, said
):
    there, here = fresh_ids(3), fresh_ids(2)
    openai.go_wrong(slow_s=1_000)
    async with housed(data, upstreams) as house:
        batch_id = await begin_both(house, there, here)
        await house.until(batch_id, lambda batch: batch.progress.remote.lines == 3)
        if code == "remote_results_gone":
            openai.go_wrong(files_expired=True)
            openai.double._ahead_s += 1_000
        else:
            openai.double.jobs.clear()
        await house.until_ended(batch_id)
        _, errors = await house.results(batch_id)
        assert {errors[custom_id]["error"]["code"] for custom_id in there} == {code}
        assert said in errors[there[0]]["error"]["message"]
        assert openai.created == [3]
        openai.go_wrong()
        assert await retried(house, batch_id) == 3
    assert openai.created == [3, 3]


async def test_what_was_begun_by_a_clock_that_was_a_day_ahead_goes_on_at_once(data, openai):
    ids, clock = fresh_ids(3), Clock()
    clock.ahead_s = DAY_S
    openai.go_wrong(lose_create=1, fail_list=-1)
    async with housed(data, {"provider": delegated(openai)}, clock=clock) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.remote.waiting is not None)
    openai.go_wrong()
    clock.ahead_s = 0.0
    async with housed(data, {"provider": delegated(openai)}, clock=clock) as house:
        assert (await house.until_ended(batch_id)).request_counts.completed == 3
    assert openai.created == [3]


async def test_an_upload_that_somebody_removed_before_it_was_used_is_sent_up_again(data, openai):
    """Its lines once waited for the file until their window closed."""
    ids, clock = fresh_ids(3), Clock()
    openai.go_wrong(quota_full=1)
    async with housed(data, {"provider": delegated(openai)}, clock=clock) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        openai.double.files.clear()
        clock.ahead_s += 100
        assert (await house.until_ended(batch_id)).request_counts.completed == 3
    assert openai.created == [3]
    assert openai.bought(ids) == once(ids)


async def test_an_account_that_is_found_over_its_limit_after_creation_is_said_in_the_providers_words(
    data, openai
):
    """What was read was once only that it took no more."""
    ids, clock = fresh_ids(3), Clock()
    openai.go_wrong(broke_late=True, jobs=1)
    async with housed(data, {"provider": delegated(openai)}, clock=clock) as house:
        batch_id = await house.begin(ids)
        waiting = await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        assert waiting.progress.paused.startswith(
            "provider: Billing hard limit has been reached; it is asked"
        )
        clock.ahead_s += 100
        assert (await house.until_ended(batch_id)).request_counts.completed == 3
    assert openai.created == [3, 3]
    assert openai.bought(ids) == once(ids)

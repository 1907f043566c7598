"""Other vendors' wires: the same promises, whatever the vendor shows of what is ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from bulkrate.testing.providers import AnthropicDouble, GeminiDouble, MistralDouble, serving
from tests.engine.delegate.conftest import MODEL, Clock, Provider, delegated, fresh_ids, housed
from tests.support.processes import chat_line, jsonl

DOUBLES = {"anthropic": AnthropicDouble, "gemini": GeminiDouble, "mistral": MistralDouble}


@pytest.fixture(params=DOUBLES)
def provider(request) -> Iterator[Provider]:
    double = DOUBLES[request.param]()
    with serving(double) as url:
        yield Provider(double, url, f"{request.param}-batch")


def once(ids: list[str]) -> Counter[str]:
    return Counter(dict.fromkeys(ids, 1))


async def test_answers_come_in_openais_form(data, provider):
    ids = fresh_ids(12)
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin(ids)
        batch = await house.until_ended(batch_id)
        await house.until_cleared(batch_id)
        output, errors = await house.results(batch_id)
    assert (batch.status, set(output), errors) == ("completed", set(ids), {})
    for line in output.values():
        body = line["response"]["body"]
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"]["content"]
    assert batch.usage.total_tokens == sum(
        line["response"]["body"]["usage"]["total_tokens"] for line in output.values()
    )
    assert batch.delegated[0].lines == 12
    assert provider.bought(ids) == once(ids)
    assert provider.created == [12]
    assert provider.files == []


@pytest.mark.parametrize(
    "fault",
    [
        {"shuffled": True, "doubled_lines": [2]},
        {"truncate": 1},
        {"truncate_quietly": 1},
        {"fail_look": 3, "fail_results": 1},
        {"fail_create": 1},
        {"lose_create": 1},
        {"lose_upload": 1},
        {"break_upload": 1},
        {"break_upload": 1, "lose_upload": 2},
    ],
    ids=str,
)
async def test_what_goes_wrong_on_the_way_buys_nothing_twice(data, provider, fault):
    ids = fresh_ids(7)
    provider.go_wrong(**fault)
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin(ids)
        batch = await house.until_ended(batch_id)
        await house.until_cleared(batch_id)
        output, errors = await house.results(batch_id)
    assert (batch.status, set(output), errors) == ("completed", set(ids), {})
    assert provider.bought(ids) == once(ids)
    assert provider.created == [7]
    assert provider.files == []


async def test_what_expired_or_failed_for_now_goes_out_again_and_the_rest_is_kept(data, provider):
    ids = fresh_ids(8)
    provider.go_wrong(expire_after=5, line_status={1: 400, 2: 500}, jobs=1)
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin(ids)
        await house.until_ended(batch_id)
        output, errors = await house.results(batch_id)
    assert set(errors) == {ids[0]}
    assert errors[ids[0]]["response"]["status_code"] == 400
    assert len(output) == 7
    assert provider.bought(ids) == once(ids[1:])
    assert provider.created == [8, 4]


async def test_cancelling_ours_cancels_theirs(data, provider):
    ids = fresh_ids(10)
    provider.go_wrong(slow_s=1_000)
    clock = Clock()
    async with housed(data, {"provider": delegated(provider)}, clock=clock) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 10)
        provider.double._ahead_s += 350
        await house.engine.batches.cancel("default", batch_id)
        batch = await house.until_ended(batch_id)
        output, errors = await house.results(batch_id)
    assert batch.status == "cancelled"
    assert len(provider.double.books.cancelled) == 1
    assert len(output) == 3
    assert {line["error"]["code"] for line in errors.values()} == {"batch_cancelled"}


async def test_what_a_vendor_has_no_word_for_is_the_error_of_that_line_alone(data, provider):
    lines = [chat_line("good"), chat_line("bad", model=MODEL, logit_bias={"1": 2})]
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin_with(jsonl(*lines))
        await house.until_ended(batch_id)
        output, errors = await house.results(batch_id)
    assert set(output) == {"good"}
    assert errors["bad"]["error"]["code"] == "unsupported_by_provider"
    assert "logit_bias" in errors["bad"]["error"]["message"]


async def test_a_wrong_key_is_said(data, provider):
    key, provider.double.key = provider.double.key, "another"
    async with housed(data, {"provider": delegated(provider, key=key)}) as house:
        batch_id = await house.begin(fresh_ids(2))
        await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        provider.double.key = key
        assert (await house.until_ended(batch_id)).request_counts.completed == 2


@pytest.mark.parametrize("ahead_s", [-7_200, 7_200])
async def test_clocks_that_differ_by_hours_buy_nothing_twice(data, provider, ahead_s):
    ids = fresh_ids(4)
    provider.double._ahead_s = ahead_s
    provider.go_wrong(lose_create=1)
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin(ids)
        assert (await house.until_ended(batch_id)).request_counts.completed == 4
    assert provider.created == [4]
    assert provider.bought(ids) == once(ids)


async def test_an_account_over_its_limit_is_said_and_costs_no_line(data, provider):
    provider.go_wrong(broke=True)
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin(fresh_ids(2))
        waiting = await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        assert "over its spending limit" in waiting.progress.paused
        provider.go_wrong()
        assert (await house.until_ended(batch_id)).request_counts.completed == 2
    assert provider.created == [2]


async def test_results_that_are_gone_are_an_error_and_not_bought_again(data, provider):
    """Anthropic forgets them after 29 days and shows the batch all the same; they were bought twice more."""
    ids = fresh_ids(3)
    provider.go_wrong(slow_s=1_000)
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 3)
        provider.go_wrong(files_expired=True)
        provider.double._ahead_s += 1_000
        await house.until_ended(batch_id)
        _, errors = await house.results(batch_id)
        assert {line["error"]["code"] for line in errors.values()} == {"remote_results_gone"}
        assert provider.created == [3]
        provider.go_wrong()
        again = await house.engine.batches.retry("default", batch_id)
        assert (await house.until_ended(again.id)).request_counts.completed == 3


async def test_a_batch_that_somebody_deleted_is_an_error_and_not_bought_again(data, provider):
    ids = fresh_ids(3)
    provider.go_wrong(slow_s=1_000)
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 3)
        provider.double.jobs.clear()
        await house.until_ended(batch_id)
        _, errors = await house.results(batch_id)
    assert {line["error"]["code"] for line in errors.values()} == {"remote_batch_gone"}
    assert provider.created == [3]


async def test_what_is_too_large_for_the_provider_is_cut_smaller(data, provider):
    """A file that was refused as it went up was once sent up again and again, until its window closed."""
    ids = fresh_ids(8)
    provider.go_wrong(bytes_max=900)
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin(ids)
        assert (await house.until_ended(batch_id)).request_counts.completed == 8
    assert len(provider.created) > 1
    assert provider.bought(ids) == once(ids)


async def test_a_line_that_is_too_large_even_alone_is_an_error(data, provider):
    provider.go_wrong(bytes_max=5)
    async with housed(data, {"provider": delegated(provider)}) as house:
        batch_id = await house.begin(fresh_ids(1))
        await house.until_ended(batch_id)
        [error] = (await house.results(batch_id))[1].values()
    assert error["response"]["status_code"] in {400, 413}
    assert provider.created == []


async def test_a_job_that_fails_each_time_says_so_with_what_was_said_of_the_last(data, provider):
    if provider.kind == "anthropic-batch":
        pytest.skip("Message Batches do not fail as a whole")
    provider.go_wrong(fail_job=True)
    async with housed(data, {"provider": delegated(provider, remote_attempts=2)}) as house:
        batch_id = await house.begin(fresh_ids(2))
        await house.until_ended(batch_id)
        _, errors = await house.results(batch_id)
    said = "Internal error" if provider.kind == "gemini-batch" else "the provider failed the job and does not"
    for line in errors.values():
        assert line["error"]["code"] == "not_answered"
        assert f"in 2 batches; of the last it said: {said}" in line["error"]["message"]
    assert provider.created == [2, 2]

"""A provider that speaks OpenAI's wire: whatever goes wrong, an answer counts once and is bought once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from bulkrate.engine.delegate.quota import is_under_way
from tests.engine.delegate.conftest import (
    MODEL,
    Clock,
    Provider,
    delegated,
    fresh_ids,
    housed,
    text_of,
)


def once(ids: list[str]) -> Counter[str]:
    return Counter(dict.fromkeys(ids, 1))


async def run(data, provider: Provider, ids: list[str], **settings):
    """A batch, to its end; the batch, its output and errors by `custom_id`, and its remote batches."""
    async with housed(data, {"provider": delegated(provider, **settings)}) as house:
        batch_id = await house.begin(ids)
        batch = await house.until_ended(batch_id)
        remotes = await house.until_cleared(batch_id)
        output, errors = await house.results(batch_id)
    return batch, output, errors, remotes


async def test_a_batch_is_answered_through_a_remote_batch_and_leaves_nothing_there(data, openai):
    ids = fresh_ids(40)
    batch, output, errors, remotes = await run(data, openai, ids)
    assert batch.status == "completed"
    assert (set(output), errors) == (set(ids), {})
    assert output[ids[3]]["response"]["body"]["choices"][0]["message"]["content"]
    assert batch.usage.total_tokens == sum(
        line["response"]["body"]["usage"]["total_tokens"] for line in output.values()
    )
    assert [(one.upstream, one.model, one.lines) for one in batch.delegated] == [("provider", MODEL, 40)]
    assert batch.delegated[0].total_tokens == batch.usage.total_tokens
    assert openai.created == [40]
    assert openai.bought(ids) == once(ids)
    assert openai.files == []
    assert [(one.generation, one.state) for one in remotes] == [(1, "completed")]
    left = [path.name for path in (data / "blobs").rglob("*.content*")]
    assert left == []


async def test_a_batch_of_any_size_is_cut_to_fit(data, openai):
    ids = fresh_ids(25)
    batch, output, _, _ = await run(data, openai, ids, batch_lines_max=10)
    assert (batch.status, set(output)) == ("completed", set(ids))
    assert sorted(openai.created) == [5, 10, 10]
    assert openai.bought(ids) == once(ids)


async def test_bytes_are_a_limit_as_well(data, openai):
    ids = fresh_ids(12)
    batch, output, _, remotes = await run(data, openai, ids, batch_bytes_max=1_000)
    assert (batch.status, set(output)) == ("completed", set(ids))
    assert len(remotes) > 1
    assert max(one.size for one in remotes) <= 1_000


async def test_what_an_expired_batch_answered_is_kept_and_only_the_rest_goes_out_again(data, openai):
    ids = fresh_ids(10)
    openai.go_wrong(expire_after=4, jobs=1)
    batch, output, errors, remotes = await run(data, openai, ids)
    assert (batch.status, set(output), errors) == ("completed", set(ids), {})
    assert openai.created == [10, 6]
    assert openai.bought(ids) == once(ids)
    assert [one.generation for one in remotes] == [1, 2]


async def test_a_provider_that_lets_everything_expire_is_not_asked_for_ever(data, openai):
    ids = fresh_ids(5)
    openai.go_wrong(expire_after=1)
    batch, output, errors, _ = await run(data, openai, ids)
    assert batch.status == "completed"
    assert openai.created == [5, 4, 3]
    assert len(output) == 3
    assert {line["error"]["code"] for line in errors.values()} == {"not_answered"}
    assert "in 3 batches" in next(iter(errors.values()))["error"]["message"]
    assert openai.bought(ids) == once(list(output))


async def test_a_batch_that_somebody_else_cancelled_goes_on_with_the_rest(data, openai):
    ids = fresh_ids(8)
    openai.go_wrong(cancel_after=3, jobs=1)
    batch, output, _, _ = await run(data, openai, ids)
    assert (batch.status, len(output)) == ("completed", 8)
    assert openai.created == [8, 5]
    assert openai.bought(ids) == once(ids)


async def test_lines_that_validation_refuses_are_errors_and_the_rest_goes_out_once_more(data, openai):
    ids = fresh_ids(6)
    openai.go_wrong(invalid_lines=[2, 5], jobs=1)
    batch, output, errors, _ = await run(data, openai, ids)
    assert batch.status == "completed"
    assert set(errors) == {ids[1], ids[4]}
    assert errors[ids[1]]["response"]["status_code"] == 400
    assert errors[ids[1]]["response"]["body"]["error"]["message"]
    assert len(output) == 4
    assert openai.created == [6, 4]


async def test_a_validation_that_fails_twice_is_told_and_a_retry_sends_what_was_not_to_blame(data, openai):
    ids = fresh_ids(6)
    openai.go_wrong(invalid_lines=[1], jobs=2)
    async with housed(data, {"provider": delegated(openai)}) as house:
        batch_id = await house.begin(ids)
        batch = await house.until_ended(batch_id)
        output, errors = await house.results(batch_id)
        assert (batch.status, output, len(errors)) == ("completed", {}, 6)
        assert openai.created == [6, 5]
        assert [errors[ident]["response"]["status_code"] for ident in ids[:2]] == [400, 400]
        innocent = [errors[ident]["error"] for ident in ids[2:]]
        assert {error["code"] for error in innocent} == {"validation_failed"}
        assert "retry to send it again" in innocent[0]["message"]
        again = await house.engine.batches.retry("default", batch_id)
        assert (await house.until_ended(again.id)).request_counts.completed == 6
    assert openai.bought(ids) == once(ids)


async def test_a_failed_validation_does_not_use_up_an_attempt(data, openai):
    ids = fresh_ids(4)
    openai.go_wrong(invalid_lines=[1], jobs=1)
    _, output, errors, remotes = await run(data, openai, ids, remote_attempts=1)
    assert (set(output), set(errors)) == (set(ids[1:]), {ids[0]})
    assert [(one.generation, one.rejections) for one in remotes] == [(1, 0), (1, 1)]


async def test_a_batch_that_is_refused_as_a_whole_is_an_error_for_each_line(data, openai):
    ids = fresh_ids(4)
    openai.go_wrong(models=["another"])
    batch, _, errors, _ = await run(data, openai, ids)
    assert (batch.status, set(errors)) == ("completed", set(ids))
    assert errors[ids[0]]["response"]["body"]["error"]["code"] == "model_not_found"
    assert openai.created == []
    assert openai.files == []


async def test_a_line_that_is_wrong_is_final_and_one_that_failed_for_now_goes_out_again(data, openai):
    ids = fresh_ids(6)
    openai.go_wrong(line_status={1: 400, 2: 429, 3: 500}, jobs=1)
    batch, output, errors, _ = await run(data, openai, ids)
    assert batch.status == "completed"
    assert set(errors) == {ids[0]}
    assert errors[ids[0]]["response"]["status_code"] == 400
    assert len(output) == 5
    assert openai.created == [6, 2]
    assert openai.bought(ids) == once(ids[1:])


async def test_a_line_that_fails_each_time_ends_with_the_last_thing_that_was_said_of_it(data, openai):
    ids = fresh_ids(2)
    openai.go_wrong(line_status={1: 503, 2: 503})
    _, output, errors, _ = await run(data, openai, ids, remote_attempts=2)
    assert output == {}
    assert {line["response"]["status_code"] for line in errors.values()} == {503}
    assert openai.created == [2, 2]


@pytest.mark.parametrize(
    "fault",
    [
        {"shuffled": True},
        {"doubled_lines": [1, 3, 4]},
        {"empty_ids": True},
        {"truncate": 2},
        {"truncate_quietly": 2},
        {"fail_look": 4},
        {"fail_results": 2},
        {"fail_create": 2},
        {"lose_upload": 1},
        {"lose_create": 1},
        {"lose_create": 1, "fail_list": 3},
        {"quota_full": 1},
    ],
    ids=str,
)
async def test_what_goes_wrong_on_the_way_buys_nothing_twice(data, openai, fault):
    ids = fresh_ids(9)
    openai.go_wrong(**fault)
    clock = Clock()
    async with housed(data, {"provider": delegated(openai)}, clock=clock) as house:
        batch_id = await house.begin(ids)
        if "quota_full" in fault:
            await house.until(batch_id, lambda batch: batch.progress.paused is not None)
            clock.ahead_s += 100
        batch = await house.until_ended(batch_id)
        await house.until_cleared(batch_id)
        output, errors = await house.results(batch_id)
    assert (batch.status, set(output), errors) == ("completed", set(ids), {})
    assert openai.created == [9]
    assert openai.bought(ids) == once(ids)
    assert openai.files == []


async def test_lines_without_a_result_are_missed_and_sent_again(data, openai):
    ids = fresh_ids(5)
    openai.go_wrong(missing_lines=[2], jobs=1)
    batch, output, _, _ = await run(data, openai, ids)
    assert (batch.status, set(output)) == ("completed", set(ids))
    assert openai.created == [5, 1]


async def test_a_quota_that_is_found_full_after_creation_is_waited_for(data, openai):
    ids = fresh_ids(5)
    openai.go_wrong(quota_full_late=True, jobs=1)
    clock = Clock()
    async with housed(data, {"provider": delegated(openai)}, clock=clock) as house:
        batch_id = await house.begin(ids)
        waiting = await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        assert "asked again in" in waiting.progress.paused
        assert waiting.status == "in_progress"
        clock.ahead_s += 100
        batch = await house.until_ended(batch_id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 5)
    assert openai.created == [5, 5]
    assert openai.bought(ids) == once(ids)


async def test_a_quota_is_shared_by_two_batches_and_never_overrun(data, openai):
    first, second = fresh_ids(60), fresh_ids(60)
    openai.go_wrong(slow_s=0.3)
    async with housed(data, {"provider": delegated(openai, enqueued_tokens=800)}) as house:
        batches = [await house.begin(first), await house.begin(second)]
        most, shared = 0, False
        while {(await house.batch(one)).status for one in batches} != {"completed"}:
            open_ = [one for one in house.context.store.remotes.open("provider") if is_under_way(one)]
            most = max(most, sum(one.tokens for one in open_))
            shared |= len({one.batch_id for one in open_}) == 2
            await asyncio.sleep(0.01)
    assert shared
    assert 0 < most <= 800
    assert openai.bought(first + second) == once(first + second)


async def test_a_quota_that_the_provider_tells_is_learnt(data, openai):
    ids = fresh_ids(40)
    openai.go_wrong(enqueued_tokens_max=60)
    clock = Clock()
    async with housed(data, {"provider": delegated(openai)}, clock=clock) as house:
        batch_id = await house.begin(ids)
        async with asyncio.timeout(60):
            while (batch := await house.batch(batch_id)).status != "completed":
                if batch.progress.paused is not None:
                    clock.ahead_s += 20
                await asyncio.sleep(0.02)
    assert openai.bought(ids) == once(ids)
    assert len(openai.created) > 1


async def completed(house, batch_id: str) -> None:
    """Wait for a batch whose quota is full now and then."""
    async with asyncio.timeout(60):
        while (batch := await house.batch(batch_id)).status != "completed":
            if batch.progress.paused is not None:
                house.clock.ahead_s += 20
            await asyncio.sleep(0.02)


async def test_what_was_learnt_of_a_quota_outlives_the_worker_and_is_doubted_after_a_day(data, openai):
    def refused() -> int:
        return openai.double.books.calls["create"] - len(openai.created)

    openai.go_wrong(enqueued_tokens_max=20)
    clock, upstreams = Clock(), {"provider": delegated(openai)}
    async with housed(data, upstreams, clock=clock) as house:
        await completed(house, await house.begin(fresh_ids(10)))
        [lesson] = house.context.store.remotes.lessons("provider")
    assert (lesson.model, lesson.tokens_max, lesson.told) == (MODEL, 20, True)
    known = refused()
    assert known > 0
    async with housed(data, upstreams, clock=clock) as house:
        await completed(house, await house.begin(fresh_ids(10)))
        assert refused() == known
        clock.ahead_s += 86_401
        await completed(house, await house.begin(fresh_ids(10)))
    assert refused() > known


async def test_a_wait_for_a_full_quota_outlives_the_worker(data, openai):
    openai.go_wrong(quota_full=-1)
    upstreams = {"provider": delegated(openai)}
    async with housed(data, upstreams) as house:
        first = await house.begin(fresh_ids(2))
        await house.until(first, lambda batch: batch.progress.paused is not None)
    asked = openai.double.books.calls["create"]
    async with housed(data, upstreams) as house:
        second = await house.begin(fresh_ids(2))
        waiting = await house.until(second, lambda batch: batch.progress.paused is not None)
        assert "asked again in" in waiting.progress.paused
    assert openai.double.books.calls["create"] == asked


async def test_a_key_that_is_refused_is_said_and_costs_no_line(data, openai):
    ids = fresh_ids(3)
    key, openai.double.key = openai.double.key, "another"
    upstream = delegated(openai, key=key)
    async with housed(data, {"provider": upstream}) as house:
        batch_id = await house.begin(ids)
        waiting = await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        assert "key" in waiting.progress.paused
        openai.double.key = key
        batch = await house.until_ended(batch_id)
    assert batch.request_counts.completed == 3
    assert openai.bought(ids) == once(ids)


async def test_a_provider_that_is_down_is_waited_for(data, openai):
    ids = fresh_ids(3)
    openai.go_wrong(down=True)
    async with housed(data, {"provider": delegated(openai)}) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        openai.go_wrong()
        batch = await house.until_ended(batch_id)
    assert batch.request_counts.completed == 3
    assert openai.bought(ids) == once(ids)


async def test_a_batch_that_somebody_deleted_is_an_error_and_a_retry_goes_on(data, openai):
    ids = fresh_ids(3)
    openai.go_wrong(slow_s=1_000)
    async with housed(data, {"provider": delegated(openai)}) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 3)
        openai.double.jobs.clear()
        batch = await house.until_ended(batch_id)
        _, errors = await house.results(batch_id)
        assert {line["error"]["code"] for line in errors.values()} == {"remote_batch_gone"}
        assert (batch.status, batch.request_counts.failed) == ("completed", 3)
        openai.go_wrong()
        again = await house.engine.batches.retry("default", batch_id)
        assert (await house.until_ended(again.id)).request_counts.completed == 3


async def test_results_that_are_gone_are_an_error_and_not_bought_again(data, openai):
    ids = fresh_ids(3)
    openai.go_wrong(slow_s=0.5)
    async with housed(data, {"provider": delegated(openai)}) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 3)
        openai.go_wrong(files_expired=True)
        batch = await house.until_ended(batch_id)
        _, errors = await house.results(batch_id)
    assert batch.status == "completed"
    assert {line["error"]["code"] for line in errors.values()} == {"remote_results_gone"}
    assert openai.created == [3]


async def test_cancelling_ours_cancels_theirs_and_keeps_what_was_answered(data, openai):
    ids = fresh_ids(10)
    openai.go_wrong(slow_s=1_000)
    async with housed(data, {"provider": delegated(openai)}) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 10)
        openai.double._ahead_s += 350
        await house.engine.batches.cancel("default", batch_id)
        batch = await house.until_ended(batch_id)
        await house.until_cleared(batch_id)
        output, errors = await house.results(batch_id)
    assert batch.status == "cancelled"
    assert len(openai.double.books.cancelled) == 1
    assert len(output) == 3
    assert {line["error"]["code"] for line in errors.values()} == {"batch_cancelled"}
    assert openai.bought(ids) == once(list(output))
    assert openai.files == []


async def test_a_batch_that_is_cancelled_before_anything_was_bought_buys_nothing(data, openai):
    openai.go_wrong(down=True)
    async with housed(data, {"provider": delegated(openai)}) as house:
        batch_id = await house.begin(fresh_ids(4))
        await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        await house.engine.batches.cancel("default", batch_id)
        openai.go_wrong()
        assert (await house.until_ended(batch_id)).status == "cancelled"
    assert openai.created == []


async def test_what_is_under_way_and_what_was_bought_is_in_the_numbers(data, openai):
    openai.go_wrong(slow_s=1_000)
    async with housed(data, {"provider": delegated(openai, enqueued_tokens=10_000)}) as house:
        batch_id = await house.begin(fresh_ids(6))
        async with asyncio.timeout(60):
            while (
                not (remote := (await house.engine.numbers.read()).remotes.get("provider"))
                or not remote.lines
            ):
                await asyncio.sleep(0.1)
        [record] = house.context.store.remotes.of_batch(batch_id)
        assert (sum(remote.batches.values()), remote.lines) == (1, 6)
        assert (remote.enqueued, remote.limits) == ({MODEL: record.tokens}, {MODEL: 10_000})
        assert remote.heard_at is not None
        openai.double._ahead_s += 1_000
        batch = await house.until_ended(batch_id)
        house.engine.numbers._files_read_at = float("-inf")
        async with asyncio.timeout(60):
            while (numbers := await house.engine.numbers.read()).remotes["provider"].batches:
                await asyncio.sleep(0.1)
    [bought] = numbers.purchases
    assert (bought.upstream, bought.model, bought.lines) == ("provider", MODEL, 6)
    assert bought.usage.total_tokens == batch.usage.total_tokens
    assert numbers.upstreams["provider"].state == "ok"


async def test_files_are_kept_there_when_that_is_wanted(data, openai):
    await run(data, openai, fresh_ids(3), keep_remote_files=True)
    assert len(openai.files) >= 1


async def test_what_was_begun_is_gone_on_with_by_the_next(data, openai):
    ids = fresh_ids(5)
    openai.go_wrong(slow_s=1_000)
    upstreams = {"provider": delegated(openai)}
    async with housed(data, upstreams) as house:
        batch_id = await house.begin(ids)
        await house.until(batch_id, lambda batch: batch.progress.in_flight == 5)
        openai.double._ahead_s += 400
        seen = await house.until(batch_id, lambda batch: batch.progress.remote.completed == 2)
        assert (seen.progress.remote.batches, seen.progress.remote.lines) == (1, 5)
    openai.double._ahead_s += 600
    async with housed(data, upstreams) as house:
        batch = await house.until_ended(batch_id)
    assert batch.request_counts.completed == 5
    assert openai.created == [5]
    assert openai.bought(ids) == once(ids)


async def test_names_and_fields_are_changed_as_for_any_upstream(data, openai):
    ids = fresh_ids(2)
    settings = {
        "aliases": {"ours": MODEL},
        "models": ["ours"],
        "set_fields": {"seed": 7},
        "drop_fields": ["n"],
    }
    async with housed(data, {"provider": delegated(openai, **settings)}) as house:
        batch_id = await house.begin(ids, model="ours")
        await house.until_ended(batch_id)
        await house.until_cleared(batch_id)
        [bought] = house.context.store.remotes.purchases([batch_id])
    assert (bought.model, bought.lines, bought.upstream) == (MODEL, 2, "provider")
    [job] = openai.double.jobs.values()
    assert [line.text for line in job.lines] == [text_of(custom_id) for custom_id in ids]


async def test_a_file_that_is_too_large_for_the_provider_is_cut_smaller(data, openai):
    ids = fresh_ids(8)
    openai.go_wrong(bytes_max=1_800)
    batch, output, _, _ = await run(data, openai, ids)
    assert (batch.status, set(output)) == ("completed", set(ids))
    assert len(openai.created) > 1
    assert openai.bought(ids) == once(ids)
    assert openai.files == []

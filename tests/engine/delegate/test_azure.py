"""Azure speaks OpenAI's wire with differences of its own: none of them costs a line or a purchase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from bulkrate.config import Upstream
from bulkrate.core.delegation import OnLate
from bulkrate.testing.providers import AzureProxy, serving
from tests.engine.delegate.conftest import Clock, Provider, delegated, fresh_ids, housed
from tests.support.processes import Server

DEPLOYMENT = "our-batch-deployment"
DAY_S = 86_400


@pytest.fixture
def azure(server: Server) -> Iterator[Provider]:
    double = AzureProxy(server.url)
    with serving(double) as url:
        yield Provider(double, url, "openai-batch")


def upstream(there: Provider, **settings) -> Upstream:
    """The settings of an Azure upstream that is `there`."""
    given = {"models": [DEPLOYMENT], "aliases": {"gpt-4o": DEPLOYMENT}} | settings
    return msgspec.structs.replace(delegated(there, **given), provider="azure")


def once(ids: list[str]) -> Counter[str]:
    return Counter(dict.fromkeys(ids, 1))


@pytest.mark.parametrize("model", [DEPLOYMENT, "gpt-4o"])
async def test_a_batch_goes_to_a_deployment_and_leaves_nothing_there(data, azure, model):
    ids = fresh_ids(20)
    azure.go_wrong(models=[DEPLOYMENT])
    async with housed(data, {"azure": upstream(azure)}) as house:
        batch_id = await house.begin(ids, model=model)
        batch = await house.until_ended(batch_id)
        await house.until_cleared(batch_id)
        output, errors = await house.results(batch_id)
    assert (batch.status, set(output), errors) == ("completed", set(ids), {})
    assert batch.error_file_id is None
    assert azure.created == [20]
    assert azure.bought(ids) == once(ids)
    assert azure.files == []


async def test_a_name_that_is_no_deployment_is_told_of_its_lines(data, azure):
    azure.go_wrong(models=["another"])
    async with housed(data, {"azure": upstream(azure)}) as house:
        batch_id = await house.begin(fresh_ids(2), model=DEPLOYMENT)
        await house.until_ended(batch_id)
        _, errors = await house.results(batch_id)
    assert {line["response"]["status_code"] for line in errors.values()} == {400}
    assert "does not exist" in str(errors)


async def test_every_line_failing_is_a_batch_without_an_output_file(data, azure):
    azure.go_wrong(line_status={1: 400, 2: 400})
    async with housed(data, {"azure": upstream(azure)}) as house:
        batch_id = await house.begin(fresh_ids(2), model=DEPLOYMENT)
        batch = await house.until_ended(batch_id)
        output, errors = await house.results(batch_id)
    assert (batch.output_file_id, output, len(errors)) == (None, {}, 2)
    assert azure.created == [2]


@pytest.mark.parametrize(
    "fault",
    [{"lose_create": 1}, {"lose_upload": 1}, {"break_upload": 2}, {"quota_full": 1}, {"fail_look": 3}],
    ids=str,
)
async def test_what_goes_wrong_on_the_way_buys_nothing_twice(data, azure, fault):
    ids, clock = fresh_ids(5), Clock()
    azure.go_wrong(**fault)
    async with housed(data, {"azure": upstream(azure)}, clock=clock) as house:
        batch_id = await house.begin(ids, model=DEPLOYMENT)
        if "quota_full" in fault:
            await house.until(batch_id, lambda batch: batch.progress.paused is not None)
            clock.ahead_s += 100
        assert (await house.until_ended(batch_id)).request_counts.completed == 5
        await house.until_cleared(batch_id)
    assert azure.created == [5]
    assert azure.bought(ids) == once(ids)
    assert azure.files == []


async def test_a_key_that_is_refused_is_said(data, azure):
    key, azure.double.key = azure.double.key, "another"
    async with housed(data, {"azure": upstream(azure, key=key)}) as house:
        batch_id = await house.begin(fresh_ids(2), model=DEPLOYMENT)
        waiting = await house.until(batch_id, lambda batch: batch.progress.paused is not None)
        assert "Access denied due to invalid subscription key" in waiting.progress.paused
        azure.double.key = key
        assert (await house.until_ended(batch_id)).request_counts.completed == 2


async def test_a_batch_that_never_expires_there_is_waited_for_or_cancelled_when_our_time_is_up(data, azure):
    expires, waits, clock = fresh_ids(4), fresh_ids(4), Clock()
    azure.go_wrong(slow_s=3 * DAY_S)
    upstreams = {
        "azure": upstream(azure),
        "patient": upstream(azure, models=["patient"], on_late=OnLate.WAIT),
    }
    async with housed(data, upstreams, clock=clock) as house:
        batches = [await house.begin(expires, model=DEPLOYMENT), await house.begin(waits, model="patient")]
        for batch_id in batches:
            await house.until(batch_id, lambda batch: batch.progress.in_flight == 4)
        clock.ahead_s += DAY_S + 1
        azure.double._ahead_s += DAY_S + 1
        assert (await house.until_ended(batches[0])).status == "expired"
        await house.until(batches[1], lambda batch: batch.status == "finalizing")
        clock.ahead_s += 3 * DAY_S
        azure.double._ahead_s += 3 * DAY_S
        assert (await house.until_ended(batches[1])).request_counts.completed == 4
    assert len(azure.double.books.cancelled) == 1
    assert azure.bought(waits) == once(waits)

"""OpenAI's own SDK finds the proxy to be the Batch API, and each fault to be what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import openai
import pytest

from bulkrate.testing.providers import OpenAIProxy, serving
from tests.support.processes import Server
from tests.testing.conftest import Running

pytestmark = pytest.mark.server
WAIT_S_MAX = 60.0


@pytest.fixture
def proxy(server: Server) -> Iterator[Running]:
    double = OpenAIProxy(server.url)
    with serving(double) as url:
        yield Running(double, url)


@pytest.fixture
def sdk(proxy: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="test-key", max_retries=0) as made:
        yield made


def uploaded(sdk: openai.OpenAI, count: int) -> str:
    lines = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]},
        }
        for number in range(count)
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return sdk.files.create(file=("in.jsonl", content), purpose="batch").id


def created(sdk: openai.OpenAI, count: int) -> openai.types.Batch:
    return sdk.batches.create(
        input_file_id=uploaded(sdk, count),
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"mine": "yes"},
    )


def ended(sdk: openai.OpenAI, ident: str) -> openai.types.Batch:
    deadline = time.monotonic() + WAIT_S_MAX
    while (batch := sdk.batches.retrieve(ident)).status not in {
        "completed",
        "failed",
        "expired",
        "cancelled",
    }:
        assert time.monotonic() < deadline
    return batch


def lines_of(sdk: openai.OpenAI, ident: str | None) -> list[dict]:
    return [json.loads(line) for line in sdk.files.content(ident).text.splitlines()] if ident else []


def test_without_faults_it_is_the_server(proxy: Running, sdk: openai.OpenAI) -> None:
    made = created(sdk, 3)
    batch = ended(sdk, made.id)
    assert (batch.status, batch.metadata) == ("completed", {"mine": "yes"})
    assert batch.request_counts.completed == 3
    assert batch.error_file_id is None
    answers = lines_of(sdk, batch.output_file_id)
    assert {answer["custom_id"] for answer in answers} == {"line-0", "line-1", "line-2"}
    assert all(answer["response"]["body"]["choices"] for answer in answers)
    assert proxy.books()["executed"] == {f"line-{number}": 1 for number in range(3)}


def test_pages_follow_each_other(sdk: openai.OpenAI) -> None:
    made = [created(sdk, 1).id for _ in range(3)]
    assert [batch.id for batch in sdk.batches.list(limit=1)] == made[::-1]


def test_expired_lines_are_in_the_error_file(proxy: Running, sdk: openai.OpenAI) -> None:
    proxy.tell("faults", expire_after=1)
    batch = ended(sdk, created(sdk, 3).id)
    assert batch.status == "expired"
    assert [line["custom_id"] for line in lines_of(sdk, batch.output_file_id)] == ["line-0"]
    assert [line["error"]["code"] for line in lines_of(sdk, batch.error_file_id)] == ["batch_expired"] * 2
    assert proxy.books()["texts"] == {"question 0": 1}


def test_validation_names_its_lines_and_nothing_is_billed(proxy: Running, sdk: openai.OpenAI) -> None:
    proxy.tell("faults", invalid_lines=[2])
    batch = ended(sdk, created(sdk, 3).id)
    assert batch.status == "failed"
    assert [fault.line for fault in batch.errors.data] == [2]
    assert proxy.books()["executed"] == {}


def test_the_quota_is_told_at_once_or_late(proxy: Running, sdk: openai.OpenAI) -> None:
    proxy.tell("faults", quota_full=1)
    with pytest.raises(openai.RateLimitError, match="Enqueued token limit reached"):
        created(sdk, 1)
    proxy.tell("faults", quota_full_late=True, enqueued_tokens_max=1000, jobs=1)
    batch = ended(sdk, created(sdk, 1).id)
    assert batch.errors.data[0].code == "token_limit_exceeded"
    assert "1,000 enqueued tokens" in batch.errors.data[0].message
    assert ended(sdk, created(sdk, 1).id).status == "completed"


def test_empty_ids_are_as_azure_has_them(proxy: Running, sdk: openai.OpenAI) -> None:
    proxy.tell("faults", empty_ids=True, slow_s=1000)
    made = created(sdk, 1)
    assert (made.output_file_id, made.error_file_id) == ("", "")
    proxy.tell("clock", advance_s=1000)
    batch = ended(sdk, made.id)
    assert len(lines_of(sdk, batch.output_file_id)) == 1
    assert batch.error_file_id
    assert sdk.files.content(batch.error_file_id).content == b""


def test_a_lost_answer_leaves_a_batch_behind(proxy: Running, sdk: openai.OpenAI) -> None:
    proxy.tell("faults", lose_create=1)
    with pytest.raises(openai.APIConnectionError):
        created(sdk, 1)
    assert [batch.metadata for batch in sdk.batches.list()] == [{"mine": "yes"}]


def test_a_wrong_key_is_refused(proxy: Running) -> None:
    with (
        openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.batches.list()


def test_azures_client_finds_it_too(proxy: Running) -> None:
    with openai.AzureOpenAI(
        base_url=f"{proxy.url}/v1", api_key="test-key", api_version="2025-04-01-preview", max_retries=0
    ) as sdk:
        assert list(sdk.batches.list()) == []

"""Whatever the official Python SDK can do with files, uploads, batches, models and webhooks."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI

from tests.support.hooks import receiving
from tests.support.processes import (
    Process,
    Server,
    chat_line,
    jsonl,
    lines_of,
    running,
    submit,
    wait_until_ended,
)

pytestmark = pytest.mark.server

CONTENT = jsonl(*(chat_line(f"row-{n}") for n in range(5)))
REFUSED = "[[sandbox:status=422]]"


def upload(client: OpenAI, purpose: Any = "batch", content: bytes = CONTENT) -> Any:
    return client.files.create(file=content, purpose=purpose)


# --- files ---


@pytest.mark.parametrize(
    "kind", ["bytes", "path", "name and bytes", "name, IO and type", "open file", "BytesIO"]
)
def test_a_file_can_be_given_in_every_way(client: OpenAI, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "input.jsonl"
    path.write_bytes(CONTENT)
    with path.open("rb") as opened:
        given: Any = {
            "bytes": CONTENT,
            "path": path,
            "name and bytes": ("named.jsonl", CONTENT),
            "name, IO and type": ("named.jsonl", io.BytesIO(CONTENT), "application/jsonl"),
            "open file": opened,
            "BytesIO": io.BytesIO(CONTENT),
        }[kind]
        file = client.files.create(file=given, purpose="batch")
    assert (file.object, file.purpose, file.bytes, file.status) == (
        "file",
        "batch",
        len(CONTENT),
        "processed",
    )
    name = {"path": "input.jsonl", "open file": "input.jsonl"}.get(kind)
    assert file.filename == (name or ("named.jsonl" if kind.startswith("name") else "upload"))
    assert client.files.content(file.id).read() == CONTENT


def test_a_file_is_processed_at_once(client: OpenAI) -> None:
    file = upload(client)
    started = time.monotonic()
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert time.monotonic() - started < 4  # the helper sleeps five seconds between two looks


def test_a_file_expires_when_asked_to(client: OpenAI) -> None:
    file = client.files.create(
        file=CONTENT, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600


def test_content_can_be_read_in_every_way(client: OpenAI, tmp_path: Path) -> None:
    file = upload(client)
    answer = client.files.content(file.id)
    assert answer.text == CONTENT.decode()
    answer.write_to_file(tmp_path / "copy.jsonl")
    assert (tmp_path / "copy.jsonl").read_bytes() == CONTENT
    with client.files.with_streaming_response.content(file.id) as streamed:
        assert b"".join(streamed.iter_bytes(100)) == CONTENT
    with pytest.warns(DeprecationWarning, match="content"):
        assert client.files.retrieve_content(file.id) == CONTENT.decode()


def test_a_file_is_retrieved_and_deleted(client: OpenAI) -> None:
    file = upload(client)
    assert client.files.retrieve(file.id) == file
    deleted = client.files.delete(file.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (file.id, True, "file")
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.retrieve(file.id)
    assert caught.value.param == "id"
    assert caught.value.type == "invalid_request_error"


def test_files_are_paged_through_by_the_sdk(client: OpenAI) -> None:
    made = [upload(client, "fine-tune").id for _ in range(5)]
    newest_first = [file.id for file in client.files.list(purpose="fine-tune", limit=2)]
    assert newest_first[:5] == made[::-1]
    oldest_first = [file.id for file in client.files.list(purpose="fine-tune", limit=2, order="asc")]
    assert oldest_first == newest_first[::-1]
    after = [file.id for file in client.files.list(purpose="fine-tune", after=made[1], order="asc")]
    assert after[:3] == made[2:]
    assert all(file.purpose == "fine-tune" for file in client.files.list(purpose="fine-tune"))
    assert client.files.list(purpose="fine-tune", limit=5).has_next_page() in {True, False}
    assert list(client.files.list(after=oldest_first[0], purpose="fine-tune")) == []


# --- uploads ---


def test_a_file_is_uploaded_in_chunks_by_the_sdk(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    path.write_bytes(CONTENT * 40)
    done = client.uploads.upload_file_chunked(
        file=path,
        mime_type="application/jsonl",
        purpose="batch",
        part_size=1000,
        md5=hashlib.md5(CONTENT * 40).hexdigest(),
    )
    assert done.status == "completed"
    assert done.file is not None
    assert done.file.filename == "big.jsonl"
    assert client.files.content(done.file.id).read() == CONTENT * 40


def test_bytes_are_uploaded_in_chunks_too(client: OpenAI) -> None:
    done = client.uploads.upload_file_chunked(
        file=CONTENT, filename="a.jsonl", bytes=len(CONTENT), mime_type="application/jsonl", purpose="batch"
    )
    assert done.file is not None
    batch = client.batches.create(
        input_file_id=done.file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert wait_until_ended(client, batch.id).request_counts.completed == 5


def test_parts_go_in_parallel_and_are_joined_as_asked(client: OpenAI) -> None:
    begun = client.uploads.create(
        filename="a.bin",
        purpose="user_data",
        bytes=26,
        mime_type="application/octet-stream",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (begun.status, begun.expires_at) == ("pending", begun.created_at + 3600)
    pieces = [bytes([letter]) * 2 for letter in b"abcdefghijklm"]
    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(lambda piece: client.uploads.parts.create(begun.id, data=piece), pieces))
    backwards = [part.id for part in reversed(parts)]
    with pytest.raises(openai.BadRequestError, match="md5"):
        client.uploads.complete(begun.id, part_ids=backwards, md5=hashlib.md5(b"other").hexdigest())
    joined = b"".join(reversed(pieces))
    done = client.uploads.complete(begun.id, part_ids=backwards, md5=hashlib.md5(joined).hexdigest())
    assert done.file is not None
    assert client.files.content(done.file.id).read() == joined
    assert done.file.expires_at == done.file.created_at + 3600


def test_an_upload_is_cancelled(client: OpenAI) -> None:
    begun = client.uploads.create(filename="a", purpose="vision", bytes=2, mime_type="image/png")
    assert client.uploads.cancel(begun.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        client.uploads.parts.create(begun.id, data=b"ab")


# --- batches ---


def test_a_batch_from_beginning_to_end(client: OpenAI) -> None:
    file = client.files.create(file=("input.jsonl", CONTENT), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"who": "me"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"who": "me"})
    batch = wait_until_ended(client, batch.id)
    assert batch.status == "completed"
    assert batch.usage is not None
    assert batch.usage.total_tokens > 0
    output = client.files.retrieve(batch.output_file_id)
    assert output.expires_at == output.created_at + 3600
    assert {line["custom_id"] for line in lines_of(client, output.id)} == {f"row-{n}" for n in range(5)}


def test_batches_are_paged_through_by_the_sdk(client: OpenAI) -> None:
    first = submit(client, CONTENT)
    made = [submit(client, CONTENT).id for _ in range(5)]
    seen: list[str] = []
    for batch in client.batches.list(limit=2):
        if batch.id == first.id:
            break
        seen.append(batch.id)
    assert seen == made[::-1]
    page = client.batches.list(limit=2, after=made[2])
    assert [batch.id for batch in page.data] == [made[1], made[0]]
    assert page.has_next_page()
    assert page.get_next_page().data[0].id == first.id


def test_a_batch_is_cancelled_with_the_sdks_empty_json_body(client: OpenAI) -> None:
    batch = submit(client, jsonl(*(chat_line(str(n), "[[sandbox:sleep_ms=500]]") for n in range(3))))
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    batch = wait_until_ended(client, batch.id)
    assert (batch.status, client.batches.cancel(batch.id).status) == ("cancelled", "cancelled")


def test_a_conflict_is_not_retried(server: Server) -> None:
    with OpenAI(base_url=server.url, api_key="any", max_retries=2) as client:
        batch = wait_until_ended(client, submit(client, CONTENT).id)
        started = time.monotonic()
        with pytest.raises(openai.ConflictError) as caught:
            client.batches.cancel(batch.id)
    assert time.monotonic() - started < 0.45  # the SDK's first pause is half a second
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
    assert caught.value.code is None


def test_errors_of_the_input_are_read_by_the_sdk(client: OpenAI) -> None:
    batch = wait_until_ended(client, submit(client, jsonl(chat_line("a"), chat_line("a", stream=True))).id)
    assert batch.status == "failed"
    assert [(fault.code, fault.param, fault.line) for fault in batch.errors.data] == [
        ("streaming_unsupported", "body.stream", 2)
    ]


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"endpoint": "/v1/none"}, "invalid_value", "endpoint"),
        ({"completion_window": "48s"}, "invalid_value", "completion_window"),
        ({"metadata": {"tags": ["a"]}}, "invalid_type", "metadata.tags"),
    ],
)
def test_a_bad_request_carries_code_and_param(client: OpenAI, change: Any, code: str, param: str) -> None:
    asked = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"} | change
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(**asked)
    assert (caught.value.code, caught.value.param, caught.value.type) == (
        code,
        param,
        "invalid_request_error",
    )
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")


def test_unknown_things_are_not_found(client: OpenAI) -> None:
    for ask in (
        lambda: client.batches.retrieve("batch_none"),
        lambda: client.batches.cancel("batch_none"),
        lambda: client.files.content("file-none"),
        lambda: client.files.delete("file-none"),
        lambda: client.uploads.cancel("upload_none"),
        lambda: client.webhooks.retrieve("wh_none"),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()


def test_the_request_id_is_exposed(client: OpenAI) -> None:
    file = upload(client)
    assert file._request_id is not None
    assert file._request_id.startswith("req_")
    raw = client.batches.with_raw_response.list()
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["openai-version"] == "2020-10-01"


# --- extensions ---


def test_bad_lines_are_isolated_by_extra_body(client: OpenAI) -> None:
    content = jsonl(chat_line("good"), {"custom_id": "bad"})
    batch = submit(client, content, extra_body={"on_invalid_line": "isolate"})
    batch = wait_until_ended(client, batch.id)
    assert batch.status == "completed"
    assert [line["custom_id"] for line in lines_of(client, batch.output_file_id)] == ["good"]
    [error] = lines_of(client, batch.error_file_id)
    assert error["error"]["code"] == "missing_required_parameter"
    assert batch.on_invalid_line == "isolate"
    assert batch.progress["done"] == 2


def test_a_repeated_create_is_one_batch_by_extra_headers(client: OpenAI) -> None:
    file = upload(client)
    asked: dict[str, Any] = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    headers = {"Idempotency-Key": f"sdk-{file.id}"}
    made = [client.batches.create(input_file_id=file.id, **asked, extra_headers=headers) for _ in range(2)]
    assert made[0].id == made[1].id
    with pytest.raises(openai.UnprocessableEntityError):
        client.batches.create(input_file_id=file.id, **asked, metadata={"a": "b"}, extra_headers=headers)


def test_own_addresses_are_reached_by_the_sdks_own_verbs(client: OpenAI) -> None:
    batch = wait_until_ended(client, submit(client, jsonl(chat_line("a"), chat_line("b", REFUSED))).id)
    retry = client.post(f"/batches/{batch.id}/retry", cast_to=type(batch))
    assert wait_until_ended(client, retry.id).request_counts.total == 1
    answers: Any = client.post("/batches/run", cast_to=object, body={"requests": [chat_line("")["body"]]})
    assert answers["data"][0]["response"]["status_code"] == 200
    pair: Any = client.get(f"/batches/{batch.id}/lines?custom_id=b", cast_to=object)
    assert pair["result"]["response"]["status_code"] == 422


# --- models, webhooks ---


def test_models_are_listed_and_described(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "gpt-4o-mini" in names
    assert client.models.retrieve("gpt-4o-mini").object == "model"
    assert client.models.retrieve("org/name").id == "org/name"  # the shared sandbox serves any


def test_a_delivery_is_unwrapped_by_the_sdk(client: OpenAI) -> None:
    with receiving() as hook:
        endpoint = client.webhooks.create(
            name="mine", url=hook.url, event_types=["batch.completed", "batch.failed"]
        )
        try:
            batch = wait_until_ended(client, submit(client, CONTENT).id)
            came = hook.about(batch.id)
        finally:
            client.webhooks.delete(endpoint.id)
    event = client.webhooks.unwrap(came.body, came.headers, secret=endpoint.signing_secret)
    assert (event.type, event.data.id, event.object) == ("batch.completed", batch.id, "event")
    assert type(event).__name__ == "BatchCompletedWebhookEvent"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(came.body + b" ", came.headers, secret=endpoint.signing_secret)


def test_webhook_endpoints_are_managed_by_the_sdk(client: OpenAI) -> None:
    with receiving() as hook:
        made = client.webhooks.create(name="mine", url=hook.url, event_types=["batch.completed"])
        assert made.signing_secret.startswith("whsec_")
        assert client.webhooks.retrieve(made.id).name == "mine"
        assert client.webhooks.update(made.id, name="yours").name == "yours"
        assert made.id in {endpoint.id for endpoint in client.webhooks.list(limit=1)}
        rotated = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
        assert rotated.signing_secret != made.signing_secret
        assert client.webhooks.test(made.id, event_type="batch.completed").success
        came = hook.next()
        for secret in (made.signing_secret, rotated.signing_secret):  # both sign for a day
            assert client.webhooks.unwrap(came.body, came.headers, secret=secret).type == "batch.completed"
        assert client.webhooks.delete(made.id).deleted
    types = client.webhooks.event_types.list()
    assert "batch.completed" in json.dumps(types.model_dump(mode="json"))


# --- other clients ---


def test_the_asynchronous_client_does_the_same(server: Server) -> None:
    async def work() -> None:
        async with AsyncOpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
            file = await client.files.create(file=("a.jsonl", CONTENT), purpose="batch")
            assert (await client.files.wait_for_processing(file.id)).status == "processed"
            made = [
                await client.batches.create(
                    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
                )
                for _ in range(3)
            ]
            seen = []
            async for batch in client.batches.list(limit=1):
                seen.append(batch.id)
                if len(seen) == 3:
                    break
            assert seen == [batch.id for batch in reversed(made)]
            chunked = await client.uploads.upload_file_chunked(
                file=CONTENT, filename="a", bytes=len(CONTENT), mime_type="text/plain", purpose="batch"
            )
            assert chunked.status == "completed"
            batch = made[0]
            while batch.status != "completed":
                batch = await client.batches.retrieve(batch.id)
            assert batch.output_file_id is not None
            content = await client.files.content(batch.output_file_id)
            assert len(content.read().splitlines()) == 5

    asyncio.run(work())


def test_azures_client_does_the_same(server: Server) -> None:
    with AzureOpenAI(
        azure_endpoint=server.root, api_key="any", api_version="2024-10-21", max_retries=0
    ) as client:
        file = client.files.create(
            file=("a.jsonl", CONTENT),
            purpose="batch",
            extra_body={"expires_after": {"seconds": 1_209_600, "anchor": "created_at"}},
        )
        assert file.expires_at == file.created_at + 1_209_600
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/chat/completions", completion_window="24h"
        )
        batch = wait_until_ended(client, batch.id)
        assert (batch.status, batch.endpoint) == ("completed", "/v1/chat/completions")
        assert len(lines_of(client, batch.output_file_id)) == 5
        assert batch.id in {found.id for found in client.batches.list(limit=5).data}


def test_lines_as_azure_writes_them_run_too(client: OpenAI) -> None:
    content = CONTENT.replace(b'"/v1/chat/completions"', b'"/chat/completions"')
    batch = wait_until_ended(client, submit(client, content).id)
    assert batch.request_counts.completed == 5


@pytest.fixture(scope="module")
def guarded(upstream: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    data = tmp_path_factory.mktemp("keys")
    command = [sys.executable, "-m", "bulkrate", "keys", "create", "--data", str(data)]
    key = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    with running(Server(data, upstream.url)) as server:
        yield server, key


def test_with_keys_the_sdk_needs_the_right_one(guarded: tuple[Server, str]) -> None:
    server, key = guarded
    with OpenAI(base_url=server.url, api_key=key, max_retries=0) as client:
        assert wait_until_ended(client, submit(client, CONTENT).id).status == "completed"
    with OpenAI(base_url=server.url, api_key="sk-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.batches.list()
        assert caught.value.code == "invalid_api_key"
    with AzureOpenAI(azure_endpoint=server.root, api_key=key, api_version="2024-10-21") as client:
        assert client.batches.list().data[0].status == "completed"

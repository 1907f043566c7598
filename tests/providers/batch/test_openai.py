"""OpenAI's wire, and what its relatives make of it."""

from __future__ import annotations

import email
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.providers.batch.base import (
    FINGERPRINT_KEY,
    SHARD_KEY,
    Content,
    Fate,
    Garbled,
    RemoteRefused,
    RemoteState,
    Reply,
    Shard,
    Why,
)
from bulkrate.providers.batch.openai import DIALECTS, OpenAIBatch

VENDOR = OpenAIBatch()
SHARD = Shard(
    id="shard_1",
    fingerprint="ab" * 32,
    endpoint="/v1/chat/completions",
    model="m",
    lines=2,
    size=7,
    window="24h",
)


def reply(body: Any, status: int = 200, retry_after_s: float | None = None) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status=status, body=content, headers={}, retry_after_s=retry_after_s)


def batch(**more: Any) -> dict[str, Any]:
    return {"id": "batch_1", "object": "batch", "status": "completed", "created_at": 100} | more


def looked(**more: Any) -> Any:
    return VENDOR.look("batch_1").read(reply(batch(**more)))


def refusal(body: Any, status: int, *, creating: bool = False) -> Any:
    ask = VENDOR.create(SHARD, "file-1") if creating else VENDOR.look("batch_1")
    with pytest.raises(RemoteRefused) as caught:
        ask.read(reply(body, status))
    return caught.value.refusal


def error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "t", "param": None, "code": code}}


# What is asked


def test_an_upload_is_a_form_around_the_content() -> None:
    call = VENDOR.upload(SHARD).call
    assert isinstance(call.body, Content)
    headers = dict(call.headers)
    raw = b"content-type: " + headers["content-type"].encode() + b"\n\n"
    parts = email.message_from_bytes(raw + call.body.before + b'{"a":1}' + call.body.after).get_payload()
    fields = {part.get_param("name", header="content-disposition"): part for part in parts}
    assert fields["purpose"].get_payload() == "batch"
    assert fields["file"].get_filename() == f"shard_1-{'ab' * 8}.jsonl"
    assert fields["file"].get_payload() == '{"a":1}'


def test_a_creation_carries_the_shard_and_its_fingerprint() -> None:
    call = VENDOR.create(SHARD, "file-1").call
    assert (call.method, call.path) == ("POST", "/batches")
    assert dict(call.headers)["idempotency-key"].startswith("shard_1-")
    assert msgspec.json.decode(call.body) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {SHARD_KEY: "shard_1", FINGERPRINT_KEY: "ab" * 32},
    }


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_has_limits_and_a_key(name: str) -> None:
    vendor = OpenAIBatch(name)
    assert vendor.limits("any").lines_max >= 50_000
    assert next(iter(vendor.auth("secret").values())).endswith("secret")
    assert vendor.key_names
    assert "/v1/chat/completions" in vendor.endpoints


def test_azure_takes_its_key_in_a_header_of_its_own() -> None:
    assert OpenAIBatch("azure").auth("k") == {"api-key": "k"}
    assert VENDOR.auth("k") == {"authorization": "Bearer k"}


def test_ids_from_outside_cannot_leave_their_place_in_the_path() -> None:
    assert VENDOR.look("../files?x=").call.path == "/batches/..%2Ffiles%3Fx%3D"


def test_a_list_is_read_until_the_intent(  # newest first
) -> None:
    ask = VENDOR.find(SHARD, since=50)
    first = ask.read(reply({"data": [batch(id="a"), batch(id="b")], "has_more": True}))
    assert first.call.path == "/batches?limit=100&after=b"
    assert first.read(reply({"data": [batch(id="c", created_at=49)], "has_more": True})) == ()
    assert first.read(reply({"data": [], "has_more": True})) == ()
    (found,) = first.read(reply({"data": [batch(id="d", metadata={SHARD_KEY: "shard_1"})]}))
    assert (found.remote.id, found.sure) == ("d", True)


def test_a_batch_of_our_file_is_ours_where_there_is_no_metadata() -> None:
    ask = VENDOR.find(SHARD, since=0, file_id="file-1")
    (found,) = ask.read(reply({"data": [batch(input_file_id="file-1", metadata=None)]}))
    assert found.sure


def test_other_peoples_batches_may_be_in_a_state_that_nobody_knows() -> None:
    mine = batch(id="b", metadata={SHARD_KEY: "shard_1"})
    (found,) = VENDOR.find(SHARD, since=0).read(reply({"data": [batch(id="a", status="new"), mine]}))
    assert found.remote.id == "b"


def test_a_list_that_ignores_its_cursor_does_not_go_on_for_ever() -> None:
    page = reply({"data": [batch(id="a")], "has_more": True})
    assert VENDOR.find(SHARD, since=0).read(page).read(page) == ()


def test_a_list_that_does_not_say_whether_there_is_more_is_asked_on() -> None:
    ask = VENDOR.find(SHARD, since=0).read(reply({"data": [batch(id="a")]}))
    assert ask.call.path.endswith("after=a")
    assert ask.read(reply({"data": []})) == ()


# Batches


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("validating", RemoteState.VALIDATING),
        ("Validating", RemoteState.VALIDATING),
        ("in_queue", RemoteState.VALIDATING),
        ("in_progress", RemoteState.RUNNING),
        ("PROGRESS", RemoteState.RUNNING),
        ("finalizing", RemoteState.FINISHING),
        ("cancelling", RemoteState.FINISHING),
        ("canceled", RemoteState.CANCELLED),
        ("COMPLETED", RemoteState.COMPLETED),
    ],
)
def test_statuses_are_known_in_any_spelling_seen(status: str, state: RemoteState) -> None:
    assert looked(status=status).state is state


def test_a_status_that_nobody_knows_is_no_state() -> None:
    assert refusal(batch(status="exploded"), 200).why is Why.UNAVAILABLE


def test_empty_ids_and_null_counts_are_nothing() -> None:
    found = looked(output_file_id="", error_file_id="file-e", request_counts=None, metadata=None)
    assert found.result_files == ("file-e",)
    assert found.counts.total == 0


def test_moments_that_are_no_numbers_are_unknown() -> None:
    assert looked(created_at="2024-01-01T00:00:00Z", expires_at=None).created_at is None


def test_both_files_are_results() -> None:
    paths = [call.path for call in VENDOR.results(looked(output_file_id="a", error_file_id="b"))]
    assert paths == ["/files/a/content", "/files/b/content"]


def failed(*faults: dict[str, Any]) -> Any:
    return looked(status="failed", errors={"object": "list", "data": list(faults)})


def test_line_errors_are_kept_in_order() -> None:
    found = failed(
        {"code": "invalid_request", "message": "no messages", "param": "body.messages", "line": 1},
        {"code": "invalid_json_line", "message": "no JSON", "param": None, "line": 2},
    )
    assert [(fault.line, fault.code, fault.param) for fault in found.faults] == [
        (1, "invalid_request", "body.messages"),
        (2, "invalid_json_line", None),
    ]
    assert found.refusal.why is Why.INVALID


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"code": "token_limit_exceeded", "message": "x", "line": None}, Why.QUOTA),
        ({"code": None, "message": "Enqueued token limit reached for m", "line": None}, Why.QUOTA),
        ({"code": None, "message": "Enqueued request limit reached for m", "line": None}, Why.QUOTA),
        ({"code": "billing_hard_limit_reached", "message": "x", "line": None}, Why.KEY),
        ({"code": "model_not_found", "message": "x", "line": 1}, Why.MODEL),
        ({"code": "too_many_tasks", "message": "x", "line": None}, Why.TOO_LARGE),
        ({"code": "invalid_request", "message": "x", "param": "file_id", "line": None}, Why.GONE),
        ({"code": "empty_file", "message": "x", "line": None}, Why.INVALID),
    ],
)
def test_why_a_batch_failed(fault: dict[str, Any], why: Why) -> None:
    assert failed(fault).refusal.why is why


def test_a_batch_that_failed_for_no_reason_may_be_tried_again() -> None:
    assert failed().refusal.why is Why.UNAVAILABLE


def test_the_quota_is_learnt_from_what_is_said() -> None:
    message = (
        "Enqueued token limit reached for gpt in organization o. Limit: 2,000,000 enqueued tokens. Please"
    )
    assert failed({"code": "token_limit_exceeded", "message": message}).refusal.limit_tokens == 2_000_000


# Refusals


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (401, error("bad key", "invalid_api_key"), Why.KEY),
        (403, error("no"), Why.KEY),
        (429, error("slow down", "rate_limit_exceeded"), Why.BUSY),
        (429, error("no money", "insufficient_quota"), Why.KEY),
        (429, error("Enqueued token limit reached for m", "token_limit_exceeded"), Why.QUOTA),
        (400, error("too much", "token_limit_exceeded"), Why.QUOTA),
        (400, error("The model `x` does not exist", "model_not_found"), Why.MODEL),
        (400, error("Model x is not supported by the Batch API"), Why.MODEL),
        (409, error("locked"), Why.UNAVAILABLE),
        (404, error("No such File object: file-1"), Why.GONE),
        (404, error("Unknown request URL"), Why.INVALID),
        (404, b"<html>not found</html>", Why.UNAVAILABLE),
        (404, {"detail": "Not Found"}, Why.UNAVAILABLE),
        (413, b"", Why.TOO_LARGE),
        (400, error("File is too large"), Why.TOO_LARGE),
        (400, error("The file exceeds the allowed size of 209715200 bytes"), Why.TOO_LARGE),
        (400, error("max_tokens is too large"), Why.INVALID),
        (400, error("no", "invalid_value"), Why.INVALID),
        (500, b"<html>", Why.UNAVAILABLE),
        (503, error("later"), Why.UNAVAILABLE),
        (200, b"<html>", Why.UNAVAILABLE),
        (200, b'{"id": 1}', Why.UNAVAILABLE),
        (403, error("Your project has no access to model x", "model_not_found"), Why.MODEL),
        (302, b"", Why.UNAVAILABLE),
        (405, b"<html>not allowed</html>", Why.UNAVAILABLE),
    ],
)
def test_what_a_creation_is_refused_for(status: int, body: Any, why: Why) -> None:
    assert refusal(body, status, creating=True).why is why


def test_after_nonsense_a_creation_may_have_happened() -> None:
    assert [why for why in Why if why.unsure] == [Why.UNAVAILABLE]


def test_what_is_gone_counts_as_removed() -> None:
    (ask,) = VENDOR.clean(looked(output_file_id="file-o"))
    assert ask.read(reply(error("no such file"), 404)) is None
    with pytest.raises(RemoteRefused):
        ask.read(reply(error("later"), 500))


@given(body=st.binary(max_size=50), status=st.integers(100, 599))
def test_no_answer_breaks_more_than_its_own_call(body: bytes, status: int) -> None:
    for ask in (VENDOR.look("x"), VENDOR.find(SHARD, since=0), VENDOR.find_file(SHARD), VENDOR.upload(SHARD)):
        try:
            ask.read(reply(body, status))
        except RemoteRefused as caught:
            assert len(caught.refusal.message) <= 500  # noqa: PT017


# Lines


def test_bodies_keep_their_bytes_on_the_way_out() -> None:
    body = b'{"model": "m",  "x": 1.0, "y": "\\u00e9"}'
    line = VENDOR.to_vendor("shard_1-7", "/v1/embeddings", body)
    assert body in line
    assert msgspec.json.decode(line)["custom_id"] == "shard_1-7"
    assert b"\n" not in VENDOR.to_vendor("a", "/v1/embeddings", b'{\r\n"model": "m"\n}')


def result(line: Any) -> Any:
    return VENDOR.from_vendor(
        SHARD, line if isinstance(line, bytes) else msgspec.json.encode(line), created=1
    )


def test_bodies_keep_their_bytes_on_the_way_back() -> None:
    body = b'{"x": 1.0,  "y": "\\u00e9"}'
    found = result(b'{"id":"i","custom_id":"c","response":{"status_code":200,"body":%b}}' % body)
    assert (found.body, found.fate) == (body, Fate.ANSWERED)


@pytest.mark.parametrize(
    ("line", "status", "code", "fate"),
    [
        ({"response": {"status_code": 400, "body": error("no")}}, 400, "", Fate.REFUSED),
        ({"response": {"status_code": 429, "body": error("no")}}, 429, "", Fate.TRANSIENT),
        (
            {"response": {"status_code": 500, "body": "text"}, "error": {"message": "m"}},
            500,
            "",
            Fate.TRANSIENT,
        ),
        ({"response": {"status_code": 200, "body": "text"}}, None, "invalid_answer", Fate.TRANSIENT),
        (
            {"response": None, "error": {"code": "batch_expired", "message": "x"}},
            None,
            "batch_expired",
            Fate.UNRUN,
        ),
        ({"error": {"code": "cancelled", "message": None}}, None, "batch_cancelled", Fate.UNRUN),
        ({"error": {"code": "request_timeout", "message": "x"}}, None, "request_timeout", Fate.TRANSIENT),
        ({"error": {"code": 7}}, None, "7", Fate.TRANSIENT),
        ({"response": {"status_code": 0, "body": ""}}, None, "invalid_answer", Fate.TRANSIENT),
        ({}, None, "invalid_answer", Fate.TRANSIENT),
        ({"response": "text"}, None, "invalid_answer", Fate.TRANSIENT),
        ({"response": {"status_code": "200"}}, None, "invalid_answer", Fate.TRANSIENT),
    ],
)
def test_lines_without_an_answer(line: dict[str, Any], status: int | None, code: str, fate: Fate) -> None:
    found = result({"id": "i", "custom_id": "c"} | line)
    assert (found.status, found.code, found.fate) == (status, code, fate)
    if status is not None:
        assert found.body.startswith(b"{")


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"custom_id": 1}', b"[" * 100_000])
def test_what_is_no_line_is_garbled(line: bytes) -> None:
    with pytest.raises(Garbled):
        result(line)

"""Requests that are wrong, and what we say about them: OpenAI's codes and params, with the way out."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import InvalidRequest
from bulkrate.server.batches import CreateBatchFromFile
from bulkrate.server.decode import decode_fields, decode_json
from bulkrate.server.files import CreateFile
from bulkrate.wire.batches import CreateBatch
from bulkrate.wire.files import CompleteUpload, ExpiresAfter

GOOD = {"input_file_id": "file-1", "endpoint": "/v1/responses", "completion_window": "24h"}


def refusal(body, ask=CreateBatch):
    with pytest.raises(InvalidRequest) as refused:
        decode_json(body if isinstance(body, bytes) else msgspec.json.encode(body), ask)
    return refused.value


@pytest.mark.parametrize(
    ("body", "code", "param", "words"),
    [
        ({}, "missing_required_parameter", "input_file_id", "input_file_id"),
        (GOOD | {"endpoint": 3}, "invalid_type", "endpoint", "expected a string, but got an integer"),
        (GOOD | {"endpoint": None}, "invalid_type", "endpoint", "got null"),
        (GOOD | {"endpiont": 3}, "unknown_parameter", "endpiont", "Did you mean 'endpoint'?"),
        (GOOD | {"zzz": 3}, "unknown_parameter", "zzz", "Known are: input_file_id"),
        (GOOD | {"on_invalid_line": "skip"}, "invalid_value", "on_invalid_line", "'fail', 'isolate'"),
        (GOOD | {"output_expires_after": 7}, "invalid_type", "output_expires_after", "an object or null"),
        (
            GOOD | {"output_expires_after": {"seconds": 3600}},
            "missing_required_parameter",
            "output_expires_after.anchor",
            "output_expires_after.anchor",
        ),
        (
            GOOD | {"output_expires_after": {"anchor": "now", "seconds": 3600}},
            "invalid_value",
            "output_expires_after.anchor",
            "'created_at'",
        ),
        (
            GOOD | {"output_expires_after": {"anchor": "created_at", "secs": 3600}},
            "unknown_parameter",
            "output_expires_after.secs",
            "Did you mean 'seconds'?",
        ),
        ([], "invalid_type", None, "the body: expected an object, but got an array"),
    ],
)
def test_a_wrong_field_is_named(body, code, param, words):
    refused = refusal(body)
    assert (refused.status, refused.code, refused.param) == (400, code, param)
    assert words in refused.message


def test_an_item_of_a_list_is_named():
    assert refusal({"part_ids": ["a", 3]}, CompleteUpload).param == "part_ids[1]"


@pytest.mark.parametrize(
    "body",
    [b"{", b"nonsense", msgspec.json.encode(GOOD) + b" {}", b'{"endpoint": "\xff"}',
     b'{"endpoint": "\\ud800"}', b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"],
)  # fmt: skip
def test_what_is_not_json_has_no_code(body):
    refused = refusal(body)
    assert (refused.status, refused.code, refused.param) == (400, None, None)
    assert "JSON" in refused.message


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    with contextlib.suppress(InvalidRequest):
        decode_json(body, CreateBatch)


def test_a_refusal_never_repeats_a_long_value():
    refused = refusal(GOOD | {"on_invalid_line": "secret " * 1000})
    assert len(refused.message) < 200


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},  # SDKs
        {"expires_after.anchor": "created_at", "expires_after.seconds": "3600"},  # Azure's documentation
        {"expires_after": '{"anchor": "created_at", "seconds": 3600}'},  # JSON in a part
    ],
)
def test_nested_fields_are_read_in_every_spelling(fields):
    ask = decode_fields({"purpose": "batch", "target_model_names": "litellm adds this", **fields}, CreateFile)
    assert ask == CreateFile(purpose="batch", expires_after=ExpiresAfter(anchor="created_at", seconds=3600))


def test_metadata_comes_as_text_or_as_fields():
    endpoint = {"endpoint": "/v1/responses"}
    as_text = decode_fields({**endpoint, "metadata": '{"a": "b", "c.d": "e"}'}, CreateBatchFromFile)
    as_fields = decode_fields({**endpoint, "metadata[a]": "b", "metadata[c.d]": "e"}, CreateBatchFromFile)
    assert as_text == as_fields
    assert as_text.metadata == {"a": "b", "c.d": "e"}
    assert as_text.completion_window == "24h"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_required_parameter", "purpose"),
        (
            {"purpose": "batch", "expires_after[seconds]": "3600"},
            "missing_required_parameter",
            "expires_after.anchor",
        ),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
            "invalid_type",
            "expires_after.seconds",
        ),
        ({"purpose": "batch", "expires_after": "{"}, "invalid_value", "expires_after"),
        ({"purpose": "batch", "expires_after": "3600"}, "invalid_type", "expires_after"),
    ],
)
def test_a_wrong_form_field_is_named(fields, code, param):
    with pytest.raises(InvalidRequest) as refused:
        decode_fields(fields, CreateFile)
    assert (refused.value.code, refused.value.param) == (code, param)

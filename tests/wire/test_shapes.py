"""OpenAI's objects, key for key: every key is always there, `null` where unset."""

from __future__ import annotations

import json

import msgspec
import pytest
from openai import types
from openai.types.uploads import UploadPart as UploadPartOfTheSdk

from bulkrate.core.lifecycle import Status
from bulkrate.errors import NotFound, RequestRefused, Unavailable
from bulkrate.wire.base import Page, encode
from bulkrate.wire.batches import Batch, BatchFault, BatchFaults, BatchUsage, CreateBatch
from bulkrate.wire.errors import error_body
from bulkrate.wire.files import CreateUpload, File, FileDeleted, Upload, UploadPart
from bulkrate.wire.models import Model, ModelList

BATCH = Batch(
    id="batch_1",
    endpoint="/v1/chat/completions",
    input_file_id="file-1",
    completion_window="24h",
    status="validating",
    created_at=1,
)
FILE = File(id="file-1", bytes=2, created_at=3, filename="a", purpose="batch")
UPLOAD = Upload(
    id="upload_1", bytes=2, created_at=3, expires_at=4, filename="a", purpose="batch", status="pending"
)


def keys(shape) -> set[str]:
    return set(json.loads(encode(shape)))


def test_a_batch_has_every_key_of_openai_and_our_four():
    assert keys(BATCH) == {
        *("id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window", "status"),
        *("output_file_id", "error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at"),
        *("completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at", "request_counts"),
        *("usage", "metadata"),
        *("progress", "on_invalid_line", "retry_of", "delegated"),
    }


def test_a_file_has_every_key_of_openai():
    assert keys(FILE) == {
        *(
            "id",
            "object",
            "bytes",
            "created_at",
            "expires_at",
            "filename",
            "purpose",
            "status",
            "status_details",
        )
    }


def test_an_upload_has_every_key_of_openai():
    assert keys(UPLOAD) == {
        *("id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "file")
    }


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BATCH, types.Batch),
        (FILE, types.FileObject),
        (UPLOAD, types.Upload),
        (UploadPart(id="part_1", created_at=1, upload_id="upload_1"), UploadPartOfTheSdk),
        (FileDeleted(id="file-1"), types.FileDeleted),
        (Model(id="m"), types.Model),
        (BatchUsage(), types.BatchUsage),
        (BatchFault(code="c", message="m"), types.BatchError),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_sdk_reads_each_object_and_finds_what_it_counts_on(ours, theirs):
    told = json.loads(encode(ours))
    needed = {name for name, field in theirs.model_fields.items() if field.is_required()}
    assert needed <= set(told)
    theirs.model_validate(told, strict=True)


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (BATCH, "batch"),
        (FILE, "file"),
        (UPLOAD, "upload"),
        (UploadPart(id="part_1", created_at=1, upload_id="upload_1"), "upload.part"),
        (FileDeleted(id="file-1"), "file"),
        (BatchFaults(data=[]), "list"),
        (ModelList(data=[]), "list"),
        (Page(data=[], has_more=False, first_id=None, last_id=None), "list"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_says_what_it_is(shape, name):
    assert json.loads(encode(shape))["object"] == name


def test_an_empty_page_has_all_that_six_sdks_page_by():
    page = Page(data=[], has_more=False, first_id=None, last_id=None)
    assert keys(page) == {"object", "data", "has_more", "first_id", "last_id"}


@pytest.mark.parametrize("status", Status)
def test_the_sdk_knows_each_of_our_statuses(status):
    told = json.loads(encode(msgspec.structs.replace(BATCH, status=status)))
    assert types.Batch.model_validate(told, strict=True).status == status


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (
            NotFound("No batch.", param="id", code="x"),
            {"message": "No batch.", "type": "invalid_request_error", "param": "id", "code": "x"},
        ),
        (
            Unavailable("Later."),
            {"message": "Later.", "type": "server_error", "param": None, "code": None},
        ),
    ],
)
def test_an_error_body_has_all_four_keys(refused: RequestRefused, expected):
    assert json.loads(encode(error_body(refused))) == {"error": expected}


@pytest.mark.parametrize("shape", [CreateBatch, CreateUpload])
def test_an_unknown_field_of_a_request_is_refused(shape):
    with pytest.raises(msgspec.ValidationError, match="nonsense"):
        msgspec.json.decode(b'{"nonsense": 1}', type=shape)

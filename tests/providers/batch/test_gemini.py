"""Google's own ways."""

from __future__ import annotations

import json

import pytest

from bulkrate.providers.batch.base import RemoteRefused, Reply, Shard, Why
from bulkrate.providers.batch.gemini import GeminiBatch

VENDOR = GeminiBatch()
SHARD = Shard(
    id="s" * 48,
    fingerprint="ab" * 32,
    endpoint="/v1/embeddings",
    model="models/gemini-embedding-001",
    lines=1,
    size=3,
    window="48h",
)


def reply(body: object, status: int = 200, **headers: str) -> Reply:
    return Reply(status=status, body=json.dumps(body).encode(), headers=headers)


def test_an_upload_goes_to_the_address_that_is_given_without_the_key() -> None:
    begin = VENDOR.upload(SHARD)
    assert dict(begin.call.headers)["x-goog-upload-header-content-length"] == "3"
    send = begin.read(reply({}, **{"x-goog-upload-url": "https://elsewhere.example/u?id=1"}))
    assert (send.call.path, send.call.keyless) == ("https://elsewhere.example/u?id=1", True)
    file = send.read(reply({"file": {"name": "files/a", "sizeBytes": "3", "state": "PROCESSING"}}))
    assert (file.id, file.size, file.ready) == ("files/a", 3, False)


def test_names_fit_what_google_allows() -> None:
    about = json.loads(VENDOR.upload(SHARD).call.body)["file"]
    assert len(about["name"].removeprefix("files/")) == 40
    call = VENDOR.create(SHARD, "files/a").call
    assert call.path == "/v1beta/models/gemini-embedding-001:asyncBatchEmbedContent"
    assert len(json.loads(call.body)["batch"]["displayName"]) <= 128


def test_the_wait_that_google_asks_for_is_told() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}]
    error = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}
    with pytest.raises(RemoteRefused) as caught:
        VENDOR.create(SHARD, "files/a").read(reply({"error": error}, 429))
    assert (caught.value.refusal.why, caught.value.refusal.retry_after_s) == (Why.QUOTA, 37.5)


def test_all_pages_are_read_since_their_order_is_not_told() -> None:
    # In a state that nobody knows, but not ours.
    old = {
        "name": "batches/1",
        "metadata": {"state": "NEW", "createTime": "2020-01-01T00:00:00Z"},
    }
    ask = VENDOR.find(SHARD, since=2_000_000_000).read(reply({"operations": [old], "nextPageToken": "a/b"}))
    assert ask.call.path == "/v1beta/batches?pageSize=100&pageToken=a%2Fb"
    ours = {"displayName": f"bulkrate:{SHARD.id}:{SHARD.fingerprint}", "state": "JOB_STATE_PENDING"}
    (found,) = ask.read(reply({"operations": [old, {"name": "batches/2", "metadata": ours}]}))
    assert (found.remote.id, found.remote.fingerprint) == ("batches/2", SHARD.fingerprint)

"""Keys and projects: who has none is refused, and what is another project's is not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.api.flow import lines, ran
from tests.support.http import Http, part
from tests.support.processes import Process, Server, chat_line, jsonl, running

pytestmark = pytest.mark.server

CONTENT = jsonl(chat_line("a"), chat_line("b", "[[sandbox:status=422]]"))


class Guarded(NamedTuple):
    """A server with keys, as seen by two projects and by nobody."""

    ours: Http
    theirs: Http
    nobody: Http
    data: Path


def make_key(data: Path, project: str) -> str:
    command = [sys.executable, "-m", "bulkrate", "keys", "create", "--project", project, "--data", str(data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def guarded(upstream: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    data = tmp_path_factory.mktemp("guarded")
    ours, theirs = make_key(data, "ours"), make_key(data, "theirs")
    with running(Server(data, upstream.url)) as server:
        yield Guarded(
            Http(server.port, {"authorization": f"Bearer {ours}"}),
            Http(server.port, {"api-key": theirs}),
            Http(server.port),
            data,
        )


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "Basic dXNlcjpwYXNz"}, None),
        ({"authorization": "Bearer sk-wrong-0123456789-0123456789"}, "invalid_api_key"),
        ({"api-key": "sk-wrong-0123456789-0123456789"}, "invalid_api_key"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("GET", "/v1/batches"),
        ("POST", "/v1/batches/run"),
        ("GET", "/openai/batches"),
        ("GET", "/v1/models"),
        ("GET", "/v1/webhook_endpoints"),
    ],
)
def test_without_the_right_key_there_is_nothing(
    guarded: Guarded, method: str, path: str, headers: dict[str, str], code: str | None
) -> None:
    answer = guarded.nobody(method, path, headers=headers)
    assert answer.status == 401
    error = answer.error
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, code)
    assert "0123456789-0123456789" not in error["message"]


def test_health_and_the_document_need_no_key(guarded: Guarded) -> None:
    for path in ("/", "/health", "/openapi.json"):
        assert guarded.nobody.get(path).status == 200


def test_what_is_another_projects_is_not_there(guarded: Guarded) -> None:
    ours, theirs = guarded.ours, guarded.theirs
    batch = ran(ours, CONTENT)
    assert len(lines(ours, batch["output_file_id"])) == 1
    upload = ours.post(
        "/v1/uploads", {"filename": "a", "purpose": "batch", "bytes": 10, "mime_type": "text/plain"}
    ).json
    hook = ours.post(
        "/v1/webhook_endpoints",
        {"name": "mine", "url": "http://127.0.0.1:9/hook", "event_types": ["batch.completed"]},
    ).json

    asked = [("POST", f"/v1/batches/{batch['id']}/{verb}") for verb in ("cancel", "retry")]
    asked += [
        ("GET", f"/v1/batches/{batch['id']}{rest}")
        for rest in ("", "/output", "/errors", "/lines?custom_id=a")
    ]
    for key in ("input_file_id", "output_file_id", "error_file_id"):
        asked += [(method, f"/v1/files/{batch[key]}") for method in ("GET", "DELETE")]
        asked += [("GET", f"/v1/files/{batch[key]}/content")]
    asked += [("POST", f"/v1/uploads/{upload['id']}/cancel")]
    asked += [(method, f"/v1/webhook_endpoints/{hook['id']}") for method in ("GET", "DELETE")]
    asked += [("GET", f"/v1/webhook_endpoints/{hook['id']}/deliveries")]
    asked += [("POST", f"/v1/webhook_endpoints/{hook['id']}/rotate_secret")]
    for method, path in asked:
        answer = theirs(method, path)
        assert answer.status == 404, path
    assert theirs.form(f"/v1/uploads/{upload['id']}/parts", part("data", b"x", "x")).status == 404
    assert theirs.post(f"/v1/uploads/{upload['id']}/complete", {"part_ids": ["part_1"]}).status == 404

    for listing in ("files", "batches", "webhook_endpoints"):
        assert theirs.get(f"/v1/{listing}").json["data"] == []
    for after in (f"files?after={batch['input_file_id']}", f"batches?after={batch['id']}"):
        assert theirs.get(f"/v1/{after}").status == 404
    assert ours.get(f"/v1/batches/{batch['id']}").json == batch
    assert ours.get(f"/v1/files/{batch['input_file_id']}").status == 200
    assert ours("DELETE", f"/v1/webhook_endpoints/{hook['id']}").status == 200


def test_a_batch_cannot_read_another_projects_file(guarded: Guarded) -> None:
    file = guarded.ours.upload(CONTENT)
    batch = ran(guarded.theirs, file["id"])
    assert batch["status"] == "failed"
    assert [fault["param"] for fault in batch["errors"]["data"]] == ["file_id"]
    assert "does not exist" in batch["errors"]["data"][0]["message"]


def test_an_idempotency_key_is_a_projects_own(guarded: Guarded) -> None:
    asked = {"input_file_id": "file-none", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    headers = {"Idempotency-Key": "the-same"}
    ours = guarded.ours.post("/v1/batches", asked, headers).json
    theirs = guarded.theirs.post("/v1/batches", asked, headers).json
    assert ours["id"] != theirs["id"]


def test_parts_of_another_projects_upload_cannot_be_joined(guarded: Guarded) -> None:
    asked = {"filename": "a", "purpose": "vision", "bytes": 4, "mime_type": "text/plain"}
    ours, theirs = (http.post("/v1/uploads", asked).json["id"] for http in (guarded.ours, guarded.theirs))
    sent = guarded.ours.form(f"/v1/uploads/{ours}/parts", part("data", b"1234", "x")).json["id"]
    assert guarded.theirs.post(f"/v1/uploads/{theirs}/complete", {"part_ids": [sent]}).status == 400


def test_a_revoked_key_opens_nothing_from_then_on(guarded: Guarded) -> None:
    key = make_key(guarded.data, "third")
    third = Http(guarded.ours.port, {"authorization": f"Bearer {key}"})
    assert third.get("/v1/batches").status == 200
    command = [sys.executable, "-m", "bulkrate", "keys", "revoke", key, "--data", str(guarded.data)]
    subprocess.run(command, check=True, capture_output=True)
    assert third.get("/v1/batches").status == 401

"""Uploads over HTTP: files that come in parts."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.http import FORM_TYPE, Answer, Http, form, part
from tests.support.processes import Process, Server, chat_line, jsonl, running, wait_until

pytestmark = pytest.mark.server

CONTENT = jsonl(*(chat_line(f"row-{n}") for n in range(50)))


def begin(http: Http, size: int = len(CONTENT), **more: object) -> dict[str, object]:
    asked = {"filename": "big.jsonl", "purpose": "batch", "bytes": size, "mime_type": "application/jsonl"}
    answer = http.post("/v1/uploads", asked | more)
    assert answer.status == 200, answer.body
    return answer.json


def send(http: Http, upload: dict[str, object], data: bytes) -> Answer:
    return http.form(f"/v1/uploads/{upload['id']}/parts", part("data", data, "upload"))


def complete(http: Http, upload: dict[str, object], *part_ids: str, **more: object) -> Answer:
    return http.post(f"/v1/uploads/{upload['id']}/complete", {"part_ids": list(part_ids), **more})


def wait_until_gone(server: Server, *part_ids: str) -> None:
    blobs = server.data / "blobs"
    wait_until(
        lambda: [found for part_id in part_ids for found in blobs.rglob(part_id)], lambda left: not left
    )


def test_an_upload_has_every_key(http: Http) -> None:
    upload = begin(http)
    assert upload == {
        "id": upload["id"],
        "object": "upload",
        "bytes": len(CONTENT),
        "created_at": upload["created_at"],
        "expires_at": upload["created_at"] + 3600,
        "filename": "big.jsonl",
        "purpose": "batch",
        "status": "pending",
        "file": None,
    }
    sent = send(http, upload, CONTENT).json
    assert set(sent) == {"id", "object", "created_at", "upload_id"}
    assert (sent["object"], sent["upload_id"], sent["id"][:5]) == ("upload.part", upload["id"], "part_")


def test_parts_sent_at_once_are_joined_in_the_order_asked_for(http: Http, server: Server) -> None:
    upload = begin(http, expires_after={"anchor": "created_at", "seconds": 7200})
    pieces = [CONTENT[place : place + 1000] for place in range(0, len(CONTENT), 1000)]
    with ThreadPoolExecutor(8) as threads:
        backwards = list(threads.map(lambda piece: send(http, upload, piece).json["id"], pieces[::-1]))
    md5 = hashlib.md5(CONTENT).hexdigest()
    done = complete(http, upload, *backwards[::-1], md5=md5.upper()).json
    assert done["status"] == "completed"
    assert done["file"]["bytes"] == len(CONTENT)
    assert done["file"]["filename"] == "big.jsonl"
    assert done["file"]["expires_at"] == done["file"]["created_at"] + 7200
    assert http.get(f"/v1/files/{done['file']['id']}/content").body == CONTENT
    assert complete(http, upload, *backwards).json["file"] == done["file"]  # the answer was lost: asked again
    wait_until_gone(server, *backwards)


def test_a_wrong_md5_is_refused_and_can_be_corrected(http: Http) -> None:
    upload = begin(http)
    sent = send(http, upload, CONTENT).json["id"]
    refused = complete(http, upload, sent, md5="0" * 32)
    assert refused.status == 400
    assert refused.error["param"] == "md5"
    assert complete(http, upload, sent).json["status"] == "completed"


@pytest.mark.parametrize("which", ["too few", "twice", "unknown", "none"])
def test_parts_that_do_not_make_the_file_are_refused(http: Http, which: str) -> None:
    upload = begin(http)
    half = len(CONTENT) // 2
    first, _second = (send(http, upload, data).json["id"] for data in (CONTENT[:half], CONTENT[half:]))
    chosen = {"too few": [first], "twice": [first, first], "unknown": [first, "part_none"], "none": []}[which]
    answer = complete(http, upload, *chosen)
    assert answer.status == 400
    assert answer.error["param"] == "part_ids"


def test_parts_of_another_upload_do_not_count(http: Http) -> None:
    other = send(http, begin(http), CONTENT).json["id"]
    assert complete(http, begin(http), other).status == 400


def test_a_part_beyond_the_declared_size_is_refused(http: Http, server: Server) -> None:
    upload = begin(http, size=10)
    assert send(http, upload, b"0123456789!").status == 413
    assert send(http, upload, b"0123456789").status == 200
    assert send(http, upload, b"!").status == 413
    assert list((server.data / "blobs" / "new").iterdir()) == []


def test_a_cancelled_upload_takes_no_parts_and_keeps_none(http: Http, server: Server) -> None:
    upload = begin(http)
    sent = send(http, upload, CONTENT).json["id"]
    cancelled = http("POST", f"/v1/uploads/{upload['id']}/cancel", b"", {"content-type": "application/json"})
    assert cancelled.json == upload | {"status": "cancelled"}
    assert http.post(f"/v1/uploads/{upload['id']}/cancel").json == cancelled.json
    for answer in (send(http, upload, CONTENT), complete(http, upload, sent)):
        assert answer.status == 400
        assert "cancelled" in answer.error["message"]
    wait_until_gone(server, sent)


def test_a_completed_upload_cannot_be_cancelled(http: Http) -> None:
    upload = begin(http)
    complete(http, upload, send(http, upload, CONTENT).json["id"])
    assert http.post(f"/v1/uploads/{upload['id']}/cancel").status == 400
    assert send(http, upload, b"").status == 400


def test_an_upload_expires_after_an_hour(http: Http, server: Server) -> None:
    upload = begin(http)
    sent = send(http, upload, CONTENT).json["id"]
    records = sqlite3.connect(server.data / "bulkrate.db")
    with records:
        records.execute("UPDATE uploads SET expires_at = ? WHERE id = ?", (int(time.time()), upload["id"]))
    records.close()
    for answer in (send(http, upload, b"x"), complete(http, upload, sent)):
        assert answer.status == 400
        assert "expired" in answer.error["message"]
    wait_until_gone(server, sent)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"filename": None}, "invalid_type", "filename"),
        ({"purpose": "none"}, "invalid_value", "purpose"),
        ({"bytes": 0}, "integer_below_min_value", "bytes"),
        ({"bytes": "many"}, "invalid_type", "bytes"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "integer_below_min_value", None),
        ({"surprise": 1}, "unknown_parameter", "surprise"),
    ],
)
def test_a_wrong_upload_is_refused(
    http: Http, change: dict[str, object], code: str, param: str | None
) -> None:
    asked = {"filename": "a.jsonl", "purpose": "batch", "bytes": 10, "mime_type": "text/plain"} | change
    answer = http.post("/v1/uploads", asked)
    assert answer.status == 400
    assert answer.error["code"] == code
    assert answer.error["param"] == (param or "expires_after.seconds")


def test_a_missing_field_is_named(http: Http) -> None:
    for field in ("filename", "purpose", "bytes", "mime_type"):
        asked = {"filename": "a.jsonl", "purpose": "batch", "bytes": 10, "mime_type": "text/plain"}
        del asked[field]
        error = http.post("/v1/uploads", asked).error
        assert (error["code"], error["param"]) == ("missing_required_parameter", field)


def test_a_filename_of_an_upload_is_a_name_too(http: Http) -> None:
    upload = begin(http, filename="../../etc/passwd.jsonl")
    done = complete(http, upload, send(http, upload, CONTENT).json["id"]).json
    assert done["file"]["filename"] == "passwd.jsonl"


def test_an_unknown_upload_is_404(http: Http) -> None:
    nobody = {"id": "upload_none"}
    answers = [
        send(http, nobody, b"x"),
        complete(http, nobody, "a"),
        http.post("/v1/uploads/upload_none/cancel"),
    ]
    assert [answer.status for answer in answers] == [404, 404, 404]


def test_a_part_breaking_off_leaves_nothing(http: Http, server: Server) -> None:
    upload = begin(http)
    head = f"POST /v1/uploads/{upload['id']}/parts HTTP/1.1\nhost: localhost\ncontent-type: {FORM_TYPE}"
    http.break_off(f"{head}\ncontent-length: 9000", form(part("data", CONTENT))[:2000])
    wait_until(lambda: list((server.data / "blobs" / "new").iterdir()), lambda left: left == [])
    assert complete(http, upload, send(http, upload, CONTENT).json["id"]).status == 200


def test_the_limits_of_a_part_and_of_a_file_are_413(upstream: Process, data: Path) -> None:
    env = {"BULKRATE_LIMITS__UPLOAD_PART_BYTES_MAX": "100", "BULKRATE_LIMITS__FILE_BYTES_MAX": "250"}
    with running(Server(data, upstream.url, env=env)) as server:
        http = Http(server.port)
        asked = {"filename": "a", "purpose": "vision", "bytes": 251, "mime_type": "text/plain"}
        assert http.post("/v1/uploads", asked).status == 413
        upload = begin(http, size=250, purpose="vision")
        assert send(http, upload, b"x" * 101).status == 413
        ids = [send(http, upload, b"x" * size).json["id"] for size in (100, 100, 50)]
        assert complete(http, upload, *ids).json["file"]["bytes"] == 250

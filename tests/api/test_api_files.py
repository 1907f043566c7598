"""Files over HTTP: every way a form can come, what is refused, and that nothing is left behind."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http import BOUNDARY, FORM_TYPE, Http, form, part
from tests.support.processes import Process, Server, chat_line, jsonl, running, wait_until

pytestmark = pytest.mark.server

LINE = jsonl(chat_line("a"))
PURPOSE = part("purpose", "batch")
FILE = part("file", LINE, "input.jsonl")


@pytest.fixture(scope="module")
def untouched(upstream: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is asked for nothing but what it must refuse: nothing of others comes or goes in it."""
    with running(Server(tmp_path_factory.mktemp("untouched"), upstream.url)) as process:
        yield process


def leftovers(server: Server) -> set[str]:
    return {path.name for path in (server.data / "blobs" / "new").iterdir()}


def stored(server: Server) -> set[str]:
    return {path.name for path in (server.data / "blobs" / "files").glob("*")}


def test_an_uploaded_file_has_every_key_and_is_processed_at_once(http: Http) -> None:
    file = http.upload(LINE)
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": len(LINE),
        "created_at": file["created_at"],
        "expires_at": file["created_at"] + 2_592_000,
        "filename": "input.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    assert file["id"].startswith("file-")
    assert abs(file["created_at"] - time.time()) < 5
    assert http.get(f"/v1/files/{file['id']}").json == file
    assert http.get(f"/v1/files/{file['id']}/content").body == LINE


@pytest.mark.parametrize(
    "parts",
    [(PURPOSE, FILE), (FILE, PURPOSE), (part("x", "y"), FILE, part("target_model_names", "a,b"), PURPOSE)],
    ids=["file last", "file first", "with unknown parts"],
)
def test_the_parts_may_come_in_any_order(http: Http, parts: tuple[bytes, ...]) -> None:
    answer = http.form("/v1/files", *parts)
    assert answer.status == 200
    assert (answer.json["purpose"], answer.json["bytes"]) == ("batch", len(LINE))


@pytest.mark.parametrize(
    "expiry",
    [
        (part("expires_after[anchor]", "created_at"), part("expires_after[seconds]", "3600")),
        (part("expires_after.anchor", "created_at"), part("expires_after.seconds", "3600")),
        (part("expires_after", '{"anchor": "created_at", "seconds": 3600}'),),
    ],
    ids=["brackets", "dots", "JSON"],
)
def test_expiry_may_be_written_in_brackets_dots_or_json(http: Http, expiry: tuple[bytes, ...]) -> None:
    file = http.form("/v1/files", PURPOSE, *expiry, FILE).json
    assert file["expires_at"] == file["created_at"] + 3600


@pytest.mark.parametrize(
    ("expiry", "code", "param"),
    [
        ({"seconds": "3600"}, "missing_required_parameter", "expires_after.anchor"),
        ({"anchor": "created_at"}, "missing_required_parameter", "expires_after.seconds"),
        ({"anchor": "now", "seconds": "3600"}, "invalid_value", "expires_after.anchor"),
        ({"anchor": "created_at", "seconds": "3599"}, "integer_below_min_value", "expires_after.seconds"),
        ({"anchor": "created_at", "seconds": "2592001"}, "integer_above_max_value", "expires_after.seconds"),
        ({"anchor": "created_at", "seconds": "soon"}, "invalid_type", "expires_after.seconds"),
        ({"anchor": "created_at", "seconds": "3600", "days": "1"}, "unknown_parameter", "expires_after.days"),
    ],
)
def test_a_wrong_expiry_is_refused(http: Http, expiry: dict[str, str], code: str, param: str) -> None:
    parts = [part(f"expires_after[{key}]", value) for key, value in expiry.items()]
    answer = http.form("/v1/files", PURPOSE, *parts, FILE)
    assert answer.status == 400
    assert (answer.error["code"], answer.error["param"]) == (code, param)


def test_a_body_may_come_in_chunks(http: Http) -> None:
    body = form(FILE, PURPOSE)
    chunks = (body[place : place + 7] for place in range(0, len(body), 7))
    answer = http("POST", "/v1/files", chunks, {"content-type": FORM_TYPE})
    assert answer.status == 200
    assert http.get(f"/v1/files/{answer.json['id']}/content").body == LINE


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json", "text/plain", ""])
def test_the_type_of_the_file_part_does_not_matter(http: Http, content_type: str) -> None:
    file = part("file", LINE, "input.jsonl", f"Content-Type: {content_type}")
    assert http.form("/v1/files", PURPOSE, file).status == 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../../etc/passwd.jsonl", "passwd.jsonl"),
        ("..\\..\\boot.jsonl", "boot.jsonl"),
        ("/etc/cron.d/x.jsonl", "x.jsonl"),
        ("..", "upload"),
        ("", "upload"),
        ("a\x00b.jsonl", "ab.jsonl"),
        ("наименование.jsonl", "наименование.jsonl"),
        ("x" * 300 + ".jsonl", "x" * 249 + ".jsonl"),
        ("upload", "upload"),
        ("anonymous_file", "anonymous_file"),
        (".jsonl", ".jsonl"),
        ("a b; c.jsonl", "a b; c.jsonl"),
    ],
)
def test_a_file_name_is_a_name_and_never_a_path(http: Http, server: Server, given: str, kept: str) -> None:
    file = http.form("/v1/files", PURPOSE, part("file", LINE, given))
    assert file.status == 200, file.body
    assert file.json["filename"] == kept
    assert stored(server) >= {file.json["id"]}
    disposition = http.get(f"/v1/files/{file.json['id']}/content").headers["content-disposition"]
    assert disposition.isascii()
    assert disposition.startswith('attachment; filename="')


@pytest.mark.parametrize(
    ("content", "filename"),
    [
        (LINE, "input.txt"),
        (LINE, "input.json"),
        (b"", "input.jsonl"),
        (b"\n\r\n  \n", "input.jsonl"),
        (b"not json\n" + LINE, "input.jsonl"),
        (b"PK\x03\x04\x00\x00", "input.jsonl"),
        (b'{"custom_id": "\xff"}\n', "input.jsonl"),
        (b'{"custom_id": ' + b"[" * 5000 + b"\n", "input.jsonl"),
        (b'[{"custom_id":\n "a"}]\n', "input.jsonl"),
    ],
    ids=["txt", "json", "empty", "blank", "first line", "zip", "utf-8", "deep", "over lines"],
)
def test_what_is_no_batch_input_is_refused_at_once(untouched: Server, content: bytes, filename: str) -> None:
    http = Http(untouched.port)
    answer = http.form("/v1/files", PURPOSE, part("file", content, filename))
    assert answer.status == 400
    assert (answer.error["code"], answer.error["param"]) == (None, None)
    assert "Invalid file format for Batch API" in answer.error["message"]
    assert ".jsonl" in answer.error["message"]
    assert stored(untouched) == set() == leftovers(untouched)


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\n\n", b"\r\n \t"])
def test_a_mark_or_blank_lines_before_the_first_line_are_fine(http: Http, start: bytes) -> None:
    assert http.form("/v1/files", PURPOSE, part("file", start + LINE, "input.jsonl")).status == 200


@pytest.mark.parametrize("purpose", ["assistants", "fine-tune", "vision", "user_data", "evals"])
def test_other_purposes_take_any_bytes_and_stay(http: Http, purpose: str) -> None:
    content = bytes(range(256))
    file = http.upload(content, purpose=purpose, filename="picture.png")
    assert (file["purpose"], file["expires_at"]) == (purpose, None)
    answer = http.get(f"/v1/files/{file['id']}/content")
    assert (answer.body, answer.headers["content-type"]) == (content, "application/octet-stream")


@pytest.mark.parametrize("purpose", ["batch_output", "fine-tune-results", "Batch", ""])
def test_a_purpose_that_is_not_for_uploads_is_refused(http: Http, purpose: str) -> None:
    answer = http.form("/v1/files", part("purpose", purpose), FILE)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == ("purpose", "invalid_value")


@pytest.mark.parametrize(
    ("parts", "param"),
    [((FILE,), "purpose"), ((PURPOSE,), "file"), ((), "file"), ((PURPOSE, FILE, FILE), "file")],
)
def test_a_form_that_lacks_or_repeats_a_part_names_it(
    untouched: Server, parts: tuple[bytes, ...], param: str
) -> None:
    http = Http(untouched.port)
    answer = http.form("/v1/files", *parts)
    assert answer.status == 400
    assert answer.error["param"] == param
    assert stored(untouched) == set() == leftovers(untouched)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", form(PURPOSE, FILE)),
        (FORM_TYPE, b"no form at all"),
        (FORM_TYPE, (PURPOSE + FILE)[:-20]),
        (FORM_TYPE, PURPOSE + FILE),
        (FORM_TYPE, f"--{BOUNDARY}\r\nno colon\r\n\r\n".encode()),
        (FORM_TYPE, f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode()),
        ("multipart/form-data; boundary=" + "x" * 500, form(PURPOSE, FILE)),
        ("multipart/mixed; boundary=x", form(PURPOSE, FILE)),
        (FORM_TYPE, form(PURPOSE, part("file", LINE, "a.jsonl", "Content-Transfer-Encoding: base64"))),
        (FORM_TYPE, form(*(part(f"f{n}", "x") for n in range(70)), PURPOSE, FILE)),
        (FORM_TYPE, form(part("purpose", "b" * 100_000), FILE)),
        (FORM_TYPE, form(part("purpose", b"\xff\xfe"), FILE)),
    ],
)
def test_a_broken_form_is_400_and_leaves_nothing(untouched: Server, content_type: str, body: bytes) -> None:
    http = Http(untouched.port)
    answer = http("POST", "/v1/files", body, {"content-type": content_type})
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert stored(untouched) == set() == leftovers(untouched)


@pytest.mark.parametrize("sent", [0, 40, 1_500_000])
@pytest.mark.parametrize("framing", ["content-length: 2000000", "transfer-encoding: chunked"])
def test_an_upload_that_breaks_off_leaves_nothing(untouched: Server, sent: int, framing: str) -> None:
    http = Http(untouched.port)
    head = f"POST /v1/files HTTP/1.1\nhost: localhost\ncontent-type: {FORM_TYPE}\n{framing}"
    body = form(PURPOSE, part("file", LINE * 10_000, "input.jsonl"))[:sent]
    if "chunked" in framing and body:
        body = b"%x\r\n%b\r\n" % (len(body), body)
    http.break_off(head, body)
    wait_until(lambda: leftovers(untouched), lambda left: not left)
    assert stored(untouched) == set()


def test_a_file_beyond_the_limit_is_413_and_leaves_nothing(upstream: Process, data: Path) -> None:
    env = {"BULKRATE_LIMITS__FILE_BYTES_MAX": "1000"}
    with running(Server(data, upstream.url, env=env)) as server:
        http = Http(server.port)
        assert http.upload(b"x" * 1000, purpose="vision")["bytes"] == 1000
        body = form(PURPOSE, part("file", LINE * 100, "input.jsonl"))
        for sent in (body, iter([body])):
            answer = http("POST", "/v1/files", sent, {"content-type": FORM_TYPE})
            assert answer.status == 413
            assert answer.error["type"] == "invalid_request_error"
        assert (
            http("POST", "/v1/files", None, {"content-type": FORM_TYPE, "content-length": "9" * 15}).status
            == 413
        )
        assert leftovers(server) == set()
        assert len(stored(server)) == 1


@pytest.mark.parametrize(
    ("asked", "given", "content_range"),
    [
        ("bytes=0-0", slice(0, 1), "bytes 0-0/10"),
        ("bytes=2-5", slice(2, 6), "bytes 2-5/10"),
        ("bytes=7-", slice(7, 10), "bytes 7-9/10"),
        ("bytes=-3", slice(7, 10), "bytes 7-9/10"),
        ("bytes=5-999", slice(5, 10), "bytes 5-9/10"),
        ("bytes=-999", slice(0, 10), "bytes 0-9/10"),
    ],
)
def test_a_range_of_a_file(http: Http, asked: str, given: slice, content_range: str) -> None:
    file = http.upload(b"0123456789", purpose="user_data")
    answer = http.get(f"/v1/files/{file['id']}/content", Range=asked)
    assert answer.status == 206
    assert answer.body == b"0123456789"[given]
    assert answer.headers["content-range"] == content_range


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=5-2", "lines=1-2", "nonsense", "bytes=-"])
def test_a_range_that_is_not_understood_is_ignored(http: Http, asked: str) -> None:
    file = http.upload(b"0123456789", purpose="user_data")
    answer = http.get(f"/v1/files/{file['id']}/content", Range=asked)
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_outside_the_file_is_416(http: Http, asked: str) -> None:
    file = http.upload(b"0123456789", purpose="user_data")
    answer = http.get(f"/v1/files/{file['id']}/content", Range=asked)
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */10"
    assert answer.error["type"] == "invalid_request_error"


def test_head_of_content_tells_its_size_and_sends_none_of_it(http: Http) -> None:
    file = http.upload(b"0123456789", purpose="user_data")
    answer = http("HEAD", f"/v1/files/{file['id']}/content")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "10", b"")


def test_content_is_given_whatever_is_accepted(http: Http) -> None:
    file = http.upload(b"0123456789", purpose="user_data")
    for accept in ("application/binary", "application/json", "image/png"):
        assert http.get(f"/v1/files/{file['id']}/content", Accept=accept).status == 200


def test_an_empty_file_has_empty_content(http: Http) -> None:
    file = http.upload(b"", purpose="user_data")
    answer = http.get(f"/v1/files/{file['id']}/content")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_a_deleted_file_is_gone_and_still_marks_a_place_in_the_list(http: Http) -> None:
    first, second = (http.upload(b"x", purpose="evals") for _ in range(2))
    answer = http("DELETE", f"/v1/files/{second['id']}", b"", {"content-type": "application/json"})
    assert answer.json == {"id": second["id"], "object": "file", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert http(method, f"/v1/files/{second['id']}{path}").status == 404
    page = http.get(f"/v1/files?purpose=evals&after={second['id']}&limit=1").json
    assert [file["id"] for file in page["data"]] == [first["id"]]


def test_pages_of_files_in_both_orders(http: Http) -> None:
    ids = [http.upload(b"x", purpose="assistants")["id"] for _ in range(5)]
    before = http.get("/v1/files?purpose=assistants&order=asc").json["data"]
    ids = [file["id"] for file in before]
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        seen: list[str] = []
        after = ""
        while True:
            page = http.get(f"/v1/files?purpose=assistants&limit=2&order={order}&after={after}").json
            assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
            found = [file["id"] for file in page["data"]]
            assert (page["first_id"], page["last_id"]) == (found[0], found[-1])
            seen += found
            if not page["has_more"]:
                break
            after = page["last_id"]
        assert seen == expected
        last = http.get(f"/v1/files?purpose=assistants&order={order}&after={seen[-1]}").json
        assert last == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("query", "param"), [("order=up", "order"), ("limit=10001", "limit"), ("limit=0", "limit")]
)
def test_a_wrong_filter_is_refused(http: Http, query: str, param: str) -> None:
    answer = http.get(f"/v1/files?{query}")
    assert answer.status == 400
    assert answer.error["param"] == param


def test_an_expired_file_is_gone(http: Http, server: Server) -> None:
    file = http.upload(b"x", purpose="vision")
    with sqlite3.connect(server.data / "bulkrate.db") as records:  # an hour is the least that can be asked
        records.execute("UPDATE files SET expires_at = ? WHERE id = ?", (int(time.time()), file["id"]))
    records.close()
    assert http.get(f"/v1/files/{file['id']}").status == 404
    assert file["id"] not in {each["id"] for each in http.get("/v1/files").json["data"]}
    wait_until(lambda: file["id"] in stored(server), lambda there: not there)


def test_bytes_that_are_gone_from_the_disk_are_our_trouble(http: Http, server: Server) -> None:
    file = http.upload(b"x", purpose="vision")
    (server.data / "blobs" / "files" / file["id"]).unlink()
    answer = http.get(f"/v1/files/{file['id']}/content")
    assert answer.status == 503
    assert answer.error["type"] == "server_error"


def test_records_that_cannot_be_read_are_our_trouble(upstream: Process, data: Path) -> None:
    with running(Server(data, upstream.url)) as server:
        http = Http(server.port)
        kept = http.upload(b"x", purpose="vision")
        records = sqlite3.connect(server.data / "bulkrate.db")
        records.execute("ALTER TABLE files RENAME TO elsewhere")
        answer = http.get(f"/v1/files/{kept['id']}")
        assert answer.status == 503
        assert answer.headers["x-should-retry"] == "true"
        assert 1 <= int(answer.headers["retry-after"]) <= 120
        assert answer.error["type"] == "server_error"
        refused = http.form("/v1/files", part("purpose", "vision"), FILE)
        assert refused.status == 503
        records.execute("ALTER TABLE elsewhere RENAME TO files")
        records.close()
        assert http.get(f"/v1/files/{kept['id']}").json == kept
        assert stored(server) == {kept["id"]}


def test_a_disk_that_cannot_be_written_is_our_trouble(upstream: Process, data: Path) -> None:
    with running(Server(data, upstream.url)) as server:
        http = Http(server.port)
        new = data / "blobs" / "new"
        new.rename(data / "elsewhere")
        new.symlink_to("/proc")  # takes no files; and a process that starts makes none in its place
        answer = http.form("/v1/files", PURPOSE, FILE)
        assert answer.status == 503
        assert answer.error["type"] == "server_error"
        new.unlink()
        (data / "elsewhere").rename(new)
        assert http.form("/v1/files", PURPOSE, FILE).status == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_uploads_and_reads_back(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "input.jsonl"
    source.write_bytes(LINE * 20_000)  # beyond 1 MB curl waits for "100 Continue"
    upload = ["curl", "-sS", f"{server.url}/files", "-F", "purpose=batch", "-F", f"file=@{source}"]
    file = json.loads(subprocess.run(upload, check=True, capture_output=True).stdout)
    assert file["filename"] == "input.jsonl"
    read = ["curl", "-sS", "-r", "0-9", f"{server.url}/files/{file['id']}/content"]
    assert subprocess.run(read, check=True, capture_output=True).stdout == LINE[:10]

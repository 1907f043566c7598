"""What holds on every route: addresses, headers, and OpenAI's error body whatever goes wrong."""

from __future__ import annotations

import re
import socket

import pytest

from tests.support.http import FORM_TYPE, Http, form, part
from tests.support.processes import Server, chat_line, jsonl

pytestmark = pytest.mark.server

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", "/openai"])
def test_the_api_answers_under_every_prefix(http: Http, prefix: str) -> None:
    file = http.upload(jsonl(chat_line("a")))
    assert http.get(f"{prefix}/files/{file['id']}?api-version=2024-10-21").json == file
    created = http.post(
        f"{prefix}/batches?api-version=2024-10-21",
        {"input_file_id": file["id"], "endpoint": "/chat/completions", "completion_window": "24h"},
        {"api-key": "anything"},
    )
    assert created.status == 200
    assert created.json["endpoint"] == "/v1/chat/completions"
    assert http.get(f"{prefix}/batches/{created.json['id']}").json["id"] == created.json["id"]
    assert http.get(f"{prefix}/models").json["object"] == "list"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/nothing"),
        ("POST", "/v1/batches/batch_1/nothing"),
        ("GET", "/v1/batches/"),
        ("GET", "/v1//batches"),
        ("GET", "/v2/batches"),
        ("GET", "/v1/files//content"),
        ("GET", "/v1/files/../../etc/passwd"),
        ("GET", "/v1/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        ("OPTIONS", "/v1/nothing"),
    ],
)
def test_an_unknown_address_is_404(http: Http, method: str, path: str) -> None:
    answer = http(method, path)
    assert answer.status == 404
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/batches", "POST, GET, HEAD"),
        ("DELETE", "/v1/batches/batch_1", "GET, HEAD"),
        ("GET", "/v1/batches/batch_1/cancel", "POST"),
        ("PATCH", "/v1/files/file-1", "GET, DELETE, HEAD"),
        ("GET", "/v1/uploads", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("OPTIONS", "/v1/files", "POST, GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
    ],
)
def test_a_method_that_an_address_does_not_take_is_405(
    http: Http, method: str, path: str, allow: str
) -> None:
    answer = http(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allow
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/files/file-none", "id"),
        ("/v1/files/file-none/content", "id"),
        ("/v1/batches/batch_none", None),
        ("/v1/batches/batch_none/output", None),
        ("/v1/batches/batch_none/errors", None),
        ("/v1/batches/batch_none/lines?custom_id=a", None),
        ("/v1/batches/batch_%00%ff%f0", None),
        ("/v1/webhook_endpoints/none", None),
    ],
)
def test_what_is_not_there_is_404(http: Http, path: str, param: str | None) -> None:
    answer = http.get(path)
    assert answer.status == 404
    assert answer.error["type"] == "invalid_request_error"
    if param:
        assert answer.error["param"] == param


def test_an_unknown_file_is_named_as_openai_names_it(http: Http) -> None:
    error = http.get("/v1/files/file-none").error
    assert error == {
        "message": "No such File object: file-none",
        "type": "invalid_request_error",
        "param": "id",
        "code": None,
    }


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe{}", b"{} {}", b"[" * 100_000]
)
def test_a_body_that_is_no_json_object_is_400(http: Http, body: bytes) -> None:
    answer = http("POST", "/v1/batches", body, JSON)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_json_must_be_called_json(http: Http, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = http("POST", "/v1/batches", b'{"endpoint": "/v1/embeddings"}', headers)
    assert answer.status == 400
    assert "application/json" in answer.error["message"]


def test_a_json_body_beyond_the_bound_is_413(http: Http) -> None:
    answer = http("POST", "/v1/batches", b'{"endpoint": "' + b"x" * (9 << 20) + b'"}', JSON)
    assert answer.status == 413
    assert answer.error["type"] == "invalid_request_error"


def test_a_chunked_json_body_beyond_the_bound_is_413(http: Http) -> None:
    answer = http("POST", "/v1/batches", (b" " * (1 << 20) for _ in range(9)), JSON)
    assert answer.status == 413
    assert answer.error["type"] == "invalid_request_error"


def test_every_answer_has_its_request_id(http: Http) -> None:
    answers = [
        http.get("/v1/batches"),
        http.get("/v1/nothing"),
        http.get("/health"),
        http("PUT", "/v1/files"),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", found) for found in ids)
    for answer in answers:
        assert answer.headers["openai-version"] == "2020-10-01"
        assert answer.headers["openai-processing-ms"].isdecimal()


def test_the_client_request_id_comes_back(http: Http) -> None:
    assert http.get("/v1/batches", X_Client_Request_Id="mine-1").headers["x-client-request-id"] == "mine-1"
    assert "x-client-request-id" not in http.get("/v1/batches", X_Client_Request_Id="x" * 513).headers


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/batches", 200), ("/health", 200), ("/v1/files/file-none", 404), ("/v1/nothing", 404)],
)
def test_head_is_get_without_the_body(http: Http, path: str, status: int) -> None:
    answer = http("HEAD", path)
    assert answer.status == status
    assert answer.body == b""
    assert int(answer.headers["content-length"]) > 0


def test_headers_beyond_the_bound_are_refused_in_openais_form(http: Http) -> None:
    answer = http.get("/v1/batches", X_Large="x" * 70_000)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"


def test_what_is_not_http_is_refused_in_openais_form(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"invalid_request_error"' in answer


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "integer_below_min_value"),
        ("limit=101", "integer_above_max_value"),
        ("limit=ten", "invalid_type"),
        ("limit=99999999999999999999999999", "invalid_type"),
    ],
)
def test_a_limit_out_of_bounds_is_400(http: Http, query: str, code: str) -> None:
    answer = http.get(f"/v1/batches?{query}")
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == ("limit", code)


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/files", "/v1/webhook_endpoints"])
def test_an_unknown_after_is_refused(http: Http, path: str) -> None:
    answer = http.get(f"{path}?after=none")
    assert answer.status in {400, 404}
    assert (answer.error["type"], answer.error["param"]) == ("invalid_request_error", "after")


@pytest.mark.parametrize("path", ["/v1/batches/batch_none/cancel", "/v1/batches/batch_none/retry"])
@pytest.mark.parametrize("body", [None, b"", b"{}"])
def test_a_post_without_a_body_needs_none(http: Http, path: str, body: bytes | None) -> None:
    headers = {"content-type": "application/json", "content-length": "0"} if not body else JSON
    assert http("POST", path, body, headers).status == 404


def test_a_json_body_where_a_form_belongs_is_refused(http: Http) -> None:
    answer = http.post("/v1/files", {"purpose": "batch"})
    assert answer.status == 400
    assert "multipart/form-data" in answer.error["message"]


def test_a_form_where_json_belongs_is_refused(http: Http) -> None:
    answer = http("POST", "/v1/uploads", form(part("purpose", "batch")), {"content-type": FORM_TYPE})
    assert answer.status == 400
    assert "application/json" in answer.error["message"]


def test_the_root_and_the_document_need_no_key_and_say_where_things_are(http: Http) -> None:
    assert "/openapi.json" in http.get("/").body.decode()
    assert "/v1/batches/{batch_id}" in http.get("/openapi.json").json["paths"]
    assert http.get("/health").json["status"] == "ok"

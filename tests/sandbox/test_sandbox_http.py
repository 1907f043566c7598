"""What goes over the wire: shapes, marks, errors, faults, limits and the way it starts and stops."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.client import HTTPConnection, IncompleteRead, RemoteDisconnected
from urllib.parse import urlsplit

import pytest
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse, Video
from openai.types.chat import ChatCompletion
from openai.types.moderation_create_response import ModerationCreateResponse
from openai.types.responses import Response

from tests.sandbox.conftest import running_once

pytestmark = pytest.mark.server

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CALLS = {
    "/v1/chat/completions": (CHAT, ChatCompletion),
    "/v1/completions": ({"model": "m", "prompt": "hi"}, Completion),
    "/v1/responses": ({"model": "m", "input": "hi"}, Response),
    "/v1/embeddings": ({"model": "m", "input": "hi"}, CreateEmbeddingResponse),
    "/v1/moderations": ({"model": "m", "input": "hi"}, ModerationCreateResponse),
    "/v1/images/generations": ({"model": "m", "prompt": "hi"}, ImagesResponse),
    "/v1/images/edits": ({"model": "m", "prompt": "hi", "images": [{"file_id": "f"}]}, ImagesResponse),
    "/v1/videos": ({"model": "m", "prompt": "hi"}, Video),
}
every_endpoint = pytest.mark.parametrize("path", CALLS)


@every_endpoint
def test_every_answer_has_its_openai_shape_and_says_it_is_a_sandbox(sandbox, path):
    body, shape = CALLS[path]
    answer = sandbox.post(path, body)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-bulkrate-sandbox"] == "true"
    assert answer.headers["x-request-id"].startswith("sandbox-")
    marks = (answer.body.get("system_fingerprint"), answer.body.get("sandbox"))
    assert marks in {("bulkrate-sandbox", None), (None, "bulkrate-sandbox: no model made this answer")}
    shape.model_validate(answer.body)


@every_endpoint
def test_the_same_request_gets_the_same_answer(sandbox, path):
    first, second = (sandbox.post(path, CALLS[path][0]) for _ in range(2))
    assert first.raw == second.raw


def test_another_seed_or_another_request_gets_another_answer(sandbox, start):
    seeded = start(seed=7)
    assert sandbox.chat("a").raw != seeded.chat("a").raw
    assert sandbox.chat("a").body["id"] != sandbox.chat("a", temperature=0).body["id"]


def test_an_edit_counts_the_pictures_shown(sandbox):
    body = {"prompt": "more", "images": [{"file_id": "a"}, {"file_id": "b"}]}
    usage = sandbox.post("/v1/images/edits", body).body["usage"]
    assert usage["input_tokens_details"] == {"text_tokens": 1, "image_tokens": 646}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_moderations_judge_the_parts_of_one_input_together(sandbox):
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x.invalid"}}]
    assert len(sandbox.post("/v1/moderations", {"input": parts}).body["results"]) == 1


@every_endpoint
def test_what_is_missing_is_named(sandbox, path):
    body, _shape = CALLS[path]
    for field in body:
        rest = {name: value for name, value in body.items() if name != field}
        answer = sandbox.post(path, rest)
        if answer.status == 200:
            assert (path.split("/")[2], field) in {
                ("moderations", "model"),
                ("images", "model"),
                ("videos", "model"),
            }
            continue
        assert answer.status == 400
        assert answer.error["param"] == field
        assert answer.error["code"] == "missing_required_parameter"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(sandbox, body):
    answer = sandbox.post("/v1/chat/completions", body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["message"].startswith("sandbox: the body is ")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": []}),
        ("/v1/chat/completions", {"messages": "hi"}),
        ("/v1/chat/completions", {"messages": ["hi"]}),
        ("/v1/chat/completions", {"model": 7}),
        ("/v1/chat/completions", {"n": 0}),
        ("/v1/chat/completions", {"max_tokens": "many"}),
        ("/v1/chat/completions", {"response_format": {"type": "json_schema"}}),
        ("/v1/chat/completions", {"stream": True}),
        ("/v1/embeddings", {"input": []}),
        ("/v1/embeddings", {"input": ["a", ""]}),
        ("/v1/embeddings", {"input": [{"a": 1}]}),
        ("/v1/embeddings", {"dimensions": 0}),
        ("/v1/embeddings", {"encoding_format": "hex"}),
        ("/v1/responses", {"background": True}),
        ("/v1/responses", {"input": 5}),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(sandbox, path, fields):
    answer = sandbox.post(path, {**CALLS[path][0], **fields})
    assert answer.status == 400
    assert answer.error.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("depth", [500, 970, 5000])
def test_deep_nesting_is_answered_or_refused_but_never_breaks_it(sandbox, depth):
    nested = b"[" * depth + b'"hi [[sandbox:pretty]]"' + b"]" * depth
    answer = sandbox.post("/v1/completions", b'{"model": "m", "prompt": %s}' % nested)
    assert answer.status in {200, 400}


def test_unknown_routes_are_404_and_wrong_methods_405(sandbox):
    for method, path, status in (
        ("GET", "/", 404),
        ("POST", "/v1/chat", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/health", 405),
    ):
        answer = sandbox.call(method, path)
        assert (answer.status, answer.error["type"]) == (status, "invalid_request_error")
        assert answer.headers["x-bulkrate-sandbox"] == "true"


def test_unreadable_http_is_a_json_error_too(sandbox):
    with socket.create_connection((urlsplit(sandbox.url).hostname, urlsplit(sandbox.url).port)) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        head, _, body = raw.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"x-bulkrate-sandbox: true" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_only_the_models_named_are_served(start):
    one = start(models=("alpha", "beta"))
    assert [model["id"] for model in one.get("/v1/models").body["data"]] == ["alpha", "beta"]
    assert one.get("/v1/models/alpha").status == 200
    assert one.chat("hi", model="beta").status == 200
    for answer in (one.chat("hi", model="gamma"), one.get("/v1/models/gamma")):
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert "alpha, beta" in answer.error["message"]


def test_a_key_is_needed_when_one_is_set(start):
    one = start(key="secret")
    assert one.get("/health").status == 200
    assert one.get("/v1/models", Authorization="Bearer secret").status == 200
    for answer in (one.get("/v1/models"), one.get("/v1/models", Authorization="Bearer x"), one.chat("hi")):
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert b"secret" not in answer.raw


@pytest.mark.parametrize(
    ("directive", "status", "kind"),
    [
        ("status=503", 503, "server_error"),
        ("status=400", 400, "invalid_request_error"),
        ("status=429", 429, "requests"),
    ],
)
def test_a_directive_sets_the_status(sandbox, directive, status, kind):
    answer = sandbox.chat(f"hi [[sandbox:{directive}]]")
    assert (answer.status, answer.error["type"]) == (status, kind)
    assert "retry-after" not in answer.headers


def test_a_directive_sets_retry_after(sandbox):
    answer = sandbox.chat("[[sandbox:status=429,retry_after=2]]")
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")
    assert answer.error["code"] == "rate_limit_exceeded"


@every_endpoint
def test_every_endpoint_reads_directives(sandbox, path):
    body = json.loads(json.dumps(CALLS[path][0]).replace('"hi"', '"hi [[sandbox:status=418]]"'))
    assert sandbox.post(path, body).status == 418


def test_fail_first_fails_so_many_calls_with_the_same_body(sandbox):
    for text, failure in (("[[sandbox:fail_first=2]]", 500), ("[[sandbox:fail_first=2,status=429]]", 429)):
        statuses = [sandbox.chat(text).status for _ in range(4)]
        assert statuses == [failure, failure, 200, 200]
        assert sandbox.chat(text + " another").status == failure


def test_drop_closes_the_connection_without_an_answer(sandbox):
    with pytest.raises(RemoteDisconnected):
        sandbox.chat("[[sandbox:drop]]")


def test_truncate_sends_less_than_it_promised(sandbox):
    with pytest.raises(IncompleteRead) as caught:
        sandbox.chat("[[sandbox:truncate]]")
    assert caught.value.partial.startswith(b'{"id":"chatcmpl-sandbox-')
    assert caught.value.expected > 0


def test_reset_breaks_off_in_the_middle_of_the_answer(sandbox):
    with pytest.raises(ConnectionResetError):
        sandbox.chat("[[sandbox:reset]]")


def test_slow_sends_a_whole_answer_in_small_pieces(sandbox):
    began = time.monotonic()
    answer = sandbox.chat("[[sandbox:slow=200]]")
    assert answer.body["system_fingerprint"] == "bulkrate-sandbox"
    assert time.monotonic() - began >= 0.15


def test_fail_first_makes_a_call_slow_and_the_next_quick(sandbox):
    text = "[[sandbox:fail_first=1,slow=100]]"
    first, second = sandbox.chat(text), sandbox.chat(text)
    assert first.raw == second.raw


def on_one_connection(one, *texts):
    """Chat with each text in turn, on the same connection while it lasts; the bodies."""
    connection = HTTPConnection(urlsplit(one.url).netloc, timeout=30)
    # It would connect again by itself.
    connection.auto_open = 0
    connection.connect()
    bodies = []
    try:
        for text in texts:
            asked = {"model": "m", "messages": [{"role": "user", "content": text}]}
            connection.request("POST", "/v1/chat/completions", json.dumps(asked))
            answer = connection.getresponse()
            assert answer.getheader("connection") is None
            bodies.append(answer.read())
    finally:
        connection.close()
    return bodies


def test_a_connection_is_kept_until_close_ends_it_without_a_word(sandbox):
    assert len(on_one_connection(sandbox, "a", "b")) == 2
    with pytest.raises((RemoteDisconnected, ConnectionError)):
        on_one_connection(sandbox, "[[sandbox:close]]", "b")


def test_idle_connections_are_closed_at_moments_of_their_own(start):
    one = start(idle_ms=50)
    with socket.create_connection((urlsplit(one.url).hostname, urlsplit(one.url).port)) as raw:
        raw.settimeout(30)
        raw.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        received = raw.makefile("rb").read()  # until the sandbox hangs up
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" not in received


def test_crash_kills_the_sandbox_and_what_others_asked_of_it():
    with running_once() as one, ThreadPoolExecutor(2) as threads:
        bystander = threads.submit(one.chat, "[[sandbox:sleep_ms=600000]]")
        while one.get("/stats").body["in_flight"] < 1:
            pass
        with pytest.raises(ConnectionError):
            one.chat("[[sandbox:sleep_ms=10,crash]]")
        assert isinstance(bystander.exception(), ConnectionError)
        assert one.process.wait(timeout=10) == -signal.SIGKILL


def test_a_kept_sandbox_comes_back_on_its_port_and_goes_on_with_its_journal(tmp_path):
    journal = tmp_path / "calls.jsonl"
    with running_once("keep", restart_s=0.01, journal=journal) as one:
        for _ in range(2):
            with pytest.raises(ConnectionError):
                one.chat("[[sandbox:crash]]")
            assert "died (exit code -9); starts again in 0.01 s" in one.process.stderr.readline()
            assert one.url in one.process.stderr.readline()
            assert one.chat("hi").status == 200
        one.stop()
        assert one.process.returncode == 0
    assert len(journal.read_text().splitlines()) == 4


def test_a_kept_sandbox_that_cannot_start_says_so_and_is_not_tried_again(sandbox):
    program = "from bulkrate.sandbox import *; keep(SandboxOptions(restart_s=0, port=%d))"
    line = failed_start_of(program % urlsplit(sandbox.url).port)
    assert "cannot listen on 127.0.0.1" in line


def test_garbage_is_not_json(sandbox):
    answer = sandbox.chat("[[sandbox:garbage]]")
    assert answer.status == 200
    assert answer.raw.startswith(b"sandbox: ")
    with pytest.raises(ValueError, match="Expecting value"):
        answer.body  # noqa: B018


def test_html_is_an_error_page(sandbox):
    answer = sandbox.chat("[[sandbox:html=502]]")
    assert (answer.status, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert b"<h1>502</h1>" in answer.raw


def test_pretty_takes_several_lines(sandbox):
    answer = sandbox.chat("[[sandbox:pretty]]")
    assert answer.raw.count(b"\n") > 10
    assert answer.body["system_fingerprint"] == "bulkrate-sandbox"


def test_bytes_sets_the_size_of_the_answer(sandbox):
    answer = sandbox.chat("[[sandbox:bytes=1000000]]")
    assert len(answer.raw) == 1_000_000
    assert answer.body["system_fingerprint"] == "bulkrate-sandbox"


def test_sleep_makes_one_call_take_longer(sandbox):
    began = time.monotonic()
    assert sandbox.chat("[[sandbox:sleep_ms=150]]").status == 200
    assert time.monotonic() - began >= 0.145


def test_latency_delays_every_call(start):
    one = start(latency_ms=150)
    began = time.monotonic()
    assert one.chat("hi").status == 200
    assert time.monotonic() - began >= 0.145


def test_it_works_on_no_more_calls_than_its_capacity(start):
    one = start(capacity=2, latency_ms=100)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        assert [answer.status for answer in threads.map(one.chat, "abcdefgh")] == [200] * 8
    assert time.monotonic() - began >= 0.395
    assert 2 < one.get("/stats").body["in_flight_max"] <= 8


def test_error_rate_fails_calls_and_not_requests(start):
    one = start(error_rate=0.5, seed=1)
    statuses = [one.chat("the same body").status for _ in range(40)]
    assert set(statuses) == {200, 500}
    again = start(error_rate=0.5, seed=1)
    assert [again.chat("the same body").status for _ in range(40)] == statuses


def test_rate_limit_answers_429_and_says_when_to_come_back(start):
    one = start(rate_limit=0.01)
    first, second = one.chat("a"), one.chat("b")
    assert (first.status, first.headers["x-ratelimit-remaining-requests"]) == (200, "0")
    assert (second.status, second.error["code"]) == (429, "rate_limit_exceeded")
    assert 90 <= int(second.headers["retry-after"]) <= 100
    assert second.headers["x-ratelimit-limit-requests"] == "1"


def test_stats_count_calls_by_status(start):
    one = start()
    one.chat("hi")
    one.chat("[[sandbox:status=503]]")
    with pytest.raises(RemoteDisconnected):
        one.chat("[[sandbox:drop]]")
    one.get("/health")
    stats = one.get("/stats").body
    assert stats.pop("seconds_up") > 0
    assert "sandbox" in stats.pop("sandbox")
    assert stats == {
        "calls": 3,
        "by_status": {"200": 1, "503": 1, "no_answer": 1},
        "in_flight": 0,
        "in_flight_max": 1,
        "working": 0,
        "waiting": 0,
    }


def test_the_journal_has_a_line_per_call_and_no_prompt(start, tmp_path):
    journal = tmp_path / "calls.jsonl"
    one = start(journal=journal)
    body = json.dumps({**CHAT, "user": "u-1", "metadata": {"line": 7}}).encode()
    one.post("/v1/chat/completions", body)
    one.post("/v1/embeddings", b"not JSON")
    one.chat("secret words [[sandbox:status=500]]")
    one.get("/v1/models")
    first, second, third = map(json.loads, journal.read_text().splitlines())
    assert abs(first.pop("t") - time.time()) < 60
    assert first == {
        "path": "/v1/chat/completions",
        "model": "m",
        "body_sha256": sha256(body).hexdigest(),
        "user": "u-1",
        "custom": 7,
    }
    assert (second["path"], second["model"]) == ("/v1/embeddings", None)
    assert third["model"] == "sandbox"
    assert "secret" not in journal.read_text()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_even_with_calls_in_flight(start, by):
    one = start(capacity=1)
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(one.chat, f"{text} [[sandbox:sleep_ms=600000]]") for text in "ab"]
        while one.get("/stats").body["in_flight"] < 2:
            pass
        began = time.monotonic()
        one.stop(by)
        assert time.monotonic() - began < 5
        assert all(isinstance(call.exception(), ConnectionError) for call in calls)


def failed_start(options: str) -> str:
    program = f"from pathlib import Path; from bulkrate.sandbox import *; serve(SandboxOptions({options}))"
    return failed_start_of(program)


def failed_start_of(program: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    return ended.stderr.splitlines()[-1]


def test_a_port_in_use_is_an_os_error_that_says_so(sandbox):
    port = urlsplit(sandbox.url).port
    line = failed_start(f"port={port}")
    assert line.startswith("OSError: ")
    assert f"cannot listen on 127.0.0.1 port {port} (Address already in use); choose another" in line


def test_a_journal_that_cannot_be_written_is_an_os_error_that_says_so():
    line = failed_start("port=0, journal=Path('/nowhere/at/all')")
    assert line.startswith("FileNotFoundError: ")
    assert "the journal /nowhere/at/all cannot be written" in line


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")  # noqa: PTH110
def test_it_listens_on_ipv6_too(start):
    assert start(host="::1").url.startswith("http://[::1]:")

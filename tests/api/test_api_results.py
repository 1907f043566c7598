"""What comes back: the lines of both files, during a batch and afterwards, and what a retry runs again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.flow import begin, create, ended, lines, ran
from tests.support.http import Http
from tests.support.processes import Server, chat_line, jsonl, wait_until

pytestmark = pytest.mark.server

REFUSED = "[[sandbox:status=422]]"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/responses": {"model": "gpt-4o-mini", "input": "hello"},
    "/v1/chat/completions": chat_line("")["body"],
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": ["a", "b"]},
    "/v1/completions": {"model": "gpt-4o-mini", "prompt": "hello"},
    "/v1/moderations": {"input": "hello"},
    "/v1/images/generations": {"prompt": "a cat"},
    "/v1/images/edits": {"prompt": "a cat", "images": [{"image_url": "data:image/png;base64,AAAA"}]},
    "/v1/videos": {"prompt": "a cat"},
}


def line_for(endpoint: str, custom_id: str) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": BODIES[endpoint]}


@pytest.mark.parametrize("endpoint", BODIES)
def test_every_endpoint_of_openai_runs(http: Http, endpoint: str) -> None:
    batch = ran(http, jsonl(line_for(endpoint, "a"), line_for(endpoint, "b")), endpoint=endpoint)
    assert batch["status"] == "completed", batch
    answers = lines(http, batch["output_file_id"])
    assert {answer["custom_id"] for answer in answers} == {"a", "b"}, lines(http, batch["error_file_id"])
    usage = [answer["response"]["body"].get("usage") or {} for answer in answers]
    assert batch["usage"]["total_tokens"] == sum(each.get("total_tokens", 0) for each in usage)
    for field, other in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        assert batch["usage"][field] == sum(each.get(field, each.get(other, 0)) for each in usage)


def test_an_answer_has_openais_envelope(http: Http) -> None:
    batch = ran(http, jsonl(chat_line("row-17"), chat_line("row-18")))
    answers = lines(http, batch["output_file_id"])
    for answer in answers:
        assert set(answer) == {"id", "custom_id", "response", "error"}
        assert answer["id"].startswith("batch_req_")
        assert answer["error"] is None
        assert set(answer["response"]) == {"status_code", "request_id", "body"}
        assert answer["response"]["status_code"] == 200
        assert answer["response"]["request_id"].startswith("sandbox-")
        assert answer["response"]["body"]["object"] == "chat.completion"
    assert len({answer["id"] for answer in answers}) == 2


def test_an_http_failure_keeps_status_and_body_and_has_no_error_of_its_own(strict: Http) -> None:
    batch = ran(
        strict, jsonl(chat_line("a", "[[sandbox:status=422]]"), chat_line("b", "[[sandbox:status=500]]"))
    )
    assert (batch["status"], batch["output_file_id"]) == ("completed", None)
    assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
    errors = {line["custom_id"]: line for line in lines(strict, batch["error_file_id"])}
    for custom_id, status in (("a", 422), ("b", 500)):
        assert errors[custom_id]["error"] is None
        assert errors[custom_id]["response"]["status_code"] == status
        assert set(errors[custom_id]["response"]["body"]["error"]) == {"message", "type", "param", "code"}


def test_a_proxys_page_becomes_an_error_object(strict: Http) -> None:
    batch = ran(strict, jsonl(chat_line("a", "[[sandbox:html=404]]")))
    [error] = lines(strict, batch["error_file_id"])
    assert error["response"]["status_code"] == 404
    assert "404" in error["response"]["body"]["error"]["message"]


@pytest.mark.parametrize(
    ("directive", "code"),
    [
        ("drop", "connection_lost"),
        ("truncate", "connection_lost"),
        ("garbage", "invalid_answer"),
        ("sleep_ms=5000", "request_timeout"),
    ],
)
def test_a_failure_without_an_http_answer_has_no_response(strict: Http, directive: str, code: str) -> None:
    batch = ran(strict, jsonl(chat_line("a", f"[[sandbox:{directive}]]"), chat_line("b")))
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    [error] = lines(strict, batch["error_file_id"])
    assert (error["custom_id"], error["response"], error["error"]["code"]) == ("a", None, code)
    assert set(error["error"]) == {"code", "message"}


def test_a_line_that_fails_for_now_is_tried_again(http: Http) -> None:
    texts = [
        "[[sandbox:fail_first=1]] a",
        "[[sandbox:fail_first=1,drop]] b",
        "[[sandbox:fail_first=2,status=429]] c",
    ]
    batch = ran(http, jsonl(*(chat_line(str(n), text) for n, text in enumerate(texts))))
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


def test_an_answer_over_several_lines_is_one_line_of_output(http: Http) -> None:
    batch = ran(
        http, jsonl(chat_line("a", "[[sandbox:pretty]]"), chat_line("b", "[[sandbox:bytes=2000000]]"))
    )
    answers = {line["custom_id"]: line for line in lines(http, batch["output_file_id"])}
    assert len(json.dumps(answers["b"])) > 1_900_000
    assert answers["a"]["response"]["body"]["object"] == "chat.completion"


def test_output_and_errors_can_be_read_while_the_batch_runs(http: Http) -> None:
    fast = [chat_line(f"fast-{n}") for n in range(4)]
    content = jsonl(*fast, chat_line("bad", REFUSED), chat_line("slow", "[[sandbox:sleep_ms=2500]]"))
    batch = begin(http, content)
    look = f"/v1/batches/{batch['id']}"
    wait_until(
        lambda: http.get(look).json["request_counts"],
        lambda counts: counts["completed"] + counts["failed"] == 5,
    )

    first = http.get(f"{look}/output")
    assert http.get(look).json["status"] == "in_progress"
    assert http.get(look).json["output_file_id"] is None
    assert {json.loads(line)["custom_id"] for line in first.body.splitlines()} == {
        f"fast-{n}" for n in range(4)
    }
    assert first.headers["x-complete"] == "false"
    assert int(first.headers["x-next-offset"]) == len(first.body)
    errors = http.get(f"{look}/errors")
    assert [json.loads(line)["custom_id"] for line in errors.body.splitlines()] == ["bad"]
    assert http.get(f"{look}/output?order=input").status == 409

    batch = ended(http, batch)
    second = http.get(f"{look}/output?offset={first.headers['x-next-offset']}")
    assert [json.loads(line)["custom_id"] for line in second.body.splitlines()] == ["slow"]
    assert second.headers["x-complete"] == "true"
    whole = http.get(f"/v1/files/{batch['output_file_id']}/content").body
    assert first.body + second.body == whole
    end = second.headers["x-next-offset"]
    assert int(end) == len(whole)
    nothing = http.get(f"{look}/output?offset={end}")
    assert (nothing.status, nothing.body, nothing.headers["x-complete"]) == (200, b"", "true")
    assert http.get(f"{look}/errors").body == http.get(f"/v1/files/{batch['error_file_id']}/content").body


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("offset=1000000", 416, "offset"),
        ("offset=-1", 400, "offset"),
        ("offset=x", 400, "offset"),
        ("order=up", 400, "order"),
    ],
)
def test_a_wrong_offset_is_refused(http: Http, query: str, status: int, param: str) -> None:
    batch = ran(http, jsonl(chat_line("a")))
    answer = http.get(f"/v1/batches/{batch['id']}/output?{query}")
    assert answer.status == status
    assert answer.error["param"] == param


def test_a_batch_that_has_nothing_yet_has_an_empty_output(http: Http) -> None:
    batch = begin(http, "file-none")
    for stream in ("output", "errors"):
        answer = http.get(f"/v1/batches/{batch['id']}/{stream}")
        assert (answer.status, answer.body, answer.headers["x-next-offset"]) == (200, b"", "0")


def test_a_finished_output_can_be_read_in_the_order_of_the_input(http: Http) -> None:
    content = [
        chat_line(str(n), REFUSED if n % 10 == 5 else f"[[sandbox:sleep_ms={(100 - n) * 3}]]")
        for n in range(100)
    ]
    batch = ran(http, jsonl(*content))
    expected = [str(n) for n in range(100) if n % 10 != 5]
    plain = http.get(f"/v1/files/{batch['output_file_id']}/content").body
    for path in (f"/v1/batches/{batch['id']}/output", f"/v1/files/{batch['output_file_id']}/content"):
        answer = http.get(f"{path}?order=input")
        assert [json.loads(line)["custom_id"] for line in answer.body.splitlines()] == expected
        assert sorted(answer.body.splitlines()) == sorted(plain.splitlines())
        part = http.get(f"{path}?order=input", Range="bytes=100-999")
        assert (part.status, part.body) == (206, answer.body[100:1000])
    offset = http.get(f"/v1/batches/{batch['id']}/output?order=input&offset=500")
    assert offset.body == answer.body[500:]


def test_one_line_is_found_by_its_custom_id(http: Http) -> None:
    content = [chat_line("a b&c", "hello"), chat_line("bad", REFUSED), chat_line("é", "x")]
    batch = ran(http, jsonl(*content))
    look = f"/v1/batches/{batch['id']}/lines?custom_id="
    found = http.get(f"{look}a%20b%26c").json
    assert set(found) == {"object", "custom_id", "line", "request", "result"}
    assert (found["object"], found["custom_id"], found["line"]) == ("batch.line", "a b&c", 1)
    assert found["request"] == content[0]
    assert found["result"]["response"]["status_code"] == 200
    assert http.get(f"{look}bad").json["result"]["response"]["status_code"] == 422
    assert http.get(f"{look}%C3%A9").json["line"] == 3
    missing = http.get(f"{look}nobody")
    assert (missing.status, missing.error["param"]) == (404, "custom_id")
    assert http.get(f"/v1/batches/{batch['id']}/lines").error["param"] == "custom_id"


def test_a_line_under_way_has_no_result_yet(http: Http) -> None:
    batch = begin(http, jsonl(chat_line("slow", "[[sandbox:sleep_ms=1500]]")))
    look = f"/v1/batches/{batch['id']}"
    wait_until(lambda: http.get(look).json["status"], lambda status: status == "in_progress")
    assert http.get(f"{look}/lines?custom_id=slow").json["result"] is None


def test_an_isolated_line_is_looked_for_in_the_error_file(http: Http) -> None:
    batch = ran(http, jsonl(chat_line("a"), chat_line("bad") | {"method": "GET"}), on_invalid_line="isolate")
    answer = http.get(f"/v1/batches/{batch['id']}/lines?custom_id=bad")
    assert answer.status == 404
    assert "error file" in answer.error["message"]
    assert [line["custom_id"] for line in lines(http, batch["error_file_id"])] == ["bad"]


def test_a_retry_runs_only_what_has_no_answer(http: Http) -> None:
    flaky = "[[sandbox:fail_first=1,status=422]] once"
    content = jsonl(chat_line("good"), chat_line("flaky", flaky), chat_line("bad", REFUSED))
    parent = ran(http, content, metadata={"run": "1"}, completion_window="48h")
    assert parent["request_counts"] == {"total": 3, "completed": 1, "failed": 2}

    answer = http("POST", f"/v1/batches/{parent['id']}/retry", b"", {"content-type": "application/json"})
    assert answer.status == 200
    retry = answer.json
    assert retry["id"] != parent["id"]
    assert retry["retry_of"] == parent["id"]
    for same in ("input_file_id", "endpoint", "metadata", "completion_window"):
        assert retry[same] == parent[same]
    retry = ended(http, retry)
    assert retry["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert [line["custom_id"] for line in lines(http, retry["output_file_id"])] == ["flaky"]
    assert [line["custom_id"] for line in lines(http, retry["error_file_id"])] == ["bad"]

    again = ended(http, http.post(f"/v1/batches/{parent['id']}/retry").json)
    assert again["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    assert http.get(f"/v1/batches/{parent['id']}").json == parent


def test_a_retry_runs_what_a_cancelled_batch_left(strict: Http) -> None:
    content = [chat_line("done"), *(chat_line(f"slow-{n}", "[[sandbox:sleep_ms=700]] x") for n in range(5))]
    batch = begin(strict, jsonl(*content))
    look = f"/v1/batches/{batch['id']}"
    wait_until(lambda: strict.get(look).json["request_counts"]["completed"], lambda done: done >= 1)
    strict.post(f"{look}/cancel")
    batch = ended(strict, batch)
    answered = {line["custom_id"] for line in lines(strict, batch["output_file_id"])}
    if len(answered) == 6:  # all that was in flight has landed
        assert strict.post(f"{look}/retry").status == 400
        return
    retry = ended(strict, strict.post(f"{look}/retry").json)
    assert retry["request_counts"]["total"] == 6 - len(answered)
    rest = {line["custom_id"] for line in lines(strict, retry["output_file_id"])}
    assert answered & rest == set()
    assert len(answered | rest) == 6


def test_a_batch_with_every_answer_has_nothing_to_retry(http: Http) -> None:
    batch = ran(http, jsonl(chat_line("a")))
    answer = http.post(f"/v1/batches/{batch['id']}/retry")
    assert answer.status == 400
    assert "nothing to retry" in answer.error["message"]


def test_a_batch_is_retried_once_it_has_ended_and_by_one_at_a_time(http: Http) -> None:
    slow = "[[sandbox:fail_first=1,status=422,sleep_ms=800]] then slow"
    batch = begin(http, jsonl(chat_line("a", slow)))
    early = http.post(f"/v1/batches/{batch['id']}/retry")
    assert (early.status, early.headers["x-should-retry"]) == (409, "false")
    ended(http, batch)
    first = http.post(f"/v1/batches/{batch['id']}/retry")
    second = http.post(f"/v1/batches/{batch['id']}/retry")
    assert (first.status, second.status) == (200, 409)
    assert second.headers["x-should-retry"] == "false"
    assert ended(http, first.json)["request_counts"]["completed"] == 1


def test_a_retry_asked_for_twice_with_one_key_is_one(http: Http) -> None:
    batch = ran(http, jsonl(chat_line("a", REFUSED)))
    headers = {"Idempotency-Key": f"retry-{batch['id']}"}
    first = http.post(f"/v1/batches/{batch['id']}/retry", headers=headers)
    second = http.post(f"/v1/batches/{batch['id']}/retry", headers=headers)
    assert first.json["id"] == second.json["id"]
    other = create(http, batch["input_file_id"], headers=headers)
    assert other.status == 422


def test_a_failed_batch_cannot_be_retried(http: Http) -> None:
    batch = ran(http, b'{"custom_id": "a"}\n')
    assert http.post(f"/v1/batches/{batch['id']}/retry").status == 400


@pytest.mark.parametrize("key", ["input_file_id", "output_file_id"])
def test_a_batch_whose_files_are_gone_cannot_be_retried(http: Http, key: str) -> None:
    batch = ran(http, jsonl(chat_line("a"), chat_line("b", REFUSED)))
    http("DELETE", f"/v1/files/{batch[key]}")
    answer = http.post(f"/v1/batches/{batch['id']}/retry")
    assert answer.status == 400
    assert "deleted" in answer.error["message"]


def test_a_batch_without_answers_is_retried_even_when_its_errors_are_gone(http: Http, server: Server) -> None:
    """The retry looked for lines that were answered, in records that had gone with the error file."""
    batch = ran(http, jsonl(chat_line("a", REFUSED)))
    http("DELETE", f"/v1/files/{batch['error_file_id']}")
    left = server.data / "blobs" / "batches" / batch["id"]
    wait_until(left.exists, lambda there: not there)
    retry = ended(http, http.post(f"/v1/batches/{batch['id']}/retry").json)
    assert retry["request_counts"] == {"total": 1, "completed": 0, "failed": 1}


def test_a_deleted_output_cannot_be_read_through_its_batch(http: Http) -> None:
    batch = ran(http, jsonl(chat_line("a"), chat_line("b", REFUSED)))
    http("DELETE", f"/v1/files/{batch['output_file_id']}")
    look = f"/v1/batches/{batch['id']}"
    assert http.get(f"{look}/output").status == 404
    assert http.get(f"{look}/output?order=input").status == 404
    assert http.get(f"{look}/errors").status == 200
    http("DELETE", f"/v1/files/{batch['error_file_id']}")
    assert http.get(f"{look}/errors").status == 404
    assert http.get(look).json["output_file_id"] == batch["output_file_id"]


def test_deleting_the_input_of_a_running_batch_does_not_stop_it(http: Http) -> None:
    batch = begin(http, jsonl(*(chat_line(str(n), "[[sandbox:sleep_ms=700]]") for n in range(3))))
    look = f"/v1/batches/{batch['id']}"
    wait_until(lambda: http.get(look).json["status"], lambda status: status == "in_progress")
    http("DELETE", f"/v1/files/{batch['input_file_id']}")
    assert ended(http, batch)["request_counts"]["completed"] == 3


def test_progress_is_told_while_a_batch_runs(http: Http) -> None:
    slow = [chat_line(str(n), "[[sandbox:sleep_ms=5000]]") for n in range(3)]
    batch = begin(http, jsonl(chat_line("fast"), *slow))
    look = f"/v1/batches/{batch['id']}"
    progress = wait_until(
        lambda: http.get(look).json["progress"], lambda seen: seen["done"] == 1 and seen["in_flight"] == 3
    )
    assert set(progress) == {
        *("done", "in_flight", "lines_per_second", "estimated_completion_at"),
        *("paused", "key_refused", "remote"),
    }
    assert progress["paused"] is None
    assert ended(http, batch)["progress"]["done"] == 4

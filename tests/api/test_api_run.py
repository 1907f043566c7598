"""`POST /v1/batches/run`: requests in, answers out, in one call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http import Http
from tests.support.processes import Server, chat_line, wait_until

pytestmark = pytest.mark.server


def body(text: str = "hello", model: str = "gpt-4o-mini") -> dict[str, Any]:
    return chat_line("", text, model)["body"]


def test_answers_come_in_the_order_of_the_requests(http: Http) -> None:
    asked = [body(f"[[sandbox:sleep_ms={(20 - n) * 10}]] {n}") for n in range(20)]
    answer = http.post("/v1/batches/run", {"requests": asked})
    assert answer.status == 200
    assert set(answer.json) == {"object", "batch", "data"}
    assert [item["custom_id"] for item in answer.json["data"]] == [str(n) for n in range(1, 21)]
    assert all(item["response"]["status_code"] == 200 for item in answer.json["data"])
    batch = answer.json["batch"]
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 20)
    assert http.get(f"/v1/batches/{batch['id']}").json == batch


def test_errors_stand_in_their_places(strict: Http) -> None:
    asked = [
        body(),
        body("[[sandbox:status=422]]"),
        {"model": "gpt-4o"},
        chat_line("mine"),
        body(model="none"),
        chat_line("mine"),
        7,
        body("[[sandbox:drop]]"),
    ]
    answer = strict.post("/v1/batches/run", {"requests": asked})
    assert answer.status == 200, answer.body
    data = answer.json["data"]
    assert [item["custom_id"] for item in data] == ["1", "2", "3", "mine", "5", "mine", "7", "8"]
    assert [item["response"] and item["response"]["status_code"] for item in data] == [
        200,
        422,
        None,
        200,
        None,
        None,
        None,
        None,
    ]
    assert [item["error"] and item["error"]["code"] for item in data] == [
        None,
        None,
        "invalid_request",
        None,
        "model_not_found",
        "duplicate_custom_id",
        "invalid_request",
        "connection_lost",
    ]


def test_another_endpoint_and_metadata(http: Http) -> None:
    asked = {
        "endpoint": "/v1/embeddings",
        "requests": [{"model": "text-embedding-3-small", "input": "a"}],
        "metadata": {"a": "b"},
    }
    answer = http.post("/v1/batches/run", asked).json
    assert answer["batch"]["metadata"] == {"a": "b"}
    assert answer["data"][0]["response"]["body"]["data"][0]["object"] == "embedding"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"requests": []}, "requests"),
        ({"requests": [{}] * 11}, "requests"),
        ({"requests": {}}, "requests"),
        ({}, "requests"),
        ({"requests": [{}], "endpoint": "/v1/none"}, "endpoint"),
        ({"requests": [{}], "completion_window": "1s"}, "completion_window"),
        ({"requests": [{}], "metadata": {"a": 1}}, "metadata.a"),
        ({"requests": [{}], "more": 1}, "more"),
    ],
)
def test_a_wrong_call_is_refused_and_leaves_nothing(strict: Http, asked: dict[str, Any], param: str) -> None:
    files = strict.get("/v1/files?purpose=batch").json["data"]
    batches = strict.get("/v1/batches?limit=1").json["first_id"]
    answer = strict.post("/v1/batches/run", asked)
    assert answer.status == 400
    assert answer.error["param"] == param
    assert strict.get("/v1/files?purpose=batch").json["data"] == files
    assert strict.get("/v1/batches?limit=1").json["first_id"] == batches


def test_a_call_beyond_its_bytes_is_413(http: Http) -> None:
    big = b'{"requests": [{"x": "' + b"x" * (33 << 20) + b'"}]}'
    assert http.post("/v1/batches/run", big).status == 413


def test_a_call_that_takes_too_long_gives_its_batch_away(strict: Http) -> None:
    # The strict server waits 2.5 s; the upstream's time-out of 2 s is tried twice.
    answer = strict.post("/v1/batches/run", {"requests": [body("[[sandbox:sleep_ms=60000]]")]})
    assert answer.status == 503
    assert (answer.error["code"], answer.error["type"]) == ("run_timeout", "server_error")
    batch_id = strict.get("/v1/batches?limit=1").json["first_id"]
    assert batch_id in answer.error["message"]
    assert answer.headers["x-should-retry"] == "false"  # asked again, it would all run again
    wait_until(lambda: strict.get(f"/v1/batches/{batch_id}").json["status"], lambda seen: seen == "completed")


def test_hanging_up_cancels_the_batch(http: Http, server: Server) -> None:
    asked = json.dumps({"requests": [body("[[sandbox:sleep_ms=3000]]")], "metadata": {"who": "hangs up"}})
    before = http.get("/v1/batches?limit=1").json["first_id"]
    head = "POST /v1/batches/run HTTP/1.1\nhost: localhost\ncontent-type: application/json"

    def newest() -> Any:
        data = http.get("/v1/batches?limit=1").json["data"]
        return data[0] if data and data[0]["id"] != before else None

    with http.held_open(f"{head}\ncontent-length: {len(asked)}", asked.encode()):
        batch = wait_until(newest, lambda seen: seen is not None and seen["status"] == "in_progress")
        assert batch["metadata"] == {"who": "hangs up"}
    wait_until(newest, lambda seen: seen["status"] in {"cancelling", "cancelled"})

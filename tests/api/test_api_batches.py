"""Batches over HTTP: creating, listing, cancelling, and the object itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.api.flow import begin, create, ended, lines, ran
from tests.support.http import Http, part
from tests.support.processes import Process, Server, chat_line, jsonl, running, wait_until

pytestmark = pytest.mark.server

ONE = jsonl(chat_line("a"))
KEYS = {
    "id": str,
    "object": str,
    "endpoint": str,
    "input_file_id": str,
    "completion_window": str,
    "status": str,
    "created_at": int,
    "request_counts": dict,
    "on_invalid_line": str,
    "progress": dict,
    "delegated": list,
}
NULLABLE = {
    "model": str,
    "errors": dict,
    "output_file_id": str,
    "error_file_id": str,
    "in_progress_at": int,
    "expires_at": int,
    "finalizing_at": int,
    "completed_at": int,
    "failed_at": int,
    "expired_at": int,
    "cancelling_at": int,
    "cancelled_at": int,
    "usage": dict,
    "metadata": dict,
    "retry_of": str,
}


def assert_whole(batch: Any) -> None:
    """Every key is there; unset ones are null, never empty; counts and times are integers."""
    assert set(batch) == KEYS.keys() | NULLABLE.keys()
    for key, kind in KEYS.items():
        assert type(batch[key]) is kind, key
    for key, kind in NULLABLE.items():
        assert batch[key] is None or (type(batch[key]) is kind and batch[key] != ""), key
    assert {key: type(value) for key, value in batch["request_counts"].items()} == {
        "total": int,
        "completed": int,
        "failed": int,
    }
    if batch["usage"] is not None:
        assert set(batch["usage"]) == {
            "input_tokens",
            "input_tokens_details",
            "output_tokens",
            "output_tokens_details",
            "total_tokens",
        }


def test_a_new_batch_is_validating_and_whole(http: Http) -> None:
    batch = begin(http, ONE)
    assert_whole(batch)
    assert re.fullmatch(r"batch_[0-9a-f]{32}", batch["id"])
    assert int(batch["id"][6:14], 16) == batch["created_at"]
    assert (batch["object"], batch["status"]) == ("batch", "validating")
    assert batch["expires_at"] == batch["created_at"] + 86_400
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    for key in NULLABLE.keys() - {"expires_at"}:
        assert batch[key] is None, key


def test_a_completed_batch_is_whole_and_its_times_are_in_order(http: Http) -> None:
    batch = ran(http, jsonl(*(chat_line(str(n)) for n in range(3))))
    assert_whole(batch)
    assert batch["status"] == "completed"
    assert batch["model"] == "gpt-4o-mini"
    times = [batch[f"{name}_at"] for name in ("created", "in_progress", "finalizing", "completed", "expires")]
    assert all(earlier <= later for earlier, later in pairwise(times))
    for name in ("failed", "expired", "cancelling", "cancelled"):
        assert batch[f"{name}_at"] is None
    assert batch["error_file_id"] is None
    assert batch["errors"] is None
    assert batch["progress"]["done"] == 3


def test_the_output_file_is_a_file_like_any_other(http: Http) -> None:
    batch = ran(http, ONE)
    file = http.get(f"/v1/files/{batch['output_file_id']}").json
    assert file["purpose"] == "batch_output"
    assert file["status"] == "processed"
    assert file["filename"] == f"{batch['id']}_output.jsonl"
    assert abs(file["expires_at"] - batch["completed_at"] - 2_592_000) <= 1
    assert file["bytes"] == len(http.get(f"/v1/files/{file['id']}/content").body)
    assert file in http.get("/v1/files?purpose=batch_output").json["data"]


def test_output_files_expire_when_asked_to(http: Http) -> None:
    expiry = {"anchor": "created_at", "seconds": 3600}
    content = jsonl(chat_line("a"), chat_line("b", "[[sandbox:status=400]]"))
    batch = ran(http, content, output_expires_after=expiry)
    for key in ("output_file_id", "error_file_id"):
        file = http.get(f"/v1/files/{batch[key]}").json
        assert file["expires_at"] == file["created_at"] + 3600
    assert http.get(f"/v1/files/{batch['input_file_id']}").json["expires_at"] > time.time() + 86_400


@pytest.mark.parametrize(
    ("expiry", "param", "code"),
    [
        ({"seconds": 3600}, "output_expires_after.anchor", "missing_required_parameter"),
        ({"anchor": "created_at"}, "output_expires_after.seconds", "missing_required_parameter"),
        ({"anchor": "x", "seconds": 3600}, "output_expires_after.anchor", "invalid_value"),
        ({"anchor": "created_at", "seconds": 1}, "output_expires_after.seconds", "integer_below_min_value"),
        (
            {"anchor": "created_at", "seconds": 3_000_000},
            "output_expires_after.seconds",
            "integer_above_max_value",
        ),
        ({"anchor": "created_at", "seconds": 3600.5}, "output_expires_after.seconds", "invalid_type"),
        ("1h", "output_expires_after", "invalid_type"),
    ],
)
def test_a_wrong_output_expiry_is_refused(http: Http, expiry: object, param: str, code: str) -> None:
    answer = create(http, "file-none", output_expires_after=expiry)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        ("24h", 86_400),
        ("1h", 3_600),
        ("30d", 2_592_000),
        ("90m", 5_400),
        ("7d", 604_800),
        ("720h", 2_592_000),
    ],
)
def test_any_window_from_an_hour_to_thirty_days(http: Http, window: str, seconds: int) -> None:
    batch = begin(http, "file-none", completion_window=window)
    assert batch["completion_window"] == window
    assert batch["expires_at"] == batch["created_at"] + seconds


@pytest.mark.parametrize(
    "window", ["", "59m", "31d", "721h", "0h", "-1h", "24", "h", "24H", "1.5h", " 24h", "٢٤h"]
)
def test_any_other_window_is_refused(http: Http, window: str) -> None:
    answer = create(http, "file-none", completion_window=window)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == ("completion_window", "invalid_value")


@pytest.mark.parametrize("field", ["input_file_id", "endpoint", "completion_window"])
def test_a_missing_field_is_named(http: Http, field: str) -> None:
    asked = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    del asked[field]
    error = http.post("/v1/batches", asked).error
    assert (error["code"], error["param"]) == ("missing_required_parameter", field)


@pytest.mark.parametrize("endpoint", ["/v1/audio/speech", "", "chat/completions", "/v1/chat/completions/"])
def test_an_unsupported_endpoint_lists_the_supported_ones(http: Http, endpoint: str) -> None:
    answer = create(http, "file-none", endpoint=endpoint)
    assert answer.status == 400
    assert (answer.error["code"], answer.error["param"]) == ("invalid_value", "endpoint")
    assert "'/v1/chat/completions'" in answer.error["message"]
    assert "'/v1/videos'" in answer.error["message"]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"endpoint": 7}, "endpoint", "invalid_type"),
        ({"input_file_id": None}, "input_file_id", "invalid_type"),
        ({"input_file": "file-1"}, "input_file", "unknown_parameter"),
        ({"on_invalid_line": "skip"}, "on_invalid_line", "invalid_value"),
    ],
)
def test_a_wrong_field_is_named(http: Http, change: dict[str, object], param: str, code: str) -> None:
    answer = create(http, "file-none", **change)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"a": ""}, {f"k{n}": "v" for n in range(16)}, {"k" * 64: "v" * 512}, {"ключ": "значение 🎉"}],
)
def test_metadata_comes_back_as_it_was_given(http: Http, metadata: object) -> None:
    batch = begin(http, "file-none", metadata=metadata)
    assert batch["metadata"] == metadata
    assert http.get(f"/v1/batches/{batch['id']}").json["metadata"] == metadata


@pytest.mark.parametrize(
    ("metadata", "param", "code"),
    [
        ({"tags": ["a"]}, "metadata.tags", "invalid_type"),
        ({"n": 1}, "metadata.n", "invalid_type"),
        ({"n": None}, "metadata.n", "invalid_type"),
        (["a"], "metadata", "invalid_type"),
        ("a", "metadata", "invalid_type"),
        ({f"k{n}": "v" for n in range(17)}, "metadata", "object_above_max_properties"),
        ({"k" * 65: "v"}, "metadata", "invalid_value"),
        ({"k": "v" * 513}, "metadata.k", "string_above_max_length"),
    ],
)
def test_metadata_beyond_the_rules_is_refused(http: Http, metadata: object, param: str, code: str) -> None:
    answer = create(http, "file-none", metadata=metadata)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)


def test_the_same_idempotency_key_gives_the_same_batch(http: Http) -> None:
    file_id = http.upload(ONE)["id"]
    headers = {"Idempotency-Key": f"key-{file_id}"}
    first = begin(http, file_id, metadata={"a": "1", "b": "2"}, headers=headers)
    again = begin(http, file_id, metadata={"b": "2", "a": "1"}, headers=headers)
    assert again["id"] == first["id"]
    other = create(http, file_id, metadata={"a": "2"}, headers=headers)
    assert other.status == 422
    assert other.error["code"] == "idempotency_key_reused"
    assert begin(http, file_id, metadata={"a": "1", "b": "2"})["id"] != first["id"]


@pytest.mark.parametrize("key", ["x" * 256, "with space", "é"])
def test_an_idempotency_key_is_short_and_printable(http: Http, key: str) -> None:
    answer = http(
        "POST",
        "/v1/batches",
        b'{"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}',
        {"content-type": "application/json", "idempotency-key": key},
    )
    assert answer.status == 400
    assert "Idempotency-Key" in answer.error["message"]


def test_pages_of_batches_newest_first(http: Http) -> None:
    made = [begin(http, "file-none")["id"] for _ in range(5)]
    after = begin(http, "file-none")["id"]
    seen: list[str] = []
    while len(seen) < 5:
        page = http.get(f"/v1/batches?limit=2&after={after}").json
        assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
        found = [batch["id"] for batch in page["data"]]
        assert (page["first_id"], page["last_id"]) == (found[0], found[-1])
        seen += found
        after = page["last_id"]
    assert seen[:5] == made[::-1]


def test_after_the_last_batch_comes_an_empty_page(http: Http) -> None:
    begin(http, "file-none")
    after, more = "", True
    while more:
        page = http.get(f"/v1/batches?limit=100&after={after}").json
        after, more = page["last_id"], page["has_more"]
    page = http.get(f"/v1/batches?after={after}").json
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_twenty_batches_make_a_page_unless_asked_otherwise(http: Http) -> None:
    for _ in range(21):
        begin(http, "file-none")
    page = http.get("/v1/batches").json
    assert len(page["data"]) == 20
    assert page["has_more"] is True


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_batch_is_404(http: Http, method: str) -> None:
    answer = http(method, "/v1/batches/batch_none" + ("/cancel" if method == "POST" else ""))
    assert answer.status == 404
    assert answer.error["message"].startswith("No batch found")


def test_cancelling_lasts_until_what_is_in_flight_has_landed(http: Http) -> None:
    slow = [chat_line(f"slow-{n}", "[[sandbox:sleep_ms=1000]]") for n in range(3)]
    batch = begin(http, jsonl(*(chat_line(f"fast-{n}") for n in range(5)), *slow))
    look = f"/v1/batches/{batch['id']}"
    wait_until(lambda: http.get(look).json["request_counts"]["completed"], lambda done: done == 5)
    cancelled = http("POST", f"{look}/cancel", b"", {"content-type": "application/json"})
    assert cancelled.status == 200
    assert_whole(cancelled.json)
    assert cancelled.json["status"] == "cancelling"
    assert cancelled.json["cancelling_at"] is not None
    assert http.post(f"{look}/cancel").json["status"] == "cancelling"
    batch = ended(http, batch)
    assert (batch["status"], batch["request_counts"]["completed"]) == ("cancelled", 8)


def test_lines_that_never_land_do_not_hold_up_other_batches(upstream: Process, data: Path) -> None:
    # They filled the upstream's window until they timed out, long after their batch was over.
    env = {"BULKRATE_TIMING__GRACE_S": "0.3", "BULKRATE_UPSTREAMS__IT__URL": upstream.url}
    with running(Server(data, env=env | {"BULKRATE_UPSTREAMS__IT__MAX_IN_FLIGHT": "256"})) as server:
        http = Http(server.port)
        endless = "[[sandbox:sleep_ms=600000]]"
        batch = begin(http, jsonl(*(chat_line(str(n), endless) for n in range(300))))
        look = f"/v1/batches/{batch['id']}"
        wait_until(lambda: http.get(look).json["progress"]["in_flight"], lambda sent: sent == 256)
        http.post(f"{look}/cancel")
        assert ended(http, batch)["status"] == "cancelled"
        assert ran(http, ONE)["status"] == "completed"


def test_a_cancelled_batch_tells_of_the_lines_that_never_ran_and_does_not_count_them(strict: Http) -> None:
    # The upstream gives a line up after a second, so what is in flight lands soon.
    bad = [chat_line(f"bad-{n}", "[[sandbox:status=400]]") for n in range(3)]
    good = [chat_line(f"good-{n}") for n in range(5)]
    slow = [chat_line(f"slow-{n}", "[[sandbox:sleep_ms=600000]]") for n in range(20)]
    batch = begin(strict, jsonl(*bad, *good, *slow))
    wait_until(
        lambda: strict.get(f"/v1/batches/{batch['id']}").json["request_counts"],
        lambda counts: (counts["completed"], counts["failed"]) == (5, 3),
    )
    strict.post(f"/v1/batches/{batch['id']}/cancel")
    batch = ended(strict, batch)
    assert_whole(batch)
    assert batch["status"] == "cancelled"
    assert batch["request_counts"] == {"total": 28, "completed": 5, "failed": 3}
    assert batch["cancelling_at"] <= batch["cancelled_at"]
    answered = {line["custom_id"] for line in lines(strict, batch["output_file_id"])}
    assert answered == {f"good-{n}" for n in range(5)}
    errors = {line["custom_id"]: line for line in lines(strict, batch["error_file_id"])}
    assert set(errors) == {f"bad-{n}" for n in range(3)} | {f"slow-{n}" for n in range(20)}
    for n in range(20):
        assert errors[f"slow-{n}"]["response"] is None
        assert errors[f"slow-{n}"]["error"]["code"] == "batch_cancelled"
    again = strict.post(f"/v1/batches/{batch['id']}/cancel")
    assert (again.status, again.json) == (200, batch)


@pytest.mark.parametrize("content", [ONE, b'{"custom_id": "a"}\n'], ids=["completed", "failed"])
def test_a_finished_batch_cannot_be_cancelled_and_clients_must_not_ask_again(
    http: Http, content: bytes
) -> None:
    batch = ran(http, content)
    answer = http.post(f"/v1/batches/{batch['id']}/cancel")
    assert answer.status == 409
    assert answer.headers["x-should-retry"] == "false"
    error = answer.error
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
    assert f"'{batch['status']}'" in error["message"]


def test_a_missing_input_fails_the_batch_and_not_the_request(http: Http) -> None:
    batch = ran(http, "file-none")
    assert_whole(batch)
    assert batch["status"] == "failed"
    assert batch["failed_at"] is not None
    assert batch["in_progress_at"] is None
    fault = batch["errors"]["data"][0]
    assert (fault["code"], fault["param"], fault["line"]) == ("invalid_request", "file_id", None)


def test_an_input_for_another_purpose_fails_the_batch(http: Http) -> None:
    file = http.upload(ONE, purpose="user_data")
    fault = ran(http, file["id"])["errors"]["data"][0]
    assert (fault["code"], fault["param"]) == ("invalid_request", "file_id")


def test_a_deleted_input_fails_the_batch(http: Http) -> None:
    file = http.upload(ONE)
    http("DELETE", f"/v1/files/{file['id']}")
    fault = ran(http, file["id"])["errors"]["data"][0]
    assert (fault["code"], fault["param"]) == ("invalid_request", "file_id")


def test_one_request_is_enough_for_file_and_batch(http: Http) -> None:
    answer = http.form(
        "/v1/batches",
        part("file", ONE, "mine.jsonl"),
        part("endpoint", "/v1/chat/completions"),
        part("completion_window", "2h"),
        part("metadata[run]", "7"),
        part("metadata.who", "me"),
        part("output_expires_after[anchor]", "created_at"),
        part("output_expires_after[seconds]", "3600"),
        part("on_invalid_line", "isolate"),
        part("ignored", "x"),
    )
    assert answer.status == 200, answer.body
    batch = ended(http, answer.json)
    assert_whole(batch)
    assert batch["status"] == "completed"
    assert (batch["metadata"], batch["on_invalid_line"]) == ({"run": "7", "who": "me"}, "isolate")
    assert batch["expires_at"] == batch["created_at"] + 7200
    assert http.get(f"/v1/files/{batch['input_file_id']}").json["filename"] == "mine.jsonl"
    output = http.get(f"/v1/files/{batch['output_file_id']}").json
    assert output["expires_at"] == output["created_at"] + 3600


def test_in_one_request_the_window_may_be_left_out_and_metadata_be_json(http: Http) -> None:
    answer = http.form(
        "/v1/batches",
        part("metadata", '{"a": "1"}'),
        part("endpoint", "/v1/chat/completions"),
        part("file", ONE, "x.jsonl"),
    )
    assert (answer.json["completion_window"], answer.json["metadata"]) == ("24h", {"a": "1"})


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_alone_is_enough(server: Server, http: Http, tmp_path: Path) -> None:
    source = tmp_path / "input.jsonl"
    source.write_bytes(ONE)
    fields = ["-F", f"file=@{source}", "-F", "endpoint=/v1/chat/completions", "-F", "completion_window=24h"]
    answer = subprocess.run(
        ["curl", "-sS", f"{server.url}/batches", *fields], check=True, capture_output=True
    ).stdout
    assert ended(http, json.loads(answer))["status"] == "completed"


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ((part("endpoint", "/v1/none"), part("file", ONE, "a.jsonl")), "endpoint"),
        ((part("file", ONE, "a.jsonl"),), "endpoint"),
        ((part("endpoint", "/v1/chat/completions"),), "file"),
        ((part("endpoint", "/v1/chat/completions"), part("file", b"nothing", "a.jsonl")), None),
        (
            (
                part("endpoint", "/v1/embeddings"),
                part("completion_window", "1s"),
                part("file", ONE, "a.jsonl"),
            ),
            "completion_window",
        ),
        (
            (part("endpoint", "/v1/embeddings"), part("metadata", "x"), part("file", ONE, "a.jsonl")),
            "metadata",
        ),
    ],
)
def test_a_batch_that_is_refused_leaves_no_file(
    http: Http, parts: tuple[bytes, ...], param: str | None
) -> None:
    before = http.get("/v1/files?purpose=batch").json["data"]
    answer = http.form("/v1/batches", *parts)
    assert answer.status == 400
    assert answer.error["param"] == param
    assert http.get("/v1/files?purpose=batch").json["data"] == before


def test_one_request_repeated_with_its_key_makes_one_batch_and_one_file(http: Http) -> None:
    parts = (part("endpoint", "/v1/chat/completions"), part("file", ONE, "a.jsonl"))
    headers = {"Idempotency-Key": f"form-{time.time_ns()}"}
    first = http.form("/v1/batches", *parts, headers=headers).json
    files = {file["id"] for file in http.get("/v1/files?purpose=batch").json["data"]}
    again = http.form("/v1/batches", *parts, headers=headers).json
    assert again["id"] == first["id"]
    assert {file["id"] for file in http.get("/v1/files?purpose=batch").json["data"]} == files
    other = (parts[0], part("file", jsonl(chat_line("b")), "a.jsonl"))
    assert http.form("/v1/batches", *other, headers=headers).status == 422

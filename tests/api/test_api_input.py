"""Input files over HTTP: what is wrong with a line, told with its code, its field and its number."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.conftest import LINE_BYTES_MAX, LINES_MAX
from tests.api.flow import lines, ran
from tests.support.http import Http, part
from tests.support.processes import chat_line, jsonl

pytestmark = pytest.mark.server

GOOD = chat_line("good")


def line_without(*keys: str, **changes: Any) -> dict[str, Any]:
    """A line that lacks some keys, of its own or of its body, or has others."""
    line = chat_line("b")
    for key in keys:
        (line["body"] if key in line["body"] else line).pop(key)
    return line | changes


def raw(line: bytes) -> bytes:
    """A file whose second line is this."""
    return jsonl(GOOD) + line + b"\n"


def faults_of(http: Http, content: bytes, **more: Any) -> list[tuple[str, str | None, int | None]]:
    """Code, field and line of everything wrong with a file that is wrong."""
    batch = ran(http, content, **more)
    assert batch["status"] == "failed", batch
    assert batch["failed_at"] is not None
    assert batch["in_progress_at"] is None
    assert (batch["output_file_id"], batch["error_file_id"], batch["usage"]) == (None, None, None)
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert batch["errors"]["object"] == "list"
    for fault in batch["errors"]["data"]:
        assert set(fault) == {"code", "message", "param", "line"}
        assert fault["message"]
    return [(fault["code"], fault["param"], fault["line"]) for fault in batch["errors"]["data"]]


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"not json", "invalid_json_line", None),
        (b'{"custom_id": "b"', "invalid_json_line", None),
        (b'{"custom_id": "b",}', "invalid_json_line", None),
        (b"{'custom_id': 'b'}", "invalid_json_line", None),
        (b'{"custom_id": NaN}', "invalid_json_line", None),
        (b'{"custom_id": "\xff\xfe"}', "invalid_json_line", None),
        (b'{"a": ' + b"[" * 1900 + b"]" * 1900 + b"}", "invalid_json_line", None),
        (b'{"custom_id": "b"} {"custom_id": "c"}', "invalid_json_line", None),
        (b"[]", "invalid_request", None),
        (b'"text"', "invalid_request", None),
        (b"null", "invalid_request", None),
        (b"12", "invalid_request", None),
    ],
)
def test_a_line_that_is_no_json_object(strict: Http, line: bytes, code: str, param: str | None) -> None:
    assert faults_of(strict, raw(line)) == [(code, param, 2)]


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (line_without("custom_id"), "missing_required_parameter", "custom_id"),
        (line_without("method"), "missing_required_parameter", "method"),
        (line_without("url"), "missing_required_parameter", "url"),
        (line_without("body"), "missing_required_parameter", "body"),
        (line_without(custom_id=7), "invalid_type", "custom_id"),
        (line_without(custom_id=None), "invalid_type", "custom_id"),
        (line_without(custom_id="x" * 513), "invalid_value", "custom_id"),
        (line_without(method="GET"), "invalid_value", "method"),
        (line_without(method=None), "invalid_value", "method"),
        (line_without(url="/v1/embeddings"), "invalid_url", "url"),
        (line_without(url=7), "invalid_url", "url"),
        (line_without(url="https://api.openai.com/v1/chat/completions"), "invalid_url", "url"),
        (line_without(body="text"), "invalid_type", "body"),
        (line_without(body=None), "invalid_type", "body"),
        (line_without("model"), "invalid_request", "body.model"),
        (line_without("messages"), "invalid_request", "body.messages"),
        (line_without(body={"model": 7, "messages": []}), "invalid_request", "body.model"),
        (line_without(body={"model": None, "messages": []}), "invalid_request", "body.model"),
        (line_without(body={"model": "gpt-4o", "messages": "hi"}), "invalid_request", "body.messages"),
        (chat_line("b", model="gpt-none"), "model_not_found", "body.model"),
        (chat_line("b", model=""), "invalid_request", "body.model"),
        (chat_line("b", stream=True), "streaming_unsupported", "body.stream"),
        (chat_line("good"), "duplicate_custom_id", "custom_id"),
    ],
)
def test_a_line_that_cannot_be_sent(strict: Http, line: dict[str, Any], code: str, param: str) -> None:
    assert faults_of(strict, jsonl(GOOD, line)) == [(code, param, 2)]


@pytest.mark.parametrize(
    ("endpoint", "body", "field"),
    [
        ("/v1/embeddings", {"model": "text-embedding-3-small"}, "input"),
        ("/v1/completions", {"model": "gpt-4o"}, "prompt"),
        ("/v1/moderations", {}, "input"),
        ("/v1/images/generations", {}, "prompt"),
        ("/v1/images/edits", {}, "prompt"),
        ("/v1/videos", {}, "prompt"),
        ("/v1/responses", {"input": "x"}, "model"),
    ],
)
def test_each_endpoint_needs_its_own_field(
    strict: Http, endpoint: str, body: dict[str, Any], field: str
) -> None:
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
    assert faults_of(strict, jsonl(line), endpoint=endpoint) == [("invalid_request", f"body.{field}", 1)]


def test_every_fault_is_told_at_once_in_line_order_and_nothing_runs(strict: Http) -> None:
    content = (
        jsonl(chat_line("a"), line_without("method", "url"), chat_line("a"), chat_line("c", model="none"))
        + b"\n"
        + b"nonsense\n"
        + jsonl(chat_line("a", stream=True))
    )
    assert faults_of(strict, content) == [
        ("missing_required_parameter", "method", 2),
        ("missing_required_parameter", "url", 2),
        ("duplicate_custom_id", "custom_id", 3),
        ("model_not_found", "body.model", 4),
        ("invalid_json_line", None, 6),
        ("streaming_unsupported", "body.stream", 7),
    ]


def test_when_every_line_is_bad_every_line_is_told_of(http: Http) -> None:
    # inspect_ai maps errors.data[i] to request i.
    content = jsonl(*(line_without("custom_id") for _ in range(3000)))
    faults = faults_of(http, content)
    assert [line for _, _, line in faults] == list(range(1, 3001))


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"b","custom_id":"c","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o","messages":[]}}',
        b'{"custom_id":"b","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o","messages":[]},"body":{}}',
        b'{"custom_id":"b","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o","model":"x","messages":[]}}',
        b'{"custom_id":"b","method":"POST","url":"/v1/chat/completions","body":{"stream":true,"model":"gpt-4o","messages":[],"stream":false}}',
    ],
    ids=["custom_id", "body", "model", "stream"],
)
def test_a_key_that_stands_twice_is_refused(strict: Http, line: bytes) -> None:
    [(code, _, number)] = faults_of(strict, raw(line))
    assert (code, number) == ("invalid_json_line", 2)


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"\\ud800","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o","messages":[]}}',
        b'{"custom_id":"b","method":"POST","url":"/v1/chat/completions","body":{"model":"\\ud800","messages":[]}}',
        b'{"custom_id":"b","method":"POST","url":"\\ud800","body":{"model":"gpt-4o","messages":[]}}',
        b'{"custom_id":"b","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o","model":"x","n":%b}}'
        % (b"1" * 3000,),
        b'{"model":"a","messages":%b"model"%b,"x":"model"}' % (b"[" * 900, b"]" * 900),
        b'{"custom_id":"b\\u0000","method":"POST","url":"/v1/chat/completions\\u0000","body":{}}',
        b'{"custom_id":"' + b"\\" * 1000 + b'"}',
        b'{"custom_id":1e999,"method":-0.0,"url":{},"body":[[[]]]}',
        b'{"":"","custom_id":""}',
        b'{"custom_id":"b\x01"}',
    ],
)
def test_hostile_lines_fail_the_batch_and_nothing_else(strict: Http, line: bytes) -> None:
    faults = faults_of(strict, raw(line))
    assert {number for _, _, number in faults} == {2}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + jsonl(chat_line("1"), chat_line("2")),
        b"\n\n" + jsonl(chat_line("1")) + b"\n  \n\t\n" + jsonl(chat_line("2")) + b"\n\n",
        jsonl(chat_line("1"), chat_line("2")).replace(b"\n", b"\r\n"),
        jsonl(chat_line("1"), chat_line("2")).rstrip(b"\n"),
        jsonl(chat_line("1"), chat_line("2")).replace(b"\n", b" \t \n"),
        b" " + jsonl(chat_line("1")) + b"\t" + jsonl(chat_line("2")),
    ],
    ids=["mark", "blank lines", "CRLF", "no final newline", "spaces behind", "spaces before"],
)
def test_what_editors_do_to_a_file_is_fine(http: Http, content: bytes) -> None:
    batch = ran(http, content)
    assert batch["status"] == "completed", batch["errors"]
    assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert {line["custom_id"] for line in lines(http, batch["output_file_id"])} == {"1", "2"}


def test_a_mark_or_blank_lines_do_not_shift_line_numbers(strict: Http) -> None:
    content = b"\xef\xbb\xbf\r\n\r\n" + jsonl(GOOD) + b"\r\nnonsense\r\n"
    assert faults_of(strict, content) == [("invalid_json_line", None, 5)]


def test_a_line_may_have_its_most_bytes_and_no_more(strict: Http) -> None:
    def of(size: int) -> bytes:
        return jsonl(chat_line("a", "x" * (size - len(jsonl(chat_line("a", ""))) + 1)))

    assert len(of(LINE_BYTES_MAX)) == LINE_BYTES_MAX + 1  # with its newline
    assert ran(strict, of(LINE_BYTES_MAX))["status"] == "completed"
    assert faults_of(strict, jsonl(GOOD) + of(LINE_BYTES_MAX + 1)) == [("invalid_request", None, 2)]
    assert faults_of(strict, jsonl(GOOD) + of(5_000_000)) == [("invalid_request", None, 2)]


def test_a_batch_may_have_its_most_lines_and_no_more(strict: Http) -> None:
    most = [chat_line(str(n)) for n in range(LINES_MAX)]
    assert ran(strict, jsonl(*most))["request_counts"]["completed"] == LINES_MAX
    assert faults_of(strict, jsonl(*most, GOOD)) == [("too_many_tasks", None, None)]
    isolating = faults_of(strict, jsonl(*most, GOOD), on_invalid_line="isolate")
    assert isolating == [("too_many_tasks", None, None)]


def test_a_batch_may_embed_its_most_inputs_and_no_more(strict: Http) -> None:
    def line(custom_id: str, given: Any) -> dict[str, Any]:
        body = {"model": "text-embedding-3-small", "input": given}
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}

    # 1 + 1 + 48 + 50: a text or a list of tokens is one input, a list of either as many as it has.
    most = [line("a", "x"), line("b", [1, 2, 3]), line("c", ["x"] * 48), line("d", [[1]] * 50)]
    assert ran(strict, jsonl(*most), endpoint="/v1/embeddings")["request_counts"]["completed"] == 4
    more = jsonl(*most, line("e", "x"))
    assert faults_of(strict, more, endpoint="/v1/embeddings") == [("too_many_tasks", None, None)]


def test_models_may_be_mixed(strict: Http) -> None:
    content = jsonl(chat_line("a", model="gpt-4o"), chat_line("b", model="gpt-4o-mini"))
    batch = ran(strict, content)
    assert (batch["status"], batch["model"]) == ("completed", None)
    models = {
        line["custom_id"]: line["response"]["body"]["model"]
        for line in lines(strict, batch["output_file_id"])
    }
    assert models == {"a": "gpt-4o", "b": "gpt-4o-mini"}


def test_lines_may_be_plain_bodies(http: Http) -> None:
    bodies = [chat_line("", f"text {n}")["body"] for n in range(3)]
    batch = ran(http, b"\n" + jsonl(*bodies))
    assert batch["status"] == "completed", batch["errors"]
    assert {line["custom_id"] for line in lines(http, batch["output_file_id"])} == {"2", "3", "4"}


def test_plain_bodies_are_checked_too(strict: Http) -> None:
    bodies = [{"model": "none", "messages": []}, {"model": "gpt-4o"}, {"messages": []}]
    assert faults_of(strict, jsonl(*bodies))[:2] == [
        ("model_not_found", "model", 1),
        ("invalid_request", "messages", 2),
    ]


def test_bad_lines_may_be_isolated_and_the_rest_runs(strict: Http) -> None:
    content = (
        jsonl(chat_line("first"), line_without("url"), chat_line("again"), chat_line("again"))
        + b"nonsense\n"
        + jsonl(
            chat_line("x", model="none"), chat_line("refused", "[[sandbox:status=422]]"), chat_line("last")
        )
    )
    batch = ran(strict, content, on_invalid_line="isolate")
    assert batch["status"] == "completed"
    assert batch["errors"] is None
    assert batch["request_counts"] == {"total": 8, "completed": 3, "failed": 5}
    assert {line["custom_id"] for line in lines(strict, batch["output_file_id"])} == {
        "first",
        "again",
        "last",
    }
    errors = lines(strict, batch["error_file_id"])
    refused = [line for line in errors if line["response"] is not None]
    assert [(line["custom_id"], line["response"]["status_code"]) for line in refused] == [("refused", 422)]
    told = {(line["custom_id"], line["error"]["code"]) for line in errors if line["response"] is None}
    assert told == {
        ("b", "missing_required_parameter"),
        ("again", "duplicate_custom_id"),
        ("5", "invalid_json_line"),
        ("x", "model_not_found"),
    }
    assert len({line["id"] for line in errors}) == len(errors)


def test_when_every_line_is_isolated_the_batch_completes_with_errors_alone(strict: Http) -> None:
    content = jsonl(line_without("url"), chat_line("x", model="none")) + b"nonsense\n"
    batch = ran(strict, content, on_invalid_line="isolate")
    assert (batch["status"], batch["output_file_id"]) == ("completed", None)
    assert batch["request_counts"] == {"total": 3, "completed": 0, "failed": 3}
    assert len(lines(strict, batch["error_file_id"])) == 3


def test_an_input_that_came_in_parts_may_be_empty_after_all(strict: Http) -> None:
    asked = {"filename": "a.jsonl", "purpose": "batch", "bytes": 2, "mime_type": "text/plain"}
    upload = strict.post("/v1/uploads", asked).json
    sent = strict.form(f"/v1/uploads/{upload['id']}/parts", part("data", b"\n\n", "x")).json
    file = strict.post(f"/v1/uploads/{upload['id']}/complete", {"part_ids": [sent["id"]]}).json["file"]
    assert faults_of(strict, file["id"]) == [("empty_file", None, None)]


@pytest.mark.parametrize(
    "custom_id",
    ["", " ", "x" * 512, "ключ-🎉", 'quote " and \\ slash', "tab\tand\nnewline", "\x7f", "</script>"],
)
def test_a_custom_id_comes_back_byte_for_byte(http: Http, custom_id: str) -> None:
    batch = ran(http, jsonl(chat_line(custom_id)))
    assert [line["custom_id"] for line in lines(http, batch["output_file_id"])] == [custom_id]
    spelled = json.dumps(custom_id).encode()
    assert b'"custom_id":' + spelled in http.get(f"/v1/files/{batch['output_file_id']}/content").body


def test_a_custom_id_keeps_its_own_spelling(http: Http) -> None:
    line = jsonl(chat_line("PLACE")).replace(b'"PLACE"', b'"\\u0041\\/\xc3\xa9"')
    batch = ran(http, line)
    output = http.get(f"/v1/files/{batch['output_file_id']}/content").body
    assert b'"custom_id":"\\u0041\\/\xc3\xa9"' in output


def test_one_custom_id_in_two_spellings_is_a_duplicate(strict: Http) -> None:
    content = jsonl(chat_line("A")) + jsonl(chat_line("PLACE")).replace(b"PLACE", b"\\u0041")
    assert faults_of(strict, content) == [("duplicate_custom_id", "custom_id", 2)]

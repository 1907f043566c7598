"""Checking a file without a server finds what a batch would find."""

from __future__ import annotations

import asyncio
import json

import pytest

from bulkrate.engine.asks.check import FileReport, check_file
from bulkrate.errors import InvalidRequest
from tests.support.processes import chat_line, jsonl


@pytest.fixture
def check(tmp_path):
    def check(data: bytes, *, endpoint=None, models=None) -> FileReport:
        path = tmp_path / "input.jsonl"
        path.write_bytes(data)
        return asyncio.run(check_file(path, endpoint=endpoint, models=models))

    return check


def embedding(name: str, url: str = "/v1/embeddings") -> dict:
    return {"custom_id": name, "method": "POST", "url": url, "body": {"model": "e", "input": "x"}}


def test_a_good_file_is_fit(check):
    report = check(jsonl(chat_line("a"), chat_line("b", model="m"), chat_line("c", model="m")))
    assert report == FileReport(
        fit=True,
        endpoint="/v1/chat/completions",
        lines=3,
        lines_by_model={"gpt-4o-mini": 1, "m": 2},
        faults=[],
    )


def test_faults_are_told_with_their_lines(check):
    report = check(jsonl(chat_line("a"), chat_line("a")) + b"\n{\n")
    assert not report.fit
    assert [(fault.line, fault.code) for fault in report.faults] == [
        (2, "duplicate_custom_id"),
        (4, "invalid_json_line"),
    ]


def test_a_fault_of_the_whole_file_has_no_line(check):
    (fault,) = check(b"").faults
    assert (fault.line, fault.code) == (None, "empty_file")


@pytest.mark.parametrize(
    ("data", "endpoint"),
    [
        (jsonl(embedding("a")), "/v1/embeddings"),
        (jsonl(embedding("a", "/embeddings")), "/v1/embeddings"),  # as Azure writes it
        (b"\xef\xbb\xbf\n{\n[]\n3\n" + jsonl({"url": 3}, {"url": "/v1/x"}, embedding("a")), "/v1/embeddings"),
        (jsonl({"model": "m", "messages": []}), "/v1/chat/completions"),
        (b"", "/v1/chat/completions"),
        (b"[" * 100_000 + b"\n" + jsonl(embedding("a")), "/v1/embeddings"),
    ],
)
def test_the_endpoint_is_that_of_the_first_line_that_names_a_known_one(check, data, endpoint):
    assert check(data).endpoint == endpoint


def test_the_endpoint_may_be_given(check):
    report = check(jsonl(embedding("a")), endpoint="/v1/chat/completions")
    assert "invalid_url" in {fault.code for fault in report.faults}


@pytest.mark.parametrize(
    ("models", "fit"), [(None, True), (["gpt-4o-mini"], True), (["gpt-*"], True), (["m"], False)]
)
def test_the_models_that_will_be_served_may_be_given(check, models, fit):
    assert check(jsonl(chat_line("a")), models=models).fit == fit


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path):
    for path in (tmp_path / "gone.jsonl", tmp_path):
        with pytest.raises(InvalidRequest, match=str(path)):
            asyncio.run(check_file(path, endpoint=None, models=None))


def test_a_report_is_json(check):
    from bulkrate.wire.base import encode

    told = json.loads(encode(check(b"{")))
    assert told["fit"] is False
    assert told["faults"][0]["line"] == 1

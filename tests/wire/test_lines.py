"""Lines of output and error files: the contract's envelope, around bytes that stay as they came."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.wire.lines import error_object, failure_line, line_id, response_line

text = st.text(st.characters(exclude_categories=["Cs"]))
ids = st.tuples(text, st.booleans()).map(lambda of: json.dumps(of[0], ensure_ascii=of[1]).encode())


@given(ids, st.integers(100, 599), text, st.dictionaries(text, text | st.integers()))
def test_an_answered_line_is_the_contracts_envelope(custom_id, status, request_id, body):
    raw = json.dumps(body).encode()
    line = response_line("batch_req_1", custom_id, status, request_id, raw)
    assert json.loads(line) == {
        "id": "batch_req_1",
        "custom_id": json.loads(custom_id),
        "response": {"status_code": status, "request_id": request_id, "body": body},
        "error": None,
    }
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b'"custom_id":' + custom_id + b"," in line
    assert b'"body":' + raw + b"}" in line


@given(ids, text, text)
def test_a_line_without_an_answer_is_the_contracts_envelope(custom_id, code, message):
    line = failure_line("batch_req_1", custom_id, code, message)
    assert json.loads(line) == {
        "id": "batch_req_1",
        "custom_id": json.loads(custom_id),
        "response": None,
        "error": {"code": code, "message": message},
    }
    assert line.count(b"\n") == 1
    assert b'"custom_id":' + custom_id + b"," in line


@pytest.mark.parametrize("custom_id", [b'"a\\u00e9"', '"aé"'.encode(), b'"a\\/b"', b'"%d %b %%"', b'""'])
def test_a_custom_id_keeps_its_bytes(custom_id):
    assert custom_id in response_line("i", custom_id, 200, "r", b"{}")
    assert custom_id in failure_line("i", custom_id, "c", "m")


def test_the_key_order_is_that_of_openai():
    assert list(json.loads(response_line("i", b'"a"', 200, "r", b"{}"))) == [
        "id",
        "custom_id",
        "response",
        "error",
    ]


def test_foreign_text_becomes_openais_error_body():
    assert json.loads(error_object('<h1>"busy"</h1>\n')) == {
        "error": {"message": '<h1>"busy"</h1>\n', "type": "upstream_error", "param": None, "code": None}
    }


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_no_two_lines_share_an_id(one, other):
    batch = "batch_0123456789abcdef0123456789abcdef"
    assert line_id(batch, one).startswith("batch_req_")
    assert (line_id(batch, one) == line_id(batch, other)) == (one == other)
    assert line_id(batch, one) != line_id("batch_0123456789abcdef0123456789abcdee", one)


def test_a_line_that_a_batch_api_answered_says_whose():
    line = json.loads(response_line("i", b'"a"', 200, "r", b"{}", delegated='open"ai'))
    assert line["delegated"] == 'open"ai'

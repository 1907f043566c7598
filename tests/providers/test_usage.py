"""Tokens out of answers: every endpoint's spelling, and no oddity that fails a line or a commit."""

from __future__ import annotations

import json
from functools import reduce
from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.providers.usage import NO_USAGE, Usage, read_usage


def usage(given_usage) -> Usage:
    return read_usage(json.dumps({"id": "x", "usage": given_usage}).encode())


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # chat completions
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(10, 4, 5, 3, 15),
        ),
        # responses
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "total_tokens": 15,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(10, 4, 5, 3, 15),
        ),
        # embeddings
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0, 0, 0, 8)),
        # vLLM and llama.cpp: nulls, or nothing
        (
            {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "prompt_tokens_details": None},
            Usage(7, 0, 2, 0, 9),
        ),
        ({"prompt_tokens": 7, "completion_tokens": None, "total_tokens": 7}, Usage(7, 0, 0, 0, 7)),
        ({"prompt_tokens": 7, "prompt_tokens_details": {}}, Usage(7, 0, 0, 0, 7)),
        ({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": None}}, Usage(7, 0, 0, 0, 7)),
        # no total, or a total of nothing beside tokens: the sum
        ({"prompt_tokens": 7, "completion_tokens": 2}, Usage(7, 0, 2, 0, 9)),
        ({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 0}, Usage(7, 0, 2, 0, 9)),
        # a server that says both
        ({"prompt_tokens": 0, "input_tokens": 7, "output_tokens": 2}, Usage(7, 0, 2, 0, 9)),
    ],
)
def test_usage_is_read_in_every_servers_words(told, expected):
    assert usage(told) == expected


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        [],
        3,
        "many",
        True,
        {"total_tokens": "12"},
        {"total_tokens": 1.5},
        {"total_tokens": True},
        {"total_tokens": -5},
        {"prompt_tokens": -1},
        {"total_tokens": 10**30},  # it once broke the commit of all that was answered with it
        {"prompt_tokens_details": 3},
    ],
)
def test_an_odd_usage_counts_as_nothing(told):
    assert usage(told) == NO_USAGE


@pytest.mark.parametrize(
    "body", [b"[]", b"3", b'"text"', b"null", b"{}", b' {"usage": null} \n', b'{"usage":"\xc3\xa9"}']
)
def test_json_of_another_shape_has_no_usage(body):
    assert read_usage(body) == NO_USAGE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b'{"usage":',
        b'{"a":1}{"b":2}',
        b'{"a":01}',
        b'{"a":"\n"}',  # it would break the line it is put into
        b'{"a":"\x01"}',
        b'{"a":"\\q"}',
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b"\xef\xbb\xbf{}",
        b'{"usage":3,"a":tru}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"usage":3,"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_not_whole_json_is_refused(body):
    with pytest.raises(ValueError, match=r".+"):
        read_usage(body)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda v: (
            st.lists(v) | st.dictionaries(st.sampled_from(["usage", "total_tokens", "prompt_tokens", "x"]), v)
        ),
    ).map(lambda v: json.dumps(v).encode())
)
def test_any_answer_has_a_usage_that_can_be_counted_or_is_not_json(body):
    try:
        found = read_usage(body)
    except ValueError:
        return
    json.loads(body)
    assert all(0 <= getattr(found, name) <= 2 * 10**11 for name in Usage.__struct_fields__)


def test_ten_million_times_the_most_that_is_believed_fits_into_a_column():
    assert usage({"prompt_tokens": 10**11, "completion_tokens": 10**11}).total_tokens * 10_000_000 < 2**63


@given(st.lists(st.builds(Usage, *[st.integers(0, 100)] * 5)))
def test_usages_add_up_field_by_field(usages):
    total = reduce(add, usages, NO_USAGE)
    for name in Usage.__struct_fields__:
        assert getattr(total, name) == sum(getattr(each, name) for each in usages)

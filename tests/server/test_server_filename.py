"""File names from strangers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.server.filename import NAME_CHARS_MAX, attachment, safe_filename


@pytest.mark.parametrize(
    ("given_name", "safe"),
    [
        ("batch.jsonl", "batch.jsonl"),
        ("anonymous_file", "anonymous_file"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\batch.jsonl", "batch.jsonl"),
        ("/", "upload"),
        ("..", "upload"),
        ("", "upload"),
        (" . ", "upload"),
        ("a\r\nSet-Cookie: x\0.jsonl", "aSet-Cookie: x.jsonl"),
        ("exe.\u202elnosj", "exe.lnosj"),  # shown as "exe.jsonl" by what it turns around
        ("naïve ü.jsonl", "naïve ü.jsonl"),
        ("x" * 300 + ".jsonl", "x" * 249 + ".jsonl"),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_name_is_made_safe(given_name, safe):
    assert safe_filename(given_name) == safe


@given(st.text(st.characters()))
def test_every_name_comes_out_safe_and_stays_so(name):
    safe = safe_filename(name)
    assert 0 < len(safe) <= NAME_CHARS_MAX
    assert not set(safe) & set("/\\\r\n\0")
    assert safe not in {".", ".."}
    assert safe_filename(safe) == safe


@given(st.text(st.characters()))
def test_every_name_can_be_a_header(name):
    header = attachment(name)
    assert re.fullmatch(
        r"attachment; filename=\"[^\"\\\x00-\x1f\x7f-\uffff]+\"(; filename\*=UTF-8''[\w.~%-]+)?", header
    )


def test_a_name_beyond_ascii_is_sent_in_both_forms():
    assert attachment("ü.jsonl") == "attachment; filename=\"_.jsonl\"; filename*=UTF-8''%C3%BC.jsonl"

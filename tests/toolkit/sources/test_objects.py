"""JSONL and JSON arrays: each bad line and row is named; nothing is read twice or into memory at once."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import SourceError
from bulkrate.toolkit.sources import open_source
from tests.toolkit.cellular import TEXTS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(TEXTS, JSON, max_size=4), max_size=8)


def _rows(path, content: bytes | str):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(open_source(path).rows())


@given(rows=OBJECTS, space=st.sampled_from(["", "\n", " \r\n\t"]))
def test_an_array_and_lines_give_the_same_rows(tmp_path_factory, rows, space):
    folder = tmp_path_factory.mktemp("json")
    told = [json.dumps(row, ensure_ascii=bool(space)) for row in rows]
    assert _rows(folder / "t.jsonl", f"{space}\n".join(told)) == rows
    assert _rows(folder / "t.json", f"{space}[{space}{f'{space},{space}'.join(told)}{space}]{space}") == rows


def test_a_long_array_on_one_line_is_read_piece_by_piece(tmp_path):
    rows = [{"id": number, "text": "ä" * (number % 997) + "}],[{"} for number in range(5_000)]
    rows[2_500]["text"] = "x" * (5 << 20)
    assert _rows(tmp_path / "t.json", json.dumps(rows, ensure_ascii=False)) == rows


def test_lines_in_a_json_file_are_read_as_lines(tmp_path):
    assert _rows(tmp_path / "t.json", '\n{"a": 1}\n{"a": 2}\n') == [{"a": 1}, {"a": 2}]


def test_whole_numbers_of_any_size_are_exact_and_half_a_pair_is_replaced(tmp_path):
    assert _rows(tmp_path / "t.jsonl", '{"n": 123456789012345678901234567890, "t": "\\ud800"}') == [
        {"n": 123456789012345678901234567890, "t": "\ufffd"}
    ]


def test_an_empty_array_or_file_has_no_rows(tmp_path):
    assert _rows(tmp_path / "t.json", "[]") == _rows(tmp_path / "t.jsonl", "") == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.jsonl", b'{"a": 1}\n\n{"a": \n', "t.jsonl, line 3 is no JSON"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', "line 2 is no object; a row must look like"),
        ("t.jsonl", b'{"a": NaN}\n', "line 1 is no JSON: NaN is not JSON"),
        ("t.jsonl", b'{"a": "caf\xe9"}\n', "line 1: byte 0xe9 is no UTF-8"),
        (
            "t.jsonl",
            b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "line 1 is no JSON: .*nested too deeply",
        ),
        ("t.json", b'[{"a": 1}, {"a": ', "t.json, row 2 is no JSON, or longer than 64 MiB"),
        ("t.json", b'[{"a": 1}', "behind row 1: neither ',' nor ']' follows"),
        ("t.json", b'[{"a": 1} {"a": 2}]', "behind row 1: neither"),
        ("t.json", b'[{"a": 1}, 7]', "row 2 is no object"),
        ("t.json", b'[{"a": "caf\xe9"}]', "near byte 0: byte 0xe9 is no UTF-8"),
        ("t.json", b"17", "holds no array of objects"),
        ("t.json", b"", "holds no array of objects"),
    ],
)
def test_bad_input_is_named(tmp_path, name, content, says):
    with pytest.raises(SourceError, match=says):
        _rows(tmp_path / name, content)


def test_a_row_is_had_before_the_file_ends_badly(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\nnonsense')
    rows = open_source(tmp_path / "t.jsonl").rows()
    assert next(rows) == {"a": 1}
    with pytest.raises(SourceError, match="line 2"):
        next(rows)


def test_openai_batch_lines_are_rows_too(tmp_path):
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}
    assert _rows(tmp_path / "t.jsonl", msgspec.json.encode(line)) == [line]

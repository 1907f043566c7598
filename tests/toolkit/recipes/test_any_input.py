"""What holds for whatever stands in a cell, and whatever a model answers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.toolkit.recipes import recipe_of
from bulkrate.toolkit.recipes.base import Again, Invalid, Value
from tests.toolkit.recipes.answers import chat, completion, response
from tests.toolkit.recipes.test_asking import WORKING

# Any code point, halves of surrogate pairs too; and what breaks a careless template or JSON.
texts = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    [
        '"',
        "'",
        "\\",
        "{{ x }}",
        "{% raw %}",
        "\x00\x1b\x7f\u2028",
        '"}]}\n{"',
        "\ud83d",
        "\udcff\ud83d",
        "x" * 1_000_000,
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
cells = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
# What answers are made of, so that a random one is sometimes nearly right.
FIELDS = [
    "choices",
    "message",
    "content",
    "text",
    "refusal",
    "tool_calls",
    "finish_reason",
    "logprobs",
    "token_logprobs",
    "logprob",
    "output",
    "type",
    "status",
    "incomplete_details",
    "reason",
    "data",
    "index",
    "embedding",
    "label",
    "confidence",
    "error",
    "a",
]
answers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=30,
)


def row_of(name: str, text: Any) -> dict[str, Any]:
    return {"text": text, "company": text, "rows": [{"text": text}]}


@pytest.mark.parametrize("name", WORKING)
@given(cell=cells, fault=texts)
def test_any_cell_gives_a_body_of_valid_json_on_one_line(name: str, cell: Any, fault: str) -> None:
    recipe = recipe_of(WORKING[name])
    row = row_of(name, cell)
    if recipe.skip(row) is not None:
        return
    for again in (None, Again(text=fault, fault=fault)):
        body = recipe.body([row], "m", again)
        assert b"\n" not in body
        assert json.loads(body)["model"] == "m"
        assert msgspec.json.decode(body) == json.loads(body)


@pytest.mark.parametrize("name", WORKING)
@given(answer=answers)
def test_any_answer_is_read_as_one_reading_a_row(name: str, answer: Any) -> None:
    recipe = recipe_of(WORKING[name])
    rows = [row_of(name, "x")] * (3 if recipe.rows_per_request > 1 else 1)
    said = json.dumps(answer)
    bodies = [said.encode(), chat(said), completion(said), response({"type": "output_text", "text": said})]
    bodies.append(
        json.dumps({"choices": [{"message": {"content": answer}, "finish_reason": answer}]}).encode()
    )
    bodies.append(json.dumps({"choices": [{"message": {"content": "x"}, "logprobs": answer}]}).encode())
    bodies.append(json.dumps({"output": [{"type": "message", "content": answer}]}).encode())
    bodies.append(json.dumps({"data": answer}).encode())
    bodies.append(json.dumps({"data": [{"index": 0, "embedding": answer}]}).encode())
    for body in bodies:
        readings = recipe.read(body, rows)
        assert len(readings) == len(rows)
        assert all(isinstance(reading, Value | Invalid) for reading in readings)
        for reading in readings:
            if isinstance(reading, Value):
                assert reading.cells.keys() == {column.name for column in recipe.columns}
                assert reading.confidence is None or 0 <= reading.confidence <= 1
            msgspec.json.encode(reading)


@pytest.mark.parametrize("name", WORKING)
@given(body=st.binary())
def test_any_bytes_are_read(name: str, body: bytes) -> None:
    assert all(isinstance(one, Invalid) for one in recipe_of(WORKING[name]).read(body, [row_of(name, "x")]))


@pytest.mark.parametrize("name", WORKING)
def test_an_answer_nested_without_end_is_read(name: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    for body in (deep.encode(), chat(deep), f'{{"data":[{{"index":0,"embedding":{deep}}}]}}'.encode()):
        (reading,) = recipe_of(WORKING[name]).read(body, [row_of(name, "x")])
        assert isinstance(reading, Value | Invalid)

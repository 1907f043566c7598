from __future__ import annotations

import math
import struct
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes import recipe_of
from bulkrate.toolkit.recipes.base import Invalid, Reading, Value
from bulkrate.toolkit.rows.table import Column, Vector

FORMATS = {"float32": "f", "float16": "e", "int8": "b"}


def packed(*numbers: float) -> str:
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def answer(*items: Any) -> bytes:
    return msgspec.json.encode({"object": "list", "data": list(items)})


def item(index: Any, embedding: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": embedding}


def numbers(reading: Reading, name: str = "embedding") -> list[float]:
    assert isinstance(reading, Value), reading
    kept: Vector = reading.cells[name]
    size = struct.calcsize(FORMATS[kept.dtype])
    found = struct.unpack(f"<{len(kept.data) // size}{FORMATS[kept.dtype]}", kept.data)
    return [number * kept.scale for number in found]


def faults(readings: list[Reading]) -> list[str | None]:
    return [reading.fault if isinstance(reading, Invalid) else None for reading in readings]


def test_several_texts_share_a_request() -> None:
    recipe = recipe_of(Asking(recipe="embed", column="t", dimensions=3, params={"user": "me"}))
    assert recipe.rows_per_request == 32
    assert recipe.columns == (Column(name="embedding", kind="vector", dimensions=3),)
    assert msgspec.json.decode(recipe.body([{"t": "a"}, {"t": 2}], "m")) == {
        "model": "m",
        "input": ["a", "2"],
        "encoding_format": "base64",
        "dimensions": 3,
        "user": "me",
    }


def test_base64_and_lists_are_read_by_index() -> None:
    recipe = recipe_of(Asking(recipe="embed", column="t", answer="v"))
    readings = recipe.read(answer(item(1, [0.5, 1]), item(0, packed(1.0, -2.0))), [{}, {}])
    assert [numbers(reading, "v") for reading in readings] == [[1.0, -2.0], [0.5, 1.0]]


def test_a_missing_and_a_doubled_index_are_told_for_their_rows_alone() -> None:
    readings = recipe_of(Asking(recipe="embed", column="t")).read(
        answer(item(0, [1.0]), item(2, [1.0]), item(2, [2.0]), item(9, [1.0]), {"embedding": [1.0]}), [{}] * 4
    )
    assert faults(readings) == [
        None,
        "there is no embedding with its index",
        "two embeddings have its index",
        "there is no embedding with its index",
    ]


def test_a_single_vector_needs_no_index() -> None:
    readings = recipe_of(Asking(recipe="embed", column="t")).read(answer({"embedding": [1.0]}), [{}])
    assert numbers(readings[0]) == [1.0]


@pytest.mark.parametrize(
    "embedding",
    [
        [],
        "",
        "not base64",
        packed(1.0)[:-2],
        [1.0, None],
        [1.0, "2"],
        [[1.0]],
        None,
        {},
        5,
        [1e39],
        packed(math.nan),
    ],
)
def test_what_is_no_vector_is_invalid(embedding: Any) -> None:
    readings = recipe_of(Asking(recipe="embed", column="t")).read(answer(item(0, embedding)), [{}])
    assert faults(readings) == ["the embedding is no list of numbers"]


def test_all_vectors_are_as_long_as_asked_else_as_the_first() -> None:
    both = answer(item(0, [1.0, 2.0]), item(1, [1.0]))
    recipe = recipe_of(Asking(recipe="embed", column="t"))
    assert faults(recipe.read(both, [{}, {}])) == [None, "the embedding has 1 numbers; 2 are wanted"]
    assert faults(recipe.read(answer(item(0, [1.0])), [{}])) == ["the embedding has 1 numbers; 2 are wanted"]
    recipe = recipe_of(Asking(recipe="embed", column="t", dimensions=1))
    assert faults(recipe.read(both, [{}, {}])) == ["the embedding has 2 numbers; 1 are wanted", None]


vectors = st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=50)


@given(vectors, st.sampled_from(["float32", "float16", "int8"]), st.booleans())
def test_a_vector_is_kept_as_exactly_as_its_type_allows(
    wanted: list[float], dtype: Any, normalise: bool
) -> None:
    recipe = recipe_of(Asking(recipe="embed", column="t", dtype=dtype, normalise=normalise))
    (reading,) = recipe.read(answer(item(0, packed(*wanted))), [{}])
    if normalise:
        length = math.hypot(*wanted)
        if length == 0:
            assert faults([reading]) == [f"the embedding cannot be scaled, or kept as {dtype}"]
            return
        wanted = [number / length for number in wanted]
    largest = max(map(abs, wanted))
    # Half a step: of the mantissa (float32, float16), or of the largest number's 127th part.
    step = {"float32": 2**-23 * largest, "float16": 2**-10 * largest + 2**-24, "int8": largest / 127}[dtype]
    assert numbers(reading) == pytest.approx(wanted, rel=0, abs=step * 0.51 + 1e-30)


def test_numbers_beyond_float16_are_told() -> None:
    recipe = recipe_of(Asking(recipe="embed", column="t", dtype="float16"))
    assert faults(recipe.read(answer(item(0, [70_000.0])), [{}])) == [
        "the embedding cannot be scaled, or kept as float16"
    ]

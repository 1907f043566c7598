"""Every recipe against a real server: what it asks is understood, what comes back is read."""

from __future__ import annotations

import struct
import urllib.request
from typing import Any

import pytest

from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes import recipe_of
from bulkrate.toolkit.recipes.base import Again, Invalid, Reading, Value
from bulkrate.toolkit.recipes.conversation import WRITERS
from tests.support.processes import Process

pytestmark = pytest.mark.server

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 100},
        "size": {"type": "number", "minimum": 0},
        "count": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "inner": {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}},
    },
    "required": ["name", "size", "tags"],
}


def ask(upstream: Process, asking: Asking, rows: list[Any], again: Again | None = None) -> list[Reading]:
    recipe = recipe_of(asking)
    request = urllib.request.Request(
        upstream.root + recipe.endpoint,
        recipe.body(rows, "gpt-4o-mini", again),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return recipe.read(answer.read(), rows)


def cells(readings: list[Reading]) -> list[Any]:
    assert all(isinstance(reading, Value) for reading in readings), readings
    return [reading.cells for reading in readings if isinstance(reading, Value)]


@pytest.mark.parametrize("endpoint", WRITERS)
def test_map(upstream: Process, endpoint: str) -> None:
    asking = Asking(
        prompt="Classify the sentiment as positive, negative or neutral: {{ text }}", endpoint=endpoint
    )
    assert cells(ask(upstream, asking, [{"text": "I love it"}])) == [{"answer": "positive"}]
    again = Again(text="Positive!", fault="it is not one word")
    (found,) = cells(ask(upstream, asking, [{"text": "I love it"}], again))
    assert found["answer"] in ("positive", "negative", "neutral")


def test_an_answer_cut_off_by_the_limit_is_told(upstream: Process) -> None:
    asking = Asking(prompt="Tell me about {{ text }}", params={"max_tokens": 1})
    (reading,) = ask(upstream, asking, [{"text": "the sea"}])
    assert isinstance(reading, Invalid)
    assert "cut off" in reading.fault


@pytest.mark.parametrize("endpoint", WRITERS[:2])
@pytest.mark.parametrize("recipe", ["map", "extract"])
def test_a_schema(upstream: Process, recipe: str, endpoint: str) -> None:
    asking = Asking(recipe=recipe, column="text", schema=SCHEMA, endpoint=endpoint)
    (found,) = cells(ask(upstream, asking, [{"text": "a bad chair"}]))
    assert found.keys() == {"name", "size", "count", "tags", "inner"}
    assert isinstance(found["size"], float)
    assert isinstance(found["tags"][0], str)
    assert found["inner"] is None or found["inner"]["mood"] in (None, "good", "bad")


def test_classify(upstream: Process) -> None:
    asking = Asking(
        recipe="classify", column="text", labels=("positive", "negative"), other=True, confidence=True
    )
    (found,) = cells(ask(upstream, asking, [{"text": "I love this great film"}]))
    assert found["label"] == "positive"
    assert 0 <= found["confidence"] <= 1


def test_classify_without_a_schema_that_is_enforced(upstream: Process) -> None:
    asking = Asking(
        recipe="classify", column="text", labels=("positive", "negative"), endpoint="/v1/completions"
    )
    assert cells(ask(upstream, asking, [{"text": "I love this great film"}])) == [{"label": "positive"}]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_embed(upstream: Process, dtype: Any) -> None:
    rows = [{"text": f"text {number}"} for number in range(32)]
    asking = Asking(recipe="embed", column="text", dimensions=12, dtype=dtype, normalise=True)
    found = [row["embedding"] for row in cells(ask(upstream, asking, rows))]
    alone = [cells(ask(upstream, asking, [row]))[0]["embedding"] for row in rows[:3]]
    assert found[:3] == alone
    letter = {"float32": "f", "float16": "e", "int8": "b"}[dtype]
    numbers = [number * found[0].scale for number in struct.unpack(f"<12{letter}", found[0].data)]
    assert sum(number * number for number in numbers) == pytest.approx(1, abs=0.02)


def test_base64_and_lists_give_the_same_vector(upstream: Process) -> None:
    rows = [{"text": "one"}, {"text": "two"}]
    packed = Asking(recipe="embed", column="text")
    listed = Asking(recipe="embed", column="text", params={"encoding_format": "float"})
    assert cells(ask(upstream, packed, rows)) == cells(ask(upstream, listed, rows))


@pytest.mark.parametrize(
    ("asking", "column"),
    [
        (Asking(recipe="summarize", column="text", words=5), "summary"),
        (Asking(recipe="translate", column="text", language="German"), "translation"),
    ],
)
def test_texts(upstream: Process, asking: Asking, column: str) -> None:
    (found,) = cells(ask(upstream, asking, [{"text": "a long text"}]))
    assert found[column]


def test_report(upstream: Process) -> None:
    asking = Asking(recipe="report", group_by=("company",), template="# {{ company }}\n\n{{ answer }}")
    group = {"company": "Acme", "rows": [{"month": 1, "sales": 10}, {"month": 2, "sales": 12}]}
    (found,) = cells(ask(upstream, asking, [group]))
    assert found["report"].startswith("# Acme\n\n")

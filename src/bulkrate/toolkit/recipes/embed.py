"""A vector for every row: several texts a request, each answered by its index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bulkrate.errors import RecipeError
from bulkrate.toolkit import json_text
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes.base import Again, Invalid, Reading, Recipe, Value
from bulkrate.toolkit.recipes.conversation import endpoint_of, usable
from bulkrate.toolkit.recipes.vectors import numbers_of, vector
from bulkrate.toolkit.recipes.written import asked_text, nothing_in
from bulkrate.toolkit.rows.table import Column, Row

SETTINGS = frozenset({
    "prompt", "column", "answer", "dimensions", "dtype", "normalise", "texts_per_request", "endpoint",
    "params",
})  # fmt: skip

EMBEDDINGS = "/v1/embeddings"
_TEXTS = 32  # a local engine's usual batch; a hosted one takes more at once but answers no cheaper
_TEXTS_MAX = 2_048  # OpenAI's limit of inputs in a request
_DTYPES = ("float32", "float16", "int8")


def recipe(asking: Asking) -> Recipe:
    """One vector per row in `answer` (or "embedding").

    All vectors have as many numbers as `dimensions` says; where it says nothing, as the first one read.
    Raises `RecipeError` for numbers out of range.
    """
    return Embed(asking)


class Embed:
    """Requests of several texts. What it has read decides one thing alone: the length of all vectors."""

    name = "embed"
    counted: str | None = None

    def __init__(self, asking: Asking) -> None:
        self.endpoint = endpoint_of(asking.endpoint, (EMBEDDINGS,))
        self.rows_per_request = _within("texts_per_request", asking.texts_per_request or _TEXTS, _TEXTS_MAX)
        if asking.dimensions is not None:
            _within("dimensions", asking.dimensions, None)
        if asking.dtype not in _DTYPES:
            raise RecipeError(f"dtype is {asking.dtype!r}; it may be {', '.join(_DTYPES)}")
        self._answer = asking.answer or "embedding"
        self.columns: tuple[Column, ...] = (
            Column(name=self._answer, kind="vector", dtype=asking.dtype, dimensions=asking.dimensions),
        )
        self._asking = asking
        self._params = usable(asking.params)
        self._parts = asked_text(asking)
        self._length = asking.dimensions

    def shown(self) -> str:
        texts = "\n\n".join(part.text for part in self._parts)
        return f"text ({self.rows_per_request} a request):\n" + "\n".join(
            f"  {line}" for line in texts.split("\n")
        )

    def skip(self, row: Row) -> str | None:
        reason = nothing_in(row, self._asking.column, self._parts)
        if reason is None and self._asking.prompt is not None and self._is_rendered_empty(row):
            return "the prompt is empty"  # it would spoil the request for its neighbours
        return reason

    def body(self, rows: Sequence[Row], model: str, again: Again | None = None) -> bytes:  # noqa: ARG002
        """The request; a text that failed is asked as before, for there is nothing to say to such a model."""
        asked: dict[str, Any] = {"model": model, "input": [self._text(row) for row in rows]}
        asked["encoding_format"] = "base64"
        if self._asking.dimensions is not None:
            asked["dimensions"] = self._asking.dimensions
        return json_text.encode(asked | self._params)

    def _is_rendered_empty(self, row: Row) -> bool:
        try:
            return not any(part.render(row).strip() for part in self._parts)
        except RecipeError:
            return False  # `body` says what is wrong

    def _text(self, row: Row) -> str:
        text = "\n\n".join(part.render(row) for part in self._parts)
        if not text.strip():
            raise RecipeError("the text to embed is empty for a row")
        return text

    def read(self, body: bytes, rows: Sequence[Row]) -> list[Reading]:
        try:
            answer = json_text.decode(body)
        except ValueError:
            answer = None
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            return [_invalid("the body is no list of embeddings") for _ in rows]
        by_index: dict[object, list[object]] = {}
        for item in data:
            if isinstance(item, dict):
                index = item.get("index", 0 if len(data) == len(rows) == 1 else None)
                if type(index) is int:
                    by_index.setdefault(index, []).append(item.get("embedding"))
        return [self._one(by_index.get(place, [])) for place in range(len(rows))]

    def _one(self, found: list[object]) -> Reading:
        if len(found) != 1:
            return _invalid(
                "there is no embedding with its index" if not found else "two embeddings have its index"
            )
        numbers = numbers_of(found[0])
        if numbers is None:
            return _invalid("the embedding is no list of numbers")
        if self._length is not None and len(numbers) != self._length:
            return _invalid(f"the embedding has {len(numbers)} numbers; {self._length} are wanted")
        made = vector(numbers, self._asking.dtype, normalise=self._asking.normalise)
        if made is None:
            return _invalid(f"the embedding cannot be scaled, or kept as {self._asking.dtype}")
        self._length = len(numbers)
        return Value(cells={self._answer: made})


def _within(name: str, number: int, most: int | None) -> int:
    if number < 1 or (most is not None and number > most):
        raise RecipeError(f"{name} is {number}; it must be from 1" + (f" to {most:,}" if most else ""))
    return number


def _invalid(fault: str) -> Invalid:
    return Invalid(fault=fault, text="")

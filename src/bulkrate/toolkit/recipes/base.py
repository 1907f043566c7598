"""What a recipe is: how rows become requests, and answers become cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from bulkrate.toolkit.rows.table import Column, Row


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer came to for one row: cells by column name. `confidence` is in 0..1, if there is one."""

    cells: Row
    confidence: float | None = None


class Invalid(msgspec.Struct, frozen=True, kw_only=True):
    """The model answered, but not as asked: `fault` says how, for the model; `text` is what it said."""

    fault: str
    text: str


Reading: TypeAlias = Value | Invalid


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is asked once more: what the model said last time, and what was wrong with it."""

    text: str
    fault: str


class Recipe(Protocol):
    """Rows to request bodies, answer bodies to cells. Pure: the same in, the same out."""

    name: str
    #: The endpoint of every request.
    endpoint: str
    #: How many rows may share a request: 1, or more where the endpoint takes several texts.
    rows_per_request: int
    #: The columns that the answers add.
    columns: tuple[Column, ...]
    #: The column whose values the summary counts; None if there is nothing to count.
    counted: str | None

    def shown(self) -> str:
        """What is asked, for people: the system text and the prompt, with the cells still as names."""

    def skip(self, row: Row) -> str | None:
        """Why a row is not worth sending ("column 'text' is empty"), or None."""

    def body(self, rows: Sequence[Row], model: str, again: Again | None = None) -> bytes:
        """The request body, JSON on one line. Raises `RecipeError` when a row lacks what is asked for.

        `again` is given with a single row only.
        """

    def read(self, body: bytes, rows: Sequence[Row]) -> list[Reading]:
        """What the answer `body` (a whole response, JSON) says, one reading per row and in their order."""

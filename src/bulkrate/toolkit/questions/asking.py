"""What is asked of every row: the one value that recipes are made from, kept with the job."""

from __future__ import annotations

from typing import Any

import msgspec

from bulkrate.toolkit.rows.table import VectorType


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe and its settings; what a recipe does not know is refused when it is made.

    `prompt` and `system` are templates over the row's columns (`{{ text }}`); `column` is the one text column
    of recipes that need no prompt. `answer` names the column that is added. `schema` is a JSON schema that
    answers must fit. `params` are further fields of the request body (`temperature`, `max_tokens`, …), as
    they are.
    """

    recipe: str = "map"
    prompt: str | None = None
    system: str | None = None
    column: str | None = None
    answer: str | None = None
    schema: dict[str, Any] | None = None
    #: `classify`: the labels; whether "other" may be said; whether a confidence is asked for.
    labels: tuple[str, ...] = ()
    other: bool = False
    confidence: bool = False
    #: `embed`: numbers per vector (None: the model's own), how they are kept, scaled to length 1, texts a
    #: request.
    dimensions: int | None = None
    dtype: VectorType = "float32"
    normalise: bool = False
    texts_per_request: int | None = None
    #: `translate`: into which language. `summarize`: at most so many words.
    language: str | None = None
    words: int | None = None
    #: `report`: the columns whose equal values make a group, and the template of a group's document.
    group_by: tuple[str, ...] = ()
    template: str | None = None
    #: Another endpoint than the recipe's own (`/v1/responses`, `/v1/completions`), where the recipe can.
    endpoint: str | None = None
    params: dict[str, Any] = {}

"""Models: what the upstreams serve."""

from __future__ import annotations

from bulkrate.wire.base import Shape


class Model(Shape, frozen=True, kw_only=True):
    """A model that some upstream serves."""

    id: str
    created: int = 0
    owned_by: str = "bulkrate"
    object: str = "model"


class ModelList(Shape, frozen=True, kw_only=True):
    """All of them; OpenAI does not page this list."""

    data: list[Model]
    object: str = "list"

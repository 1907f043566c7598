"""What all shapes share: they are frozen, built by keyword, and written with every key."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the API."""


T = TypeVar("T", bound=Shape)


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body. Unknown fields are refused, as OpenAI does."""


class Page(Shape, Generic[T], frozen=True, kw_only=True):
    """One page of a list.

    `has_more`, `first_id` and `last_id` are always sent: six SDKs page in five ways, and each needs another
    of them.
    """

    data: list[T]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: str = "list"


def encode(shape: msgspec.Struct) -> bytes:
    """The JSON of a shape."""
    return _ENCODER.encode(shape)


_ENCODER = msgspec.json.Encoder()

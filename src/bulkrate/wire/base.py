"""What all shapes share: they are frozen, built by keyword, and written with every key."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the API."""


class Listed(Protocol):
    """What stands in lists."""

    @property
    def id(self) -> str:
        """By which a page begins or ends."""


T = TypeVar("T", bound=Listed)


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

    @classmethod
    def of(cls, data: list[T], *, has_more: bool) -> Page[T]:
        """The page that has these."""
        first_id, last_id = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, has_more=has_more, first_id=first_id, last_id=last_id)


def encode(shape: msgspec.Struct) -> bytes:
    """The JSON of a shape."""
    return _ENCODER.encode(shape)


_ENCODER = msgspec.json.Encoder()

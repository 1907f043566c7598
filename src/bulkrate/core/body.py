"""The changes that are ever made to a request body: the name of its model, where an alias says so, and the
fields that an upstream's settings put in or take out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def edited(body: bytes, *, put: Mapping[str, Any], drop: Collection[str] = ()) -> bytes:
    """`body` with the fields of `put` and without those of `drop`.

    Every other value keeps its bytes, and the keys their order.
    """
    fields = _fields.decode(body)
    for name in drop:
        fields.pop(name, None)
    for name, value in put.items():
        fields[name] = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.encode(fields)


def on_one_line(body: bytes) -> bytes:
    """`body` without line breaks.

    In JSON they can only stand between tokens, so nothing but white space changes.
    """
    if b"\n" in body or b"\r" in body:
        return body.translate(_SPACES)
    return body


_SPACES = bytes.maketrans(b"\n\r", b"  ")

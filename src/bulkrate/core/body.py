"""The one change that is ever made to a request body: the name of its model, where an alias says so."""

from __future__ import annotations

import msgspec

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def with_model(body: bytes, model: str) -> bytes:
    """`body` with another `model`; every other value keeps its bytes, and the keys their order."""
    fields = _fields.decode(body)
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def on_one_line(body: bytes) -> bytes:
    """`body` without line breaks.

    In JSON they can only stand between tokens, so nothing but white space changes.
    """
    if b"\n" in body or b"\r" in body:
        return body.translate(_SPACES)
    return body


_SPACES = bytes.maketrans(b"\n\r", b"  ")

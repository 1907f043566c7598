"""JSON that two readers may read as two requests: it nests too deeply for some, or says a thing twice."""

from __future__ import annotations

import json
import re
from typing import Any

#: The keys of a line.
ENVELOPE = ("custom_id", "method", "url", "body")
# Keys that decide what is sent and where: if one stands twice, two readers may see two different requests.
_ONCE_IN_BODY = ("model", "stream", "messages", "input", "prompt")
# No request is meant to be deeper. Far above it, a reader gives up or not by how deep its own calls stand.
_NESTING_MAX = 256
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)
_find_watched = re.compile(f'"(?:{"|".join((*ENVELOPE, *_ONCE_IN_BODY))})"'.encode()).findall


def seems_deep(data: bytes) -> bool:
    """Whether JSON may nest deeper than we take."""
    return data.count(b"{") > _NESTING_MAX // 2 or data.count(b"[") > _NESTING_MAX // 2


def is_deep(data: bytes) -> bool:
    """Whether well-formed JSON nests deeper than we take."""
    if not seems_deep(data):
        return False
    depth = 0
    for token in _TOKENS.finditer(data):
        sign = data[token.start()]
        depth += (sign in b"[{") - (sign in b"]}")
        if depth > _NESTING_MAX:
            return True
    return False


def seems_repeated(data: bytes) -> bool:
    """Whether a key that decides about a request may stand twice."""
    found = _find_watched(data)
    return len(set(found)) != len(found)


def repeated_key(data: bytes) -> str | None:
    """A key that decides about the request and stands twice in its object.

    Reading every line with all its keys would cost five times as much as all other checks, so only a line in
    which such a word appears twice at all is read again. A key spelled with escapes slips through; the last
    one then counts, as in most readers.
    """
    if not seems_repeated(data):
        return None
    # `parse_int`: Python refuses to read an integer of many thousand digits, and we need none.
    top = json.loads(data, object_pairs_hook=_Pairs, parse_int=str)
    keys = [key for key, _ in top]
    for key in ENVELOPE:
        if keys.count(key) > 1:
            return key
    bodies = [value for key, value in top if key == "body" and isinstance(value, _Pairs)]
    inner = [key for key, _ in (bodies[0] if bodies else top)]
    for key in _ONCE_IN_BODY:
        if inner.count(key) > 1:
            return f"body.{key}" if bodies else key
    return None


class _Pairs(list[tuple[str, Any]]):
    """An object with its keys as they stand, repeated ones too."""

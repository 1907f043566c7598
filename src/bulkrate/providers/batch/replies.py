"""What all vendors ask and read alike: JSON of a known shape, moments, and what an error status means.

What cannot be read is never taken for an answer; it counts as the provider being unavailable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from bulkrate.providers.batch.base import (
    MESSAGE_MAX,
    Call,
    Garbled,
    Refusal,
    RemoteRefused,
    Reply,
    Result,
    Why,
)

T = TypeVar("T")


class _Ident(msgspec.Struct):
    custom_id: str | None = None
    key: str | None = None


_ident = msgspec.json.Decoder(_Ident)

#: The code of a result that is none: the line ran, and what came of it cannot be read.
INVALID_ANSWER = "invalid_answer"

_NO_KEY = {401, 402, 403}
# OpenAI's "File is too large" is a 400 without a code; others have sentences like it.
_SIZE_WORDS = re.compile(
    r"\b(?:file|request|batch|content|payload|body)\b.{0,60}\b(?:too large|too big|exceeds?\b.{0,30}\bsize)"
    r"|\bmaximum (?:file|request|batch|content|payload) size",
    re.IGNORECASE,
)
_FOR_NOW = {408, 425, 499}
# What a web server says that is not the provider's, as a redirection does: no line is to blame.
_ELSEWHERE = {405, 407}


def read(reply: Reply, shape: type[T], *, strict: bool = True) -> T:
    """The body as `shape`. Raises `RemoteRefused` (`UNAVAILABLE`) when it is not that.

    Not `strict`, a text of digits is a number.
    """
    try:
        return msgspec.json.decode(reply.body, type=shape, strict=strict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise nonsense(reply, "is not what its API promises") from cause


def nonsense(reply: Reply, what: str) -> RemoteRefused:
    """For an answer that makes no sense: whether the thing was done is unknown."""
    message = f"the provider's answer ({reply.status}) {what}; it is asked again later"
    return RemoteRefused(Refusal(why=Why.UNAVAILABLE, message=message, status=reply.status))


def gone_or_lost(told: Refusal, *, known: bool) -> Refusal:
    """A refusal as it is, but for a 404 that is not `known` to be the provider's own word.

    Any web server says 404 to a wrong address. To take that for a batch that is gone is to buy it again.
    """
    if told.why is not Why.GONE or known:
        return told
    message = (
        "404 comes from this address, but not in the provider's own manner; see whether the URL is right"
    )
    return replace(told, why=Why.UNAVAILABLE, message=message)


def read_line(line: bytes, decoder: msgspec.json.Decoder[T]) -> T | str:
    """A result line; or only its id, when the rest of it is not as promised. Raises `Garbled`."""
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            ident = _ident.decode(line)
            if found := ident.custom_id or ident.key:
                return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    raise Garbled(f"a result line of {len(line)} bytes is not an object with the id of a line in it")


def no_answer(custom_id: str, code: str, message: str) -> Result:
    """The result of a line that has no HTTP answer."""
    return Result(custom_id=custom_id, status=None, code=code, message=shown(message))


def why_of(status: int) -> Why:  # noqa: PLR0911  # one way out per status
    """What an HTTP status says by itself, where no code in the body says more."""
    if status in _NO_KEY:
        return Why.KEY
    if status == 404:
        return Why.GONE
    if status == 409:
        return Why.CONFLICT
    if status == 413:
        return Why.TOO_LARGE
    if status == 429:
        return Why.BUSY
    if status in _FOR_NOW or status in _ELSEWHERE or status < 400 or status >= 500:
        return Why.UNAVAILABLE
    return Why.INVALID


def says_too_large(status: int | None, message: str) -> bool:
    """Whether a refusal that is of no status of its own says that the whole was too many bytes."""
    return status in {None, 400, 422} and _SIZE_WORDS.search(message) is not None


def post(path: str, body: Mapping[str, Any], *headers: tuple[str, str]) -> Call:
    """A call that posts a small JSON object."""
    return Call(
        method="POST",
        path=path,
        headers=(("content-type", "application/json"), *headers),
        body=msgspec.json.encode(body),
    )


def quoted(ident: str) -> str:
    """An id as a part of a path: it came from outside, and may hold anything."""
    return quote(ident, safe="")


def shown(text: str) -> str:
    """A provider's words on one line, cut to what a person reads."""
    return " ".join(text.split())[:MESSAGE_MAX]


def seconds(moment: str | None) -> int | None:
    """Unix seconds of an RFC 3339 moment; None when there is none that can be understood."""
    if not moment:
        return None
    try:
        when = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return int((when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp())

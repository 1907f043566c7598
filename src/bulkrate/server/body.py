"""Bodies of JSON, read with a bound. Never waits for more than the bound allows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from starlette.requests import Request

from bulkrate.errors import InvalidRequest, TooLarge
from bulkrate.server.decode import decode_json
from bulkrate.server.operations import Json
from bulkrate.wire.base import Ask

_JSON_TYPE = re.compile(r"\s*application/([a-z0-9.-]+\+)?json\s*(;.*)?", re.IGNORECASE)


async def read_json(request: Request, expected: Json) -> Ask:
    """The body, as the operation expects it."""
    body = await read_bounded(request, expected.bytes_max)
    if not body.strip():
        if not expected.required:
            return decode_json(b"{}", expected.ask)
        raise InvalidRequest(
            f"The body is empty. Send JSON with the fields: {', '.join(expected.ask.__struct_fields__)}."
        )
    content_type = request.headers.get("content-type")
    if not _JSON_TYPE.fullmatch(content_type or ""):
        found = f"'{content_type[:128]}'" if content_type else "no Content-Type"
        raise InvalidRequest(f"Found {found}. Send the body as JSON, with 'Content-Type: application/json'.")
    return decode_json(body, expected.ask)


async def read_bounded(request: Request, bytes_max: int) -> bytes:
    """The whole body, refused as soon as it is known to be too large."""
    refuse_announced(request, bytes_max)
    return b"".join([chunk async for chunk in bounded_stream(request, bytes_max)])


async def bounded_stream(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    """The body as it comes, refused where it becomes too large."""
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > bytes_max:
            raise _too_large(bytes_max)
        yield chunk


def refuse_announced(request: Request, bytes_max: int) -> None:
    """Refuse a body whose Content-Length is already too large, before reading any of it."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdecimal() and int(announced[:19]) > bytes_max:
        raise _too_large(bytes_max)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"The request body is too large: at most {bytes_max:,} bytes are read here.")

"""Bytes out: whole, from an offset, or a range of them, always as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bulkrate.errors import RangeNotSatisfiable
from bulkrate.server.errors import refused_answer
from bulkrate.server.filename import attachment
from bulkrate.server.listening import while_listening
from bulkrate.server.ranges import Span, span_of

if TYPE_CHECKING:
    from bulkrate.engine import Content


def content_answer(content: Content, request: Request) -> Response:
    """The content, or the range of it that the request asks for."""
    try:
        span = _asked(content, request)
    except RangeNotSatisfiable as refused:
        return refused_answer(refused, {"content-range": f"bytes */{content.size}"})
    return ContentAnswer(content, span)


def growing_answer(content: Content, request: Request, *, offset: int) -> Response:
    """The same for content that may still grow, with where to go on reading.

    `x-next-offset` is the offset after the last byte sent. `x-complete` is true when nothing follows it, now
    or later.
    """
    try:
        _refuse_beyond(content, offset)
        span = None if offset else _asked(content, request)
    except RangeNotSatisfiable as refused:
        return refused_answer(refused, {"content-range": f"bytes */{content.size}"})
    end = span.end if span else content.size
    complete = content.complete and end == content.size
    headers = {"x-next-offset": str(end), "x-complete": "true" if complete else "false"}
    return ContentAnswer(content, span, start=offset, headers=headers)


def _refuse_beyond(content: Content, offset: int) -> None:
    if offset > content.size:
        raise RangeNotSatisfiable(
            f"The offset {offset} lies after the end: there are {content.size} bytes so far. "
            "Go on from the last x-next-offset.",
            param="offset",
        )


def _asked(content: Content, request: Request) -> Span | None:
    # Ranges are for GET alone; and we give out no validators, so an If-Range can never match.
    if request.method != "GET" or "if-range" in request.headers:
        return None
    return span_of(request.headers.get("range"), content.size)


class ContentAnswer(Response):
    """206 with a `span`; without one 200, and everything from `start`.

    Stops reading when the client hangs up.
    """

    media_type = "application/octet-stream"

    def __init__(
        self, content: Content, span: Span | None, *, start: int = 0, headers: Mapping[str, str] | None = None
    ) -> None:
        self.content = content
        self.span = span or Span(start, content.size)
        all_headers = {
            "content-length": str(self.span.size),
            "accept-ranges": "bytes",
            "content-disposition": attachment(content.filename),
            **(headers or {}),
        }
        if span:
            all_headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{content.size}"
        super().__init__(None, 206 if span else 200, all_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD" or not self.span.size:
            await self._begin(send)
        else:
            await while_listening(receive, self._pour(send))
        await send({"type": "http.response.body", "body": b""})

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _pour(self, send: Send) -> None:
        chunks = self.content.read(self.span.start, self.span.end)
        try:
            # The first bytes come before the head: if they cannot be read, there is still time to say so.
            first = await anext(chunks, b"")
            await self._begin(send)
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

"""HTTP to a provider of batches. How it is spoken to is said in `providers.batch`; this only carries it.

Nothing large is ever held in memory: contents are sent, and results read, as streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from bulkrate import __version__
from bulkrate.blobs import Reader
from bulkrate.config import Upstream
from bulkrate.dispatch.client import read_retry_after
from bulkrate.providers.batch.base import (
    REPLY_BYTES_MAX,
    Ask,
    Call,
    Content,
    Refusal,
    RemoteRefused,
    Reply,
    Vendor,
    Why,
)

T = TypeVar("T")

_PIECE_BYTES = 1 << 20
# Slower than this a transfer is given up, and tried again later.
_BYTES_PER_S_MIN = 50_000
# A stream that brings nothing for so long is broken.
_SILENT_S = 120.0


class RemoteHttp:
    """Calls to one provider."""

    def __init__(self, upstream: Upstream, vendor: Vendor, *, clock: Callable[[], float]) -> None:
        #: When it last answered anything, Unix seconds.
        self.heard_at: float | None = None
        #: How far the provider's clock is behind ours, by the `date` of its last answer; never below 0.
        self.behind_s = 0.0
        self._clock = clock
        self._base = vendor.base(upstream.url)
        self._timeout_s = upstream.timeout_s
        self._vendor = vendor
        self._auth = vendor.auth(upstream.key) if upstream.key is not None else {}
        self._headers = dict(upstream.headers)
        self._client = _build(upstream)

    async def do(self, ask: Ask[T], content: Reader | None = None) -> T:
        """Ask until there is a result. `content` is what a `Content` body stands around.

        Raises `RemoteRefused`; when nothing came back its `why` is `UNAVAILABLE`.
        """
        step: Ask[T] | T = ask
        while isinstance(step, Ask):
            step = step.read(await self._send(step.call, content))
        return step

    async def results(self, call: Call) -> AsyncIterator[bytes]:
        """The bytes of a result file, in pieces. Raises `RemoteRefused` if they do not come, or not whole."""
        size = 0
        try:
            async with self._request(call, None, self._slowest_s(1 << 40)) as response:
                if not 200 <= response.status < 300:
                    raise RemoteRefused(self._vendor.refused(await _reply(response)))
                self.heard_at = self._clock()
                length = response.get_header("content-length")
                while (chunk := await _next_chunk(response)) is not None:
                    size += len(chunk)
                    yield chunk
        except (PyreqwestError, TimeoutError) as cause:
            raise unavailable(cause) from cause
        if length is not None and length.isdigit() and size < int(length):
            raise _unavailable("the result file ended before its end")

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _send(self, call: Call, content: Reader | None) -> Reply:
        size = content.size if isinstance(call.body, Content) and content is not None else 0
        try:
            async with self._request(call, content, self._slowest_s(size)) as response:
                reply = await _reply(response)
        except PyreqwestError as cause:
            raise unavailable(cause) from cause
        now = self._clock()
        if reply.status < 500:
            self.heard_at = now
        if (date := _moment(reply.headers.get("date"))) is not None:
            self.behind_s = max(0.0, now - date)
        return reply

    def _slowest_s(self, size: int) -> float:
        return self._timeout_s + size / _BYTES_PER_S_MIN

    def _request(self, call: Call, content: Reader | None, timeout_s: float) -> StreamRequest:
        url = call.path if call.path.startswith("http") else self._base + call.path
        headers = {"user-agent": f"bulkrate/{__version__}"}
        if not call.keyless:
            headers |= self._auth | self._headers
        headers |= dict(call.headers)
        builder = self._client.request(call.method, url).timeout(timedelta(seconds=timeout_s))
        if isinstance(call.body, Content):
            assert content is not None  # noqa: S101  # whoever sends a content has opened it
            headers["content-length"] = str(len(call.body.before) + content.size + len(call.body.after))
            builder = builder.body_stream(_around(call.body, content))
        elif call.body is not None:
            builder = builder.body_bytes(call.body)
        return builder.headers(headers).build_streamed()


def unavailable(cause: BaseException) -> RemoteRefused:
    """No answer came. The library's own words may hold the URL, and so a key in it."""
    return _unavailable(f"no whole answer came from the provider ({type(cause).__name__})")


def _unavailable(message: str) -> RemoteRefused:
    return RemoteRefused(Refusal(why=Why.UNAVAILABLE, message=message))


async def _around(body: Content, content: Reader) -> AsyncIterator[bytes]:
    yield body.before
    for offset in range(0, content.size, _PIECE_BYTES):
        yield await asyncio.to_thread(content.read_at, offset, _PIECE_BYTES)
    if body.after:
        yield body.after


def _moment(date: str | None) -> float | None:
    """Unix seconds of a `date` header; None without one that can be read."""
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


async def _next_chunk(response: Response) -> bytes | None:
    async with asyncio.timeout(_SILENT_S):
        chunk = await response.body_reader.read_chunk()
    return None if chunk is None else bytes(chunk)


async def _reply(response: Response) -> Reply:
    chunks: list[bytes] = []
    size = 0
    while (chunk := await response.body_reader.read_chunk()) is not None:
        size += len(chunk)
        if size > REPLY_BYTES_MAX:
            raise _unavailable(f"the provider's answer is longer than {REPLY_BYTES_MAX} bytes")
        chunks.append(bytes(chunk))
    headers = {name.lower(): value for name, value in response.headers.items()}
    after = read_retry_after(headers.get("retry-after-ms"), headers.get("retry-after"), now=datetime.now(UTC))
    return Reply(
        status=response.status,
        body=b"".join(chunks),
        headers=headers,
        retry_after_s=after if response.status >= 400 else None,
    )


def _build(upstream: Upstream) -> Client:
    builder = ClientBuilder()
    if upstream.ca_file is not None:
        builder = builder.add_root_certificate_pem(Path(upstream.ca_file).read_bytes())
    return (
        builder.connect_timeout(timedelta(seconds=upstream.connect_timeout_s))
        # Calls are minutes apart; a connection that waited so long is often closed from the other side.
        .pool_idle_timeout(timedelta(seconds=4))
        .follow_redirects(False)
        .build()
    )

"""One connection to a server: a request goes out, its answer comes back, then the next. HTTP is httptools'.

Never two requests at once, and never a request on a connection on which anything is left to be read: what
comes would be taken for its answer.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from bulkrate.core.outcome import Failed, Failure
from bulkrate.dispatch.http import AttemptError, Reply, lost, timed_out, too_long
from bulkrate.dispatch.outbox import Outbox

# No answer has so many bytes of headers.
_HEAD_BYTES_MAX = 1 << 20
# gzip or zlib, whichever the data begin with.
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class Connection(asyncio.Protocol):
    """Brings answers of up to `bytes_max`. `on_lost` is told when it is of no more use."""

    __slots__ = (
        "_answer",
        "_begun",
        "_bytes_max",
        "_chunks",
        "_head_bytes",
        "_headers",
        "_in_body",
        "_loop",
        "_on_lost",
        "_outbox",
        "_parser",
        "_size",
        "_transport",
        "_waiter",
        "deadline",
        "idle_since",
        "on_header",
        "reusable",
    )

    def __init__(self, *, bytes_max: int, outbox: Outbox, on_lost: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._bytes_max = bytes_max
        self._outbox = outbox
        self._on_lost = on_lost
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[Reply] | None = None
        #: When an answer is no longer waited for, and since when there is none to wait for.
        self.deadline = 0.0
        self.idle_since = 0.0
        #: Whether another request may be sent, once there is no answer to wait for.
        self.reusable = False
        self._headers: dict[bytes, bytes] = {}
        #: For the parser: it puts headers where they belong without a call of ours.
        self.on_header = self._headers.__setitem__
        self._parser = HttpResponseParser(self)
        self._answer: tuple[int, dict[bytes, bytes], bytes] | None
        self._clear()

    @property
    def usable(self) -> bool:
        """Whether it is `reusable` still: what the server has closed is known a moment before we are told."""
        return self.reusable and not self._transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[Reply]:
        """Send a request; only when `usable`. The answer, or `AttemptError`."""
        self.reusable = False
        self._outbox.put(self._transport, request)
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def give_up(self, timeout_s: float) -> None:
        """The answer is not waited for any longer."""
        self._fail(timed_out(timeout_s))

    def abort(self) -> None:
        """Close it at once."""
        self.reusable = False
        self._transport.abort()

    # --- what the transport tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = transport  # type: ignore[assignment]  # of a stream, and so it can be written to
        self.reusable = True

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if self._waiter is None:
            self.abort()  # nothing was asked
            return
        try:
            self._parser.feed_data(data)
            if self._answer is not None:
                self._answered(*self._answer)
            elif not self._in_body:
                self._head_bytes += len(data)
                if self._head_bytes > _HEAD_BYTES_MAX:
                    self._fail(lost("no end of headers", unanswered=False))
        except (HttpParserError, HttpParserUpgrade) as error:
            self._garbled(error)
        except MemoryError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, by the server or by us."""
        self.reusable = False
        if self._waiter is not None:
            if exc is None and self._ends_with_connection:
                self._deliver(*self._taken())
            else:
                self._fail(lost("closed" if exc is None else type(exc).__name__, unanswered=not self._begun))
        self._on_lost(self)

    # --- what the parser tells ---

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._begun = True

    def on_headers_complete(self) -> None:
        """What follows is the answer itself."""
        self._in_body = True

    def on_body(self, data: bytes) -> None:
        """A piece of the answer."""
        self._size += len(data)
        if self._size <= self._bytes_max:
            self._chunks.append(data)
        elif self._waiter is not None:
            self._fail(too_long(self._bytes_max))

    def on_message_complete(self) -> None:
        """An answer is whole; one below 200 only says that another follows."""
        self._begun = False
        if self._parser.get_status_code() < 200:
            self._in_body = False
            self._headers.clear()
        elif self._answer is None:
            self._answer = self._taken()
            self.reusable = self._parser.should_keep_alive()
        else:
            self.reusable = False

    # --- ---

    def _taken(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """What has come of an answer: status, headers by their names in lower case, and content."""
        headers = {name.lower(): value for name, value in self._headers.items()}
        chunks = self._chunks
        return self._parser.get_status_code(), headers, chunks[0] if len(chunks) == 1 else b"".join(chunks)

    @property
    def _ends_with_connection(self) -> bool:
        """Whether an answer that has begun says nothing of its length."""
        if not self._in_body:
            return False
        headers = {name.lower(): value.lower() for name, value in self._headers.items()}
        return b"content-length" not in headers and b"chunked" not in headers.get(b"transfer-encoding", b"")

    def _answered(self, status: int, headers: dict[bytes, bytes], content: bytes) -> None:
        if self._begun:
            self.reusable = False
        self._clear()
        self._deliver(status, headers, content)
        if not self.reusable:
            self._transport.abort()

    def _deliver(self, status: int, headers: dict[bytes, bytes], content: bytes) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        coding = headers.get(b"content-encoding")
        if coding is not None and content:
            try:
                content = _decoded(content, coding, self._bytes_max)
            except AttemptError as error:
                waiter.set_exception(error)
                return

        def header(name: str) -> str | None:
            value = headers.get(name.encode())
            return None if value is None else value.decode("latin-1")

        waiter.set_result(Reply(status, content, header))

    def _clear(self) -> None:
        self._answer = None
        self._begun = self._in_body = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._head_bytes = 0
        self._headers.clear()

    def _garbled(self, error: Exception) -> None:
        """It is not HTTP, or HTTP that nobody asked for."""
        if self._answer is not None:  # the answer was whole before
            self.reusable = False
            self._answered(*self._answer)
        elif isinstance(cause := error.__context__, MemoryError):
            self._fail(cause)
        else:
            self._fail(lost("what came is not HTTP", unanswered=False))

    def _fail(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        self._chunks = []
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)


def _decoded(content: bytes, coding: bytes, bytes_max: int) -> bytes:
    """An answer as it was before it was compressed, which nobody asks for and some servers do."""
    name = coding.strip().lower()
    if name == b"identity":
        return content
    if name in {b"gzip", b"x-gzip", b"deflate"}:
        inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            whole = inflater.decompress(content, bytes_max + 1)
        except zlib.error:
            whole = b""
        if len(whole) > bytes_max:
            raise too_long(bytes_max)
        if inflater.eof:
            return whole
    shown = name.decode("latin-1")[:20]
    raise AttemptError(Failed(Failure.GARBLED, f"the answer is compressed ({shown}) and cannot be read"))

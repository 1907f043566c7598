"""The app behind a socket, until it is told to stop.

uvicorn with httptools, and nothing of it that we do not use. Stops on SIGINT, SIGTERM or cancellation, and
then returns, so that whoever started the engine can stop it in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bulkrate.errors import ConfigError, InvalidRequest
from bulkrate.server.headers import OPENAI_VERSION, new_request_id
from bulkrate.wire.base import encode
from bulkrate.wire.errors import error_body

BACKLOG = 2048
GRACE_S = 10
# Longer than the pause between two polls of most clients, so that they keep their connection.
KEEP_ALIVE_S = 75
#: All headers of a request and its URL; OpenAI allows as much.
HEAD_BYTES_MAX = 64 * 1024


async def run(app: ASGIApp, *, host: str, port: int, on_started: Callable[[str, int], None]) -> None:
    """Serve until stopped. `on_started` is told where, with the real port when `port` is 0."""
    listener = _listen(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        ),
        lambda: on_started(host, listener.getsockname()[1]),
    )
    try:
        await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        if server.started:
            await server.shutdown(sockets=[listener])
        raise
    finally:
        listener.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is up, and does not raise a signal again once it has obeyed it."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._say_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._say_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Raised again, as uvicorn would, SIGTERM kills the process before the engine has put its work away.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, with OpenAI's error body for what is not HTTP, and bounds on all that is no body."""

    #: Bytes that came since the parser told of anything: a piece of a header, a trailer or a chunk's
    #: extension that goes on and on. It keeps what it has not told, and copies it with each further piece.
    _silent_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._silent_bytes += len(data)
        super().data_received(data)
        if self._silent_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count_head(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(name, value)
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        super().on_body(body)

    def on_chunk_header(self) -> None:
        self._silent_bytes = 0

    def on_message_complete(self) -> None:
        self._silent_bytes = 0
        super().on_message_complete()

    def _count_head(self, *pieces: bytes) -> None:
        self._silent_bytes = 0
        self._head_bytes += sum(map(len, pieces))
        if self._head_bytes > HEAD_BYTES_MAX:
            # httptools turns this into a parser error, and that into send_400_response.
            raise ValueError

    def send_400_response(self, msg: str) -> None:
        refused = InvalidRequest(
            f"{msg.rstrip('.')}: send HTTP/1.1, with at most {HEAD_BYTES_MAX:,} bytes of URL and headers."
        )
        body = encode(error_body(refused))
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"x-request-id: %s\r\nopenai-version: %s\r\ncontent-length: %d\r\n\r\n"
            % (new_request_id().encode(), OPENAI_VERSION, len(body))
        )
        self.transport.write(head + body)
        self.transport.close()


def _listen(host: str, port: int) -> socket.socket:
    where = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as failed:
        raise ConfigError(
            f"cannot listen on {where}: there is no address for '{host}'; set another host"
        ) from failed
    # "localhost" may be both; most clients try IPv4.
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as failed:
        listener.close()
        raise ConfigError(f"cannot listen on {where}: {_in_the_way(failed, host)}") from failed
    listener.setblocking(False)
    return listener


def _in_the_way(failed: OSError, host: str) -> str:
    match failed.errno:
        case errno.EADDRINUSE:
            return "another program already does; stop it, or set another port"
        case errno.EACCES:
            return "this user may not; set a port above 1023"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine; set one that is, or 0.0.0.0 for all"
        case _:
            return f"{failed.strerror}; set another host or port"

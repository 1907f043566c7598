"""HTTP/1.1 straight to a server, without TLS and without a proxy: what a server of one's own mostly speaks.

Everything happens in the event loop's own thread. A library with threads of its own wakes them for every
request and is woken by them for every answer, which takes longer than all that is done here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import sys
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from bulkrate.config import Upstream
from bulkrate.dispatch.connection import Connection
from bulkrate.dispatch.http import Reply, timed_out, unreachable
from bulkrate.dispatch.outbox import Outbox

# Connections that are kept while idle, where no `max_in_flight` says how many there will be.
_IDLE_MAX = 8_192
# A server that closes idle connections does so after 5 s or more; ours go first, and no POST runs into a
# closed one.
_IDLE_S = 4.0
# A server that has gone without a word, behind a firewall that forgets, is found out after a minute.
_PROBES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 3}
_TOO_MANY_FILES = {errno.EMFILE, errno.ENFILE}

_PLAIN_URL = re.compile(r"http://[!-~]+", re.IGNORECASE)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~]*")
# What a request's length goes by, and whether its connection stays: not for the settings to say.
_FRAMING = {
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_PROXIES = {"http_proxy", "all_proxy"}


def suits(url: str, headers: Mapping[str, str]) -> bool:
    """Whether a URL can be asked directly: by plain HTTP, not through a proxy, and in plain ASCII."""
    if not _PLAIN_URL.fullmatch(url) or not _names_server(url):
        return False
    plain = all(
        _NAME.fullmatch(name) and _VALUE.fullmatch(value) and name.lower() not in _FRAMING
        for name, value in headers.items()
    )
    return plain and not _is_proxied(url)


def _names_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_proxied(url: str) -> bool:
    """Whether the environment, or the system's settings where there are such, name a proxy for a URL."""
    if sys.platform.startswith("linux") and not any(name.lower() in _PROXIES for name in os.environ):
        return False
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  # rarely needed, and slow to load

    proxies = getproxies()
    if not (proxies.get("http") or proxies.get("all")):
        return False
    return not proxy_bypass(urlsplit(url).netloc.rpartition("@")[2])


class Direct:
    """Sends requests with `headers` to the server of `url`, and takes answers of up to `answer_bytes_max`."""

    def __init__(
        self, url: str, upstream: Upstream, headers: Mapping[str, str], *, answer_bytes_max: int
    ) -> None:
        server = urlsplit(url)
        self._address = upstream.address
        self._host = server.hostname or ""
        self._port = server.port or 80
        self._headers = _head(server, headers)
        self._timeout_s = upstream.timeout_s
        self._connect_timeout_s = min(upstream.connect_timeout_s, upstream.timeout_s)
        self._answer_bytes_max = answer_bytes_max
        self._idle_max = upstream.max_in_flight or _IDLE_MAX
        self._loop = asyncio.get_running_loop()
        #: The beginning of a POST per URL, up to its length.
        self._starts: dict[str, bytes] = {}
        self._outbox = Outbox()
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        # In the order in which their time is up: all wait equally long.
        self._waiting: dict[Connection, None] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._tidying: asyncio.TimerHandle | None = None
        #: The address that took a connection last.
        self._good: tuple[str, int] | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """The answer to `body`; `headers` are for this request alone. Raises `AttemptError`."""
        start = self._starts.get(url)
        if start is None:
            start = self._starts[url] = b"POST %b HTTP/1.1\r\n%b" % (_target(url), self._headers)
        if headers is not None:
            start += _lines(headers)
        connection = self._take() or await self._connect()
        answer = connection.send(b"%bcontent-length: %d\r\n\r\n%b" % (start, len(body), body))
        connection.deadline = self._loop.time() + self._timeout_s
        self._waiting[connection] = None
        if self._expiry is None:
            self._expiry = self._loop.call_later(self._timeout_s, self._expire)
        try:
            reply = await answer
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            del self._waiting[connection]
        if connection.reusable:
            self._keep(connection)
        return reply

    async def get(self, url: str, *, timeout_s: float) -> Reply:
        """The answer to a question, within `timeout_s`. Raises `AttemptError`."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                connection = self._take() or await self._connect()
                reply = await connection.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (_target(url), self._headers))
        except TimeoutError:
            raise timed_out(timeout_s) from None
        finally:
            if connection is not None:
                if connection.reusable:
                    self._keep(connection)
                else:
                    connection.abort()
        return reply

    async def close(self) -> None:
        """Close every connection."""
        for timer in (self._expiry, self._tidying):
            if timer is not None:
                timer.cancel()
        for connection in self._open:
            connection.abort()
        while self._open:  # until each has said that it is closed
            await asyncio.sleep(0)

    # --- connections ---

    def _take(self) -> Connection | None:
        """The connection that was used last, so that those too many grow old."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        if len(self._idle) >= self._idle_max:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._tidying is None:
            self._tidying = self._loop.call_later(_IDLE_S, self._tidy)

    def _tidy(self) -> None:
        """Close what was idle for too long."""
        self._tidying = None
        now = self._loop.time()
        while self._idle:
            age_s = now - self._idle[0].idle_since
            if age_s < _IDLE_S and self._idle[0].reusable:
                self._tidying = self._loop.call_later(_IDLE_S - age_s, self._tidy)
                return
            self._idle.popleft().abort()

    def _expire(self) -> None:
        """Give up what has waited for too long."""
        self._expiry = None
        now = self._loop.time()
        for connection in list(self._waiting):
            left_s = connection.deadline - now
            if left_s > 0:
                self._expiry = self._loop.call_later(left_s, self._expire)
                return
            connection.give_up(self._timeout_s)

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_timeout_s) as limit:
                addresses = await self._addresses()
                for number, address in enumerate(addresses):
                    now = self._loop.time()
                    left_s = (limit.when() or now) - now
                    # One that says nothing must leave the others their time.
                    try:
                        async with asyncio.timeout(left_s / (len(addresses) - number)):
                            return await self._reach(address)
                    except OSError:
                        if number == len(addresses) - 1:
                            raise
        except TimeoutError:
            raise unreachable(self._address, f"nothing within {self._connect_timeout_s:g} s") from None
        except OSError as cause:
            raise unreachable(self._address, _why(cause)) from cause
        raise unreachable(self._address, "its host has no address")

    async def _addresses(self) -> list[tuple[str, int]]:
        """Where to look for the server, the address first that was good the last time."""
        found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys((str(where[0]), self._port) for *_, where in found))
        if self._good in addresses[1:]:
            addresses.remove(self._good)
            addresses.insert(0, self._good)
        return addresses

    async def _reach(self, address: tuple[str, int]) -> Connection:
        transport, connection = await self._loop.create_connection(self._connection, *address)
        self._open.add(connection)
        self._good = address
        _set_probes(transport)
        return connection

    def _connection(self) -> Connection:
        return Connection(bytes_max=self._answer_bytes_max, outbox=self._outbox, on_lost=self._open.discard)


def _set_probes(transport: asyncio.BaseTransport) -> None:
    """Have the kernel ask from time to time whether the other side is still there."""
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _why(cause: OSError) -> str:
    if cause.errno in _TOO_MANY_FILES:
        return "too many open files here; allow more (ulimit -n)"
    if isinstance(cause, socket.gaierror):
        return "its host has no address"
    if isinstance(cause, ConnectionRefusedError):
        return "it refuses the connection"
    return ""


def _target(url: str) -> bytes:
    parts = urlsplit(url)
    return f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}".encode("ascii")


def _head(server: SplitResult, headers: Mapping[str, str]) -> bytes:
    """The headers of every request."""
    fields = {"host": server.netloc.rpartition("@")[2].lower(), "accept": "*/*"}
    fields |= {name.lower(): value for name, value in headers.items()}
    if server.username is not None:
        named = f"{unquote(server.username)}:{unquote(server.password or '')}"
        fields["authorization"] = f"Basic {b64encode(named.encode()).decode()}"
    return _lines(fields)


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")

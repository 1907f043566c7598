"""HTTP/1.1 straight to a server: where an answer ends, when a connection is used again, and what is sent."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrate.config import Upstream
from bulkrate.core.outcome import Failed, Failure
from bulkrate.dispatch.direct import Direct, suits
from bulkrate.dispatch.http import AttemptError, Reply
from bulkrate.dispatch.library import Library

PATH = "/v1/chat/completions"


def http(body: bytes, *headers: str, status: int = 200) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Told:
    """A server that answers the requests of each connection with pieces of bytes, one list per request.

    A piece that is None closes the connection; so does the end of the lists.
    """

    answers: Sequence[Sequence[bytes | None]]
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            for pieces in self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                self.requests.append(head + await reader.readexactly(int(length or b"0")))
                for piece in pieces:
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.closed.set()


@asynccontextmanager
async def serving(*answers: Sequence[bytes | None]) -> AsyncIterator[Told]:
    """Such a server, as long as it is needed."""
    told = Told(answers)
    async with await asyncio.start_server(told.serve, "127.0.0.1", 0) as server:
        told.port = server.sockets[0].getsockname()[1]
        yield told


def direct(url: str, *, answer_bytes_max: int = 1 << 20, **given) -> Direct:
    headers = given.pop("headers", {})
    return Direct(url, Upstream(url=url, **given), headers, answer_bytes_max=answer_bytes_max)


async def post(client: Direct | Library, url: str, body: bytes = b"{}") -> Reply | Failed:
    try:
        return await client.post(url, body)
    except AttemptError as error:
        return error.failed


def answer_to_one(*pieces: bytes | None, **given) -> Reply | Failed:
    """What comes of one request that is answered with these pieces."""

    async def run() -> Reply | Failed:
        async with serving(pieces) as told:
            client = direct(told.url, **given)
            try:
                return await post(client, told.url)
            finally:
                await client.close()

    return asyncio.run(run())


def contents_of(*answers: Sequence[bytes | None]) -> tuple[list[bytes | Failure], int]:
    """What comes of one request after another, and how many connections that took."""

    async def run() -> tuple[list[bytes | Failure], int]:
        async with serving(*answers) as told:
            client = direct(told.url)
            came = []
            for _ in answers:
                reply = await post(client, told.url)
                came.append(reply.content if isinstance(reply, Reply) else reply.failure)
            await client.close()
            return came, told.connections

    return asyncio.run(run())


# --- where an answer ends ---


@pytest.mark.parametrize(
    "pieces",
    [
        [http(b"whole")],
        [b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\nx-late: 1\r\n\r\n"],
        [b"HTTP/1.1 200 x\r\n\r\nwhole", None],
        [b"HTTP/1.0 200 x\r\n\r\nwh", b"ole", None],
        [b"HTTP/1.1 100 Continue\r\n\r\n", http(b"whole")],
        [b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 102 x\r\n\r\n" + http(b"whole")],
    ],
)
def test_an_answer_ends_where_its_length_or_its_chunks_or_its_connection_end(pieces):
    reply = answer_to_one(*pieces)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.content) == (200, b"whole")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 90), max_size=5))
def test_an_answer_may_come_in_any_pieces(cuts):
    head = b"HTTP/1.1 200 x\r\nx-request-id: r\r\ntransfer-encoding: chunked\r\n\r\n"
    whole = head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    edges = [0, *sorted(cuts), len(whole)]
    reply = answer_to_one(*(whole[a:b] for a, b in pairwise(edges)))
    assert isinstance(reply, Reply)
    assert (reply.content, reply.header("x-request-id")) == (b"abcde", "r")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_ends_with_its_headers(status):
    reply = answer_to_one(b"HTTP/1.1 %d x\r\n\r\n" % status)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.content) == (status, b"")


@pytest.mark.parametrize(
    ("pieces", "unanswered"),
    [
        ([None], True),
        ([b"HTTP/1.1 2", None], False),
        ([b"HTTP/1.1 200 x\r\ncontent-length: 5\r\n", None], False),
        ([b"HTTP/1.1 200 x\r\ncontent-length: 5\r\n\r\nhal", None], False),
        ([b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal", None], False),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], False),
        ([b"HTTP/1.1 101 x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"], False),
        ([b"HTTP/1.1 200 x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"], False),
    ],
)
def test_half_an_answer_is_a_lost_connection_and_none_at_all_is_told_apart(pieces, unanswered):
    failed = answer_to_one(*pieces)
    assert isinstance(failed, Failed)
    assert (failed.failure, failed.unanswered) == (Failure.LOST, unanswered)


def test_headers_without_an_end_are_not_gathered():
    failed = answer_to_one(b"HTTP/1.1 200 x\r\n", *[b"x-%d: %b\r\n" % (n, b"y" * 65_000) for n in range(40)])
    assert isinstance(failed, Failed)
    assert failed.failure is Failure.LOST


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "identity", "GZIP"])
def test_an_answer_that_is_compressed_unasked_is_read_all_the_same(coding):
    packed = {"deflate": zlib.compress(b"whole"), "identity": b"whole"}.get(coding, gzip.compress(b"whole"))
    reply = answer_to_one(http(packed, f"content-encoding: {coding}"))
    assert isinstance(reply, Reply)
    assert reply.content == b"whole"


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(bytes(5_000)), "gzip"),
        (gzip.compress(b"whole")[:-9], "gzip"),
        (b"x", "gzip"),
        (b"x", "br"),
    ],
    ids=["too long", "cut off", "not gzip", "not known"],
)
def test_a_compressed_answer_that_is_too_long_or_cannot_be_read_is_garbled(body, coding):
    failed = answer_to_one(http(body, f"content-encoding: {coding}"), answer_bytes_max=1_000)
    assert isinstance(failed, Failed)
    assert failed.failure is Failure.GARBLED


# --- when a connection is used again ---


def test_a_connection_is_used_again():
    assert contents_of([http(b"a")], [http(b"b")], [http(b"c")]) == ([b"a", b"b", b"c"], 1)


@pytest.mark.parametrize(
    "first",
    [
        [http(b"a", "connection: close")],
        [http(b"a").replace(b"1.1", b"1.0")],
        [b"HTTP/1.1 200 x\r\n\r\na", None],
        [http(b"a"), None],
        [http(b"a") + http(b"not asked for")],
        [http(b"a") + b"HTTP/1.1 2"],
        [http(b"a") + b"\x00\x01"],
    ],
)
def test_a_connection_is_not_used_again_when_it_ends_or_has_said_too_much(first):
    async def run() -> tuple[list[bytes], int]:
        async with serving(first) as told:
            client = direct(told.url)
            came = []
            for _ in range(2):
                reply = await post(client, told.url)
                assert isinstance(reply, Reply)
                came.append(reply.content)
                await told.closed.wait()
                told.closed.clear()
                # What the server has done has arrived when another of its connections has said so.
                _, writer = await asyncio.open_connection("127.0.0.1", told.port)
                writer.close()
                await writer.wait_closed()
                told.connections -= 1
                await told.closed.wait()
                told.closed.clear()
            await client.close()
            return came, told.connections

    came, connections = asyncio.run(run())
    assert came == [b"a", b"a"]
    assert connections == 2


def test_what_comes_while_nothing_was_asked_closes_the_connection():
    async def run() -> int:
        said = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await reader.readuntil(b"\r\n\r\n{}")
            writer.write(http(b"a"))
            await said.wait()
            writer.write(http(b"", status=408))
            assert await reader.read() == b""
            writer.close()
            closed.set()

        connections = 0
        closed = asyncio.Event()
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
            client = direct(url)
            for _ in range(2):
                reply = await post(client, url)
                assert isinstance(reply, Reply)
                assert reply.content == b"a"
                said.set()
                await closed.wait()
                closed.clear()
                said.clear()
            await client.close()
            return connections

    assert asyncio.run(asyncio.wait_for(run(), 10)) == 2


def test_a_request_that_nobody_waits_for_any_more_takes_its_connection_with_it():
    async def run() -> None:
        async with serving([b"HTTP/1.1 200 x\r\n"], [b"never"]) as told:
            client = direct(told.url)
            task = asyncio.create_task(client.post(told.url, b"{}"))
            while not told.requests:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await told.closed.wait()
            await client.close()

    asyncio.run(asyncio.wait_for(run(), 10))


def test_each_request_has_its_own_time():
    async def run() -> list[float]:
        loop = asyncio.get_running_loop()

        async def wait_in_vain(client: Direct, url: str) -> float:
            began = loop.time()
            failed = await post(client, url)
            assert isinstance(failed, Failed)
            assert failed.failure is Failure.TIMED_OUT
            return loop.time() - began

        async with serving([], []) as told:
            client = direct(told.url, timeout_s=0.1)
            first = asyncio.create_task(wait_in_vain(client, told.url))
            began = loop.time()
            while loop.time() < began + 0.03:
                await asyncio.sleep(0)
            took = [await wait_in_vain(client, told.url), await first]
            await client.close()
            return took

    assert min(asyncio.run(run())) >= 0.099


def test_a_connection_that_was_idle_for_too_long_is_closed(monkeypatch):
    monkeypatch.setattr("bulkrate.dispatch.direct._IDLE_S", 0.05)

    async def run() -> None:
        async with serving([http(b"a")], [http(b"b")]) as told:
            client = direct(told.url)
            await client.post(told.url, b"{}")
            await told.closed.wait()
            await client.close()

    asyncio.run(asyncio.wait_for(run(), 10))


# --- what is sent, and where to ---


def request_of(url: str = "http://{}" + PATH, headers: dict[str, str] | None = None) -> bytes:
    """A request as the server has it."""

    async def run() -> bytes:
        async with serving([http(b"{}")]) as told:
            address = url.format(f"127.0.0.1:{told.port}")
            client = direct(address, headers=headers or {})
            await client.post(address, b'{"a":1}')
            await client.close()
            return told.requests[0].replace(str(told.port).encode(), b"PORT")

    return asyncio.run(run())


def test_a_request_is_what_http_asks_for_and_no_more():
    assert request_of(headers={"X-Org": "o", "authorization": "Bearer k"}) == (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\naccept: */*\r\nx-org: o\r\n"
        b'authorization: Bearer k\r\ncontent-length: 7\r\n\r\n{"a":1}'
    )


def test_user_and_password_of_a_url_are_sent_as_such_and_told_nobody():
    sent = request_of("http://me:p%40ss@{}/v1")
    assert b"authorization: Basic bWU6cEBzcw==\r\n" in sent
    assert b"host: 127.0.0.1:PORT\r\n" in sent

    async def run() -> Failed:
        client = direct("http://me:secret@127.0.0.1:1/v1")
        failed = await post(client, "http://me:secret@127.0.0.1:1/v1")
        await client.close()
        assert isinstance(failed, Failed)
        return failed

    assert asyncio.run(run()).detail == "no connection to http://127.0.0.1:1/v1: it refuses the connection"


def test_a_host_is_reached_by_whichever_of_its_addresses_answers(monkeypatch):
    """The address of a documentation network answers nothing, nor does a closed port."""

    async def run() -> bytes:
        async with serving([http(b"whole")]) as told:
            loop = asyncio.get_running_loop()

            async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
                assert host == "several.test"
                kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
                return [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.1", port))]

            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
            url = f"http://several.test:{told.port}/v1"
            client = direct(url)
            reply = await client.post(url, b"{}")
            await client.close()
            return reply.content

    assert asyncio.run(run()) == b"whole"


# --- for whom it is ---


@pytest.fixture
def no_proxies(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    ("url", "headers", "fits"),
    [
        ("http://127.0.0.1:8000/v1", {}, True),
        ("http://me:pass@vllm.example/v1", {"x-org": "ours and yours"}, True),
        ("http://[::1]:8000/v1", {}, True),
        ("https://api.example.com/v1", {}, False),
        ("http://bücher.example/v1", {}, False),
        ("http://a b/v1", {}, False),
        ("http:///v1", {}, False),
        ("http://host:99999/v1", {}, False),
        ("http://host/v1", {"x": "a\r\nb: c"}, False),
        ("http://host/v1", {"x y": "a"}, False),
        ("http://host/v1", {"Content-Length": "3"}, False),
    ],
)
def test_only_what_is_plain_is_sent_directly(url, headers, fits):
    assert suits(url, headers) is fits


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    ("environment", "fits"),
    [
        ({"HTTP_PROXY": "http://proxy:3128"}, False),
        ({"http_proxy": "http://proxy:3128"}, False),
        ({"ALL_PROXY": "http://proxy:3128"}, False),
        ({"HTTPS_PROXY": "http://proxy:3128"}, True),
        ({"http_proxy": ""}, True),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "vllm.example"}, True),
        ({"http_proxy": "http://proxy:3128", "NO_PROXY": "other.example"}, False),
    ],
)
def test_what_goes_through_a_proxy_is_not_sent_directly(monkeypatch, environment, fits):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert suits("http://vllm.example:8000/v1", {}) is fits

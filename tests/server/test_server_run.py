"""The socket: where it listens, what it says when it cannot, and what it answers to what is not HTTP."""

import asyncio
import contextlib
import json
import socket

import pytest
from starlette.responses import PlainTextResponse

from bulkrate.errors import ConfigError
from bulkrate.server.run import HEAD_BYTES_MAX, run

APP = PlainTextResponse("hello")


#: More than the buffers of a connection hold.
POURED_BYTES_MAX = 64 * 1024 * 1024


async def read_and_greet(scope, receive, send):
    """An app that reads all of the body before it answers."""
    while (await receive()).get("more_body"):
        pass
    await APP(scope, receive, send)


@contextlib.asynccontextmanager
async def connected(*, host="127.0.0.1", app=read_and_greet):
    """A connection to a server of its own, both gone afterwards."""
    started = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(
        run(app, host=host, port=0, on_started=lambda *where: started.set_result(where))
    )
    try:
        where, port = await started
        reader, writer = await asyncio.open_connection(where, port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    finally:
        server.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await server


async def exchange(sent, *, host="127.0.0.1"):
    """What the server answers to these bytes, read until it closes."""
    async with connected(host=host) as (reader, writer):
        writer.write(sent)
        return await reader.read()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_serves_at_a_port_of_its_own_choice(host):
    answer = asyncio.run(exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", host=host))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"hello")
    assert b"server:" not in answer.lower()


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * (HEAD_BYTES_MAX + 1) + b"\r\n\r\n",
        b"GET /" + b"a" * (HEAD_BYTES_MAX + 1) + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_an_error_body_too(sent):
    head, _, body = asyncio.run(exchange(sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"x-request-id: req_" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTTP/1.1\r\nx: ",
        b"GET / HTTP/1.1\r\nx",
        b"GET /",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2;",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ",
    ],
    ids=["value", "name", "url", "extension", "trailer"],
)
def test_what_never_ends_is_not_kept_but_cut(begun):
    # A value was once kept whole, and copied with each further piece: 100 MB stopped the server for 10 s.
    async def pour():
        sent = 0
        async with connected() as (_, writer):
            writer.write(begun)
            with contextlib.suppress(ConnectionError):
                while sent < POURED_BYTES_MAX:
                    writer.write(b"a" * HEAD_BYTES_MAX)
                    await writer.drain()
                    sent += HEAD_BYTES_MAX
        return sent

    assert asyncio.run(pour()) < POURED_BYTES_MAX


def test_a_long_body_in_small_pieces_is_no_head_that_never_ends():
    piece = b"10;x=y\r\n" + b"a" * 16 + b"\r\n"
    sent = b"POST / HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = asyncio.run(exchange(sent + piece * 20_000 + b"0\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_a_taken_port_is_named_with_a_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: another program.*another port"):
            asyncio.run(run(APP, host="127.0.0.1", port=port, on_started=lambda *_: None))


@pytest.mark.parametrize("host", ["203.0.113.9", "no.such.host.invalid"])
def test_a_host_that_is_not_ours_is_named(host):
    with pytest.raises(ConfigError, match=host):
        asyncio.run(run(APP, host=host, port=0, on_started=lambda *_: None))

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


async def exchange(sent, *, host="127.0.0.1"):
    """What the server answers to these bytes, read until it closes."""
    started = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(
        run(APP, host=host, port=0, on_started=lambda *where: started.set_result(where))
    )
    try:
        where, port = await started
        reader, writer = await asyncio.open_connection(where, port)
        writer.write(sent)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer
    finally:
        server.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await server


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


def test_a_taken_port_is_named_with_a_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: another program.*another port"):
            asyncio.run(run(APP, host="127.0.0.1", port=port, on_started=lambda *_: None))


@pytest.mark.parametrize("host", ["203.0.113.9", "no.such.host.invalid"])
def test_a_host_that_is_not_ours_is_named(host):
    with pytest.raises(ConfigError, match=host):
        asyncio.run(run(APP, host=host, port=0, on_started=lambda *_: None))

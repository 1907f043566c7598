"""A refusal reaches a client that is still sending, though the connection is closed after it."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import PlainTextResponse

from bulkrate.server.linger import LingerForBodies
from tests.server.test_server_run import connected

#: More than the buffers of a connection hold.
BODY_BYTES = 16 * 1024 * 1024
REFUSAL = PlainTextResponse("too large", 413)
REFUSING = LingerForBodies(REFUSAL)


async def sent_before_reading(body: bytes, *headers: bytes, app: LingerForBodies = REFUSING) -> bytes:
    """What is answered to a client that sends all it has, and reads only then."""
    async with connected(app=app) as (reader, writer):
        writer.write(b"\r\n".join([b"POST / HTTP/1.1", b"connection: close", *headers, b"", b""]))
        writer.write(body)
        await writer.drain()
        return await reader.read()


def test_a_refusal_reaches_who_sends_the_whole_body_first():
    answer = asyncio.run(sent_before_reading(b"a" * BODY_BYTES, b"content-length: %d" % BODY_BYTES))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"too large")


def test_a_refusal_reaches_who_sends_chunks_first():
    chunks = (b"10000\r\n" + b"a" * 65_536 + b"\r\n") * 256 + b"0\r\n\r\n"
    answer = asyncio.run(sent_before_reading(chunks, b"transfer-encoding: chunked"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"too large")


def test_the_whole_answer_is_there_before_the_body_is():
    async def reads_first() -> bytes:
        async with connected(app=REFUSING) as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n")
            return await reader.readuntil(b"too large")

    assert asyncio.run(reads_first()).startswith(b"HTTP/1.1 413 ")


def test_nobody_waits_for_a_body_that_stands_still():
    app = LingerForBodies(REFUSAL, still_s=0.05)
    answer = asyncio.run(sent_before_reading(b"", b"content-length: 10", app=app))
    assert answer.endswith(b"too large")


def test_nobody_waits_for_a_body_that_does_not_end():
    async def pour() -> None:
        async with connected(app=LingerForBodies(REFUSAL, linger_s=0.1)) as (_, writer):
            writer.write(b"POST / HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1\r\na\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)

    async def bounded() -> None:
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionError):
                await pour()

    asyncio.run(bounded())


@pytest.mark.parametrize("headers", [[], [b"content-length: 0"]])
def test_a_request_without_a_body_is_not_waited_for(headers: list[bytes]):
    assert asyncio.run(sent_before_reading(b"", *headers)).endswith(b"too large")

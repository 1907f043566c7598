"""Requests go out together, and one whose connection is gone holds up no other."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from bulkrate.dispatch.outbox import Outbox


@pytest.mark.parametrize("run_loop", [asyncio.run, uvloop.run])
def test_a_connection_that_is_closed_in_between_holds_up_no_other(run_loop):
    async def run() -> list[bytes]:
        came: list[bytes] = []
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                came.append(await reader.read())
            except ConnectionError:
                came.append(b"")
            writer.close()
            if len(came) == 3:
                done.set()

        loop = asyncio.get_running_loop()
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            transports = [
                (await loop.create_connection(asyncio.Protocol, "127.0.0.1", port))[0] for _ in range(3)
            ]
            outbox = Outbox()
            for number, transport in enumerate(transports):
                outbox.put(transport, b"request %d" % number)
            transports[0].abort()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for transport in transports:
                transport.close()
            await done.wait()
            return sorted(came)

    assert run_loop(asyncio.wait_for(run(), 10)) == [b"", b"request 1", b"request 2"]

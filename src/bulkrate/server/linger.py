"""The rest of a body that was refused, read and thrown away before the connection is closed.

A connection that is closed with bytes unread is reset by the system, and whoever is still sending then never
sees the answer: most proxies close after each request, and made a 502 of every refused upload. Waits neither
for a body that stands still nor for one that does not end.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# As nginx does by default (lingering_timeout, lingering_time).
STILL_S = 5.0
LINGER_S = 30.0


class LingerForBodies:
    """Gives the whole answer at once, and ends it when the body of its request has been read.

    It waits at most `still_s` for the next piece of the body, and `linger_s` for all of it.
    """

    def __init__(self, app: ASGIApp, *, still_s: float = STILL_S, linger_s: float = LINGER_S) -> None:
        self.app = app
        self._still_s = still_s
        self._linger_s = linger_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self.app(scope, receive, send)
            return
        whole = False

        async def read() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body", False)  # so it is too when the client has gone
            return message

        async def answer(message: Message) -> None:
            if message["type"] != "http.response.body" or message.get("more_body", False) or whole:
                await send(message)
                return
            await send({**message, "more_body": True})
            try:
                async with asyncio.timeout(self._linger_s):
                    while not whole:
                        async with asyncio.timeout(self._still_s):
                            await read()
            except TimeoutError:
                pass
            finally:
                await send({"type": "http.response.body"})

        await self.app(scope, read, answer)


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
        for name, value in scope["headers"]
    )

"""The few words of ASGI the sandbox speaks: read a body, send a reply, hang up.

It knows nothing of what is asked or answered.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from msgspec import Struct

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

_PIECES_MAX = 1_000
_PAUSE_MS_MIN = 10  # uvloop's timers count whole milliseconds: shorter pauses would be all wrong
_NO_TIME = struct.pack("ii", 1, 0)

TRANSPORT = "transport"
"""Key in `scope["state"]` of the connection's transport: plain ASGI has no way to hang up."""


class Reply(Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()
    content_type: bytes = b"application/json"
    withheld: int = 0
    """So many bytes are promised in Content-Length and never sent."""

    reset: bool = False
    """Then reset the connection instead of closing it."""

    over_ms: int = 0
    """Send the body in small pieces over this time, single bytes if there is time for so many."""

    close: bool = False
    """Close the connection after a whole answer, without having said so."""


async def read_body(receive: Receive) -> bytes | None:
    """The whole request body, or None when the client went away before sending all of it."""
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:
        whole: bytes = message["body"]  # nearly every request arrives in one piece
        return whole
    parts: list[bytes] = []
    while message["type"] == "http.request":
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)
        message = await receive()
    return None


async def send_reply(
    reply: Reply, extra: tuple[Header, ...], scope: Scope, receive: Receive, send: Send
) -> None:
    promised = len(reply.body) + reply.withheld
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % promised),
        *extra,
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = reply.body
    if reply.over_ms:
        body = await _send_slowly(body, reply.over_ms, send)
    if reply.reset:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await reset(scope, receive)
    elif reply.withheld:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await hang_up(scope, receive)
    else:
        await send({"type": "http.response.body", "body": body})
    if reply.close:
        scope["state"][TRANSPORT].close()


async def _send_slowly(body: bytes, over_ms: int, send: Send) -> bytes:
    """Send all but the last piece; that piece."""
    size = -(-len(body) // min(_PIECES_MAX, max(1, over_ms // _PAUSE_MS_MIN)))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    for piece in pieces[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(over_ms / len(pieces) / 1000)
    return pieces[-1]


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection (what is already written still goes out) and wait until uvicorn knows.

    Returning from the app any earlier makes uvicorn call the missing answer a fault of the app, log it
    and send a 500 of its own.
    """
    scope["state"][TRANSPORT].close()
    while (await receive())["type"] != "http.disconnect":
        pass


async def reset(scope: Scope, receive: Receive) -> None:
    """Reset the connection once what was written is out; the client is told that nobody is there."""
    transport = scope["state"][TRANSPORT]
    while transport.get_write_buffer_size():
        await asyncio.sleep(0)
    # To close with a linger of no time is how a reset is asked for.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_TIME)
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def client_left(scope: Scope) -> bool:
    closing: bool = scope["state"][TRANSPORT].is_closing()
    return closing

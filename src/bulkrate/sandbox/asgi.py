"""The few words of ASGI the sandbox speaks: read a body, send a reply, hang up.

It knows nothing of what is asked or answered.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from msgspec import Struct

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

TRANSPORT = "transport"
"""Key in `scope["state"]` of the connection's transport: plain ASGI has no way to hang up."""


class Reply(Struct, frozen=True):
    """A whole HTTP answer. `withheld` bytes are promised in Content-Length and never sent."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()
    content_type: bytes = b"application/json"
    withheld: int = 0


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
    if reply.withheld:
        await send({"type": "http.response.body", "body": reply.body, "more_body": True})
        await hang_up(scope, receive)
    else:
        await send({"type": "http.response.body", "body": reply.body})


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection (what is already written still goes out) and wait until uvicorn knows.

    Returning from the app any earlier makes uvicorn call the missing answer a fault of the app, log it
    and send a 500 of its own.
    """
    scope["state"][TRANSPORT].close()
    while (await receive())["type"] != "http.disconnect":
        pass


def client_left(scope: Scope) -> bool:
    closing: bool = scope["state"][TRANSPORT].is_closing()
    return closing

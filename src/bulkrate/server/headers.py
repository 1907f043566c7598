"""The headers on every answer: a request id, OpenAI's version, and how long we took.

Sees only the first message of an answer; never touches a body.
"""

from __future__ import annotations

import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "bulkrate.request_id"

#: What OpenAI accepts as X-Client-Request-Id.
_CLIENT_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,512}")


OPENAI_VERSION = b"2020-10-01"


def new_request_id() -> str:
    """An id as OpenAI makes them."""
    return f"req_{secrets.token_hex(16)}"


class StampHeaders:
    """Gives each request an id (in the scope under `REQUEST_ID`) and stamps the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        request_id = new_request_id()
        scope[REQUEST_ID] = request_id
        echoed = _client_request_id(scope)

        async def stamp(message: Message) -> None:
            if message["type"] == "http.response.start":
                took_ms = int((time.perf_counter() - begun) * 1000)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"openai-version", OPENAI_VERSION),
                    (b"openai-processing-ms", str(took_ms).encode()),
                    *echoed,
                ]
            await send(message)

        await self.app(scope, receive, stamp)


def _client_request_id(scope: Scope) -> list[tuple[bytes, bytes]]:
    for name, value in scope["headers"]:
        if name == b"x-client-request-id" and _CLIENT_REQUEST_ID.fullmatch(value):
            return [(b"x-client-request-id", value)]
    return []

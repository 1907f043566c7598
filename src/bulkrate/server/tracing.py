"""A span for each request to the API, when traces are on.

Knows a request by the pattern of its path, its status and the batch that it was about; never by its URL, its
body or its key.
"""

from __future__ import annotations

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bulkrate.telemetry import traces
from bulkrate.wire.batches import Batch, RunAnswers

_ASKED = "bulkrate.asked"


class TraceRequests:
    """Wraps the app; what does not need a key, such as /health, gets no span."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not traces.on():
            await self.app(scope, receive, send)
            return
        asked = traces.Asked()
        scope[_ASKED] = asked

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                asked.status = message["status"]
            await send(message)

        with traces.request(scope["method"], Headers(scope=scope), asked):
            await self.app(scope, receive, watch)


def learn_route(scope: Scope, route: str, *, traced: bool) -> None:
    """Note which pattern of a path a request is for, and whether such requests are traced."""
    asked: traces.Asked | None = scope.get(_ASKED)
    if asked is not None:
        asked.route = route
        asked.wanted = traced
        asked.batch = scope["path_params"].get("batch_id")


def learn_batch(scope: Scope, batch: str | None) -> None:
    """Note which batch a request was about, once that is known."""
    asked: traces.Asked | None = scope.get(_ASKED)
    if asked is not None and batch is not None:
        asked.batch = batch


def batch_in(answer: msgspec.Struct) -> str | None:
    """The batch that an answer is about, if it is about one."""
    if isinstance(answer, Batch):
        return answer.id
    return answer.batch.id if isinstance(answer, RunAnswers) else None

"""The ASGI app: the table of operations as routes, inside layers that read refused bodies out, stamp headers,
trace and answer errors.

A value built from lists; it starts nothing and holds nothing but the engine it was given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from bulkrate.errors import MethodNotAllowed
from bulkrate.server.auth import project_of
from bulkrate.server.body import read_json
from bulkrate.server.errors import AnswerErrors, not_found, refused_answer
from bulkrate.server.headers import StampHeaders
from bulkrate.server.linger import LingerForBodies
from bulkrate.server.openapi import describing
from bulkrate.server.operations import Call, Form, Json, Operation
from bulkrate.server.query import read_query
from bulkrate.server.table import OPERATIONS
from bulkrate.server.tracing import TraceRequests, batch_in, learn_batch, learn_route
from bulkrate.wire.base import encode

if TYPE_CHECKING:
    from bulkrate.engine import Engine

#: OpenAI's own place; Azure's and Groq's; and Azure's of old, where `api-version` is in the query.
PREFIXES = ("/v1", "/openai/v1", "/openai")


def create_app(engine: Engine) -> ASGIApp:
    """The whole server as one ASGI app over a running engine."""
    operations = (*OPERATIONS, describing(OPERATIONS, prefix=PREFIXES[0]))
    kept = [operation for operation in operations if not operation.open]
    routes = [
        *_routes(engine, [operation for operation in operations if operation.open], prefix=""),
        *(route for prefix in PREFIXES for route in _routes(engine, kept, prefix=prefix)),
    ]
    router = Router(routes, redirect_slashes=False, default=not_found)
    return LingerForBodies(StampHeaders(TraceRequests(AnswerErrors(router))))


def _routes(engine: Engine, operations: Iterable[Operation], *, prefix: str) -> list[Route]:
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(prefix + operation.path, []).append(operation)
    return [Route(path, _Address(engine, path, found)) for path, found in by_path.items()]


class _Address:
    """One path: finds the operation for the method, and answers."""

    def __init__(self, engine: Engine, path: str, operations: Iterable[Operation]) -> None:
        self.engine = engine
        self.path = path
        self.by_method: dict[str, Operation] = {operation.method: operation for operation in operations}
        self.allow = ", ".join([*self.by_method, *(("HEAD",) if "GET" in self.by_method else ())])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = self.by_method.get(method)
        learn_route(scope, self.path, traced=operation is None or not operation.open)
        if operation is None:
            answer = self._refuse(scope)
        else:
            answer = await self._answer(operation, Request(scope, receive))
        await answer(scope, receive, send)

    def _refuse(self, scope: Scope) -> Response:
        refused = MethodNotAllowed(
            f"Not allowed to {scope['method']} on {scope['path'][:256]}. Allowed are: {self.allow}."
        )
        return refused_answer(refused, {"allow": self.allow})

    async def _answer(self, operation: Operation, request: Request) -> Response:
        call = Call(
            engine=self.engine,
            request=request,
            project="" if operation.open else await project_of(self.engine, request.headers),
            path=request.path_params,
            query=read_query(operation.query, request.query_params),
            ask=await _ask(operation, request),
        )
        answer = await operation.handler(call)
        if isinstance(answer, Response):
            return answer
        learn_batch(request.scope, batch_in(answer))
        return Response(encode(answer), media_type="application/json")


async def _ask(operation: Operation, request: Request) -> object:
    """What the JSON body asks for; None when the handler reads a form, or no body is of interest."""
    json = next((body for body in operation.takes if isinstance(body, Json)), None)
    form = next((body for body in operation.takes if isinstance(body, Form)), None)
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
    if json is None or (form is not None and is_form):
        return None
    return await read_json(request, json)

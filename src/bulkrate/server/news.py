"""The route by which providers of batches tell that something has changed."""

from __future__ import annotations

from starlette.responses import Response

from bulkrate.server.body import read_bounded
from bulkrate.server.operations import Call

_BYTES_MAX = 1024 * 1024


async def take(call: Call) -> Response:
    body = await read_bounded(call.request, _BYTES_MAX)
    await call.engine.news.take(call.path["upstream"], call.request.headers, body)
    return Response("", media_type="text/plain")

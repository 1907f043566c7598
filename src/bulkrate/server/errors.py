"""Every failure as OpenAI's error body.

Whatever is raised below becomes an answer here, once. What we did not foresee is logged with its place but
without its text, since a foreign exception may quote a prompt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bulkrate.errors import (
    BlobError,
    Conflict,
    NoSpace,
    NotFound,
    RequestRefused,
    StoreError,
    StoreFull,
    Unavailable,
)
from bulkrate.server.headers import REQUEST_ID
from bulkrate.telemetry import log_event
from bulkrate.wire.base import encode
from bulkrate.wire.errors import ErrorBody, ErrorDetail, error_body

# SDKs obey 1..120 s; five is long enough for a restart or a log that is being flushed.
RETRY_AFTER_S = 5


class AnswerErrors:
    """Answers for whatever the app below it raises."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            # The server stops and has waited long enough. The task ends here: nobody misses the cancellation.
            if not started:
                await _stopping()(scope, receive, send)
        except RequestRefused as refused:
            if started:
                # Too late for an error body; left incomplete, the answer makes the server cut the line.
                log_failure(scope, refused)
            else:
                await refused_answer(refused)(scope, receive, send)
        except (StoreError, BlobError) as trouble:
            log_failure(scope, trouble)
            if not started:
                await refused_answer(_in_trouble(trouble))(scope, receive, send)
        except Exception as failure:  # noqa: BLE001  the last catch: nothing else can answer
            log_failure(scope, failure)
            if not started:
                await _failed(scope)(scope, receive, send)


def refused_answer(refused: RequestRefused, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a refused request, with the headers that steer an SDK's retries."""
    return Response(
        encode(error_body(refused)),
        refused.status,
        {**_retry_headers(refused), **(headers or {})},
        media_type="application/json",
    )


async def not_found(scope: Scope, _: Receive, send: Send) -> None:
    """Stands where no route does."""
    if scope["type"] != "http":
        await send({"type": "websocket.close"})
        return
    raise NotFound(
        f"Invalid URL ({scope['method']} {scope['path'][:256]}). "
        "The API is under /v1, for example /v1/batches; GET /openapi.json lists every address."
    )


def log_failure(scope: Scope, failure: BaseException) -> None:
    """Log what failed and where, with the text only of our own errors."""
    log_event(
        logging.ERROR,
        "request_failed",
        method=scope["method"],
        path=scope["path"][:256],
        request_id=scope.get(REQUEST_ID),
        error=failure,
    )


def _retry_headers(refused: RequestRefused) -> dict[str, str]:
    if isinstance(refused, Unavailable) and refused.retry:
        return {"x-should-retry": "true", "retry-after": str(RETRY_AFTER_S)}
    if isinstance(refused, Conflict | Unavailable):
        # Every SDK repeats these unless told not to.
        return {"x-should-retry": "true" if refused.retry else "false"}
    return {}


def _in_trouble(trouble: StoreError | BlobError) -> Unavailable:
    """The disk or the store fails: ours to mend, and worth asking again once it is."""
    if isinstance(trouble, NoSpace | StoreFull):
        return Unavailable("The server's disk is full. Try again when there is room.")
    what = "records" if isinstance(trouble, StoreError) else "files"
    return Unavailable(
        f"The server cannot reach its own {what} at the moment. Try again; if it stays, look into its log."
    )


def _stopping() -> Response:
    return refused_answer(
        Unavailable("The server is stopping and did not finish this request. Send it again.")
    )


def _failed(scope: Scope) -> Response:
    detail = ErrorDetail(
        type="server_error",
        message=(
            "The server failed while it worked on this request, through no fault of yours. "
            f"Try again; if it stays, look for {scope.get(REQUEST_ID)} in the server's log."
        ),
    )
    return Response(encode(ErrorBody(error=detail)), 500, media_type="application/json")

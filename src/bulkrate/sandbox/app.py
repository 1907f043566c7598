"""The ASGI app: takes each request past the journal, the limits and the faults to its answer.

It routes by one table and knows the order of things; what each step does stands in its own module. It never
logs.
"""

import asyncio
import time
from hmac import compare_digest

from msgspec import json

from bulkrate.sandbox.answers import ENDPOINTS, Endpoint, answer, check
from bulkrate.sandbox.asgi import (
    Header,
    Receive,
    Reply,
    Scope,
    Send,
    client_left,
    hang_up,
    read_body,
    send_reply,
)
from bulkrate.sandbox.directives import directives_in
from bulkrate.sandbox.faults import FailedSoFar, Mishaps, dressed, failed
from bulkrate.sandbox.journal import Journal
from bulkrate.sandbox.limits import Gate, Latency, RateLimit
from bulkrate.sandbox.marks import NOTICE
from bulkrate.sandbox.models import Models
from bulkrate.sandbox.options import SandboxOptions
from bulkrate.sandbox.refusals import RefusalError, bad
from bulkrate.sandbox.request import Fields, Request, read_request
from bulkrate.sandbox.stats import Stats

_PAGES = ("/health", "/stats", "/v1/models")
_MODEL = "/v1/models/"


class Sandbox:
    """One sandbox. Needs uvicorn with `SandboxProtocol`, for faults that close the connection."""

    def __init__(self, options: SandboxOptions, journal: Journal) -> None:
        self._seed = options.seed
        self._bearer = None if options.key is None else f"Bearer {options.key}".encode()
        self._journal = journal
        self._stats = Stats()
        self._models = Models(options.models)
        self._rate = RateLimit(options.rate_limit, time.monotonic)
        self._gate = Gate(options.capacity, options.queue)
        self._latency = Latency(options.seed, options.latency_ms, options.latency_spread)
        self._mishaps = Mishaps(options.seed, options.error_rate)
        self._failed = FailedSoFar()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raw = await read_body(receive)
            if raw is None:
                return  # the client left before it had asked
            reply, extra = await self._reply(scope, raw)
            if reply is None:
                await hang_up(scope, receive)
            else:
                await send_reply(reply, extra, scope, receive, send)
        except asyncio.CancelledError:
            # The server stops. This is the outermost frame: raised on, uvicorn would log it as our fault.
            await hang_up(scope, receive)

    async def _reply(self, scope: Scope, raw: bytes) -> tuple[Reply | None, tuple[Header, ...]]:
        path: str = scope["path"]
        endpoint = ENDPOINTS.get(path)
        if endpoint is not None and scope["method"] == "POST":
            return await self._call(endpoint, scope, raw)
        try:
            return Reply(200, json.encode(self._page(scope, path))), ()
        except RefusalError as refusal:
            return refusal.reply(), ()

    def _page(self, scope: Scope, path: str) -> Fields:
        if path.startswith("/v1/"):
            self._admit(scope)
        is_page = path in _PAGES or (path.startswith(_MODEL) and path != _MODEL)
        if is_page and scope["method"] in ("GET", "HEAD"):
            return self._shown(path)
        if is_page or path in ENDPOINTS:
            raise _wrong_method(scope["method"], path, b"GET" if is_page else b"POST")
        raise RefusalError(404, f"Invalid URL ({scope['method']} {path[:200]})")

    def _shown(self, path: str) -> Fields:
        match path:
            case "/health":
                return {"status": "ok", "sandbox": NOTICE}
            case "/stats":
                busy = {"working": self._gate.working, "waiting": self._gate.waiting}
                return {**self._stats.page(), **busy, "sandbox": NOTICE}
            case "/v1/models":
                return self._models.listed()
            case _:
                return self._models.one(path.removeprefix(_MODEL))

    async def _call(
        self, endpoint: Endpoint, scope: Scope, raw: bytes
    ) -> tuple[Reply | None, tuple[Header, ...]]:
        number = self._stats.begin()
        reply: Reply | None = None
        try:
            reply = await self._worked(endpoint, scope, read_request(scope["path"], raw), number)
        except RefusalError as refusal:
            reply = refusal.reply()
        except RecursionError:
            # From Python 3.12 on, JSON is decoded deeper than Python code may walk it.
            reply = bad("the body is nested too deeply to be read; send it flatter").reply()
        finally:
            self._stats.end(None if reply is None else reply.status)
        return reply, ((b"x-request-id", b"sandbox-%d" % number), *self._rate.headers())

    async def _worked(self, endpoint: Endpoint, scope: Scope, request: Request, number: int) -> Reply | None:
        self._journal.note(request)
        self._admit(scope)
        self._rate.take()
        if request.trouble is not None:
            raise request.trouble
        model = check(endpoint, request.fields, self._models)
        asked = directives_in(request, endpoint.asks_in)
        async with self._gate:
            if client_left(scope):
                return None  # gave up while waiting; real servers do not work for nobody either
            seconds = self._latency.seconds(request.digest) + asked.sleep_ms / 1000
            if seconds:
                await asyncio.sleep(seconds)
            self._mishaps.check(number)
            made = answer(endpoint, request, model, self._seed)
            return failed(asked, made) if self._failed.fails(asked, request.digest) else dressed(asked, made)

    def _admit(self, scope: Scope) -> None:
        if self._bearer is None:
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not compare_digest(given, self._bearer):
            found = "a key that is not the sandbox's" if given else "no key"
            raise RefusalError(
                401,
                f"found {found}; send 'Authorization: Bearer KEY' with the key the sandbox was started with",
                kind="invalid_request_error",
                code="invalid_api_key",
            )


def _wrong_method(method: str, path: str, allowed: bytes) -> RefusalError:
    return RefusalError(
        405,
        f"Not allowed to {method} on {path[:200]}; use {allowed.decode()}",
        code="method_not_supported",
        headers=((b"allow", allowed),),
    )

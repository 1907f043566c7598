"""What all doubles share: a virtual clock, faults, books, and the endpoint that shows and sets them.

    GET  /double/books          what was asked and what was done
    POST /double/faults         set the faults, all others off: {"expire_after": 3}
    POST /double/clock          advance the virtual clock: {"advance_s": 3600}
    POST /double/cancel         cancel a job from the other side: {"id": "…"}
    POST /double/delete         remove a job from the other side: {"id": "…"}

The control endpoint asks for no key. The clock is the real one plus what it was advanced by.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bulkrate.sandbox.asgi import hang_up
from bulkrate.testing.providers.books import Books
from bulkrate.testing.providers.faults import Faults
from bulkrate.testing.providers.jobs import Job, Line

Handler = Callable[[Request], Awaitable[Response]]

_encode = msgspec.json.encode


class Refused(Exception):
    """A call is refused: with this status, in the vendor's own form."""

    def __init__(self, status: int, message: str, code: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


class Gone(Response):
    """No answer: the connection closes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Hang up."""
        await hang_up(scope, receive)


class Cut(Response):
    """An answer that breaks off in the middle, after more was promised."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half of it and hang up."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await hang_up(scope, receive)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(_encode(value), status, headers, "application/json")


class Double(ABC):
    """An ASGI app that behaves as a provider of batches. `key` is the only key that it takes."""

    name = ""
    #: Whether the vendor looks at all lines before it runs any.
    validates = True

    def __init__(self, *, key: str = "test-key") -> None:
        self.key = key
        self.faults = Faults()
        self.books = Books()
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self._ahead_s = 0.0
        self._ids = itertools.count(1)
        control = {"books": self._books, "faults": self._set_faults, "clock": self._advance}
        control |= {"cancel": self._cancel_job, "delete": self._delete_job}
        routes = [Route(f"/double/{name}", act, methods=["GET", "POST"]) for name, act in control.items()]
        self._app = Starlette(routes=[*routes, *self.routes()])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call."""
        await self._app(scope, receive, send)

    @property
    def now(self) -> float:
        """The virtual clock: Unix seconds."""
        return time.time() + self._ahead_s

    # For vendors to say

    @abstractmethod
    def routes(self) -> list[Route]:
        """The vendor's API, each made by `route`."""

    @abstractmethod
    def error(self, refused: Refused) -> Response:
        """An error in the vendor's form."""

    def key_in(self, request: Request) -> str | None:
        """The key that a call carries."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return key if scheme.lower() == "bearer" else None

    def judge(self, job: Job, line: Line) -> tuple[int, str]:  # noqa: ARG002
        """The HTTP status of a line, and a message when it is an error."""
        models = self.faults.models
        if models is not None and line.model not in models:
            return 404, f"model: {line.model}"
        return 200, ""

    # For vendors to use

    def route(self, method: str, path: str, kind: str, act: Handler) -> Route:
        """A route whose calls are counted as `kind`, need the key, and go wrong where that is wanted."""

        async def guarded(request: Request) -> Response:
            self.books.calls[kind] += 1
            response = await answered(request)
            response.headers["date"] = formatdate(self.now, usegmt=True)
            return response

        async def answered(request: Request) -> Response:
            try:
                if self.faults.down:
                    raise Refused(503, "the double is down", "unavailable")
                if self.key_in(request) != self.key:
                    raise Refused(401, "the key is not valid", "invalid_api_key")
                if kind == "create" and self.faults.broke:
                    raise self.out_of_money()
                if kind in {"create", "look", "list", "results"} and self.faults.spend(f"fail_{kind}"):
                    raise Refused(500, "made to fail by the double", "server_error")
                response = await act(request)
            except Refused as refused:
                return self.error(refused)
            if kind in {"create", "upload", "cancel"} and self.faults.spend(f"lose_{kind}"):
                return Gone()
            return response

        return Route(path, guarded, methods=[method])

    def number(self) -> int:
        """A number that was not given before."""
        return next(self._ids)

    def add_job(self, ident: str, lines: list[Line], about: dict[str, Any]) -> Job:
        """A new job, if there is room for it."""
        faults = self.faults
        job = Job(ident, self.now, lines, faults, about)
        recent = sum(other.created_at > job.created_at - 3600 for other in self.jobs.values())
        if faults.creates_per_hour is not None and recent >= faults.creates_per_hour:
            raise Refused(429, "too many batches were created in the last hour", "rate_limit_exceeded")
        waiting = sum(self.settled(other).tokens for other in self.jobs.values() if other.end is None)
        room = faults.enqueued_tokens_max
        if faults.spend("quota_full") or (room is not None and waiting + job.tokens > room):
            raise self.quota_full(room)
        job.faults = faults.for_a_job()
        if not self.validates:
            sound = dict.fromkeys(("invalid", "fail_job", "quota_full_late", "broke_late"), False)
            job.faults = msgspec.structs.replace(job.faults, **sound, invalid_lines=[])
        self.jobs[ident] = job
        self.books.created.append({"id": ident, "lines": len(lines), **about})
        return job

    def take_in(self, size: int, most: int) -> None:
        """Refuse a file or a body of so many bytes if it is more than the vendor takes."""
        limit = most if self.faults.bytes_max is None else min(most, self.faults.bytes_max)
        if size > limit:
            raise self.too_large(limit)

    def too_large(self, limit: int) -> Refused:
        """What is said of too many bytes."""
        return Refused(413, f"the file is too large: there may be {limit} bytes")

    def quota_full(self, room: int | None) -> Refused:  # noqa: ARG002
        """What is said when a job does not fit beside those that wait."""
        return Refused(429, "the quota of batches is full", "rate_limit_exceeded")

    def out_of_money(self) -> Refused:
        """What is said when the account may not buy any more."""
        return Refused(402, "the account is over its spending limit", "billing_error")

    def job(self, ident: str) -> Job:
        """The job of this id, as it is now."""
        job = self.jobs.get(ident)
        if job is None:
            raise Refused(404, f"there is no batch {ident}", "not_found")
        return self.settled(job)

    def settled(self, job: Job) -> Job:
        """The job with all that has happened to it by now."""
        job.settle(
            self.now,
            lambda line: self.judge(job, line),
            lambda line: self.books.bill(line.id, line.text),
        )
        return job

    def cancel_job(self, job: Job) -> None:
        """Cancel a job that has not ended."""
        if job.end is None and job.cancelled_at is None:
            job.cancelled_at = max(self.now, job.validating_until)
            self.books.cancelled.append(job.id)

    def newest(self) -> list[Job]:
        """All jobs as they are now, the newest first."""
        return [self.settled(job) for job in reversed(self.jobs.values())]

    def add_file(self, ident: str, content: bytes, about: dict[str, Any]) -> dict[str, Any]:
        """A new file."""
        self.files[ident] = {"id": ident, "content": content, **about}
        return self.files[ident]

    def file(self, ident: str) -> dict[str, Any]:
        """The file of this id."""
        if self.faults.files_expired or ident not in self.files:
            raise Refused(404, f"there is no file {ident}", "not_found")
        return self.files[ident]

    def remove_file(self, ident: str) -> None:
        """Remove a file."""
        self.file(ident)
        del self.files[ident]
        self.books.removed.append(ident)

    def download(self, content: bytes, media_type: str = "application/octet-stream") -> Response:
        """An answer of many bytes, cut where that is wanted."""
        if self.faults.spend("truncate"):
            return Cut(content, media_type=media_type)
        if self.faults.spend("truncate_quietly"):
            content = content[: len(content) // 2]
        return Response(content, media_type=media_type)

    # The control endpoint

    async def _books(self, _: Request) -> Response:
        self.books.files = list(self.files)
        return answer(self.books)

    async def _set_faults(self, request: Request) -> Response:
        try:
            self.faults = msgspec.json.decode(await request.body() or b"{}", type=Faults)
        except msgspec.DecodeError as cause:
            return answer({"error": str(cause)}, 400)
        return answer(self.faults)

    async def _advance(self, request: Request) -> Response:
        self._ahead_s += float(msgspec.json.decode(await request.body())["advance_s"])
        return answer({"now": self.now})

    async def _cancel_job(self, request: Request) -> Response:
        self.cancel_job(self.jobs[msgspec.json.decode(await request.body())["id"]])
        return answer({})

    async def _delete_job(self, request: Request) -> Response:
        del self.jobs[msgspec.json.decode(await request.body())["id"]]
        return answer({})

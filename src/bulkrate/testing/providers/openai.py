"""Stands in front of a real bulkrate server, spoils what comes out of it, and keeps books.

The server takes the files, checks the lines and writes the answers. What the proxy adds is a course of
events: when a batch runs by the virtual clock, how it ends, which of its answers are delivered and so
billed, and what goes wrong on the way. `azure.py` is what is different there.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from pyreqwest.client import ClientBuilder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bulkrate.testing.providers.double import Double, Refused, answer
from bulkrate.testing.providers.jobs import End, Fate, Job, Line, Outcome

_ENDED = {"completed", "failed", "expired", "cancelled"}
_MOMENTS = ("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelled_at")
_FILE_BYTES_MAX = 512 * 1024 * 1024
_encode = msgspec.json.encode


class OpenAIProxy(Double):
    """The Batch API of the server at `upstream`, with or without its `/v1`, served at each of `roots`."""

    name = "openai"
    roots: tuple[str, ...] = ("/v1",)

    def __init__(self, upstream: str, *, key: str = "test-key") -> None:
        super().__init__(key=key)
        self._upstream = upstream.rstrip("/").removesuffix("/v1") + "/v1"
        # Limits are of what was created before: one after the other.
        self._creating = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Files and batches."""
        return [route for root in self.roots for route in self._routes_at(root)]

    def _routes_at(self, root: str) -> list[Route]:
        files, batches = f"{root}/files", f"{root}/batches"
        return [
            self.route("POST", files, "upload", self.upload),
            self.route("GET", files, "list_files", self._pass_on),
            self.route("GET", files + "/{id}", "look_file", self.look_file),
            self.route("DELETE", files + "/{id}", "remove_file", self._remove_file),
            self.route("GET", files + "/{id}/content", "results", self._content),
            self.route("POST", batches, "create", self._create),
            self.route("GET", batches, "list", self._list),
            self.route("GET", batches + "/{id}", "look", self._look),
            self.route("POST", batches + "/{id}/cancel", "cancel", self._cancel),
        ]

    def key_in(self, request: Request) -> str | None:
        """As OpenAI's clients send it, or as Azure's do."""
        return request.headers.get("api-key") or super().key_in(request)

    def written(self, outcome: Outcome, job: Job) -> bytes:
        """An outcome as a line of a result file."""
        return _result(outcome, job)

    def error(self, refused: Refused) -> Response:
        """OpenAI's error body."""
        kind = "invalid_request_error" if refused.status < 500 else "server_error"
        error = {
            "message": refused.message,
            "type": kind,
            "param": refused.param,
            "code": refused.code or None,
        }
        return answer({"error": error}, refused.status)

    def quota_full(self, room: int | None) -> Refused:
        """OpenAI's words, which clients search for."""
        return Refused(429, _quota_words(room), "token_limit_exceeded")

    def too_large(self, limit: int) -> Refused:  # noqa: ARG002
        """A bad request without a code."""
        return Refused(400, "File is too large.")

    def out_of_money(self) -> Refused:
        """OpenAI's words."""
        return Refused(429, "You exceeded your current quota, please check your plan.", "insufficient_quota")

    # Files

    async def upload(self, request: Request) -> Response:
        """Take in a file."""
        self.take_in(len(await request.body()), _FILE_BYTES_MAX)
        response = await self._pass_on(request)
        if response.status_code == 200:
            ident = msgspec.json.decode(bytes(response.body))["id"]
            self.books.uploaded.append(ident)
            self.files[ident] = {"id": ident, "content": None}
        return response

    async def look_file(self, request: Request) -> Response:
        """A file that was uploaded, or one of results."""
        file = self.file(request.path_params["id"])
        if file["content"] is None:
            return await self._pass_on(request)
        return answer(_shown_file(file, int(self.now)))

    async def _remove_file(self, request: Request) -> Response:
        ident = request.path_params["id"]
        of_ours = self.file(ident)["content"] is not None
        self.remove_file(ident)
        if of_ours:
            return answer({"id": ident, "object": "file", "deleted": True})
        return await self._pass_on(request)

    async def _content(self, request: Request) -> Response:
        file = self.file(request.path_params["id"])
        content = file["content"]
        if content is None:
            content = bytes((await self._pass_on(request)).body)
        return self.download(content)

    # Batches

    async def _create(self, request: Request) -> Response:
        async with self._creating:
            return await self._create_next(request)

    async def _create_next(self, request: Request) -> Response:
        asked = msgspec.json.decode(await request.body())
        if self.faults.models is not None or self.faults.enqueued_tokens_max is not None:
            await self._refresh()
        status, content = await self._ask("GET", f"/files/{asked.get('input_file_id')}/content")
        lines = _lines(content) if status == 200 else []
        models = self.faults.models
        if models is not None and (unknown := [line.model for line in lines if line.model not in models]):
            raise Refused(400, f"The model `{unknown[0]}` does not exist.", "model_not_found", "model")
        # What the proxy alone knows of is not passed on if there is no room for it.
        job = self.add_job("", lines, {"metadata": asked.get("metadata"), "url": asked.get("endpoint")})
        del self.jobs[""]
        status, body = await self._ask("POST", "/batches", _encode(asked))
        if status != 200:
            self.books.created.pop()
            return Response(body, status, media_type="application/json")
        job.about["real"] = msgspec.json.decode(body)
        job.id = job.about["real"]["id"]
        self.jobs[job.id] = job
        self.books.created[-1] = {"id": job.id, "lines": len(lines), "metadata": asked.get("metadata")}
        return answer(self._shown(job))

    async def _list(self, request: Request) -> Response:
        limit = int(request.query_params.get("limit", "20"))
        if not 1 <= limit <= 100:
            raise Refused(400, "limit must be from 1 to 100", "invalid_value", "limit")
        await self._refresh()
        jobs = list(reversed(self.jobs.values()))
        ids = [job.id for job in jobs]
        after = request.query_params.get("after")
        rest = jobs[ids.index(after) + 1 :] if after in ids else jobs
        page = [self._shown(job) for job in rest[:limit]]
        return answer(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": len(rest) > limit,
            }
        )

    async def _look(self, request: Request) -> Response:
        return answer(self._shown(await self._known(request)))

    async def _cancel(self, request: Request) -> Response:
        job = await self._known(request)
        if job.end is End.CANCELLED:
            return answer(self._shown(job))
        if job.end is not None:
            raise Refused(409, f"Cannot cancel a batch with status '{job.end.value}'.")
        self.cancel_job(job)
        return answer(self._shown(job))

    async def _known(self, request: Request) -> Job:
        job = self.jobs.get(request.path_params["id"])
        if job is None:
            raise Refused(404, f"No batch found with id '{request.path_params['id']}'.")
        await self._follow(job)
        return job

    async def _refresh(self) -> None:
        for job in list(self.jobs.values()):
            await self._follow(job)

    def settled(self, job: Job) -> Job:
        """Only what the server has answered can have happened."""
        return super().settled(job) if "answers" in job.about or job.invalid else job

    async def _follow(self, job: Job) -> None:
        """Look at the real batch, and take its answers once it has ended."""
        real = job.about["real"]
        if real["status"] not in _ENDED:
            _, body = await self._ask("GET", f"/batches/{job.id}")
            job.about["real"] = real = msgspec.json.decode(body)
        if real["status"] in _ENDED and "answers" not in job.about:
            answers: dict[str, tuple[int, bytes]] = {}
            for ident in (real["output_file_id"], real["error_file_id"]):
                content = (await self._ask("GET", f"/files/{ident}/content"))[1] if ident else b""
                for line in content.splitlines():
                    given = msgspec.json.decode(line)
                    status = (given.get("response") or {}).get("status_code", 500)
                    answers[given["custom_id"]] = (status, line)
            job.about["answers"] = answers
        self.settled(job)

    def judge(self, job: Job, line: Line) -> tuple[int, str]:
        """What the server answered."""
        return job.about["answers"].get(line.id, (500, b""))[0], ""

    def _shown(self, job: Job) -> dict[str, Any]:
        real = dict(job.about["real"])
        if real["status"] == "failed":
            return real
        none = "" if job.faults.empty_ids else None
        shown = real | dict.fromkeys(_MOMENTS) | {"errors": None}
        shown |= {"output_file_id": none, "error_file_id": none}
        shown["created_at"] = int(job.created_at)
        done, failed = job.count(Fate.ANSWERED), job.count(Fate.ERROR)
        shown["request_counts"] = {"total": len(job.lines), "completed": done, "failed": failed}
        if job.end is None:
            waiting = self.now < job.validating_until
            shown["status"] = (
                "cancelling" if job.cancelled_at is not None else "validating" if waiting else "in_progress"
            )
            return shown
        shown["status"] = job.end.value
        shown[f"{job.end.value}_at"] = int(job.ended_at or self.now)
        if job.end is End.FAILED:
            shown["request_counts"] = {"total": 0, "completed": 0, "failed": 0}
            shown["errors"] = {"object": "list", "data": _faults(job)}
            return shown
        shown["output_file_id"] = self._file_of(job, "output") or none
        shown["error_file_id"] = self._file_of(job, "error") or none
        return shown

    def _file_of(self, job: Job, kind: str) -> str | None:
        """A file of the job's results, made when it is first asked for; None when there is none."""
        if kind not in job.about:
            wanted = [one for one in job.results() if (one.fate is Fate.ANSWERED) == (kind == "output")]
            job.about[kind] = None
            if wanted or (kind == "error" and job.faults.empty_ids):
                content = b"".join(self.written(outcome, job) + b"\n" for outcome in wanted)
                job.about[kind] = self.add_file(f"file-{kind}-{job.id}", content, {})["id"]
        found: str | None = job.about[kind]
        return found

    # The server

    async def _pass_on(self, request: Request) -> Response:
        root = next(root for root in self.roots if request.url.path.startswith(f"{root}/"))
        query = f"?{request.url.query}" if request.url.query else ""
        path = request.url.path.removeprefix(root) + query
        kind = request.headers.get("content-type")
        status, body = await self._ask(request.method, path, await request.body(), kind)
        return Response(body, status, media_type="application/json")

    async def _ask(
        self, method: str, path: str, body: bytes = b"", kind: str | None = "application/json"
    ) -> tuple[int, bytes]:
        async with ClientBuilder().build() as client:
            request = client.request(method, self._upstream + path).body_bytes(body)
            if kind:
                request = request.header("content-type", kind)
            response = await request.build().send()
            return response.status, bytes(await response.bytes())


def _lines(content: bytes) -> list[Line]:
    lines = []
    for number, raw in enumerate(content.splitlines(), 1):
        try:
            given = msgspec.json.decode(raw)
            body = given["body"]
            lines.append(Line(number, str(given["custom_id"]), body, _text(body), str(body.get("model"))))
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            continue  # the server says what is wrong with it
    return lines


def _text(body: dict[str, Any]) -> str:
    """What the last message, the prompt or the input says."""
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content") or body.get("prompt") or body.get("input") or ""
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else part.get("text", "") for part in content)


def _faults(job: Job) -> list[dict[str, Any]]:
    if job.faults.quota_full_late:
        words = _quota_words(job.faults.enqueued_tokens_max)
        return [{"code": "token_limit_exceeded", "message": words, "param": None, "line": None}]
    if job.faults.broke_late:
        words = "Billing hard limit has been reached."
        return [{"code": "billing_hard_limit_reached", "message": words, "param": None, "line": None}]
    if job.faults.fail_job:
        return []
    if not job.faults.invalid_lines:
        message = "The input file could not be read."
        return [{"code": "invalid_request", "message": message, "param": "file_id", "line": None}]
    return [
        {"code": "invalid_request", "message": "made to fail by the double", "param": "body", "line": number}
        for number in sorted(job.faults.invalid_lines)
    ]


def _quota_words(room: int | None) -> str:
    return (
        f"Enqueued token limit reached for this model in your organization. Limit: {room or 0:,} enqueued "
        "tokens. Please try again once some in_progress batches have been completed."
    )


def _result(outcome: Outcome, job: Job) -> bytes:
    line = outcome.line
    status, real = job.about["answers"].get(line.id, (500, b""))
    if outcome.fate is Fate.ANSWERED or (outcome.fate is Fate.ERROR and real and status == outcome.status):
        return bytes(real)
    shown: dict[str, Any] = {
        "id": f"batch_req_{job.id[-20:]}{line.number:08x}",
        "custom_id": line.id,
        "response": None,
        "error": None,
    }
    if outcome.fate is Fate.ERROR:
        error = {"message": outcome.message, "type": "server_error", "param": None, "code": None}
        body = {"error": error}
        shown["response"] = {"status_code": outcome.status, "request_id": "req_double", "body": body}
    else:
        code = "batch_expired" if outcome.fate is Fate.EXPIRED else "batch_cancelled"
        shown["error"] = {"code": code, "message": "This request was not run."}
    return _encode(shown)


def _shown_file(file: dict[str, Any], now: int) -> dict[str, Any]:
    return {
        "id": file["id"],
        "object": "file",
        "bytes": len(file["content"]),
        "created_at": now,
        "filename": f"{file['id']}.jsonl",
        "purpose": "batch_output",
        "status": "processed",
        "expires_at": None,
        "status_details": None,
    }

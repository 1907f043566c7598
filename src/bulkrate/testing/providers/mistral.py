"""A double of Mistral's batch jobs and files, after docs.mistral.ai/api."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bulkrate.testing.providers.double import Double, Refused, answer
from bulkrate.testing.providers.jobs import End, Fate, Job, Line, Outcome

_LINES_MAX = 100_000
_FILE_BYTES_MAX = 512 * 1024 * 1024
_STATES = {
    End.COMPLETED: "SUCCESS",
    End.EXPIRED: "TIMEOUT_EXCEEDED",
    End.CANCELLED: "CANCELLED",
    End.FAILED: "FAILED",
}
_CREATE = {"input_files", "requests", "endpoint", "model", "agent_id", "metadata", "timeout_hours"}
_CHAT = {
    "model",
    "messages",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "min_tokens",
    "stream",
    "stop",
    "random_seed",
    "metadata",
    "response_format",
    "tools",
    "tool_choice",
    "presence_penalty",
    "frequency_penalty",
    "n",
    "prediction",
    "parallel_tool_calls",
    "reasoning_effort",
    "logprobs",
    "top_logprobs",
    "safe_prompt",
    "prompt_mode",
}
_EMBED = {"model", "input", "metadata", "output_dimension", "output_dtype", "encoding_format"}
_encode = msgspec.json.encode


class MistralDouble(Double):
    """Batch jobs and files."""

    name = "mistral"

    def routes(self) -> list[Route]:
        """The calls there are for jobs and their files."""
        files, jobs = "/v1/files", "/v1/batch/jobs"
        return [
            self.route("POST", files, "upload", self._upload),
            self.route("GET", files, "list_files", self._list_files),
            self.route("GET", files + "/{id}", "look_file", self._look_file),
            self.route("DELETE", files + "/{id}", "remove_file", self._remove_file),
            self.route("GET", files + "/{id}/content", "results", self._content),
            self.route("POST", jobs, "create", self._create),
            self.route("GET", jobs, "list", self._list),
            self.route("GET", jobs + "/{id}", "look", self._look),
            self.route("POST", jobs + "/{id}/cancel", "cancel", self._cancel),
            self.route("DELETE", jobs + "/{id}", "remove", self._remove),
        ]

    def error(self, refused: Refused) -> Response:
        """`{"object": "error", "message", "type", "code"}`; validation has a form of its own."""
        if refused.status == 422:
            return answer({"detail": [{"loc": ["body"], "msg": refused.message, "type": "value_error"}]}, 422)
        kind = "invalid_request_error" if refused.status < 500 else "server_error"
        return answer(
            {
                "object": "error",
                "message": refused.message,
                "type": kind,
                "param": None,
                "code": refused.code,
            },
            refused.status,
        )

    def judge(self, job: Job, line: Line) -> tuple[int, str]:
        """Whether the endpoint would take this."""
        status, message = super().judge(job, line)
        embed = job.about["endpoint"] == "/v1/embeddings"
        if status == 200 and (wrong := _wrong_with(line.request, embed=embed)):
            return 422, wrong
        return status, message

    # Files

    async def _upload(self, request: Request) -> Response:
        async with request.form() as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise Refused(422, "file: Field required")
            content, name = await upload.read(), upload.filename
        self.take_in(len(content), _FILE_BYTES_MAX)
        file = self.add_file(
            f"00000000-0000-4000-8000-{self.number():012x}",
            content,
            {"name": name, "at": int(self.now), "type": "batch_request", "source": "upload"},
        )
        self.books.uploaded.append(file["id"])
        return answer(_shown_file(file))

    async def _list_files(self, request: Request) -> Response:
        query = request.query_params
        page, size = int(query.get("page", "0")), int(query.get("page_size", "100"))
        search = query.get("search") or ""
        found = [file for file in reversed(self.files.values()) if search in (file["name"] or "")]
        shown = [_shown_file(file) for file in found[page * size : (page + 1) * size]]
        return answer({"object": "list", "data": shown, "total": len(found)})

    async def _look_file(self, request: Request) -> Response:
        return answer(_shown_file(self.file(request.path_params["id"])) | {"deleted": False})

    async def _remove_file(self, request: Request) -> Response:
        ident = request.path_params["id"]
        self.remove_file(ident)
        return answer({"id": ident, "object": "file", "deleted": True})

    async def _content(self, request: Request) -> Response:
        return self.download(self.file(request.path_params["id"])["content"])

    # Jobs

    async def _create(self, request: Request) -> Response:
        asked = msgspec.json.decode(await request.body())
        unknown = sorted(set(asked) - _CREATE)
        if unknown:
            raise Refused(422, f"{unknown[0]}: Extra inputs are not permitted")
        model, files = asked.get("model"), asked.get("input_files")
        if self.faults.models is not None and model not in self.faults.models:
            raise Refused(400, f"Invalid model: {model}", "invalid_model")
        if not isinstance(files, list) or not files or not asked.get("endpoint"):
            raise Refused(422, "the double wants input_files and an endpoint")
        if not 1 <= asked.get("timeout_hours", 24) <= 168:
            raise Refused(422, "timeout_hours: must be from 1 to 168")
        raw = [line for ident in files for line in self.file(ident)["content"].splitlines() if line.strip()]
        if len(raw) > _LINES_MAX:
            raise Refused(400, "too many requests in the batch")
        lines = [_line(number, line, str(model)) for number, line in enumerate(raw, 1)]
        about = {
            "endpoint": asked["endpoint"],
            "model": model,
            "metadata": asked.get("metadata"),
            "input_files": files,
        }
        job = self.add_job(f"00000000-0000-4000-9000-{self.number():012x}", lines, about)
        return answer(self._shown(self.settled(job)))

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        page, size = int(query.get("page", "0")), int(query.get("page_size", "100"))
        after = query.get("created_after")
        since = datetime.fromisoformat(after).timestamp() if after else 0.0
        jobs = [job for job in self.newest() if job.created_at >= since]
        if query.get("order_by") == "created":
            jobs.reverse()
        shown = [self._shown(job) for job in jobs[page * size : (page + 1) * size]]
        return answer({"object": "list", "data": shown, "total": len(jobs)})

    async def _look(self, request: Request) -> Response:
        return answer(self._shown(self.job(request.path_params["id"])))

    async def _cancel(self, request: Request) -> Response:
        job = self.job(request.path_params["id"])
        if job.end is not None:
            raise Refused(400, f"the job {job.id} has ended")
        self.cancel_job(job)
        return answer(self._shown(job))

    async def _remove(self, request: Request) -> Response:
        job = self.job(request.path_params["id"])
        del self.jobs[job.id]
        self.books.removed.append(job.id)
        return answer({"id": job.id, "object": "batch", "deleted": True})

    def _shown(self, job: Job) -> dict[str, Any]:
        running = "QUEUED" if self.now < job.validating_until else "RUNNING"
        if job.cancelled_at is not None:
            running = "CANCELLATION_REQUESTED"
        done, failed = job.count(Fate.ANSWERED), job.count(Fate.ERROR)
        none = "" if job.faults.empty_ids else None
        output = self._file_of(job, "batch_result", Fate.ANSWERED) or none
        error = self._file_of(job, "batch_error", Fate.ERROR) or none
        errors = []
        if job.end is End.FAILED and not job.faults.fail_job:
            told = "the quota is full" if job.faults.quota_full_late else "the input file is not valid"
            errors = [{"message": told, "count": max(1, len(job.faults.invalid_lines))}]
        return {
            "id": job.id,
            "object": "batch",
            "input_files": job.about["input_files"],
            "endpoint": job.about["endpoint"],
            "model": job.about["model"],
            "agent_id": None,
            "metadata": job.about["metadata"],
            "errors": errors,
            "status": _STATES[job.end] if job.end is not None else running,
            "created_at": int(job.created_at),
            "started_at": int(job.validating_until) if self.now >= job.validating_until else None,
            "completed_at": int(job.ended_at) if job.ended_at is not None else None,
            "total_requests": len(job.lines),
            "completed_requests": done + failed,
            "succeeded_requests": done,
            "failed_requests": failed,
            "output_file": output,
            "error_file": error,
            "outputs": None,
        }

    def _file_of(self, job: Job, kind: str, fate: Fate) -> str | None:
        """A file of the job's results, made when it is first asked for; None while there is none."""
        if job.end is None:
            return None
        if kind not in job.about:
            content = b"".join(
                _encode(_result(outcome, job)) + b"\n" for outcome in job.results() if outcome.fate is fate
            )
            wanted = content or (kind == "batch_error" and job.faults.empty_ids)
            job.about[kind] = None
            if wanted:
                ident = f"00000000-0000-4000-a000-{self.number():012x}"
                about = {"name": f"{kind}.jsonl", "at": int(self.now), "type": kind, "source": "mistral"}
                job.about[kind] = self.add_file(ident, content, about)["id"]
        found: str | None = job.about[kind]
        return found


def _shown_file(file: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": file["id"],
        "object": "file",
        "bytes": len(file["content"]),
        "created_at": file["at"],
        "filename": file["name"],
        "purpose": "batch",
        "sample_type": file["type"],
        "num_lines": file["content"].count(b"\n"),
        "source": file["source"],
    }


def _line(number: int, raw: bytes, model: str) -> Line:
    given = msgspec.json.decode(raw)
    body = given.get("body")
    if not isinstance(body, dict):
        raise Refused(400, f"line {number}: there is no body")
    return Line(number, str(given.get("custom_id", number)), body, _text(body), str(body.get("model", model)))


def _text(body: dict[str, Any]) -> str:
    """What the last message says."""
    if "input" in body:
        return "".join(body["input"]) if isinstance(body["input"], list) else str(body["input"])
    content = (body.get("messages") or [{}])[-1].get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if part.get("type") == "text")


def _wrong_with(body: dict[str, Any], *, embed: bool) -> str:
    unknown = sorted(set(body) - (_EMBED if embed else _CHAT))
    if unknown:
        return f"{unknown[0]}: Extra inputs are not permitted"
    if embed:
        return ""
    messages = body.get("messages")
    if not messages:
        return "messages: Field required"
    if any(message.get("role") not in {"system", "user", "assistant", "tool"} for message in messages):
        return "messages: Input tag does not match any of the expected tags"
    calls = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    if any(len(ident) != 9 or not ident.isalnum() for ident in calls):
        return "Tool call id has to be a-z, A-Z, 0-9, with a length of 9."
    return ""


def _result(outcome: Outcome, job: Job) -> dict[str, Any]:
    line = outcome.line
    ident = f"batch-{job.id[-8:]}-{line.number}"
    if outcome.fate is Fate.ANSWERED:
        body = (
            _embedded(line)
            if job.about["endpoint"] == "/v1/embeddings"
            else _answered(line, int(job.created_at))
        )
        return {
            "id": ident,
            "custom_id": line.id,
            "response": {"status_code": 200, "body": body},
            "error": None,
        }
    error = {"object": "error", "message": outcome.message, "type": "invalid_request_error", "code": None}
    response = {"status_code": outcome.status, "body": error}
    return {"id": ident, "custom_id": line.id, "response": response, "error": {"message": outcome.message}}


def _embedded(line: Line) -> dict[str, Any]:
    texts = line.request["input"] if isinstance(line.request["input"], list) else [line.request["input"]]
    size = line.request.get("output_dimension") or 8
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    data = [
        {"object": "embedding", "index": index, "embedding": [digest[at % 32] / 255 for at in range(size)]}
        for index, digest in enumerate(digests)
    ]
    took = len(line.text) // 4 + 1
    usage = {"prompt_tokens": took, "completion_tokens": 0, "total_tokens": took}
    return {"id": digests[0].hex()[:32], "object": "list", "data": data, "model": line.model, "usage": usage}


def _answered(line: Line, created: int) -> dict[str, Any]:
    """The same answer to the same body, each time."""
    body = line.request
    mark = hashlib.sha256(_encode(body, order="deterministic")).hexdigest()[:16]
    message: dict[str, Any] = {"role": "assistant", "content": f"{mark}: {line.text}", "tool_calls": None}
    finish, choice = "stop", body.get("tool_choice")
    if (body.get("response_format") or {}).get("type", "text") != "text":
        message["content"] = f'{{"mark":"{mark}"}}'
    elif body.get("tools") and choice not in (None, "auto", "none"):
        name = body["tools"][0]["function"]["name"]
        if isinstance(choice, dict):
            name = choice["function"]["name"]
        function = {"name": name, "arguments": f'{{"mark":"{mark}"}}'}
        message |= {"content": "", "tool_calls": [{"id": mark[:9], "function": function, "index": 0}]}
        finish = "tool_calls"
    elif (body.get("max_tokens") or 100) < 4:
        finish = "length"
    took, count = len(line.text) // 4 + 1, body.get("n") or 1
    return {
        "id": mark,
        "object": "chat.completion",
        "model": line.model,
        "created": created,
        "usage": {"prompt_tokens": took, "completion_tokens": 8 * count, "total_tokens": took + 8 * count},
        "choices": [{"index": index, "message": message, "finish_reason": finish} for index in range(count)],
    }

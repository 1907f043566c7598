"""A double of Anthropic's Message Batches, after platform.claude.com/docs/en/api/messages/batches.

Takes keys as `x-api-key` and as a bearer token, and both versions of the API: from 2026-10-21 on a request
with `temperature`, `top_p` or `top_k` is an error. As with the real one, requests are looked at only when
they run.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bulkrate.testing.providers.double import Double, Refused, answer
from bulkrate.testing.providers.jobs import Fate, Job, Line, Outcome

_LINES_MAX = 100_000
_BYTES_MAX = 256 * 1024 * 1024
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_WINDOW_S = 86_400
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SAMPLING = {"temperature", "top_p", "top_k"}
_PARAMS = _SAMPLING | {
    "model",
    "messages",
    "max_tokens",
    "cache_control",
    "container",
    "metadata",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "thinking",
    "tool_choice",
    "tools",
}
_encode = msgspec.json.encode


class AnthropicDouble(Double):
    """Message Batches."""

    name = "anthropic"
    validates = False

    def routes(self) -> list[Route]:
        """The six calls there are."""
        base = "/v1/messages/batches"
        return [
            self.route("POST", base, "create", self._create),
            self.route("GET", base, "list", self._list),
            self.route("GET", base + "/{id}", "look", self._look),
            self.route("DELETE", base + "/{id}", "remove", self._remove),
            self.route("POST", base + "/{id}/cancel", "cancel", self._cancel),
            self.route("GET", base + "/{id}/results", "results", self._results),
        ]

    def key_in(self, request: Request) -> str | None:
        """By either header."""
        return request.headers.get("x-api-key") or super().key_in(request)

    def error(self, refused: Refused) -> Response:
        """`{"type": "error", "error": {"type", "message"}}`."""
        return answer(_error(refused.status, refused.message), refused.status, {"request-id": "req_double"})

    def quota_full(self, room: int | None) -> Refused:  # noqa: ARG002
        """The limit is one of requests that wait in batches."""
        return Refused(429, "This would exceed the limit of batch requests in the processing queue.")

    def too_large(self, limit: int) -> Refused:  # noqa: ARG002
        """Without a number."""
        return Refused(413, "Request exceeds the maximum size")

    def judge(self, job: Job, line: Line) -> tuple[int, str]:
        """Whether the Messages API would take these params."""
        status, message = super().judge(job, line)
        if status == 200 and (wrong := _wrong_with(line.request, job.about["version"])):
            return 400, wrong
        return status, message

    async def _create(self, request: Request) -> Response:
        version = request.headers.get("anthropic-version")
        if not version:
            raise Refused(400, "anthropic-version: header is required")
        body = await request.body()
        self.take_in(len(body), _BYTES_MAX)
        try:
            requests = msgspec.json.decode(body)["requests"]
            lines = [_line(number, one) for number, one in enumerate(requests, 1)]
        except (msgspec.DecodeError, KeyError, TypeError) as cause:
            raise Refused(400, f"requests: {cause}") from cause
        if not 1 <= len(lines) <= _LINES_MAX:
            raise Refused(400, f"requests: there must be 1 to {_LINES_MAX}")
        if len({line.id for line in lines}) < len(lines):
            raise Refused(400, "requests: custom_id must be unique")
        job = self.add_job(f"msgbatch_{self.number():024d}", lines, {"version": version})
        return answer(self._shown(self.settled(job), request))

    async def _list(self, request: Request) -> Response:
        limit = int(request.query_params.get("limit", "20"))
        if not 1 <= limit <= 1_000:
            raise Refused(400, "limit: must be 1 to 1000")
        jobs = self.newest()
        ids = [job.id for job in jobs]
        after, before = request.query_params.get("after_id"), request.query_params.get("before_id")
        start = ids.index(after) + 1 if after in ids else 0
        stop = ids.index(before) if before in ids else len(jobs)
        page = jobs[start:stop][:limit]
        return answer(
            {
                "data": [self._shown(job, request) for job in page],
                "has_more": len(jobs[start:stop]) > limit,
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
            }
        )

    async def _look(self, request: Request) -> Response:
        return answer(self._shown(self.job(request.path_params["id"]), request))

    async def _cancel(self, request: Request) -> Response:
        job = self.job(request.path_params["id"])
        if job.end is not None:
            raise Refused(400, f"Batch {job.id} has already ended")
        self.cancel_job(job)
        return answer(self._shown(job, request))

    async def _remove(self, request: Request) -> Response:
        job = self.job(request.path_params["id"])
        if job.end is None:
            raise Refused(400, f"Batch {job.id} cannot be deleted while it is in progress")
        del self.jobs[job.id]
        self.books.removed.append(job.id)
        return answer({"id": job.id, "type": "message_batch_deleted"})

    async def _results(self, request: Request) -> Response:
        job = self.job(request.path_params["id"])
        if job.end is None or self.faults.files_expired:
            raise Refused(404, f"Batch {job.id} has no available results")
        lines = b"".join(_encode(_result(outcome)) + b"\n" for outcome in job.results())
        return self.download(lines, "application/x-jsonl")

    def _shown(self, job: Job, request: Request) -> dict[str, Any]:
        ended = job.end is not None
        counts = {"succeeded": 0, "errored": 0, "canceled": 0, "expired": 0, "processing": 0}
        if ended:
            counts |= {
                "succeeded": job.count(Fate.ANSWERED),
                "errored": job.count(Fate.ERROR),
                "canceled": job.count(Fate.CANCELLED),
                "expired": job.count(Fate.EXPIRED),
            }
        else:
            counts["processing"] = len(job.lines)
        status = "ended" if ended else "canceling" if job.cancelled_at is not None else "in_progress"
        archived = self.faults.files_expired and ended
        return {
            "id": job.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts,
            "created_at": _moment(job.created_at),
            "expires_at": _moment(job.created_at + _WINDOW_S),
            "ended_at": _moment(job.ended_at),
            "cancel_initiated_at": _moment(job.cancelled_at),
            "archived_at": _moment(self.now) if archived else None,
            "results_url": (
                f"{str(request.base_url).rstrip('/')}/v1/messages/batches/{job.id}/results"
                if ended and not archived
                else None
            ),
        }


def _line(number: int, given: Any) -> Line:
    custom_id, params = given["custom_id"], given["params"]
    if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
        raise Refused(
            400, f"requests.{number - 1}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
        )
    if set(given) != {"custom_id", "params"} or not isinstance(params, dict):
        raise Refused(400, f"requests.{number - 1}: takes custom_id and params")
    return Line(number, custom_id, params, _text(params), str(params.get("model")))


def _text(params: dict[str, Any]) -> str:
    """What the last message says."""
    messages = params.get("messages") or [{}]
    content = messages[-1].get("content", "")
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content if block.get("type") == "text")


def _wrong_with(params: dict[str, Any], version: str) -> str:  # noqa: PLR0911  # one way out per fault
    unknown = sorted(set(params) - _PARAMS)
    if unknown:
        return f"{unknown[0]}: Extra inputs are not permitted"
    if version >= "2026-10-21" and (removed := sorted(_SAMPLING & set(params))):
        return f"{removed[0]}: is not supported in this version of the API"
    if not isinstance(params.get("max_tokens"), int) or params["max_tokens"] < 1:
        return "max_tokens: must be an integer of at least 1"
    if params.get("stream"):
        return "stream: is not supported in batches"
    if not 0 <= params.get("temperature", 1) <= 1:
        return "temperature: must be from 0 to 1"
    messages = params.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: at least one message is required"
    for place, message in enumerate(messages):
        if message.get("role") not in {"user", "assistant"}:
            return f"messages.{place}.role: must be user or assistant"
        blocks = message.get("content")
        for block in [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks or [{}]:
            if block.get("type") == "text" and not block.get("text"):
                return f"messages.{place}: text content blocks must be non-empty"
            if block.get("type") not in {"text", "image", "tool_use", "tool_result"}:
                return f"messages.{place}: unknown content block"
    return ""


def _result(outcome: Outcome) -> dict[str, Any]:
    line = outcome.line
    if outcome.fate is Fate.ANSWERED:
        result: dict[str, Any] = {"type": "succeeded", "message": _message(line)}
    elif outcome.fate is Fate.ERROR:
        result = {"type": "errored", "error": _error(outcome.status, outcome.message)}
    else:
        result = {"type": "expired" if outcome.fate is Fate.EXPIRED else "canceled"}
    return {"custom_id": line.id, "result": result}


def _message(line: Line) -> dict[str, Any]:
    """The same answer to the same params, each time."""
    params = line.request
    mark = hashlib.sha256(_encode(params, order="deterministic")).hexdigest()[:16]
    content: list[dict[str, Any]] = [{"type": "text", "text": f"{mark}: {line.text}", "citations": None}]
    stop_reason = "end_turn"
    choice = params.get("tool_choice", {}).get("type")
    if (params.get("output_config") or {}).get("format"):
        content = [{"type": "text", "text": f'{{"mark":"{mark}"}}', "citations": None}]
    elif params.get("tools") and choice in {"any", "tool"}:
        name = params["tool_choice"].get("name") or params["tools"][0]["name"]
        content = [{"type": "tool_use", "id": f"toolu_{mark}", "name": name, "input": {"mark": mark}}]
        stop_reason = "tool_use"
    elif params["max_tokens"] < 4:
        stop_reason = "max_tokens"
    return {
        "id": f"msg_{mark}",
        "type": "message",
        "role": "assistant",
        "model": params["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": len(line.text) // 4 + 1,
            "output_tokens": 8,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "service_tier": "batch",
        },
    }


def _error(status: int, message: str) -> dict[str, Any]:
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_double"}


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")

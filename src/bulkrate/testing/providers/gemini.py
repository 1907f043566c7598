"""A double of the Gemini API's batches and files, after ai.google.dev/api/batch-api and /api/files.

Files are uploaded in the resumable manner; a file that is not there is one that may not be looked at (403).
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bulkrate.testing.providers.double import Double, Refused, answer
from bulkrate.testing.providers.jobs import End, Fate, Job, Line, Outcome

_FILE_BYTES_MAX = 2_000_000_000
_FILE_ID = re.compile(r"files/[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14, 504: 4}
_STATES = {
    End.COMPLETED: "BATCH_STATE_SUCCEEDED",
    End.EXPIRED: "BATCH_STATE_EXPIRED",
    End.CANCELLED: "BATCH_STATE_CANCELLED",
    End.FAILED: "BATCH_STATE_FAILED",
}
_REQUEST = {
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "model",
}
_EMBED = {"content", "outputDimensionality", "taskType", "title", "model"}
_encode = msgspec.json.encode


class GeminiDouble(Double):
    """Batches and files."""

    name = "gemini"

    def __init__(self, *, key: str = "test-key") -> None:
        super().__init__(key=key)
        self._uploads: dict[str, dict[str, Any]] = {}

    def routes(self) -> list[Route]:
        """The calls there are for batches and their files, in both versions of the API."""
        return [
            *self._version("v1beta"),
            *self._version("v1"),
            # What is uploaded to was given out as an address, which is all the permit that is needed.
            self.route("POST", "/uploads/{id}", "upload", self._upload),
        ]

    def _version(self, version: str) -> list[Route]:
        api = f"/{version}"
        return [
            self.route("POST", f"/upload/{version}/files", "upload_start", self._begin_upload),
            self.route("GET", f"{api}/files", "list_files", self._list_files),
            self.route("GET", f"{api}/files/{{id}}:download", "results", self._download),
            self.route("GET", f"{api}/files/{{id}}", "look_file", self._look_file),
            self.route("DELETE", f"{api}/files/{{id}}", "remove_file", self._remove_file),
            self.route("POST", f"{api}/models/{{model}}:batchGenerateContent", "create", self._create),
            self.route("POST", f"{api}/models/{{model}}:asyncBatchEmbedContent", "create", self._create),
            self.route("GET", f"{api}/batches", "list", self._list),
            self.route("GET", f"{api}/batches/{{id}}", "look", self._look),
            self.route("POST", f"{api}/batches/{{id}}:cancel", "cancel", self._cancel),
            self.route("DELETE", f"{api}/batches/{{id}}", "remove", self._remove),
        ]

    def key_in(self, request: Request) -> str | None:
        """By its own header, in the address, or by having been given an address to upload to."""
        if request.url.path.startswith("/uploads/"):
            return self.key
        return request.headers.get("x-goog-api-key") or request.query_params.get("key")

    def error(self, refused: Refused) -> Response:
        """`{"error": {"code", "message", "status"}}`."""
        # A key that is wrong is a bad request there.
        status = 400 if refused.status == 401 else refused.status
        message = (
            "API key not valid. Please pass a valid API key." if refused.status == 401 else refused.message
        )
        return answer(
            {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}},
            status,
        )

    def quota_full(self, room: int | None) -> Refused:  # noqa: ARG002
        """Resources are exhausted."""
        return Refused(429, "You exceeded your current quota: enqueued tokens of batches.")

    def file(self, ident: str) -> dict[str, Any]:
        """A file that is not there might be somebody else's."""
        try:
            return super().file(ident)
        except Refused as cause:
            message = f"You do not have permission to access the File {ident} or it may not exist."
            raise Refused(403, message) from cause

    def too_large(self, limit: int) -> Refused:
        """A bad request, as nearly everything is."""
        return Refused(400, f"The file is too large: the maximum file size is {limit} bytes.")

    def judge(self, job: Job, line: Line) -> tuple[int, str]:
        """Whether `generateContent` or `embedContent` would take this."""
        status, message = super().judge(job, line)
        if status == 200 and (wrong := _wrong_with(line.request, embed=job.about["embed"])):
            return 400, wrong
        return status, message

    # Files

    async def _begin_upload(self, request: Request) -> Response:
        if request.headers.get("x-goog-upload-protocol") != "resumable":
            raise Refused(400, "the double takes resumable uploads only")
        about = _camel(msgspec.json.decode(await request.body() or b"{}").get("file"))
        number = self.number()
        name = about.get("name") or f"files/double{number}"
        if not _FILE_ID.fullmatch(name):
            raise Refused(400, f"file.name: {name} is not a name of a file")
        if name in self.files and not self.files[name].get("uploading"):
            raise Refused(409, f"{name} already exists")
        size = int(request.headers.get("x-goog-upload-header-content-length", "0"))
        self.take_in(size, _FILE_BYTES_MAX)
        kind = request.headers.get("x-goog-upload-header-content-type") or about.get("mimeType")
        self._uploads[str(number)] = {"name": name, "kind": kind, "about": about, "content": bytearray()}
        url = f"{str(request.base_url).rstrip('/')}/uploads/{number}?upload_id={number}"
        return answer({}, headers={"x-goog-upload-url": url, "x-goog-upload-status": "active"})

    async def _upload(self, request: Request) -> Response:
        upload = self._uploads.get(request.path_params["id"])
        if upload is None:
            raise Refused(404, "there is no such upload")
        if int(request.headers.get("x-goog-upload-offset", "0")) != len(upload["content"]):
            raise Refused(400, "the offset is not where the upload stands")
        upload["content"] += await request.body()
        if "finalize" not in request.headers.get("x-goog-upload-command", ""):
            return answer({}, headers={"x-goog-upload-status": "active"})
        del self._uploads[request.path_params["id"]]
        file = self.add_file(
            upload["name"],
            bytes(upload["content"]),
            {
                "kind": upload["kind"],
                "display_name": upload["about"].get("displayName", ""),
                "at": self.now,
                "source": "UPLOADED",
                "state": "FAILED" if self.faults.spend("break_upload") else "ACTIVE",
            },
        )
        self.books.uploaded.append(upload["name"])
        return answer({"file": self._shown_file(file, request)}, headers={"x-goog-upload-status": "final"})

    async def _list_files(self, request: Request) -> Response:
        return answer({"files": [self._shown_file(file, request) for file in self.files.values()]})

    async def _look_file(self, request: Request) -> Response:
        return answer(self._shown_file(self.file(f"files/{request.path_params['id']}"), request))

    async def _remove_file(self, request: Request) -> Response:
        self.remove_file(f"files/{request.path_params['id']}")
        return answer({})

    async def _download(self, request: Request) -> Response:
        file = self.file(f"files/{request.path_params['id']}")
        if file["source"] != "GENERATED":
            raise Refused(400, "only generated files can be downloaded")
        return self.download(file["content"])

    @staticmethod
    def _shown_file(file: dict[str, Any], request: Request) -> dict[str, Any]:
        digest = hashlib.sha256(file["content"]).hexdigest()
        shown = {
            "name": file["id"],
            "displayName": file["display_name"],
            "mimeType": file["kind"],
            "sizeBytes": str(len(file["content"])),
            "createTime": _moment(file["at"]),
            "updateTime": _moment(file["at"]),
            "expirationTime": _moment(file["at"] + 48 * 3600),
            "sha256Hash": base64.b64encode(digest.encode()).decode(),
            "uri": f"{request.base_url}v1beta/{file['id']}",
            "state": file.get("state", "ACTIVE"),
            "source": file["source"],
        }
        if file["source"] == "GENERATED":
            shown["downloadUri"] = f"{shown['uri']}:download?alt=media"
        return shown

    # Batches

    async def _create(self, request: Request) -> Response:
        batch = _camel(msgspec.json.decode(await request.body()).get("batch"))
        model = request.path_params["model"]
        if self.faults.models is not None and model not in self.faults.models:
            raise Refused(404, f"models/{model} is not found, or is not supported for batchGenerateContent.")
        name = _camel(batch.get("inputConfig")).get("fileName")
        if not name or not batch.get("displayName"):
            raise Refused(400, "batch.inputConfig.fileName and batch.displayName are required by the double")
        content = self.file(name)["content"]
        embed = request.url.path.endswith(":asyncBatchEmbedContent")
        lines = [
            _line(number, line, model) for number, line in enumerate(content.splitlines(), 1) if line.strip()
        ]
        about = {
            "display_name": batch["displayName"],
            "file": name,
            "model": f"models/{model}",
            "embed": embed,
        }
        job = self.add_job(f"batches/double{self.number()}", lines, about)
        return answer(self._shown(self.settled(job)))

    async def _list(self, request: Request) -> Response:
        size = min(int(request.query_params.get("pageSize", "10")), 100)
        start = int(request.query_params.get("pageToken") or 0)
        jobs = self.newest()
        page: dict[str, Any] = {"operations": [self._shown(job) for job in jobs[start : start + size]]}
        if start + size < len(jobs):
            page["nextPageToken"] = str(start + size)
        return answer(page)

    async def _look(self, request: Request) -> Response:
        return answer(self._shown(self.job(f"batches/{request.path_params['id']}")))

    async def _cancel(self, request: Request) -> Response:
        job = self.job(f"batches/{request.path_params['id']}")
        if job.end is not None:
            raise Refused(400, f"{job.id} has ended")
        self.cancel_job(job)
        return answer({})

    async def _remove(self, request: Request) -> Response:
        job = self.job(f"batches/{request.path_params['id']}")
        del self.jobs[job.id]
        self.books.removed.append(job.id)
        return answer({})

    def _shown(self, job: Job) -> dict[str, Any]:
        running = "BATCH_STATE_PENDING" if self.now < job.validating_until else "BATCH_STATE_RUNNING"
        done = job.count(Fate.ANSWERED)
        failed = job.count(Fate.ERROR)
        metadata: dict[str, Any] = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "model": job.about["model"],
            "displayName": job.about["display_name"],
            "inputConfig": {"fileName": job.about["file"]},
            "state": _STATES[job.end] if job.end is not None else running,
            "createTime": _moment(job.created_at),
            "updateTime": _moment(self.now),
            "batchStats": {
                "requestCount": str(len(job.lines)),
                "successfulRequestCount": str(done),
                "failedRequestCount": str(failed),
                "pendingRequestCount": str(len(job.lines) - done - failed),
            },
            "name": job.id,
        }
        shown: dict[str, Any] = {"name": job.id, "metadata": metadata}
        if job.end is None:
            return shown
        metadata["endTime"] = _moment(job.ended_at)
        shown["done"] = True
        if job.end is End.FAILED:
            reason = "The batch's input cannot be read."
            if job.faults.quota_full_late:
                shown["error"] = {
                    "code": 8,
                    "message": "Resources are exhausted",
                    "status": "RESOURCE_EXHAUSTED",
                }
            elif job.faults.fail_job:
                shown["error"] = {"code": 13, "message": "Internal error", "status": "INTERNAL"}
            else:
                shown["error"] = {"code": 3, "message": reason, "status": "INVALID_ARGUMENT"}
        elif any(outcome.fate in {Fate.ANSWERED, Fate.ERROR} for outcome in job.outcomes):
            name = self._results_of(job)
            metadata["output"] = {"responsesFile": name}
            shown["response"] = {"responsesFile": name}
        return shown

    def _results_of(self, job: Job) -> str:
        """The file of the job's results, made when it is first asked for."""
        if "output" not in job.about:
            content = b"".join(
                _encode(_result(outcome, job)) + b"\n"
                for outcome in job.results()
                if outcome.fate in {Fate.ANSWERED, Fate.ERROR}
            )
            name = f"files/batch-{self.number()}"
            about = {"kind": "application/jsonl", "display_name": "", "at": self.now, "source": "GENERATED"}
            self.add_file(name, content, about)
            job.about["output"] = name
        return str(job.about["output"])


def _camel(given: dict[str, Any] | None) -> dict[str, Any]:
    """An object with its names in camel case, which is as good as snake case to Google."""
    return {
        re.sub("_([a-z])", lambda found: found[1].upper(), name): value
        for name, value in (given or {}).items()
    }


def _line(number: int, raw: bytes, model: str) -> Line:
    given = msgspec.json.decode(raw)
    request = given.get("request")
    if not isinstance(request, dict):
        raise Refused(400, f"line {number}: there is no request")
    return Line(number, str(given.get("key", "")), request, _text(request), model)


def _text(request: dict[str, Any]) -> str:
    """What the last turn says."""
    contents = request.get("contents") or [request.get("content") or {}]
    return "".join(part.get("text", "") for part in contents[-1].get("parts", []))


def _wrong_with(request: dict[str, Any], *, embed: bool) -> str:
    unknown = sorted(set(request) - (_EMBED if embed else _REQUEST))
    if unknown:
        return f'Unknown name "{unknown[0]}": Cannot find field.'
    if embed:
        return "" if _text(request) else "content is required"
    contents = request.get("contents")
    if not contents:
        return "contents is not specified"
    if any(turn.get("role") not in {"user", "model"} or not turn.get("parts") for turn in contents):
        return "Please use a valid role: user, model."
    return ""


def _result(outcome: Outcome, job: Job) -> dict[str, Any]:
    line = outcome.line
    if outcome.fate is Fate.ANSWERED:
        return {"key": line.id, "response": _embedded(line) if job.about["embed"] else _answered(line)}
    error = {
        "code": _GRPC.get(outcome.status, 2),
        "message": outcome.message,
        "status": _STATUSES.get(outcome.status, "UNKNOWN"),
    }
    return {"key": line.id, "error": error}


def _embedded(line: Line) -> dict[str, Any]:
    digest = hashlib.sha256(line.text.encode()).digest()
    size = line.request.get("outputDimensionality") or 8
    return {"embedding": {"values": [digest[place % 32] / 255 for place in range(size)]}}


def _answered(line: Line) -> dict[str, Any]:
    """The same answer to the same request, each time."""
    request = line.request
    mark = hashlib.sha256(_encode(request, order="deterministic")).hexdigest()[:16]
    config = request.get("generationConfig") or {}
    calling = (request.get("toolConfig") or {}).get("functionCallingConfig") or {}
    parts: list[dict[str, Any]] = [{"text": f"{mark}: {line.text}"}]
    if config.get("responseMimeType") == "application/json":
        parts = [{"text": f'{{"mark":"{mark}"}}'}]
    elif request.get("tools") and calling.get("mode") == "ANY":
        declared = request["tools"][0]["functionDeclarations"][0]["name"]
        name = (calling.get("allowedFunctionNames") or [declared])[0]
        parts = [{"functionCall": {"name": name, "args": {"mark": mark}}, "thoughtSignature": "c2lnbmVk"}]
    took = len(line.text) // 4 + 1
    count = config.get("candidateCount") or 1
    return {
        "candidates": [
            {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": index}
            for index in range(count)
        ],
        "usageMetadata": {
            "promptTokenCount": took,
            "candidatesTokenCount": 8 * count,
            "totalTokenCount": took + 8 * count,
        },
        "modelVersion": line.model,
        "responseId": mark,
    }


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")

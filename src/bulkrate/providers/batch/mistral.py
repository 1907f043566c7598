"""Mistral's batch jobs: files as with OpenAI, one model for the whole job, metadata, hours instead of a
window.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil
from typing import Any

import msgspec

from bulkrate.providers.batch.base import (
    FINGERPRINT_KEY,
    SHARD_KEY,
    Ask,
    Call,
    Counts,
    Expect,
    Found,
    Refusal,
    Remote,
    RemoteFile,
    RemoteRefused,
    RemoteState,
    Reply,
    Result,
    Shard,
    Why,
)
from bulkrate.providers.batch.languages import mistral as language
from bulkrate.providers.batch.languages.answers import error_body
from bulkrate.providers.batch.languages.chat import Fields
from bulkrate.providers.batch.limits import Limits, limits_for
from bulkrate.providers.batch.multipart import file_name, form
from bulkrate.providers.batch.replies import (
    INVALID_ANSWER,
    gone_or_lost,
    no_answer,
    nonsense,
    post,
    quoted,
    read,
    read_line,
    says_too_large,
    shown,
    why_of,
)

_FILES = "/v1/files"
_JOBS = "/v1/batch/jobs"
_PAGE = 100
#: As in `openai.py`: the first is never reached in practice, the second only costs another upload.
PAGES_MAX = 1_000
FILE_PAGES_MAX = 20

_QUOTA_WORDS = re.compile(r"\bquota|\brate limit|\bcapacity exceeded", re.IGNORECASE)
_STATES = {
    "QUEUED": RemoteState.VALIDATING,
    "RUNNING": RemoteState.RUNNING,
    "CANCELLATION_REQUESTED": RemoteState.FINISHING,
    "SUCCESS": RemoteState.COMPLETED,
    "TIMEOUT_EXCEEDED": RemoteState.EXPIRED,
    "CANCELLED": RemoteState.CANCELLED,
    "FAILED": RemoteState.FAILED,
}


class _Fault(msgspec.Struct):
    message: str = ""
    count: int = 1


class _Job(msgspec.Struct):
    id: str
    status: str
    created_at: int | None = None
    total_requests: int = 0
    succeeded_requests: int = 0
    failed_requests: int = 0
    input_files: list[str] = []
    output_file: str | None = None
    error_file: str | None = None
    metadata: dict[str, Any] | None = None
    errors: list[_Fault] = []


class _Jobs(msgspec.Struct):
    data: list[_Job] | None = None


class _File(msgspec.Struct):
    id: str
    bytes: int | None = None
    filename: str | None = None


class _Files(msgspec.Struct):
    data: list[_File] | None = None


class _Response(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: Any = None


_line = msgspec.json.Decoder(_Line)
_answer = msgspec.json.Decoder(language.Answer)
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True, kw_only=True)
class MistralBatch:
    """Mistral's batch jobs."""

    name: str = "mistral"
    between: bytes = b"\n"
    endpoints: frozenset[str] = frozenset({"/v1/chat/completions", "/v1/embeddings"})
    url_default: str | None = "https://api.mistral.ai"
    key_names: tuple[str, ...] = ("MISTRAL_API_KEY",)

    def base(self, url: str) -> str:
        """See `Vendor`."""
        return url.rstrip("/").removesuffix("/v1")

    def auth(self, key: str) -> dict[str, str]:
        """See `Vendor`."""
        return {"authorization": f"Bearer {key}"}

    def limits(self, model: str) -> Limits:
        """See `Vendor`."""
        return limits_for(self.name, model)

    def to_vendor(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        """See `Vendor`."""
        fields = Fields(body, "Mistral")
        asked = language.embedding(fields) if endpoint == "/v1/embeddings" else language.chat(fields)
        return _encode({"custom_id": custom_id, "body": asked})

    def from_vendor(self, shard: Shard, line: bytes, *, created: int) -> Result:
        """See `Vendor`."""
        found = read_line(line, _line)
        if isinstance(found, str):
            return no_answer(found, INVALID_ANSWER, "the result is not what the provider promises")
        ident, response = found.custom_id, found.response
        if response is None or not response.status_code:
            message = _told(found.error) or "the line has no response and no error"
            return no_answer(ident, "upstream_error" if found.error else INVALID_ANSWER, message)
        status, body = response.status_code, bytes(response.body)
        if not 200 <= status < 300:
            message = _told(found.error) or _told_by(body) or f"the provider answered {status}"
            return Result(custom_id=ident, status=status, body=error_body(message, "upstream_error"))
        return _answered(shard, ident, body, created)

    # Files

    def upload(self, shard: Shard) -> Ask[RemoteFile]:
        """See `Vendor`."""
        return Ask(form(_FILES, shard, {"purpose": "batch"}), _read_file)

    def look_file(self, file_id: str) -> Ask[RemoteFile]:
        """See `Vendor`. Files are ready at once."""
        return Ask(Call(method="GET", path=f"{_FILES}/{quoted(file_id)}"), _read_file)

    def find_file(self, shard: Shard) -> Ask[RemoteFile | None]:
        """See `Vendor`. A file is the shard's by its name and its size."""
        return self._find_file(shard, 0)

    def remove_file(self, file_id: str) -> Ask[None]:
        """See `Vendor`."""
        return Ask(Call(method="DELETE", path=f"{_FILES}/{quoted(file_id)}"), _read_removed)

    # Jobs

    def create(self, shard: Shard, file_id: str | None) -> Ask[Remote]:
        """See `Vendor`."""
        asked = {
            "input_files": [file_id],
            "endpoint": shard.endpoint,
            "model": shard.model,
            "metadata": {SHARD_KEY: shard.id, FINGERPRINT_KEY: shard.fingerprint},
            "timeout_hours": _hours(shard.window),
        }
        return Ask(post(_JOBS, asked), _read_job)

    def find(self, shard: Shard, *, since: int, file_id: str | None = None) -> Ask[tuple[Found, ...]]:
        """See `Vendor`."""
        return self._find(shard, since, file_id, 0)

    def look(self, remote_id: str) -> Ask[Remote]:
        """See `Vendor`."""
        return Ask(Call(method="GET", path=f"{_JOBS}/{quoted(remote_id)}"), _read_job)

    def results(self, remote: Remote) -> tuple[Call, ...]:
        """See `Vendor`: the output and the error file, where there are any."""
        return tuple(
            Call(method="GET", path=f"{_FILES}/{quoted(ident)}/content", expect=Expect.LINES)
            for ident in remote.result_files
        )

    def refused(self, reply: Reply) -> Refusal:
        """See `Vendor`."""
        return _refusal(reply)

    def cancel(self, remote_id: str) -> Ask[Remote]:
        """See `Vendor`."""

        def read_cancelled(reply: Reply) -> Remote:
            if reply.status in {400, 422}:
                raise RemoteRefused(replace(_refusal(reply), why=Why.CONFLICT))
            return _read_job(reply)

        return Ask(Call(method="POST", path=f"{_JOBS}/{quoted(remote_id)}/cancel"), read_cancelled)

    def clean(self, remote: Remote) -> tuple[Ask[None], ...]:
        """See `Vendor`."""
        ids = (remote.input_file, *remote.result_files)
        files = tuple(self.remove_file(ident) for ident in ids if ident)
        return (*files, Ask(Call(method="DELETE", path=f"{_JOBS}/{quoted(remote.id)}"), _read_removed))

    def _find_file(self, shard: Shard, page: int) -> Ask[RemoteFile | None]:
        name = file_name(shard)
        path = f"{_FILES}?page={page}&page_size={_PAGE}&purpose=batch&search={quoted(name)}"

        def read_page(reply: Reply) -> RemoteFile | Ask[RemoteFile | None] | None:
            files = read(_successful(reply), _Files).data or []
            for file in files:
                if file.filename == name and file.bytes == shard.size:
                    return RemoteFile(id=file.id, size=shard.size, ready=True)
            if len(files) < _PAGE or page + 1 >= FILE_PAGES_MAX:
                return None
            return self._find_file(shard, page + 1)

        return Ask(Call(method="GET", path=path), read_page)

    def _find(self, shard: Shard, since: int, file_id: str | None, page: int) -> Ask[tuple[Found, ...]]:
        after = quoted(datetime.fromtimestamp(since, UTC).isoformat())
        path = f"{_JOBS}?page={page}&page_size={_PAGE}&order_by=-created&created_after={after}"

        def read_page(reply: Reply) -> tuple[Found, ...] | Ask[tuple[Found, ...]]:
            jobs = read(_successful(reply), _Jobs).data or []
            for job in jobs:
                ours = (job.metadata or {}).get(SHARD_KEY) == shard.id
                if ours or (file_id and file_id in job.input_files):
                    return (Found(remote=_remote(job, reply), sure=True),)
            if len(jobs) < _PAGE:
                return ()
            if page + 1 >= PAGES_MAX:
                raise nonsense(reply, "never comes to the end of its list of jobs")
            return self._find(shard, since, file_id, page + 1)

        return Ask(Call(method="GET", path=path), read_page)


def _hours(window: str) -> int:
    """A window such as `24h`, `7d` or `90m`, in whole hours."""
    number = int(window[:-1])
    return number * 24 if window.endswith("d") else ceil(number / 60) if window.endswith("m") else number


def _answered(shard: Shard, ident: str, body: bytes, created: int) -> Result:
    if shard.endpoint == "/v1/embeddings" and body.startswith(b"{"):
        return Result(custom_id=ident, status=200, body=body)
    try:
        answer = _answer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return no_answer(ident, INVALID_ANSWER, "the answer is not what the endpoint promises")
    if language.broken(answer):
        told = error_body("the model's answer ends in an error", "server_error")
        return Result(custom_id=ident, status=502, body=told, request_id=answer.id)
    written = language.completion(answer, created=created)
    return Result(custom_id=ident, status=200, body=written, request_id=answer.id)


def _read_file(reply: Reply) -> RemoteFile:
    file = read(_successful(reply), _File)
    return RemoteFile(id=file.id, size=file.bytes or 0, ready=True)


def _read_job(reply: Reply) -> Remote:
    return _remote(read(_successful(reply), _Job), reply)


def _read_removed(reply: Reply) -> None:
    # Some keys may not delete jobs, and older accounts have no such call: a job that stays costs nothing.
    if reply.status not in {404, 405}:
        _successful(reply)


def _remote(job: _Job, reply: Reply) -> Remote:
    state = _STATES.get(job.status)
    if state is None:
        raise nonsense(reply, f"says that a job is {shown(job.status)[:40]!r}, which we do not know")
    metadata = job.metadata or {}
    shard_id, fingerprint = metadata.get(SHARD_KEY), metadata.get(FINGERPRINT_KEY)
    return Remote(
        id=job.id,
        state=state,
        status=job.status,
        counts=Counts(total=job.total_requests, completed=job.succeeded_requests, failed=job.failed_requests),
        created_at=job.created_at,
        shard_id=shard_id if isinstance(shard_id, str) else None,
        fingerprint=fingerprint if isinstance(fingerprint, str) else None,
        input_file=job.input_files[0] if job.input_files else None,
        result_files=tuple(ident for ident in (job.output_file, job.error_file) if ident),
        refusal=_failure(job) if state is RemoteState.FAILED else None,
    )


def _failure(job: _Job) -> Refusal:
    if not job.errors:
        return Refusal(why=Why.UNAVAILABLE, message="the provider failed the job and does not say why")
    message = shown("; ".join(f"{fault.message} ({fault.count} times)" for fault in job.errors))
    # Its jobs have no codes for why they failed.
    why = Why.QUOTA if _QUOTA_WORDS.search(message) else _why(400, message)
    return Refusal(why=why, message=message)


def _why(status: int, message: str) -> Why:
    lower = message.lower()
    if status in {400, 404, 422} and "model" in lower and ("invalid" in lower or "not " in lower):
        return Why.MODEL
    if says_too_large(status, message) or (status in {400, 422} and "too many requests in" in lower):
        return Why.TOO_LARGE
    return why_of(status)


def _told(error: Any) -> str:
    """What an error says: a text, an object with a message in it, or a list of what is wrong."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error.get("error")
    if isinstance(error, list):
        error = "; ".join(str(one.get("msg", "")) for one in error if isinstance(one, dict))
    return shown(error) if isinstance(error, str) else ""


def _told_by(body: bytes) -> str:
    try:
        return _told(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _successful(reply: Reply) -> Reply:
    if not 200 <= reply.status < 300:
        raise RemoteRefused(_refusal(reply))
    return reply


def _refusal(reply: Reply) -> Refusal:
    try:
        told = msgspec.json.decode(reply.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = {}
    message = _told(told) or f"the provider answered {reply.status}"
    code = told.get("code") or told.get("type")
    refusal = Refusal(
        why=_why(reply.status, message),
        message=message,
        status=reply.status,
        code=str(code) if code is not None else None,
        retry_after_s=reply.retry_after_s,
    )
    return gone_or_lost(refusal, known=bool(_told(told)) and message.lower() != "not found")

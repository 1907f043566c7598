"""The Batch API as OpenAI speaks it, and everybody who speaks the same with small differences.

The differences are data (`DIALECTS`). Lines need no translation: the body goes out, and comes back, byte for
byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bulkrate.providers.batch.base import (
    FINGERPRINT_KEY,
    SHARD_KEY,
    Ask,
    Call,
    Counts,
    Expect,
    Found,
    LineFault,
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
from bulkrate.providers.batch.languages.answers import error_body
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

#: Pages that are looked through for a batch (a hundred on each), and for a file. A batch that is not found
#: must not be there, so the first is never reached in practice; a file that is not found is only uploaded
#: again.
BATCH_PAGES_MAX = 1_000
FILE_PAGES_MAX = 20

_STATES = {
    "validating": RemoteState.VALIDATING,
    "in_progress": RemoteState.RUNNING,
    "finalizing": RemoteState.FINISHING,
    "cancelling": RemoteState.FINISHING,
    "completed": RemoteState.COMPLETED,
    "expired": RemoteState.EXPIRED,
    "cancelled": RemoteState.CANCELLED,
    "failed": RemoteState.FAILED,
}
# Other words for the same things, whatever their case: SiliconFlow's, Novita's, and what else may come.
_SPELLINGS = {
    "created": RemoteState.VALIDATING,
    "queued": RemoteState.VALIDATING,
    "in_queue": RemoteState.VALIDATING,
    "pending": RemoteState.VALIDATING,
    "running": RemoteState.RUNNING,
    "progress": RemoteState.RUNNING,
    "inprogress": RemoteState.RUNNING,
    "canceling": RemoteState.FINISHING,
    "canceled": RemoteState.CANCELLED,
}
_FILE_READY = {"", "processed", "uploaded", "active"}
_FILE_BROKEN = {"error", "failed", "deleted"}

# The request quota has no code that is published, but words of its own (below).
_QUOTA_CODES = {"token_limit_exceeded"}
_KEY_CODES = {"invalid_api_key", "insufficient_quota", "billing_hard_limit_reached", "account_deactivated"}
_MODEL_CODES = {"model_not_found", "deploymentnotfound"}
_SIZE_CODES = {"too_many_tasks"}
_QUOTA_WORDS = re.compile(r"enqueued (?:token|request)s? limit", re.IGNORECASE)
_MODEL_WORDS = re.compile(
    r"model\b.{0,200}\b(?:does not exist|not (?:found|supported|available))", re.IGNORECASE
)
_TOKENS = re.compile(r"limit:?\s*([\d,_.]{1,20})\s*enqueued tokens", re.IGNORECASE)
_EXPIRED = {"batch_expired", "expired"}
_CANCELLED = {"batch_cancelled", "batch_canceled", "cancelled", "canceled"}


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None
    # Servers built with FastAPI answer with this alone.
    detail: Any = None
    message: str | None = None


class _Fault(msgspec.Struct):
    code: str | int | None = None
    message: str | None = None
    param: str | None = None
    line: int | None = None


class _Faults(msgspec.Struct):
    data: list[_Fault] | None = None


class _Counts(msgspec.Struct):
    total: int | None = None
    completed: int | None = None
    failed: int | None = None


class _Batch(msgspec.Struct):
    id: str
    status: str
    created_at: Any = None
    expires_at: Any = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: _Counts | None = None
    metadata: dict[str, Any] | None = None
    errors: _Faults | None = None


class _BatchPage(msgspec.Struct):
    data: list[_Batch] | None = None
    has_more: bool | None = None


class _File(msgspec.Struct):
    id: str
    bytes: int | None = None
    filename: str | None = None
    status: str | None = None


class _FilePage(msgspec.Struct):
    data: list[_File] | None = None
    has_more: bool | None = None


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")
    request_id: str | None = None


class _LineError(msgspec.Struct):
    code: str | int | None = None
    message: str | None = None


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: _LineError | None = None


_line = msgspec.json.Decoder(_Line)
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a provider differs from OpenAI. Paths are joined to the upstream's URL, which ends in `path`."""

    url_default: str | None = None
    path: str = "/v1"
    key_names: tuple[str, ...] = ()
    #: The header that carries the key, and what stands before the key.
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    files: str = "/files"
    batches: str = "/batches"
    purpose: str = "batch"
    endpoints: frozenset[str] = frozenset({"/v1/chat/completions", "/v1/embeddings"})


_ALL = frozenset(
    {
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/responses",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/videos",
    }
)

DIALECTS: Mapping[str, Dialect] = {
    "openai": Dialect(url_default="https://api.openai.com/v1", key_names=("OPENAI_API_KEY",), endpoints=_ALL),
    # The v1 surface, https://<resource>.openai.azure.com/openai/v1: no api-version. `model` is the
    # deployment.
    "azure": Dialect(
        path="/openai/v1",
        key_names=("AZURE_OPENAI_API_KEY",),
        key_header="api-key",
        key_prefix="",
        endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings", "/v1/responses"}),
    ),
    "groq": Dialect(
        url_default="https://api.groq.com/openai/v1",
        path="/openai/v1",
        key_names=("GROQ_API_KEY",),
        endpoints=frozenset({"/v1/chat/completions"}),
    ),
    "deepinfra": Dialect(
        url_default="https://api.deepinfra.com/v1/openai",
        path="/v1/openai",
        key_names=("DEEPINFRA_TOKEN", "DEEPINFRA_API_KEY"),
        endpoints=frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}),
    ),
    "alibaba": Dialect(
        url_default="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        path="/compatible-mode/v1",
        key_names=("DASHSCOPE_API_KEY",),
    ),
    "doubleword": Dialect(
        url_default="https://api.doubleword.ai/v1",
        key_names=("DOUBLEWORD_API_KEY",),
        endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings", "/v1/responses"}),
    ),
    "bulkrate": Dialect(key_names=("BULKRATE_API_KEY",), endpoints=_ALL),
}


@dataclass(frozen=True, slots=True)
class OpenAIBatch:
    """OpenAI's Batch API, or one of its relatives by the name of `DIALECTS`."""

    name: str = "openai"
    between: bytes = field(default=b"\n", init=False)
    _dialect: Dialect = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_dialect", DIALECTS[self.name])

    @property
    def endpoints(self) -> frozenset[str]:
        """See `Vendor`."""
        return self._dialect.endpoints

    @property
    def url_default(self) -> str | None:
        """See `Vendor`."""
        return self._dialect.url_default

    @property
    def key_names(self) -> tuple[str, ...]:
        """See `Vendor`."""
        return self._dialect.key_names

    def base(self, url: str) -> str:
        """See `Vendor`. The URL ends where OpenAI's SDKs have it end; one that stops before that, as an
        endpoint of Azure's does, is gone on with. An `api-version` is of Azure's older surface and goes.
        """
        parts = urlsplit(url)
        path = parts.path.rstrip("/")
        if f"{self._dialect.path}/".startswith(f"{path}/"):
            path = self._dialect.path
        return f"{parts.scheme}://{parts.netloc}{path}"

    def auth(self, key: str) -> dict[str, str]:
        """See `Vendor`."""
        return {self._dialect.key_header: self._dialect.key_prefix + key}

    def limits(self, model: str) -> Limits:
        """See `Vendor`."""
        return limits_for(self.name, model)

    def to_vendor(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        """See `Vendor`. The body keeps its bytes."""
        return b'{"custom_id":%b,"method":"POST","url":%b,"body":%b}' % (
            _encode(custom_id),
            _encode(endpoint),
            body.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in body or b"\r" in body else body,
        )

    def from_vendor(self, shard: Shard, line: bytes, *, created: int) -> Result:  # noqa: ARG002
        """See `Vendor`. The body keeps its bytes."""
        found = read_line(line, _line)
        if isinstance(found, str):
            return no_answer(found, INVALID_ANSWER, "the result is not what the provider promises")
        response, error = found.response, found.error
        if response is not None and response.status_code:
            body = bytes(response.body)
            if body.startswith(b"{"):
                return Result(
                    custom_id=found.custom_id,
                    status=response.status_code,
                    body=body,
                    request_id=response.request_id or "",
                )
            if not 200 <= response.status_code < 300:
                told = error.message if error is not None else None
                return Result(
                    custom_id=found.custom_id,
                    status=response.status_code,
                    body=error_body(told or _text(body), "upstream_error"),
                    request_id=response.request_id or "",
                )
            return no_answer(found.custom_id, INVALID_ANSWER, "the answer is not a JSON object")
        if error is None:
            return no_answer(found.custom_id, INVALID_ANSWER, "the line has no response and no error")
        code = str(error.code or "unknown_error")
        if code in _EXPIRED:
            code = "batch_expired"
        elif code in _CANCELLED:
            code = "batch_cancelled"
        return no_answer(found.custom_id, code, error.message or code)

    def upload(self, shard: Shard) -> Ask[RemoteFile]:
        """See `Vendor`."""
        call = form(self._dialect.files, shard, {"purpose": self._dialect.purpose})
        return Ask(call, self._read_file)

    def look_file(self, file_id: str) -> Ask[RemoteFile]:
        """See `Vendor`."""
        return Ask(Call(method="GET", path=f"{self._dialect.files}/{quoted(file_id)}"), self._read_file)

    def find_file(self, shard: Shard) -> Ask[RemoteFile | None]:
        """See `Vendor`. A file is the shard's by its name and its size."""
        return self._find_file(shard, None, 1)

    def remove_file(self, file_id: str) -> Ask[None]:
        """See `Vendor`."""
        return Ask(Call(method="DELETE", path=f"{self._dialect.files}/{quoted(file_id)}"), self._read_removed)

    def create(self, shard: Shard, file_id: str | None) -> Ask[Remote]:
        """See `Vendor`."""
        body = {
            "input_file_id": file_id,
            "endpoint": shard.endpoint,
            "completion_window": shard.window,
            "metadata": {SHARD_KEY: shard.id, FINGERPRINT_KEY: shard.fingerprint},
        }
        # Few keep to it (bulkrate does); the others pass over it.
        once = ("idempotency-key", f"{shard.id}-{shard.fingerprint[:16]}")
        return Ask(post(self._dialect.batches, body, once), self._read_created)

    def find(self, shard: Shard, *, since: int, file_id: str | None = None) -> Ask[tuple[Found, ...]]:
        """See `Vendor`."""
        return self._find(shard, since, file_id, None, 1)

    def look(self, remote_id: str) -> Ask[Remote]:
        """See `Vendor`."""
        return Ask(Call(method="GET", path=f"{self._dialect.batches}/{quoted(remote_id)}"), self._read_batch)

    def results(self, remote: Remote) -> tuple[Call, ...]:
        """See `Vendor`: the output and the error file, where there are any."""
        return tuple(
            Call(method="GET", path=f"{self._dialect.files}/{quoted(file_id)}/content", expect=Expect.LINES)
            for file_id in remote.result_files
        )

    def refused(self, reply: Reply) -> Refusal:
        """See `Vendor`."""
        return refusal(reply)

    def cancel(self, remote_id: str) -> Ask[Remote]:
        """See `Vendor`."""
        return Ask(
            Call(method="POST", path=f"{self._dialect.batches}/{quoted(remote_id)}/cancel"), self._read_batch
        )

    def clean(self, remote: Remote) -> tuple[Ask[None], ...]:
        """See `Vendor`. Batches themselves cannot be removed."""
        ids = (remote.input_file, *remote.result_files)
        return tuple(self.remove_file(file_id) for file_id in ids if file_id)

    def _find_file(self, shard: Shard, after: str | None, page: int) -> Ask[RemoteFile | None]:
        dialect = self._dialect
        path = f"{dialect.files}?purpose={dialect.purpose}&limit=100" + (
            f"&after={quoted(after)}" if after else ""
        )

        def read_page(reply: Reply) -> RemoteFile | Ask[RemoteFile | None] | None:
            found = read(_successful(reply), _FilePage)
            data = found.data or []
            for file in data:
                if file.filename == file_name(shard) and file.bytes == shard.size:
                    return _remote_file(file)
            if _is_last(found.has_more, data[-1].id if data else None, after) or page >= FILE_PAGES_MAX:
                return None
            return self._find_file(shard, data[-1].id, page + 1)

        return Ask(Call(method="GET", path=path), read_page)

    def _find(
        self, shard: Shard, since: int, file_id: str | None, after: str | None, page: int
    ) -> Ask[tuple[Found, ...]]:
        dialect = self._dialect
        path = f"{dialect.batches}?limit=100" + (f"&after={quoted(after)}" if after else "")

        def read_page(reply: Reply) -> tuple[Found, ...] | Ask[tuple[Found, ...]]:
            found = read(_successful(reply), _BatchPage)
            batches = found.data or []
            for batch in batches:
                ours = (batch.metadata or {}).get(SHARD_KEY) == shard.id
                if ours or (file_id and batch.input_file_id == file_id):
                    return (Found(remote=self._remote(batch, reply), sure=True),)
            # Newest first: behind one that is older than the intent there is none that is ours.
            too_old = any((_moment(batch.created_at) or since) < since for batch in batches)
            if too_old or _is_last(found.has_more, batches[-1].id if batches else None, after):
                return ()
            if page >= BATCH_PAGES_MAX:
                raise nonsense(reply, "never comes to the end of its list of batches")
            return self._find(shard, since, file_id, batches[-1].id, page + 1)

        return Ask(Call(method="GET", path=path), read_page)

    def _read_file(self, reply: Reply) -> RemoteFile:
        return _remote_file(read(_successful(reply), _File))

    def _read_batch(self, reply: Reply) -> Remote:
        return self._remote(read(_successful(reply), _Batch), reply)

    def _read_created(self, reply: Reply) -> Remote:
        if reply.status == 409:
            # As with OpenAI's own clients: something is locked, and it may have happened.
            raise RemoteRefused(replace(refusal(reply), why=Why.UNAVAILABLE))
        if reply.status == 404:
            # Not of a batch: of the file, the model, or of the whole API.
            told = refusal(reply)
            if told.why is Why.GONE and "file" not in told.message.lower():
                told = replace(told, why=Why.INVALID)
            raise RemoteRefused(told)
        return self._read_batch(reply)

    @staticmethod
    def _read_removed(reply: Reply) -> None:
        if reply.status != 404:
            _successful(reply)

    def _remote(self, batch: _Batch, reply: Reply) -> Remote:
        state = state_of(batch.status)
        if state is None:
            raise nonsense(reply, f"says that a batch is {shown(batch.status)[:40]!r}, which we do not know")
        metadata = batch.metadata or {}
        counts = batch.request_counts or _Counts()
        faults = (batch.errors.data or []) if batch.errors is not None else []
        lines = tuple(
            LineFault(
                line=fault.line,
                code=str(fault.code or "invalid_request"),
                message=shown(fault.message or "the provider refused this line"),
                param=fault.param,
            )
            for fault in faults
            if fault.line is not None
        )
        return Remote(
            id=batch.id,
            state=state,
            status=batch.status,
            counts=Counts(
                total=counts.total or 0, completed=counts.completed or 0, failed=counts.failed or 0
            ),
            created_at=_moment(batch.created_at),
            expires_at=_moment(batch.expires_at),
            shard_id=_text_or_none(metadata.get(SHARD_KEY)),
            fingerprint=_text_or_none(metadata.get(FINGERPRINT_KEY)),
            input_file=batch.input_file_id or None,
            result_files=tuple(ident for ident in (batch.output_file_id, batch.error_file_id) if ident),
            faults=lines,
            refusal=_failure(faults, lines) if state is RemoteState.FAILED else None,
        )


def state_of(status: str) -> RemoteState | None:
    """The state that a status names, in any spelling that was seen; None for an unknown one."""
    word = status.strip().lower().replace("-", "_").replace(" ", "_")
    return _STATES.get(word) or _SPELLINGS.get(word)


def refusal(reply: Reply) -> Refusal:
    """What an error answer in OpenAI's form means."""
    error = _error_in(reply.body)
    message = shown(error.message or f"the provider answered {reply.status}")
    code = str(error.code) if error.code is not None else None
    told = Refusal(
        why=_why(reply.status, code, message),
        message=message,
        status=reply.status,
        code=code,
        retry_after_s=reply.retry_after_s,
        limit_tokens=_limit_tokens(message),
    )
    return gone_or_lost(told, known=bool(error.message) and message.lower() != "not found")


def _why(status: int | None, code: str | None, message: str) -> Why:
    word = (code or "").lower()
    if word in _QUOTA_CODES or _QUOTA_WORDS.search(message):
        return Why.QUOTA
    if word in _KEY_CODES:
        return Why.KEY
    if word in _SIZE_CODES or says_too_large(status, message):
        return Why.TOO_LARGE
    about_model = word in _MODEL_CODES or (status != 403 and _MODEL_WORDS.search(message))
    if about_model and status in {None, 400, 403, 404, 422}:
        return Why.MODEL
    return Why.INVALID if status is None else why_of(status)


def _failure(faults: list[_Fault], lines: tuple[LineFault, ...]) -> Refusal:
    """Why a whole batch failed: by what is said of no line, or by what is said of all."""
    whole = next((fault for fault in faults if fault.line is None), None)
    if whole is not None:
        message = shown(whole.message or "the provider failed the batch")
        code = str(whole.code) if whole.code is not None else None
        why = _why(None, code, message)
        if why is Why.INVALID and whole.param in {"file_id", "input_file_id"}:
            why = Why.GONE
        return Refusal(why=why, message=message, code=code, limit_tokens=_limit_tokens(message))
    if not lines:
        return Refusal(why=Why.UNAVAILABLE, message="the provider failed the batch and does not say why")
    first = lines[0]
    # One model in a batch: what is wrong with it is wrong with the batch.
    same = {fault.code.lower() for fault in lines} <= _MODEL_CODES
    why = Why.MODEL if same else Why.INVALID
    return Refusal(
        why=why, message=f"{len(lines)} lines refused, the first: {first.message}", code=first.code
    )


def _successful(reply: Reply) -> Reply:
    if not 200 <= reply.status < 300:
        raise RemoteRefused(refusal(reply))
    return reply


def _error_in(body: bytes) -> _Error:
    try:
        told = msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Error()
    if isinstance(told.error, _Error):
        return told.error
    if isinstance(told.error, str):
        return _Error(message=told.error)
    detail = told.detail if isinstance(told.detail, str) else None
    return _Error(message=told.message or detail)


def _is_last(has_more: bool | None, last_id: str | None, after: str | None) -> bool:
    """Whether a list ends with this page.

    Where nobody says whether there is more (Groq), it does so with an empty page, or with the same one again.
    """
    return has_more is False or last_id is None or last_id == after


def _remote_file(file: _File) -> RemoteFile:
    status = (file.status or "").lower()
    if status in _FILE_BROKEN:
        message = f"the provider could not take in the file {file.id} ({status}); upload it again"
        raise RemoteRefused(Refusal(why=Why.GONE, message=message, code=status))
    return RemoteFile(id=file.id, size=file.bytes or 0, ready=status in _FILE_READY)


def _limit_tokens(message: str) -> int | None:
    found = _TOKENS.search(message)
    digits = re.sub(r"\D", "", found.group(1)) if found else ""
    return int(digits) if digits else None


def _moment(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and value > 0 else None


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _text(body: bytes) -> str:
    return shown(body.decode("utf-8", "replace"))

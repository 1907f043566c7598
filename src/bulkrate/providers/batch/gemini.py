"""The batches of the Gemini API: a file of requests, a job that is a long-running operation, a file of
answers.

The display name carries our shard's id and its fingerprint; the file is named after the fingerprint, so that
there can be only one of it. Speaks the Gemini Developer API, not Vertex AI, whose files are in buckets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from bulkrate.providers.batch.base import (
    SHARD_ID,
    Ask,
    Call,
    Content,
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
from bulkrate.providers.batch.languages import gemini as language
from bulkrate.providers.batch.languages.answers import embeddings, error_body
from bulkrate.providers.batch.languages.chat import Fields
from bulkrate.providers.batch.limits import Limits, limits_for
from bulkrate.providers.batch.multipart import file_name
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
    seconds,
    shown,
    why_of,
)

T = TypeVar("T")

#: All that is written about batches is about this version; newer SDKs say "v1".
VERSION = "v1beta"
#: As in `openai.py`: never reached in practice, and never taken for "there is none".
PAGES_MAX = 1_000
# An id of a file has at most 40 letters: documented at ai.google.dev/api/files.
_FILE_HEAD = 31

_STATES = {
    "QUEUED": RemoteState.VALIDATING,
    "PENDING": RemoteState.VALIDATING,
    "RUNNING": RemoteState.RUNNING,
    "UPDATING": RemoteState.RUNNING,
    "PAUSED": RemoteState.RUNNING,
    "CANCELLING": RemoteState.FINISHING,
    "SUCCEEDED": RemoteState.COMPLETED,
    "PARTIALLY_SUCCEEDED": RemoteState.COMPLETED,
    "FAILED": RemoteState.FAILED,
    "CANCELLED": RemoteState.CANCELLED,
    "EXPIRED": RemoteState.EXPIRED,
}
# The HTTP statuses of gRPC's codes, after google/rpc/code.proto.
_STATUS_OF = {
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
_CANCELLED = 1
_DEADLINE = 4


class _Error(msgspec.Struct):
    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: Any = None


class _ErrorBody(msgspec.Struct):
    error: _Error


class _Stats(msgspec.Struct, rename="camel"):
    # Google's JSON has 64-bit numbers as texts: these are read without being strict.
    request_count: int = 0
    successful_request_count: int = 0
    failed_request_count: int = 0


class _Output(msgspec.Struct, rename="camel"):
    responses_file: str | None = None


class _Input(msgspec.Struct, rename="camel"):
    file_name: str | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    state: str = ""
    display_name: str = ""
    create_time: str | None = None
    batch_stats: _Stats | None = None
    input_config: _Input | None = None
    output: _Output | None = None


class _Operation(msgspec.Struct):
    name: str
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    response: _Output | None = None
    error: _Error | None = None


class _Page(msgspec.Struct, rename="camel"):
    operations: list[_Operation] = []
    next_page_token: str | None = None


class _File(msgspec.Struct, rename="camel"):
    name: str
    size_bytes: int = 0
    state: str = ""


class _Uploaded(msgspec.Struct):
    file: _File


class _Line(msgspec.Struct):
    key: str
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None
    status: _Error | None = None


_line = msgspec.json.Decoder(_Line)
_answer = msgspec.json.Decoder(language.Answer)
_encode = msgspec.json.encode
_SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiBatch:
    """Batches of the Gemini Developer API."""

    name: str = "gemini"
    between: bytes = b"\n"
    endpoints: frozenset[str] = frozenset({"/v1/chat/completions", "/v1/embeddings"})
    url_default: str | None = "https://generativelanguage.googleapis.com"
    key_names: tuple[str, ...] = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    version: str = VERSION

    def base(self, url: str) -> str:
        """See `Vendor`."""
        return url.rstrip("/").removesuffix("/openai").removesuffix("/v1beta").removesuffix("/v1")

    def auth(self, key: str) -> dict[str, str]:
        """See `Vendor`."""
        return {"x-goog-api-key": key}

    def limits(self, model: str) -> Limits:
        """See `Vendor`."""
        return limits_for(self.name, model)

    def to_vendor(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        """See `Vendor`."""
        fields = Fields(body, "Gemini")
        request = language.embedding(fields) if endpoint == "/v1/embeddings" else language.chat(fields)
        return _encode({"key": custom_id, "request": request})

    def from_vendor(self, shard: Shard, line: bytes, *, created: int) -> Result:
        """See `Vendor`."""
        found = read_line(line, _line)
        if isinstance(found, str):
            return no_answer(found, INVALID_ANSWER, "the result is not what the provider promises")
        error = found.error or found.status
        if error is not None:
            return _failed(found.key, error)
        try:
            answer = _answer.decode(found.response)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return no_answer(found.key, INVALID_ANSWER, "the answer is not what generateContent promises")
        if shard.endpoint == "/v1/embeddings":
            return _embedded(found.key, shard.model, answer)
        if (candidate := language.broken(answer)) is not None:
            reason = candidate.finish_reason or ""
            message = f"the model's answer is broken: {candidate.finish_message or reason}"
            body = error_body(shown(message), "server_error", reason.lower())
            return Result(custom_id=found.key, status=502, body=body, request_id=answer.response_id or "")
        body = language.completion(answer, ident=found.key, model=shard.model, created=created)
        return Result(custom_id=found.key, status=200, body=body, request_id=answer.response_id or "")

    # Files

    def upload(self, shard: Shard) -> Ask[RemoteFile]:
        """See `Vendor`. Two steps: an address is asked for, then the content is sent there."""
        about = {"file": {"name": _file_id(shard), "displayName": file_name(shard)}}
        begin = post(
            f"/upload/{self.version}/files",
            about,
            ("x-goog-upload-protocol", "resumable"),
            ("x-goog-upload-command", "start"),
            ("x-goog-upload-header-content-length", str(shard.size)),
            ("x-goog-upload-header-content-type", "application/jsonl"),
        )

        def read_address(reply: Reply) -> Ask[RemoteFile]:
            if reply.status == 409:
                # The name is the content's: it is there already.
                return replace(self.look_file(_file_id(shard)), read=self._read_known)
            url = _successful(reply).headers.get("x-goog-upload-url")
            if not url:
                raise nonsense(reply, "gives no address to upload to")
            send = Call(
                method="POST",
                path=url,
                headers=(("x-goog-upload-offset", "0"), ("x-goog-upload-command", "upload, finalize")),
                body=Content(before=b"", after=b""),
                keyless=True,
            )
            return Ask(send, lambda sent: _remote_file(_read(sent, _Uploaded).file))

        return Ask(begin, read_address)

    def _read_known(self, reply: Reply) -> RemoteFile | Ask[RemoteFile]:
        """A file that has the name of one that is sent up; a broken one makes room, and is GONE then."""
        file = _read(reply, _File)
        if file.state != "FAILED":
            return _remote_file(file)
        return Ask(self._removal(file.name).call, lambda _: _remote_file(file))

    def look_file(self, file_id: str) -> Ask[RemoteFile]:
        """See `Vendor`."""
        return Ask(
            Call(method="GET", path=f"/{self.version}/{_path(file_id)}"),
            lambda reply: _remote_file(_read(reply, _File)),
        )

    def find_file(self, shard: Shard) -> Ask[RemoteFile | None]:
        """See `Vendor`. A file that is not there is answered with 404, or with 403 as somebody else's."""

        def read_found(reply: Reply) -> RemoteFile | None:
            if reply.status in {403, 404}:
                told = _refusal(reply)
                if told.why is Why.GONE:
                    return None
            file = _remote_file(_read(reply, _File))
            return file if file.size == shard.size else None

        return Ask(Call(method="GET", path=f"/{self.version}/{_file_id(shard)}"), read_found)

    def remove_file(self, file_id: str) -> Ask[None]:
        """See `Vendor`."""
        return self._removal(file_id)

    # Batches

    def create(self, shard: Shard, file_id: str | None) -> Ask[Remote]:
        """See `Vendor`."""
        method = "asyncBatchEmbedContent" if shard.endpoint == "/v1/embeddings" else "batchGenerateContent"
        model = quoted(shard.model.removeprefix("models/"))
        batch = {"displayName": _display_name(shard), "inputConfig": {"fileName": file_id}}

        def read_created(reply: Reply) -> Remote:
            if reply.status in {404, 429}:
                # What is not found is the model; what is used up is the batches' quota.
                why = Why.MODEL if reply.status == 404 else Why.QUOTA
                told = _refusal(reply)
                raise RemoteRefused(replace(told, why=_about_file(told) or why))
            return self._read_batch(reply)

        return Ask(post(f"/{self.version}/models/{model}:{method}", {"batch": batch}), read_created)

    def find(self, shard: Shard, *, since: int, file_id: str | None = None) -> Ask[tuple[Found, ...]]:
        """See `Vendor`. The order of the list is not documented: `since` does not end it."""
        del since
        return self._find(shard, file_id, "", 1)

    def look(self, remote_id: str) -> Ask[Remote]:
        """See `Vendor`."""
        return Ask(Call(method="GET", path=f"/{self.version}/{_path(remote_id)}"), self._read_batch)

    def results(self, remote: Remote) -> tuple[Call, ...]:
        """See `Vendor`."""
        return tuple(
            Call(method="GET", path=f"/{self.version}/{_path(ident)}:download?alt=media", expect=Expect.LINES)
            for ident in remote.result_files
        )

    def refused(self, reply: Reply) -> Refusal:
        """See `Vendor`."""
        return _refusal(reply)

    def cancel(self, remote_id: str) -> Ask[Remote]:
        """See `Vendor`. The answer is empty; the batch is looked at then."""

        def read_cancelled(reply: Reply) -> Ask[Remote]:
            if reply.status == 400:
                raise RemoteRefused(replace(_refusal(reply), why=Why.CONFLICT))
            _successful(reply)
            return self.look(remote_id)

        return Ask(Call(method="POST", path=f"/{self.version}/{_path(remote_id)}:cancel"), read_cancelled)

    def clean(self, remote: Remote) -> tuple[Ask[None], ...]:
        """See `Vendor`."""
        ids = (remote.input_file, *remote.result_files, remote.id)
        return tuple(self._removal(ident) for ident in ids if ident)

    def _find(self, shard: Shard, file_id: str | None, token: str, page: int) -> Ask[tuple[Found, ...]]:
        path = f"/{self.version}/batches?pageSize=100" + (f"&pageToken={quoted(token)}" if token else "")

        def read_page(reply: Reply) -> tuple[Found, ...] | Ask[tuple[Found, ...]]:
            found = _read(reply, _Page)
            for operation in found.operations:
                about = operation.metadata
                source = about.input_config.file_name if about.input_config is not None else None
                if _ours(about.display_name)[0] == shard.id or (file_id and source == file_id):
                    return (Found(remote=_remote(operation, reply), sure=True),)
            if not found.next_page_token or found.next_page_token == token:
                return ()
            if page >= PAGES_MAX:
                raise nonsense(reply, "never comes to the end of its list of batches")
            return self._find(shard, file_id, found.next_page_token, page + 1)

        return Ask(Call(method="GET", path=path), read_page)

    def _removal(self, name: str) -> Ask[None]:
        def read_removed(reply: Reply) -> None:
            if not 200 <= reply.status < 300:
                told = _refusal(reply)
                if told.why is not Why.GONE:
                    raise RemoteRefused(told)

        return Ask(Call(method="DELETE", path=f"/{self.version}/{_path(name)}"), read_removed)

    @staticmethod
    def _read_batch(reply: Reply) -> Remote:
        return _remote(_read(reply, _Operation), reply)


def _file_id(shard: Shard) -> str:
    return f"files/bulkrate-{shard.fingerprint[:_FILE_HEAD]}"


def _display_name(shard: Shard) -> str:
    return f"bulkrate:{shard.id}:{shard.fingerprint}"


def _ours(display_name: str) -> tuple[str | None, str | None]:
    """The shard's id and its fingerprint, out of a display name of ours."""
    mark, _, rest = display_name.partition(":")
    shard_id, _, fingerprint = rest.partition(":")
    return (
        (shard_id, fingerprint or None)
        if mark == "bulkrate" and SHARD_ID.fullmatch(shard_id)
        else (None, None)
    )


def _path(name: str) -> str:
    """A resource's name, such as `files/abc`, as a part of a path."""
    return quote(name, safe="/")


def _remote_file(file: _File) -> RemoteFile:
    if file.state == "FAILED":
        message = f"the provider could not take in {file.name}; upload it again"
        raise RemoteRefused(Refusal(why=Why.GONE, message=message, code=file.state))
    return RemoteFile(id=file.name, size=file.size_bytes, ready=file.state in {"", "ACTIVE"})


def _remote(operation: _Operation, reply: Reply) -> Remote:
    about = operation.metadata
    word = about.state.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    state = _STATES.get(word)
    if state is None:
        raise nonsense(reply, f"says that a batch is {shown(about.state)[:40]!r}, which we do not know")
    stats = about.batch_stats or _Stats()
    shard_id, fingerprint = _ours(about.display_name)
    output = (operation.response.responses_file if operation.response else None) or (
        about.output.responses_file if about.output else None
    )
    return Remote(
        id=operation.name,
        state=state,
        status=about.state,
        counts=Counts(
            total=stats.request_count,
            completed=stats.successful_request_count,
            failed=stats.failed_request_count,
        ),
        created_at=seconds(about.create_time),
        shard_id=shard_id,
        fingerprint=fingerprint,
        input_file=about.input_config.file_name if about.input_config else None,
        result_files=(output,) if output else (),
        refusal=_failure(operation.error) if state is RemoteState.FAILED else None,
    )


def _failure(error: _Error | None) -> Refusal:
    if error is None:
        return Refusal(why=Why.UNAVAILABLE, message="the provider failed the batch and does not say why")
    status = _http_status(error)
    told = Refusal(
        why=Why.QUOTA if status == 429 else why_of(status),
        message=shown(error.message or "the provider failed the batch"),
        code=error.status or str(error.code),
    )
    return replace(told, why=_about_file(told) or told.why)


def _about_file(told: Refusal) -> Why | None:
    """GONE when a refusal is about a file that is not there."""
    return Why.GONE if "file" in told.message.lower() and told.why in {Why.GONE, Why.KEY} else None


def _failed(key: str, error: _Error) -> Result:
    message = shown(error.message or "the line failed")
    if error.code == _CANCELLED:
        return no_answer(key, "batch_cancelled", message)
    if error.code == _DEADLINE:
        return no_answer(key, "request_timeout", message)
    kind = (error.status or "").lower() or "upstream_error"
    return Result(custom_id=key, status=_http_status(error), body=error_body(message, kind))


def _http_status(error: _Error) -> int:
    """The HTTP status of an error, whether its code is gRPC's or HTTP's own."""
    code = error.code or 0
    return code if code >= 400 else _STATUS_OF.get(code, 500)


def _embedded(key: str, model: str, answer: language.Answer) -> Result:
    if answer.embedding is None or not answer.embedding.values:
        return no_answer(key, INVALID_ANSWER, "the answer has no embedding")
    usage = answer.usage_metadata or language.Usage()
    body = embeddings(model=model, vectors=[answer.embedding.values], prompt=usage.prompt_token_count or 0)
    return Result(custom_id=key, status=200, body=body, request_id=answer.response_id or "")


def _successful(reply: Reply) -> Reply:
    if not 200 <= reply.status < 300:
        raise RemoteRefused(_refusal(reply))
    return reply


def _read(reply: Reply, shape: type[T]) -> T:
    return read(_successful(reply), shape, strict=False)


def _refusal(reply: Reply) -> Refusal:
    try:
        error = msgspec.json.decode(reply.body, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        error = _Error()
    message = shown(error.message or f"the provider answered {reply.status}")
    why = why_of(reply.status)
    if reply.status == 400 and "api key" in message.lower():
        why = Why.KEY
    elif reply.status == 403 and "may not exist" in message:
        why = Why.GONE
    elif says_too_large(reply.status, message):
        why = Why.TOO_LARGE
    told = Refusal(
        why=why,
        message=message,
        status=reply.status,
        code=error.status,
        retry_after_s=reply.retry_after_s or _retry_after_s(error),
    )
    return gone_or_lost(told, known=bool(error.status))


def _retry_after_s(error: _Error) -> float | None:
    """How long to wait, which Google says in the details of an error: `"retryDelay": "30s"`."""
    for detail in error.details if isinstance(error.details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (found := _SECONDS.fullmatch(delay)):
            return float(found[1])
    return None

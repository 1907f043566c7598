"""Anthropic's Message Batches: requests inline, one result file, the Messages API's language.

Anthropic keeps no metadata: a batch is known as ours by its time and size, and for certain by the custom ids
in its results.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from bulkrate.providers.batch.base import (
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
from bulkrate.providers.batch.languages import anthropic as language
from bulkrate.providers.batch.languages.answers import error_body
from bulkrate.providers.batch.languages.chat import Fields
from bulkrate.providers.batch.limits import Limits, limits_for
from bulkrate.providers.batch.replies import (
    INVALID_ANSWER,
    gone_or_lost,
    no_answer,
    nonsense,
    quoted,
    read,
    read_line,
    seconds,
    shown,
    why_of,
)

T = TypeVar("T")

_BATCHES = "/v1/messages/batches"
#: As in `openai.py`: never reached in practice, and never taken for "there is none".
PAGES_MAX = 1_000
#: The API requires a limit. This is the longest answer that every Claude model can give.
MAX_TOKENS = 4_096
#: The last version that takes temperature and top_p; later ones refuse them
#: (platform.claude.com/docs/en/api/versioning).
VERSION = "2023-06-01"

_STATES = {
    "in_progress": RemoteState.RUNNING,
    "canceling": RemoteState.FINISHING,
    "ended": RemoteState.COMPLETED,
}
# The types of platform.claude.com, api/errors, with their HTTP status.
_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class _Counts(msgspec.Struct):
    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired


class _Batch(msgspec.Struct):
    id: str
    processing_status: str
    request_counts: _Counts
    created_at: str | None = None
    expires_at: str | None = None
    ended_at: str | None = None
    results_url: str | None = None


class _Page(msgspec.Struct):
    data: list[_Batch]
    has_more: bool = False
    last_id: str | None = None


class _Error(msgspec.Struct):
    type: str = "api_error"
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Error
    request_id: str | None = None


class _Outcome(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    result: _Outcome


_ARCHIVED = Refusal(why=Why.GONE, message="the results are older than 29 days and gone")

_line = msgspec.json.Decoder(_Line)
_answer = msgspec.json.Decoder(language.Answer)
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicBatch:
    """Message Batches.

    `max_tokens` is for lines that say none. `drop` names fields of lines that are left out instead of
    refused.
    """

    name: str = "anthropic"
    between: bytes = b","
    endpoints: frozenset[str] = frozenset({"/v1/chat/completions"})
    url_default: str | None = "https://api.anthropic.com"
    key_names: tuple[str, ...] = ("ANTHROPIC_API_KEY",)
    version: str = VERSION
    max_tokens: int = MAX_TOKENS

    def base(self, url: str) -> str:
        """See `Vendor`."""
        return url.rstrip("/").removesuffix("/v1")

    def auth(self, key: str) -> dict[str, str]:
        """See `Vendor`."""
        return {"x-api-key": key}

    def limits(self, model: str) -> Limits:
        """See `Vendor`."""
        return limits_for(self.name, model)

    def to_vendor(self, custom_id: str, endpoint: str, body: bytes) -> bytes:  # noqa: ARG002  # there is one
        """See `Vendor`."""
        fields = Fields(body, "Anthropic")
        params = language.request(fields, version=self.version, max_tokens=self.max_tokens)
        return _encode({"custom_id": custom_id, "params": params})

    def from_vendor(self, shard: Shard, line: bytes, *, created: int) -> Result:  # noqa: ARG002
        """See `Vendor`."""
        found = read_line(line, _line)
        if isinstance(found, str):
            return no_answer(found, INVALID_ANSWER, "the result is not what the provider promises")
        outcome = found.result
        if outcome.type == "succeeded":
            return _answered(found.custom_id, outcome.message, created)
        if outcome.type == "errored":
            return _errored(found.custom_id, outcome.error)
        if outcome.type == "expired":
            code, told = "batch_expired", "the batch's time was up before this line ran"
        elif outcome.type == "canceled":
            code, told = "batch_cancelled", "the batch was cancelled before this line ran"
        else:
            code, told = INVALID_ANSWER, "the result is none that we know"
        return no_answer(found.custom_id, code, told)

    # Files: there are none, `create` takes the lines themselves.

    def upload(self, shard: Shard) -> None:
        """See `Vendor`."""

    def find_file(self, shard: Shard) -> None:
        """See `Vendor`."""

    def look_file(self, file_id: str) -> Ask[RemoteFile]:
        """See `Vendor`."""
        raise NotImplementedError("Message Batches have no files")

    def remove_file(self, file_id: str) -> Ask[None]:
        """See `Vendor`."""
        raise NotImplementedError("Message Batches have no files")

    # Batches

    def create(self, shard: Shard, file_id: str | None) -> Ask[Remote]:  # noqa: ARG002
        """See `Vendor`."""
        call = Call(
            method="POST",
            path=_BATCHES,
            headers=(("content-type", "application/json"), self._version),
            body=Content(before=b'{"requests":[', after=b"]}"),
        )
        return Ask(call, self._read_batch)

    def find(self, shard: Shard, *, since: int, file_id: str | None = None) -> Ask[tuple[Found, ...]]:  # noqa: ARG002
        """See `Vendor`: all of the shard's size, none of them `sure`."""
        return self._find(shard, since, (), None, 1)

    def look(self, remote_id: str) -> Ask[Remote]:
        """See `Vendor`."""
        return Ask(self._call("GET", f"/{quoted(remote_id)}"), self._read_batch)

    def results(self, remote: Remote) -> tuple[Call, ...]:
        """See `Vendor`. Our own URL and not the `results_url`, so that the key goes nowhere else."""
        return tuple(
            self._call("GET", f"/{quoted(ident)}/results", Expect.LINES) for ident in remote.result_files
        )

    def refused(self, reply: Reply) -> Refusal:
        """See `Vendor`."""
        return _refusal(reply)

    def cancel(self, remote_id: str) -> Ask[Remote]:
        """See `Vendor`."""

        def read_cancelled(reply: Reply) -> Remote:
            if reply.status == 400:
                raise RemoteRefused(replace(_refusal(reply), why=Why.CONFLICT))
            return self._read_batch(reply)

        return Ask(self._call("POST", f"/{quoted(remote_id)}/cancel"), read_cancelled)

    def clean(self, remote: Remote) -> tuple[Ask[None], ...]:
        """See `Vendor`: the batch and its results go together."""
        return (Ask(self._call("DELETE", f"/{quoted(remote.id)}"), _read_removed),)

    @property
    def _version(self) -> tuple[str, str]:
        return ("anthropic-version", self.version)

    def _call(self, method: str, path: str, expect: Expect = Expect.WHOLE) -> Call:
        return Call(method=method, path=_BATCHES + path, headers=(self._version,), expect=expect)

    def _find(
        self, shard: Shard, since: int, found: tuple[Found, ...], after: str | None, page: int
    ) -> Ask[tuple[Found, ...]]:
        path = "?limit=100" + (f"&after_id={quoted(after)}" if after else "")

        def read_page(reply: Reply) -> tuple[Found, ...] | Ask[tuple[Found, ...]]:
            listed = read(_successful(reply), _Page)
            fresh = [one for one in listed.data if (seconds(one.created_at) or since) >= since]
            more = found + tuple(
                Found(remote=_remote(one, reply), sure=False)
                for one in fresh
                if one.request_counts.total == shard.lines
            )
            # Newest first: behind one that is older than the intent there is none that is ours.
            last = listed.data[-1].id if listed.data else after
            if not listed.has_more or len(fresh) < len(listed.data) or last is None or last == after:
                return more
            if page >= PAGES_MAX:
                raise nonsense(reply, "never comes to the end of its list of batches")
            return self._find(shard, since, more, last, page + 1)

        return Ask(self._call("GET", path), read_page)

    @staticmethod
    def _read_batch(reply: Reply) -> Remote:
        return _remote(read(_successful(reply), _Batch), reply)


def _answered(custom_id: str, message: msgspec.Raw, created: int) -> Result:
    try:
        answer = _answer.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return no_answer(custom_id, INVALID_ANSWER, "the answer is not what the Messages API promises")
    body = language.completion(answer, created=created)
    return Result(custom_id=custom_id, status=200, body=body, request_id=answer.id)


def _errored(custom_id: str, raw: msgspec.Raw) -> Result:
    """The error of a line: an error body, or only what is inside of one, as the guide's example has it."""
    told = _told(raw, _ErrorBody) or _ErrorBody(_told(raw, _Error) or _Error(message="the request failed"))
    error = told.error
    return Result(
        custom_id=custom_id,
        status=_STATUS_OF.get(error.type) or _STATUS_OF.get(f"{error.type}_error", 500),
        body=error_body(error.message, error.type),
        request_id=told.request_id or "",
    )


def _told(raw: bytes | msgspec.Raw, shape: type[T]) -> T | None:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _remote(batch: _Batch, reply: Reply) -> Remote:
    state = _STATES.get(batch.processing_status)
    if state is None:
        word = shown(batch.processing_status)[:40]
        raise nonsense(reply, f"says that a batch is {word!r}, which we do not know")
    counts = batch.request_counts
    if state is RemoteState.COMPLETED and counts.canceled:
        state = RemoteState.CANCELLED
    elif state is RemoteState.COMPLETED and counts.expired:
        state = RemoteState.EXPIRED
    gone = state.ended and not batch.results_url
    return Remote(
        id=batch.id,
        state=state,
        status=batch.processing_status,
        counts=Counts(
            total=counts.total,
            completed=counts.succeeded,
            failed=counts.errored,
        ),
        created_at=seconds(batch.created_at),
        expires_at=seconds(batch.expires_at),
        result_files=() if gone or not state.ended else (batch.id,),
        refusal=_ARCHIVED if gone else None,
    )


def _successful(reply: Reply) -> Reply:
    if not 200 <= reply.status < 300:
        raise RemoteRefused(_refusal(reply))
    return reply


def _read_removed(reply: Reply) -> None:
    if reply.status != 404:
        _successful(reply)


def _refusal(reply: Reply) -> Refusal:
    told = _told(reply.body, _ErrorBody)
    error = told.error if told is not None else _Error(type="")
    message = shown(error.message or f"the provider answered {reply.status}")
    why = why_of(reply.status)
    if why is Why.INVALID and "credit balance" in message:
        why = Why.KEY
    elif why is Why.BUSY and ("batch" in message or "queue" in message):
        # The limit of requests that wait in batches, and not that of HTTP calls.
        why = Why.QUOTA
    refusal = Refusal(
        why=why,
        message=message,
        status=reply.status,
        code=error.type or None,
        retry_after_s=reply.retry_after_s,
    )
    return gone_or_lost(refusal, known=bool(error.type))

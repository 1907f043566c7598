"""The seam to whoever answers a whole group of lines hours later: values in, values out, never a byte sent.

A `Vendor` says what to ask and reads what was answered; a hand with a network does the asking. An operation
is an `Ask`: the `Call` to make, and `read`, which takes its `Reply` and gives the result or the next `Ask`
(a second step, a next page). One loop serves every operation of every vendor:

    async def do(ask):
        while isinstance(ask, Ask):
            ask = ask.read(await send(ask.call))
        return ask

`send` joins `call.path` to `vendor.base(url)` (a path that begins with `http` is a whole URL already), adds
`vendor.auth(key)` and the upstream's own headers, and hands every reply to `read`, whatever its status.
`read` raises `RemoteRefused` for everything but success; its `refusal.why` says what to do.

A shard's life, in calls: `to_vendor` for each line; `upload` (where there are files) until the file is
`ready`; `create`; `look` until the state has `ended`; `results`, every line of each through `from_vendor`;
`clean`. After a lost answer: `find` the batch, or `find_file` the upload, before anything is done again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from bulkrate.errors import BulkrateError
from bulkrate.providers.batch.limits import Limits

T = TypeVar("T")

#: What a shard's id may look like: it stands in file names, in metadata, and at the head of every
#: `custom_id`.
SHARD_ID = re.compile(r"[A-Za-z0-9_]{1,48}")
#: The keys of our two entries in a remote batch's metadata.
SHARD_KEY = "bulkrate_shard"
FINGERPRINT_KEY = "bulkrate_fingerprint"


def line_id(shard_id: str, number: int) -> str:
    """The `custom_id` that a line has at the provider: short, of letters every vendor takes, the shard's id
    in it.

    Anthropic takes `^[a-zA-Z0-9_-]{1,64}$`, and shows nothing else by which a batch could be known as ours.
    """
    return f"{shard_id}-{number}"


def read_line_id(custom_id: str) -> tuple[str, int] | None:
    """The shard's id and the number out of a `line_id`; None when it is not one of ours."""
    shard_id, _, number = custom_id.rpartition("-")
    if not SHARD_ID.fullmatch(shard_id) or not (number.isascii() and number.isdigit() and len(number) <= 12):
        return None
    return shard_id, int(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A group of lines that goes out as one remote batch.

    Its content is the lines as `to_vendor` gave them, with `vendor.between` between two of them and nothing
    at the end.
    """

    #: Ours, matching `SHARD_ID`; another for each attempt, so that every remote batch has its own.
    id: str
    #: SHA-256 of the content, in hex.
    fingerprint: str
    endpoint: str
    #: The model as the provider calls it. The first line's, where a batch may mix models.
    model: str
    #: How many lines, and how many bytes of content.
    lines: int
    size: int
    #: One of the provider's windows.
    window: str = "24h"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A body that is too large for memory: `before`, the shard's content, `after`.

    Its length is `len(before) + shard.size + len(after)`; send it as `content-length`, never chunked.
    """

    before: bytes
    after: bytes


class Expect(Enum):
    """What kind of answer to a call is to come."""

    #: A small one: read it whole, at most `REPLY_BYTES_MAX`, and hand it to `read`.
    WHOLE = "whole"
    #: Lines of any number: stream them to a file. A 2xx that ends before its `content-length` is truncated.
    LINES = "lines"


#: No answer that is read whole is longer: a page of a hundred batches, each with thousands of line errors.
REPLY_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request, without the key. Header names are in lower case."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Content | None = None
    expect: Expect = Expect.WHOLE
    #: The whole URL in `path` is a permit in itself, and may be on another host: the key is not sent to it.
    keyless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back. `headers` have names in lower case; `retry_after_s` is read by who received them."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """A call, and what reads its answer: the result, or the next thing to ask.

    `read` raises `RemoteRefused`.
    """

    call: Call
    read: Callable[[Reply], T | Ask[T]]


class Why(Enum):
    """Why a provider did not do what was asked, and so what to do about it.

    `waits`: the same call may succeed later, and nothing is wrong with the shard. `unsure`: after a
    `create`, the batch may exist all the same; `find` it before creating again.
    """

    #: The quota of enqueued tokens, requests or batches is full: wait until something ends.
    QUOTA = ("quota", True, False)
    #: Too many calls a minute or an hour: wait `retry_after_s`.
    BUSY = ("busy", True, False)
    #: The provider is down, gave nonsense, or timed out.
    UNAVAILABLE = ("unavailable", True, True)
    #: The key is wrong, may not do this, or its account is out of money: somebody must act.
    KEY = ("key", False, False)
    #: The provider has no such model, or none for batches.
    MODEL = ("model", False, False)
    #: More lines, bytes or tokens than fit into one batch: cut it smaller.
    TOO_LARGE = ("too_large", False, False)
    #: There is no such batch or file (any more).
    GONE = ("gone", False, False)
    #: The state does not allow it: cancelling what has ended, deleting what runs.
    CONFLICT = ("conflict", False, False)
    #: Anything else that is wrong with what was asked.
    INVALID = ("invalid", False, False)

    def __init__(self, code: str, waits: bool, unsure: bool) -> None:
        self.code = code
        self.waits = waits
        self.unsure = unsure


#: A provider's words are cut to so many characters.
MESSAGE_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a provider refused. `message` is its own words, cut to `MESSAGE_MAX` characters."""

    why: Why
    message: str
    #: The HTTP status, None when the refusal came inside a batch object.
    status: int | None = None
    #: The provider's code for it, such as `token_limit_exceeded`.
    code: str | None = None
    retry_after_s: float | None = None
    #: The size of the quota, where the provider says it: tokens that may be enqueued for this model.
    limit_tokens: int | None = None


class RemoteRefused(BulkrateError):
    """A provider of batches did not do what was asked."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Untranslatable(BulkrateError):
    """A line asks for what a provider's language has no word for. `param` is the field in OpenAI's terms."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message


class Garbled(BulkrateError):
    """A result line cannot be read: the file is truncated, or not what it should be. Download it again."""


class RemoteState(Enum):
    """Where a remote batch is. These are all; each vendor's spellings are mapped onto them."""

    VALIDATING = "validating"
    RUNNING = "running"
    #: Its answers are being written, or it is being cancelled.
    FINISHING = "finishing"
    COMPLETED = "completed"
    #: Time was up; what had been answered is there (and paid).
    EXPIRED = "expired"
    #: By us or by somebody else; what had been answered is there (and paid).
    CANCELLED = "cancelled"
    #: Refused at validation, or broken; see `Remote.refusal` and `Remote.faults`. There may still be results.
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether it will never change again."""
        return self in _ENDED


_ENDED = {RemoteState.COMPLETED, RemoteState.EXPIRED, RemoteState.CANCELLED, RemoteState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFault:
    """Why validation refused one line. `line` counts the shard's lines from 1."""

    line: int
    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The provider's own counts, as far as it gives any; 0 where it does not."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A remote batch as its provider shows it."""

    id: str
    state: RemoteState
    counts: Counts = Counts()
    #: The provider's own word for the state, for people.
    status: str = ""
    #: Unix seconds.
    created_at: int | None = None
    expires_at: int | None = None
    #: Ours, out of its metadata or name; None where the vendor shows neither, or it is not ours.
    shard_id: str | None = None
    fingerprint: str | None = None
    #: File ids; empty ids are left out.
    input_file: str | None = None
    result_files: tuple[str, ...] = ()
    #: Line errors of validation, in line order, and why the whole of it failed.
    faults: tuple[LineFault, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A remote batch that may be a shard's.

    `sure` when it says so itself. Otherwise (Anthropic) it was only created at the time and is of the size:
    it is the shard's if, once it has ended, its first result line has a `custom_id` with the shard's id in
    it (`read_line_id`). Until then the shard must not be created again.
    """

    remote: Remote
    sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """An uploaded file. Not `ready`: the provider still looks at it; ask `look_file` again in a moment."""

    id: str
    size: int
    ready: bool


class Fate(Enum):
    """What a result line means for its line. `again`: it may go out once more."""

    ANSWERED = ("answered", False)
    #: Wrong for good (4xx).
    REFUSED = ("refused", False)
    #: Ran and failed for now (429, 5xx, a time-out).
    TRANSIENT = ("transient", True)
    #: Never ran and was never billed.
    UNRUN = ("unrun", True)

    def __init__(self, code: str, again: bool) -> None:
        self.code = code
        self.again = again


_FOR_NOW = {408, 409, 425, 429, 499}
_UNRUN = {"batch_expired", "batch_cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One result line, in OpenAI's terms.

    With a `status`, `body` is the answer or the error body, a JSON object. Without one the line has no HTTP
    answer, and `code` and `message` say why: `batch_expired`, `batch_cancelled`, `request_timeout`, or the
    provider's own.
    """

    custom_id: str
    status: int | None
    body: bytes = b""
    request_id: str = ""
    code: str = ""
    message: str = ""

    @property
    def fate(self) -> Fate:
        """What this means for the line."""
        if self.status is None:
            return Fate.UNRUN if self.code in _UNRUN else Fate.TRANSIENT
        if 200 <= self.status < 300:
            return Fate.ANSWERED
        return Fate.TRANSIENT if self.status in _FOR_NOW or self.status >= 500 else Fate.REFUSED


class Vendor(Protocol):
    """How one provider of batches speaks. Frozen and without state: one serves all shards of an upstream."""

    @property
    def name(self) -> str:
        """The provider, a key of `limits.LIMITS`."""
        ...

    @property
    def between(self) -> bytes:
        """What stands between two lines of a shard's content."""
        ...

    @property
    def endpoints(self) -> frozenset[str]:
        """The endpoints that its batches are for, as OpenAI writes them."""
        ...

    @property
    def url_default(self) -> str | None:
        """Where its API is, when the upstream says no URL. None: everybody has a place of their own."""
        ...

    @property
    def key_names(self) -> tuple[str, ...]:
        """The environment variables in which people keep its key, most usual first."""
        ...

    def base(self, url: str) -> str:
        """What calls are joined to, from the upstream's URL as people write it, with or without `/v1`."""
        ...

    def auth(self, key: str) -> dict[str, str]:
        """The headers that carry the key."""
        ...

    def limits(self, model: str) -> Limits:
        """What fits into one batch for this model."""
        ...

    # Lines

    def to_vendor(self, custom_id: str, endpoint: str, body: bytes) -> bytes:
        """One line of a shard's content, without a newline, from an OpenAI body (a JSON object).

        Raises `Untranslatable`, which is final for this line at this provider.
        """
        ...

    def from_vendor(self, shard: Shard, line: bytes, *, created: int) -> Result:
        """A line of a result file, in OpenAI's terms. `created` (Unix seconds) dates answers that say no
        time.

        Raises `Garbled`.
        """
        ...

    # Files

    def upload(self, shard: Shard) -> Ask[RemoteFile] | None:
        """Send the content as a file named after the shard; None where `create` takes the content itself."""
        ...

    def look_file(self, file_id: str) -> Ask[RemoteFile]:
        """Whether a file is ready. Only for vendors with an `upload`."""
        ...

    def find_file(self, shard: Shard) -> Ask[RemoteFile | None] | None:
        """The file of this shard, if it was uploaded whole; None where there are no files."""
        ...

    def remove_file(self, file_id: str) -> Ask[None]:
        """Remove a file; one that is not there is removed."""
        ...

    # Batches

    def create(self, shard: Shard, file_id: str | None) -> Ask[Remote]:
        """Begin the batch, with the shard's id and fingerprint where the vendor has room for them.

        The one call that buys. Never repeat it after `Why.unsure` or a lost answer without `find`.
        """
        ...

    def find(self, shard: Shard, *, since: int, file_id: str | None = None) -> Ask[tuple[Found, ...]]:
        """Remote batches that are, or may be, this shard's, created at `since` (Unix seconds) or later.

        Allow for clocks: give a `since` some minutes before the intent. With the `file_id` of the upload it
        is found where the provider keeps no metadata, too. A batch that is `sure` comes alone.
        """
        ...

    def look(self, remote_id: str) -> Ask[Remote]:
        """The batch as it is now. `Why.GONE` when somebody deleted it."""
        ...

    def results(self, remote: Remote) -> tuple[Call, ...]:
        """The calls, each `Expect.LINES`, that bring all results of an ended batch; none if there are none.

        A line may stand in any of them, in any order. A status other than 2xx is read by `refused`.
        """
        ...

    def refused(self, reply: Reply) -> Refusal:
        """What a reply to one of `results` means that is not 2xx."""
        ...

    def cancel(self, remote_id: str) -> Ask[Remote]:
        """Ask the provider to stop. `Why.CONFLICT` when it has ended already: `look` then."""
        ...

    def clean(self, remote: Remote) -> tuple[Ask[None], ...]:
        """All that removes what is left of an ended, collected batch: its files; itself, where that goes."""
        ...

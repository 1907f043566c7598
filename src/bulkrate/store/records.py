"""What the store hands out and takes in: frozen values, one per table and per act."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import RowMapping

from bulkrate.core.lifecycle import Status
from bulkrate.providers.usage import NO_USAGE, Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A row; further columns of the row are left out."""

    @classmethod
    def of(cls, row: RowMapping) -> Self:
        """The record that `row` holds."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    def values(self) -> dict[str, Any]:
        """The columns to insert; `seq` is given by the database."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "seq"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord(Record):
    """A file: either a blob of its own or a stream of a batch's log."""

    seq: int = 0
    id: str
    project: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None = None
    blob: str | None = None
    batch_id: str | None = None
    stream: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadRecord(Record):
    """A file on its way in parts."""

    seq: int = 0
    id: str
    project: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int
    status: str
    file_id: str | None = None
    expires_after_s: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRecord(Record):
    """One part of an upload."""

    id: str
    upload_id: str
    bytes: int
    created_at: int
    blob: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRecord(Record):
    """A batch as stored."""

    seq: int = 0
    id: str
    project: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: str
    created_at: int
    expires_at: int
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    model: str | None = None
    metadata: bytes | None = None
    output_expires_after_s: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    on_invalid_line: str = "fail"
    retry_of: str | None = None
    family: str
    idempotency_key: str | None = None
    idempotency_digest: str | None = None
    faults: bytes | None = None
    planned: bool = False
    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0

    @property
    def state(self) -> Status:
        """The status as the closed choice it is."""
        return Status(self.status)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRecord(Record):
    """The lines of one batch that ask for one model.

    `plan` is the blob with their places; `struck` says that some of them had their outcome from the start.
    """

    batch_id: str
    shard: int
    model: str
    plan: str
    lines: int
    struck: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A shard with lines to claim, and what a worker must know of its batch.

    `input_blob` is None when the file is gone.
    """

    shard: ShardRecord
    endpoint: str
    expires_at: int
    input_blob: str | None
    #: How long the batch may take, from its creation to its deadline.
    window_s: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Want:
    """How many lines of a shard a worker would like."""

    batch_id: str
    shard: int
    lines: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """So many places of a shard's plan, from `start` on, held by one worker.

    `fresh`: none of its lines can have an outcome; otherwise some may, and only the ledgers know. `suspect`:
    one of those without an outcome may have killed its upstream. `generation`: how many remote batches its
    lines have been part of, without the `rejections`, which failed at validation for other lines' faults.
    """

    batch_id: str
    shard: int
    start: int
    lines: int
    fresh: bool
    suspect: bool = False
    generation: int = 0
    rejections: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent(Record):
    """A stretch of one worker's logs that counts. Ends are exclusive; offsets are bytes."""

    batch_id: str
    number: int
    epoch: int
    output_start: int
    output_end: int
    errors_start: int
    errors_end: int
    ledger_start: int
    ledger_end: int
    begun_at: float = 0.0
    open: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEnds:
    """How far the three logs of one worker for one batch reach, in bytes."""

    output: int = 0
    errors: int = 0
    ledger: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeNews:
    """What becomes of a range: all its lines are `done`, or it is `released` with some left, or neither.

    Of a released one the first so many places may be `suspect`.
    """

    shard: int
    start: int
    done: bool = False
    released: bool = False
    suspect: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Moving:
    """How a running batch moves at this moment: at one worker, or over all."""

    in_flight: int = 0
    lines_per_s: float = 0.0
    waiting: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteRecord(Record):
    """A group of lines at a provider's batch API.

    Each time is that of a fact, and null until it is one. `upload_asked_at` and `create_asked_at` are written
    before the call, `file_id` and `remote_id` when its answer is here. `state` and the counts are what the
    provider said last.
    """

    seq: int = 0
    id: str
    upstream: str
    batch_id: str
    shard: int
    model: str
    sent_as: str
    generation: int
    rejections: int = 0
    content: str
    fingerprint: str
    lines: int
    size: int
    tokens: int
    intended_at: float
    upload_asked_at: float | None = None
    file_id: str | None = None
    create_asked_at: float | None = None
    remote_id: str | None = None
    created_at: float | None = None
    state: str | None = None
    completed: int = 0
    failed: int = 0
    look_at: float = 0.0
    cancel_asked_at: float | None = None
    collected_at: float | None = None
    removed_at: float | None = None
    waiting: str | None = None

    @property
    def holder(self) -> int:
        """By what its ranges are held, in place of a worker's epoch."""
        return -self.seq


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteSum:
    """What a batch has at providers now: remote batches, their lines, and the providers' own counts."""

    batches: int
    lines: int
    completed: int
    failed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Purchase(Record):
    """What of a batch was answered by a provider's batch API; `model` is the provider's name for it."""

    batch_id: str
    upstream: str
    model: str
    lines: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LessonRecord(Record):
    """What refusals taught of an upstream's quota for a model; see `core.enqueued.Quota`."""

    upstream: str
    model: str
    tokens_max: int | None
    told: bool
    lines_max: int | None
    learnt_at: float | None
    refusals: int
    not_before: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchCommit:
    """A group of outcomes of one batch that is durable in the logs and now shall count.

    `since` and `until` are the ends of this worker's logs at the last commit and now; the counts are what
    came between. `ranges` are those the worker holds; `moving` is None when there is nothing new to tell.
    `remote` is where the outcomes were bought, if that was a provider's batch API: it holds the ranges then.
    """

    batch_id: str
    since: LogEnds
    until: LogEnds
    completed: int = 0
    failed: int = 0
    usage: Usage = NO_USAGE
    ranges: tuple[RangeNews, ...] = field(default=())
    moving: Moving | None = None
    remote: RemoteRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamRecord(Record):
    """What the senders know of an upstream.

    `models` is JSON, null while unknown; `paused` says why, or is null, and `key_refused` whether it is for
    our key.
    """

    name: str
    models: bytes | None
    paused: str | None
    key_refused: bool = False
    seen_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRecord(Record):
    """An API key, without the key."""

    seq: int = 0
    id: str
    project: str
    name: str
    digest: str
    hint: str
    created_at: int
    revoked_at: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookRecord(Record):
    """A webhook endpoint. `event_types` is a JSON list."""

    seq: int = 0
    id: str
    project: str
    name: str
    url: str
    event_types: bytes
    secret: str
    old_secret: str | None = None
    old_secret_until: int | None = None
    created_at: int
    updated_at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryRecord(Record):
    """One event on its way to one endpoint."""

    seq: int = 0
    id: str
    webhook_id: str
    event_id: str
    event_type: str
    batch_id: str
    created_at: int
    status: str = "pending"
    attempts: int = 0
    next_attempt_at: float | None = None
    delivered_at: int | None = None
    last_status_code: int | None = None
    last_error: str | None = None

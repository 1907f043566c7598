"""Batches: OpenAI's object and what is asked of it.

Extensions are additional keys that SDKs pass through: `progress`, `on_invalid_line`, `retry_of` and
`delegated`.
Everything else is OpenAI's, key for key.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bulkrate.wire.base import Ask, Shape
from bulkrate.wire.files import ExpiresAfter


class BatchFault(Shape, frozen=True, kw_only=True):
    """One reason why an input file was rejected. `line` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchFaults(Shape, frozen=True, kw_only=True):
    """All reasons, in line order."""

    data: list[BatchFault]
    object: str = "list"


class RequestCounts(Shape, frozen=True, kw_only=True):
    """`completed` lines are in the output file; `failed` lines ran and failed. Lines that never ran are in
    neither.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0


class InputTokensDetails(Shape, frozen=True, kw_only=True):
    """How many input tokens came from a cache."""

    cached_tokens: int = 0


class OutputTokensDetails(Shape, frozen=True, kw_only=True):
    """How many output tokens were spent on reasoning."""

    reasoning_tokens: int = 0


class BatchUsage(Shape, frozen=True, kw_only=True):
    """Tokens of all answered lines."""

    input_tokens: int = 0
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int = 0


class RemoteProgress(Shape, frozen=True, kw_only=True):
    """What a running batch has at providers' batch APIs: how many batches and lines there, and the providers'
    own counts. `waiting` says in words why something does not move, or null.
    """

    batches: int = 0
    lines: int = 0
    completed: int = 0
    failed: int = 0
    waiting: str | None = None


class DelegatedUsage(Shape, frozen=True, kw_only=True):
    """The part of a batch that was answered by a provider's batch API, at its price: lines and tokens, by
    upstream and by the provider's name for the model. What `usage` has beyond it was answered online.
    """

    upstream: str
    model: str
    lines: int
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Progress(Shape, frozen=True, kw_only=True):
    """How a running batch is getting on.

    `done` counts lines with an answer or an error; `lines_per_second` is measured over the last seconds;
    `estimated_completion_at` is Unix seconds, null while unknown; `paused` says in words why nothing moves,
    or null, and `key_refused` whether that is because upstreams refuse our key; `remote` is null where no
    upstream has a batch API.
    """

    done: int = 0
    in_flight: int = 0
    lines_per_second: float = 0.0
    estimated_completion_at: int | None = None
    paused: str | None = None
    key_refused: bool = False
    remote: RemoteProgress | None = None


class Batch(Shape, frozen=True, kw_only=True):
    """A job over one input file. Times are Unix seconds; every key is always present."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: str
    created_at: int
    errors: BatchFaults | None = None
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = RequestCounts()
    usage: BatchUsage | None = None
    metadata: dict[str, str] | None = None
    on_invalid_line: str = "fail"
    retry_of: str | None = None
    progress: Progress = Progress()
    delegated: tuple[DelegatedUsage, ...] = ()
    object: str = "batch"


class CreateBatch(Ask, frozen=True, kw_only=True):
    """Begin a batch. `metadata` is checked by hand, because OpenAI names the offending key.

    `on_invalid_line` (extension): `"fail"` rejects the whole batch as OpenAI does, `"isolate"` writes bad
    lines to the error file and runs the rest.
    """

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Any = None
    output_expires_after: ExpiresAfter | None = None
    on_invalid_line: Literal["fail", "isolate"] = "fail"


class RunRequests(Ask, frozen=True, kw_only=True):
    """A small batch in one call: `requests` are plain bodies or whole input lines, answered in the same
    order.
    """

    requests: list[msgspec.Raw]
    endpoint: str = "/v1/chat/completions"
    completion_window: str = "24h"
    metadata: Any = None


class RunAnswers(Shape, frozen=True, kw_only=True):
    """One output or error line per request, in the order asked; the batch stays, under its own id."""

    batch: Batch
    data: list[msgspec.Raw]
    object: str = "list"


class LinePair(Shape, frozen=True, kw_only=True):
    """The input line of one `custom_id`, and its output or error line if there is one yet."""

    custom_id: str
    line: int
    request: msgspec.Raw
    result: msgspec.Raw | None = None
    object: str = "batch.line"

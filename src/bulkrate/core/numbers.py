"""What `GET /metrics` says as JSON: the numbers of all processes as one, and what of them moves.

Seen twice, the same numbers say how fast everything goes: rates are a matter of two values and their times.
"""

from __future__ import annotations

import msgspec

from bulkrate.core.histogram import quantile, since
from bulkrate.core.stats import (
    ANSWERED,
    COMMIT_BOUNDS_S,
    LATENCY_BOUNDS_S,
    NOTHING,
    CommitSnapshot,
    RemoteSnapshot,
    UpstreamSnapshot,
)
from bulkrate.providers.usage import Usage


class ProcessNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `up` is False when it is gone or silent; `trouble` is why it stands still, if it does."""

    up: bool
    trouble: str | None = None
    started_at: float | None = None
    cpu_s: float = 0.0
    memory_bytes: int = 0


class BatchNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that has not ended. Times are seconds; `remaining_s` is None while nothing moves."""

    id: str
    project: str
    status: str
    model: str | None
    total: int
    answered: int
    failed: int
    in_flight: int
    pending: int
    lines_per_s: float
    age_s: float
    deadline_s: float
    remaining_s: float | None
    waiting: str | None

    @property
    def slack_s(self) -> float | None:
        """How long before its deadline it will be done, at its pace of now; negative when too late."""
        return None if self.remaining_s is None else self.deadline_s - self.remaining_s


class FileNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """Files of one purpose and status."""

    purpose: str
    status: str
    count: int
    bytes: int


class PurchaseNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """What was bought of a model through an upstream's batch API, over all batches there ever were."""

    upstream: str
    model: str
    lines: int
    usage: Usage


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `records_up` is False when the records could not be read; what they say is then missing."""

    version: str
    at: float
    latency_bounds_s: tuple[float, ...] = LATENCY_BOUNDS_S
    commit_bounds_s: tuple[float, ...] = COMMIT_BOUNDS_S
    processes: dict[str, ProcessNumbers]
    upstreams: dict[str, UpstreamSnapshot]
    commits: CommitSnapshot
    remotes: dict[str, RemoteSnapshot] = {}
    records_up: bool = True
    batches: list[BatchNumbers] = []
    batches_by_status: dict[str, int] = {}
    files: list[FileNumbers] = []
    purchases: list[PurchaseNumbers] = []
    free_bytes: int | None = None


class UpstreamPace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast an upstream went between two looks. Latencies are None where nothing was answered."""

    answers_per_s: float
    tokens_per_s: float
    p50_s: float | None
    p95_s: float | None
    failures: dict[str, int]


def pace(now: Numbers, before: Numbers, name: str) -> UpstreamPace:
    """How fast the upstream of this name went between two looks; since it began, when it is new."""
    seen, last = now.upstreams[name], before.upstreams.get(name, NOTHING)
    seconds = max(now.at - before.at, 0.001)
    latency = since(seen.latency, last.latency)
    tokens = seen.input_tokens + seen.output_tokens - last.input_tokens - last.output_tokens
    grown = {outcome: count - last.attempts.get(outcome, 0) for outcome, count in seen.attempts.items()}
    return UpstreamPace(
        answers_per_s=max(0, grown.get(ANSWERED, 0)) / seconds,
        tokens_per_s=max(0, tokens) / seconds,
        p50_s=quantile(latency, now.latency_bounds_s, 0.5),
        p95_s=quantile(latency, now.latency_bounds_s, 0.95),
        failures={outcome: count for outcome, count in grown.items() if count > 0 and outcome != ANSWERED},
    )


def batch_pace(now: Numbers, before: Numbers, batch: BatchNumbers) -> float:
    """Lines a second that a batch brought to an end between two looks; as its workers say, when it is new."""
    last = next((other for other in before.batches if other.id == batch.id), None)
    if last is None or now.at <= before.at:
        return batch.lines_per_s
    done = batch.answered + batch.failed - last.answered - last.failed
    return max(0, done) / (now.at - before.at)

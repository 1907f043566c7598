"""`GET /metrics`: the numbers in Prometheus's words, or as JSON for who asks for that.

Every family is here, with its help. None has a prompt, an answer, a `custom_id` or a key in a label.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from bulkrate.core.histogram import HistogramSnapshot
from bulkrate.core.numbers import BatchNumbers, Numbers, ProcessNumbers
from bulkrate.core.stats import PLANNED, RemoteSnapshot, UpstreamSnapshot
from bulkrate.errors import Unauthorized
from bulkrate.providers.batch.base import RemoteState
from bulkrate.server.auth import secret_in
from bulkrate.server.operations import Call

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector

#: What `/health` and the documentation call the states of an upstream.
STATES = ("ok", "trial", "out", "idle")

#: Every family: its kind, its help and its labels. Counters get their `_total` from the format.
FAMILIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "bulkrate_build_info": ("gauge", "The version that runs; always 1.", ("version",)),
    "bulkrate_process_up": ("gauge", "Whether a process is at work.", ("process",)),
    "bulkrate_process_in_trouble": (
        "gauge",
        "Whether a process stands still for a reason of its own, such as a full disk; /health says which.",
        ("process",),
    ),
    "bulkrate_process_start_time_seconds": ("gauge", "When a process began, in Unix time.", ("process",)),
    "bulkrate_process_cpu_seconds": ("counter", "Processor time used.", ("process",)),
    "bulkrate_process_resident_memory_bytes": ("gauge", "Memory in use.", ("process",)),
    "bulkrate_upstream_in_flight": ("gauge", "Attempts under way.", ("upstream",)),
    "bulkrate_upstream_window": ("gauge", "How many attempts may be under way now.", ("upstream",)),
    "bulkrate_upstream_mode": (
        "gauge",
        "How the window is found; 1 for the mode of now.",
        ("upstream", "mode"),
    ),
    "bulkrate_upstream_state": (
        "gauge",
        "Whether it may be sent to; 1 for the state of now.",
        ("upstream", "state"),
    ),
    "bulkrate_upstream_retry_lines": (
        "gauge",
        "Lines that failed there and wait to be tried again.",
        ("upstream",),
    ),
    "bulkrate_upstream_attempts": (
        "counter",
        "Attempts that ended, by what they came to.",
        ("upstream", "outcome"),
    ),
    "bulkrate_upstream_unanswered_seconds": (
        "counter",
        "Time spent on attempts that brought no answer.",
        ("upstream",),
    ),
    "bulkrate_upstream_latency_seconds": (
        "histogram",
        "From sending a line to its whole answer; answered lines only.",
        ("upstream",),
    ),
    "bulkrate_upstream_input_tokens": (
        "counter",
        "Tokens read, as the upstream's answers say.",
        ("upstream",),
    ),
    "bulkrate_upstream_cached_tokens": (
        "counter",
        "Tokens read from the upstream's cache; also among the input tokens.",
        ("upstream",),
    ),
    "bulkrate_upstream_output_tokens": ("counter", "Tokens written.", ("upstream",)),
    "bulkrate_upstream_reasoning_tokens": (
        "counter",
        "Tokens of reasoning; also among the output tokens.",
        ("upstream",),
    ),
    "bulkrate_remote_batches": (
        "gauge",
        "Batches at a provider's batch API that are not collected, by state.",
        ("upstream", "state"),
    ),
    "bulkrate_remote_lines": ("gauge", "Lines in those of them that were created.", ("upstream",)),
    "bulkrate_remote_enqueued_tokens": (
        "gauge",
        "Input tokens enqueued there, as estimated.",
        ("upstream", "model"),
    ),
    "bulkrate_remote_enqueued_tokens_limit": (
        "gauge",
        "How many may be enqueued there; absent while that is not known.",
        ("upstream", "model"),
    ),
    "bulkrate_remote_heard_age_seconds": (
        "gauge",
        "Time since the provider last answered a call; absent while nothing is under way there.",
        ("upstream",),
    ),
    "bulkrate_remote_purchases": (
        "counter",
        "Lines that its batch API answered, and so were bought there.",
        ("upstream", "model"),
    ),
    "bulkrate_remote_purchased_tokens": (
        "counter",
        "Tokens bought there, by kind.",
        ("upstream", "model", "kind"),
    ),
    "bulkrate_commits": ("counter", "Groups of results made durable.", ()),
    "bulkrate_commit_lines": ("counter", "Results committed.", ()),
    "bulkrate_commit_bytes": ("counter", "Bytes of results committed.", ()),
    "bulkrate_commit_duration_seconds": ("histogram", "What a commit takes.", ()),
    "bulkrate_commit_fsync_seconds": (
        "histogram",
        "What writing the results of a commit and syncing them to the disk takes.",
        (),
    ),
    "bulkrate_commit_queue_lines": ("gauge", "Lines with a result that is not committed yet.", ()),
    "bulkrate_records_up": ("gauge", "Whether the records could be read; what follows is absent if not.", ()),
    "bulkrate_batches": ("gauge", "Batches by status, ended ones too.", ("status",)),
    "bulkrate_files": ("gauge", "Files by purpose and status.", ("purpose", "status")),
    "bulkrate_files_bytes": ("gauge", "Their size.", ("purpose", "status")),
    "bulkrate_disk_free_bytes": ("gauge", "Room on the disk of the data folder.", ()),
    "bulkrate_batch_info": (
        "gauge",
        "A batch that has not ended; always 1. Labels beside `batch` are here alone.",
        ("batch", "project", "model", "status"),
    ),
    "bulkrate_batch_lines": ("gauge", "Lines of a batch by state.", ("batch", "state")),
    "bulkrate_batch_lines_per_second": ("gauge", "Its pace.", ("batch",)),
    "bulkrate_batch_age_seconds": ("gauge", "Time since it was created.", ("batch",)),
    "bulkrate_batch_deadline_seconds": ("gauge", "Time until its window closes.", ("batch",)),
    "bulkrate_batch_slack_seconds": (
        "gauge",
        "Time between its estimated end and its deadline; negative if late. Absent while it does not move.",
        ("batch",),
    ),
}

Value = float | HistogramSnapshot
Samples = Iterator[tuple[str, tuple[str, ...], Value]]


async def metrics(call: Call) -> Response:
    key = call.engine.settings.metrics_key
    if key is not None and not hmac.compare_digest(
        (secret_in(call.request.headers) or "").encode(), key.encode()
    ):
        raise Unauthorized("GET /metrics asks for the key that 'metrics_key' names, as a Bearer token.")
    numbers = await call.engine.numbers.read()
    accept = call.request.headers.get("accept", "")
    if "application/json" in accept and "text/" not in accept:
        return Response(msgspec.json.encode(numbers), media_type="application/json")
    content, content_type = await asyncio.to_thread(exposition, numbers, accept)
    return Response(content, headers={"content-type": content_type})


def exposition(numbers: Numbers, accept: str) -> tuple[bytes, str]:
    """The text of all families, in the format that `accept` prefers, and its content type."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415  # 0.1 s that only those who ask pay
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    registry = CollectorRegistry()
    registry.register(_collector(numbers))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


def _collector(numbers: Numbers) -> Collector:
    from prometheus_client.registry import Collector  # noqa: PLC0415

    class Told(Collector):
        def collect(self) -> Iterable[Metric]:
            return _families(numbers)

        def describe(self) -> Iterable[Metric]:
            return ()  # or it would collect once more, to learn the names

    return Told()


def _families(numbers: Numbers) -> list[Metric]:
    """Every family that has a sample now."""
    from prometheus_client.core import (  # noqa: PLC0415
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    found: dict[str, Any] = {}
    for name, labels, value in _samples(numbers):
        kind, about, label_names = FAMILIES[name]
        family = found.get(name)
        if isinstance(value, HistogramSnapshot):
            family = family or HistogramMetricFamily(name, about, labels=label_names)
            bounds = numbers.latency_bounds_s if "latency" in name else numbers.commit_bounds_s
            family.add_metric(labels, buckets=_buckets(bounds, value), sum_value=value.sum)
        else:
            kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
            family = family or kinds[kind](name, about, labels=label_names)
            family.add_metric(labels, value)
        found[name] = family
    return list(found.values())


def _buckets(bounds: tuple[float, ...], histogram: HistogramSnapshot) -> list[tuple[str, float]]:
    """Prometheus's buckets: each counts what lies below its bound, the last one all."""
    below = 0
    buckets = []
    for bound, count in zip((*map(str, bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        buckets.append((bound, float(below)))
    return buckets


def _samples(numbers: Numbers) -> Samples:
    yield "bulkrate_build_info", (numbers.version,), 1
    for name, process in numbers.processes.items():
        yield from _of_process(name, process)
    for name, upstream in numbers.upstreams.items():
        yield from _of_upstream(name, upstream)
    for name, remote in numbers.remotes.items():
        yield from _of_remote(name, remote, numbers.at)
    commits = numbers.commits
    yield "bulkrate_commits", (), commits.commits
    yield "bulkrate_commit_lines", (), commits.lines
    yield "bulkrate_commit_bytes", (), commits.bytes
    yield "bulkrate_commit_duration_seconds", (), commits.seconds
    yield "bulkrate_commit_fsync_seconds", (), commits.fsync
    yield "bulkrate_commit_queue_lines", (), commits.queued
    yield "bulkrate_records_up", (), numbers.records_up
    for status, count in numbers.batches_by_status.items():
        yield "bulkrate_batches", (status,), count
    for files in numbers.files:
        yield "bulkrate_files", (files.purpose, files.status), files.count
        yield "bulkrate_files_bytes", (files.purpose, files.status), files.bytes
    for bought in numbers.purchases:
        label = (bought.upstream, bought.model)
        yield "bulkrate_remote_purchases", label, bought.lines
        for kind in ("input", "cached", "output", "reasoning"):
            yield "bulkrate_remote_purchased_tokens", (*label, kind), getattr(bought.usage, f"{kind}_tokens")
    if numbers.free_bytes is not None:
        yield "bulkrate_disk_free_bytes", (), numbers.free_bytes
    for batch in numbers.batches:
        yield from _of_batch(batch)


def _of_process(name: str, process: ProcessNumbers) -> Samples:
    label = (name,)
    yield "bulkrate_process_up", label, process.up
    yield "bulkrate_process_in_trouble", label, process.trouble is not None
    if process.started_at is not None:
        yield "bulkrate_process_start_time_seconds", label, process.started_at
    yield "bulkrate_process_cpu_seconds", label, process.cpu_s
    yield "bulkrate_process_resident_memory_bytes", label, process.memory_bytes


def _of_upstream(name: str, upstream: UpstreamSnapshot) -> Samples:
    label = (name,)
    yield "bulkrate_upstream_in_flight", label, upstream.in_flight
    yield "bulkrate_upstream_window", label, upstream.window
    yield "bulkrate_upstream_mode", (name, upstream.mode), 1
    for state in STATES:
        yield "bulkrate_upstream_state", (name, state), upstream.state == state
    yield "bulkrate_upstream_retry_lines", label, upstream.waiting
    for outcome, count in sorted(upstream.attempts.items()):
        yield "bulkrate_upstream_attempts", (name, outcome), count
    yield "bulkrate_upstream_unanswered_seconds", label, upstream.unanswered_s
    yield "bulkrate_upstream_latency_seconds", label, upstream.latency
    yield "bulkrate_upstream_input_tokens", label, upstream.input_tokens
    yield "bulkrate_upstream_cached_tokens", label, upstream.cached_tokens
    yield "bulkrate_upstream_output_tokens", label, upstream.output_tokens
    yield "bulkrate_upstream_reasoning_tokens", label, upstream.reasoning_tokens


def _of_remote(name: str, remote: RemoteSnapshot, now: float) -> Samples:
    for state in (PLANNED, *(state.value for state in RemoteState)):
        yield "bulkrate_remote_batches", (name, state), remote.batches.get(state, 0)
    yield "bulkrate_remote_lines", (name,), remote.lines
    for model, tokens in remote.enqueued.items():
        yield "bulkrate_remote_enqueued_tokens", (name, model), tokens
    for model, tokens in remote.limits.items():
        yield "bulkrate_remote_enqueued_tokens_limit", (name, model), tokens
    if remote.batches and remote.heard_at is not None:
        yield "bulkrate_remote_heard_age_seconds", (name,), max(0.0, now - remote.heard_at)


def _of_batch(batch: BatchNumbers) -> Samples:
    label = (batch.id,)
    yield "bulkrate_batch_info", (batch.id, batch.project, batch.model or "", batch.status), 1
    lines: Mapping[str, int] = {
        "answered": batch.answered,
        "failed": batch.failed,
        "in_flight": batch.in_flight,
        "pending": batch.pending,
    }
    for state, count in lines.items():
        yield "bulkrate_batch_lines", (batch.id, state), count
    yield "bulkrate_batch_lines_per_second", label, batch.lines_per_s
    yield "bulkrate_batch_age_seconds", label, batch.age_s
    yield "bulkrate_batch_deadline_seconds", label, batch.deadline_s
    if batch.slack_s is not None:
        yield "bulkrate_batch_slack_seconds", label, batch.slack_s

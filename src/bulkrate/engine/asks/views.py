"""The batch as the API shows it: the record, and how it is getting on right now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bulkrate.core.models import is_served
from bulkrate.engine.context import Context
from bulkrate.engine.roles import DELEGATE
from bulkrate.engine.upstreams import KnownUpstream, known_upstreams
from bulkrate.store.records import BatchRecord, Moving, Purchase, RemoteSum
from bulkrate.wire.batches import (
    Batch,
    BatchFault,
    BatchFaults,
    BatchUsage,
    DelegatedUsage,
    InputTokensDetails,
    OutputTokensDetails,
    Progress,
    RemoteProgress,
    RequestCounts,
)

_faults = msgspec.json.Decoder(list[BatchFault])
_STILL = Moving()
_metadata = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True)
class _Now:
    """What the running batches of a page are doing at this moment."""

    moving: dict[str, Moving]
    waiting_for: dict[str, set[str]]
    troubles: dict[str, str]
    upstreams: list[KnownUpstream]
    remote: dict[str, RemoteProgress]


def to_wire(context: Context, records: Sequence[BatchRecord]) -> list[Batch]:
    """The API's view of some batches. Reads the store a fixed number of times, however many they are."""
    running = [record.id for record in records if not record.state.terminal]
    now = _look(context, running) if running else _Now({}, {}, {}, [], {})
    bought: dict[str, list[DelegatedUsage]] = {}
    for one in context.store.remotes.purchases([record.id for record in records]):
        bought.setdefault(one.batch_id, []).append(_delegated(one))
    return [_batch(context, record, now, bought.get(record.id, [])) for record in records]


def _look(context: Context, running: Sequence[str]) -> _Now:
    store = context.store
    return _Now(
        moving=store.batches.moving(running),
        waiting_for=store.batches.models_waited_for(running),
        troubles=context.board.read(),
        upstreams=known_upstreams(context),
        remote=_remote(context, running) if context.settings.delegated else {},
    )


def _remote(context: Context, running: Sequence[str]) -> dict[str, RemoteProgress]:
    sums = context.store.remotes.sums(running)
    waiting = context.store.remotes.waiting(running, role=DELEGATE)
    nothing = RemoteSum(batches=0, lines=0, completed=0, failed=0)
    found: dict[str, RemoteProgress] = {}
    for batch_id in running:
        there = sums.get(batch_id, nothing)
        found[batch_id] = RemoteProgress(
            batches=there.batches,
            lines=there.lines,
            completed=there.completed,
            failed=there.failed,
            waiting=waiting.get(batch_id),
        )
    return found


def _batch(context: Context, record: BatchRecord, now: _Now, delegated: list[DelegatedUsage]) -> Batch:
    faults = BatchFaults(data=_faults.decode(record.faults)) if record.faults is not None else None
    return Batch(
        id=record.id,
        endpoint=record.endpoint,
        input_file_id=record.input_file_id,
        completion_window=record.completion_window,
        status=record.status,
        created_at=record.created_at,
        errors=faults,
        model=record.model or None,
        output_file_id=record.output_file_id,
        error_file_id=record.error_file_id,
        in_progress_at=record.in_progress_at,
        expires_at=record.expires_at,
        finalizing_at=record.finalizing_at,
        completed_at=record.completed_at,
        failed_at=record.failed_at,
        expired_at=record.expired_at,
        cancelling_at=record.cancelling_at,
        cancelled_at=record.cancelled_at,
        request_counts=RequestCounts(total=record.total, completed=record.completed, failed=record.failed),
        usage=_usage(record) if record.planned and faults is None else None,
        metadata=_metadata.decode(record.metadata) if record.metadata is not None else None,
        on_invalid_line=record.on_invalid_line,
        retry_of=record.retry_of,
        progress=_progress(context, record, now),
        delegated=tuple(delegated),
    )


def _delegated(bought: Purchase) -> DelegatedUsage:
    return DelegatedUsage(
        upstream=bought.upstream,
        model=bought.model,
        lines=bought.lines,
        input_tokens=bought.input_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=bought.cached_tokens),
        output_tokens=bought.output_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=bought.reasoning_tokens),
        total_tokens=bought.total_tokens,
    )


def _usage(record: BatchRecord) -> BatchUsage:
    return BatchUsage(
        input_tokens=record.input_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=record.cached_tokens),
        output_tokens=record.output_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=record.reasoning_tokens),
        total_tokens=record.total_tokens,
    )


def _progress(context: Context, record: BatchRecord, now: _Now) -> Progress:
    done = record.completed + record.failed
    if record.state.terminal:
        return Progress(done=done)
    moving = now.moving.get(record.id, _STILL)
    out = _all_out(record, now)
    paused = _why_paused(context, record, now, out)
    key_refused = bool(out) and not now.troubles and all(upstream.key_refused for upstream in out)
    if paused is None and moving.in_flight == 0 and moving.lines_per_s == 0:
        paused = moving.waiting
    estimate = None
    if record.state.sending and moving.lines_per_s > 0 and paused is None:
        estimate = context.now() + round((record.total - done) / moving.lines_per_s)
    return Progress(
        done=done,
        in_flight=moving.in_flight,
        lines_per_second=round(moving.lines_per_s, 1),
        estimated_completion_at=estimate,
        paused=paused,
        key_refused=key_refused,
        remote=now.remote.get(record.id),
    )


def _why_paused(context: Context, record: BatchRecord, now: _Now, out: list[KnownUpstream]) -> str | None:
    """Why nothing moves, if nothing can: a trouble of our own, or all that could answer are `out`."""
    if now.troubles:
        return "; ".join(now.troubles.values())
    if not record.state.sending:
        return None
    if not context.settings.upstreams:
        return "no upstream is configured; start the server with --upstream URL"
    return "; ".join(f"{upstream.name}: {upstream.paused}" for upstream in out) or None


def _all_out(record: BatchRecord, now: _Now) -> list[KnownUpstream]:
    """The upstreams that a batch waits for, if none of those that could take a line of it can now."""
    out: dict[str, KnownUpstream] = {}
    for model in now.waiting_for.get(record.id, ()):
        able = [upstream for upstream in now.upstreams if is_served([upstream.catalogue], model)]
        if any(upstream.paused is None for upstream in able):
            return []
        out |= {upstream.name: upstream for upstream in able}
    return [out[name] for name in sorted(out)]

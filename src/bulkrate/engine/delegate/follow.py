"""**follow**: a remote batch is looked at, now and then, until it has ended; one that is not wanted any more
is cancelled.
"""

from __future__ import annotations

import logging

from bulkrate.core.delegation import Wish
from bulkrate.engine.delegate.driven import Driven, facts_of
from bulkrate.engine.points import reach
from bulkrate.providers.batch.base import Remote, RemoteRefused, Why
from bulkrate.store.records import BatchRecord, RemoteRecord
from bulkrate.telemetry import log_event

# A batch is gone when its provider says so several times: right after its creation some do not know it yet.
_GONE_LOOKS = 3


class RemoteGone(Exception):
    """Somebody deleted the remote batch, and with it what it had answered."""


async def follow(driven: Driven, remote: RemoteRecord, batch: BatchRecord) -> tuple[RemoteRecord, Remote]:
    """Look at a remote batch once. Raises `RemoteRefused`, `RemoteGone`."""
    assert remote.remote_id is not None  # noqa: S101  # only what exists is followed
    tries = driven.tries[remote.seq]
    try:
        seen = await driven.http.do(driven.vendor.look(remote.remote_id))
    except RemoteRefused as refused:
        if refused.refusal.why is Why.GONE:
            tries.vain_looks += 1
            if tries.vain_looks >= _GONE_LOOKS:
                raise RemoteGone from refused
        raise
    tries.vain_looks = 0
    cancel_asked_at = remote.cancel_asked_at
    if not seen.state.ended and cancel_asked_at is None and driven.wish(remote, batch) is Wish.STOP:
        seen = await _cancel(driven, seen)
        cancel_asked_at = driven.context.clock()
    tries.looks = 0 if seen.state.value != remote.state else tries.looks + 1
    driven.quotas.heard(remote, seen.state, remotes=driven.remotes.values(), now=driven.context.clock())
    remote = await driven.note(
        remote,
        **facts_of(seen),
        cancel_asked_at=cancel_asked_at,
        look_at=driven.next_look(tries.looks),
        waiting=None,
    )
    if seen.state.ended:
        reach("delegate.ended")
        log_event(
            logging.INFO,
            "remote_ended",
            **driven.about(remote),
            state=seen.state.value,
            completed=seen.counts.completed,
            failed=seen.counts.failed,
        )
    return remote, seen


async def _cancel(driven: Driven, seen: Remote) -> Remote:
    """Ask the provider to stop; one that has ended by now is as good."""
    try:
        return await driven.http.do(driven.vendor.cancel(seen.id))
    except RemoteRefused as refused:
        if refused.refusal.why is not Why.CONFLICT:
            raise
    return await driven.http.do(driven.vendor.look(seen.id))

"""Sees the remote batches of one upstream through, each from its intent until nothing is left of it.

What to do next is read from the facts in the store. What fails is tried again, later each time, for as long
as the batch is wanted; a provider that is away for hours costs nothing but time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from bulkrate.core.delegation import Wish, pause_s_max
from bulkrate.engine.delegate.collect import Truncated, collect, give_up
from bulkrate.engine.delegate.driven import Driven
from bulkrate.engine.delegate.follow import RemoteGone, follow
from bulkrate.engine.delegate.remove import remove
from bulkrate.engine.delegate.submit import NotSubmitted, submit
from bulkrate.engine.delegate.verdict import ending
from bulkrate.errors import BlobError, Fenced, StoreError
from bulkrate.providers.batch.base import RemoteRefused, Why
from bulkrate.store.records import BatchRecord, RemoteRecord
from bulkrate.telemetry import log_event

# Steps that are under way at a time, over all remote batches of an upstream: each may hold a content's plan
# and a piece of a result file.
_STEPS_MAX = 8
# The wall clock is looked at after so many pauses of a loop: a machine that sleeps must not miss a day.
_NAP_POLLS = 10
# So many calls in a row failed: it is not the call.
_FAILURES_SHOW = 3
# A remote batch that nobody wants any more is waited for so long, for what it has answered and was paid for.
_PATIENCE_S = 3_600.0
# A longer Retry-After is cut to this, so that a confused provider cannot park a batch for days.
_RETRY_AFTER_S_MAX = 3_600.0
# No wait for a quota, and no Retry-After, is longer.
_WAIT_S_MAX = 1.25 * _RETRY_AFTER_S_MAX
_TROUBLE_WAIT_S = 1.0
_TRIPPED_WAIT_S = 30.0


class Shepherd:
    """The remote batches of one upstream. `on_trouble` is told when our own records or bytes fail."""

    def __init__(
        self, driven: Driven, tasks: asyncio.TaskGroup, *, on_trouble: Callable[[str | None], None]
    ) -> None:
        self._driven = driven
        self._tasks = tasks
        self._on_trouble = on_trouble
        self._steps = asyncio.Semaphore(_STEPS_MAX)
        self._wakes: dict[int, asyncio.Event] = {}
        self._begun: set[asyncio.Task[None]] = set()

    def take_on(self, remote: RemoteRecord) -> None:
        """See a remote batch through."""
        if remote.seq not in self._wakes:
            self._driven.remotes[remote.seq] = remote
            self._wakes[remote.seq] = asyncio.Event()
            task = self._tasks.create_task(self._see_through(remote))
            self._begun.add(task)
            task.add_done_callback(self._begun.discard)

    def wake(self, remote: RemoteRecord) -> None:
        """There is news for a remote batch: its next step is now."""
        if (event := self._wakes.get(remote.seq)) is not None:
            event.set()

    def stop(self) -> None:
        """Leave everything as it is, for the next worker."""
        for task in self._begun:
            task.cancel()

    async def _see_through(self, remote: RemoteRecord) -> None:
        driven = self._driven
        while remote.removed_at is None:
            await self._sleep(remote)
            async with self._steps:
                remote = await self._try_step(driven.remotes[remote.seq])
        del driven.remotes[remote.seq], self._wakes[remote.seq]
        driven.tries.pop(remote.seq, None)

    async def _sleep(self, remote: RemoteRecord) -> None:
        """Until it is time, or somebody wakes us. A moment further away than any pause is one of a clock that
        has been set right since.
        """
        wake = self._wakes[remote.seq]
        nap_s = _NAP_POLLS * self._driven.context.settings.timing.poll_s
        most_s = max(_WAIT_S_MAX, pause_s_max(self._driven.upstream.poll_s))
        while 0 < (left := remote.look_at - self._driven.context.clock()) <= most_s and not wake.is_set():
            try:
                async with asyncio.timeout(min(left, nap_s)):
                    await wake.wait()
            except TimeoutError:
                continue
        wake.clear()

    async def _try_step(self, remote: RemoteRecord) -> RemoteRecord:
        """One step; whatever fails, the remote batch as it is known now."""
        driven = self._driven
        tries = driven.tries[remote.seq]
        try:
            try:
                remote = await self._step(remote)
            except RemoteRefused as refused:
                return await self._refused(driven.remotes[remote.seq], refused)
            except Truncated:
                tries.rereads += 1
                return await driven.note(driven.remotes[remote.seq], look_at=driven.next_look(tries.rereads))
            finally:
                await driven.remember()
        except Fenced:
            raise
        except (StoreError, BlobError) as error:
            self._on_trouble(str(error))
            await asyncio.sleep(_TROUBLE_WAIT_S)
            return driven.remotes[remote.seq]
        except Exception as bug:  # noqa: BLE001  # one that trips us must not take all others down with it
            log_event(logging.ERROR, "delegate_tripped", upstream=driven.name, remote=remote.id, error=bug)
            await asyncio.sleep(_TRIPPED_WAIT_S)
            return driven.remotes[remote.seq]
        self._on_trouble(None)
        tries.failures = 0
        driven.pause(None)
        return remote

    async def _step(self, remote: RemoteRecord) -> RemoteRecord:
        driven = self._driven
        batch = await driven.batch(remote)
        if remote.collected_at is not None:
            return await remove(driven, remote, batch)
        if batch.state.terminal:  # every line has its outcome; whether that was recorded here or not
            return await self._close(remote, generation=remote.generation)
        if self._is_abandoned(remote, batch):
            return await self._abandon(remote)
        return await self._advance(remote, batch)

    async def _advance(self, remote: RemoteRecord, batch: BatchRecord) -> RemoteRecord:
        """A step nearer to the answers, or the end if there are none to be had."""
        driven = self._driven
        try:
            if remote.remote_id is None:
                return await submit(driven, remote, batch)
            remote, seen = await follow(driven, remote, batch)
            return await collect(driven, remote, batch, seen) if seen.state.ended else remote
        except NotSubmitted as why:
            remote = driven.remotes[remote.seq]
            if why.refused is None:
                return await self._close(remote, generation=remote.generation - 1)
            refusal = why.refused.refusal
            error = (refusal.code or refusal.why.code, refusal.message, refusal.status)
            return await give_up(driven, remote, batch, ending(remote, error))
        except RemoteGone:
            message = (
                f"the batch {remote.remote_id} was deleted at {driven.name} before its answers were read; "
                "retry to send its lines again"
            )
            return await give_up(driven, remote, batch, ending(remote, ("remote_batch_gone", message, None)))

    async def _refused(self, remote: RemoteRecord, refused: RemoteRefused) -> RemoteRecord:
        """Something did not work and may work later: wait, longer each time, and say why."""
        driven, refusal = self._driven, refused.refusal
        tries = driven.tries[remote.seq]
        tries.failures += 1
        why = f"{driven.name}: {refusal.message}"
        if refusal.why is Why.KEY or (refusal.why is Why.UNAVAILABLE and tries.failures >= _FAILURES_SHOW):
            driven.pause(refusal.message, key_refused=refusal.why is Why.KEY)
        look_at = driven.next_look(tries.failures)
        if refusal.retry_after_s is not None:
            look_at = max(look_at, driven.context.clock() + min(refusal.retry_after_s, _RETRY_AFTER_S_MAX))
        waiting = why if refusal.why is not Why.UNAVAILABLE or tries.failures >= _FAILURES_SHOW else None
        return await driven.note(remote, waiting=waiting, look_at=look_at)

    def _is_abandoned(self, remote: RemoteRecord, batch: BatchRecord) -> bool:
        """Whether nobody has wanted it for so long that the batch shall not wait for it any more."""
        tries = self._driven.tries[remote.seq]
        now = self._driven.context.clock()
        if self._driven.wish(remote, batch) is not Wish.STOP:
            tries.unwanted_since = None
        elif tries.unwanted_since is None:
            tries.unwanted_since = now
        return tries.unwanted_since is not None and now - tries.unwanted_since > _PATIENCE_S

    async def _close(self, remote: RemoteRecord, *, generation: int) -> RemoteRecord:
        """Nothing more is read of it: the lines that it holds are free."""
        driven = self._driven
        collected = driven.context.store.remotes.collected
        now = driven.context.clock()
        past = {"generation": generation, "rejections": remote.rejections}
        remote = await driven.context.ask(collected, driven.epoch, remote, now=now, **past)
        driven.remotes[remote.seq] = remote
        driven.context.bells.clerk.ring()
        driven.context.bells.ring_senders()
        return remote

    async def _abandon(self, remote: RemoteRecord) -> RemoteRecord:
        reason = f"it was not wanted any more, and did not end within {_PATIENCE_S:g} s"
        log_event(logging.ERROR, "remote_abandoned", **self._driven.about(remote), reason=reason)
        return await self._close(remote, generation=remote.generation)

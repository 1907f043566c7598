"""The clerk: admits, finishes, sweeps and notifies, in a process of its own so that neither HTTP nor sending
waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator

from bulkrate.core.stats import CommitSnapshot, CommitStats
from bulkrate.engine.bell import Waiter
from bulkrate.engine.context import Context
from bulkrate.engine.log import LogWriter
from bulkrate.engine.loops.admit import Admitter
from bulkrate.engine.loops.finish import Finisher
from bulkrate.engine.loops.notify import Notifier
from bulkrate.engine.loops.sweep import Sweeper
from bulkrate.engine.roles import CLERK
from bulkrate.engine.telling import Teller
from bulkrate.errors import BlobError, Fenced, StoreError
from bulkrate.store.records import BatchRecord
from bulkrate.telemetry import log_event, traces

# Batches read side by side; each holds a slice of its file, one line and its bit fields (40 MB at ten million
# lines).
_ADMITTED_AT_ONCE = 16
# Batches closed side by side, so that the last account of a huge one holds up no other.
_CLOSED_AT_ONCE = 16
_TROUBLE_WAIT_S = 1.0
# A batch that we cannot read for a reason we did not foresee is tried so often, then rejected.
_TRIPS_MAX = 3
_NOTIFY_S_MAX = 5.0


class _FailedForNowError(Exception):
    """It did not work, it was said, and it will be tried again."""


class Clerk:
    """One clerk, from its enlistment to its end."""

    def __init__(self, context: Context, epoch: int) -> None:
        self._context = context
        self._epoch = epoch
        self._writer = LogWriter(context.store, context.blobs, epoch)
        self._teller = Teller(context, CLERK)
        self._writer.stats = CommitStats(self._teller.commits_before)
        self._admitter = Admitter(context, self._writer, epoch)
        self._finisher = Finisher(context, self._writer, epoch)
        self._sweeper = Sweeper(context)
        self._notifier = Notifier(context)
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        #: What failed at its last try: a batch, or a loop.
        self._failing: set[str] = set()
        #: How often something was beyond us.
        self._trips: Counter[str] = Counter()
        self._stopping = asyncio.Event()
        self._new_events = asyncio.Event()

    async def run(self, waiter: Waiter) -> None:
        """Work until stopped. Raises `Fenced` when another clerk has taken over."""
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._main_loop(waiter, group)),
                group.create_task(self._sweep_loop(waiter)),
                group.create_task(self._notify_loop()),
                group.create_task(self._renew_loop()),
                group.create_task(self._teller.keep_telling(dict, self._commits)),
            ]
            await self._stopping.wait()
            for task in (*loops, *self._reading.values(), *self._closing.values()):
                task.cancel()
        await self._context.ask(self._context.store.work.bury, self._epoch)
        self._writer.close()

    def _commits(self) -> CommitSnapshot:
        return self._writer.stats.snapshot(queued=0)

    def stop(self) -> None:
        """End soon; whatever was begun is begun again by the next clerk."""
        self._stopping.set()

    async def _main_loop(self, waiter: Waiter, group: asyncio.TaskGroup) -> None:
        while True:
            with contextlib.suppress(_FailedForNowError):
                async with self._watched("records"):
                    await self._begin_reading(waiter, group)
                    await self._begin_closing(waiter, group)
            await waiter.wait(self._context.settings.timing.poll_s)

    async def _begin_reading(self, waiter: Waiter, group: asyncio.TaskGroup) -> None:
        # One that ends while the store is asked may still be in the answer: it is not read twice.
        begun = set(self._reading)
        unplanned = self._context.store.batches.unplanned
        for batch in await self._context.ask(unplanned, limit=2 * _ADMITTED_AT_ONCE):
            if len(self._reading) >= _ADMITTED_AT_ONCE:
                return
            if batch.id not in begun:
                self._reading[batch.id] = group.create_task(self._read(batch, waiter))

    async def _begin_closing(self, waiter: Waiter, group: asyncio.TaskGroup) -> None:
        begun = set(self._closing)
        for batch in await self._finisher.ready():
            if len(self._closing) >= _CLOSED_AT_ONCE:
                return
            if batch.id not in begun:
                self._closing[batch.id] = group.create_task(self._close(batch, waiter))

    async def _read(self, batch: BatchRecord, waiter: Waiter) -> None:
        try:
            with traces.step("admit", batch.id):
                async with self._watched(batch.id):
                    await self._admitter.admit(batch)
        except _FailedForNowError:
            if self._trips[batch.id] < _TRIPS_MAX:
                return
            with contextlib.suppress(_FailedForNowError):
                async with self._watched(batch.id):
                    await self._admitter.give_up(batch)
        finally:
            del self._reading[batch.id]
        self._context.bells.ring_senders()
        self._tell_ends()  # it may have been rejected
        waiter.ring()

    async def _close(self, batch: BatchRecord, waiter: Waiter) -> None:
        full = len(self._closing) >= _CLOSED_AT_ONCE
        try:
            with traces.step("finish", batch.id):
                async with self._watched(batch.id):
                    await self._finisher.close(batch)
        except _FailedForNowError:
            return
        finally:
            del self._closing[batch.id]
        self._tell_ends()
        if full:
            waiter.ring()

    def _tell_ends(self) -> None:
        self._new_events.set()
        self._context.bells.host.ring()

    async def _sweep_loop(self, waiter: Waiter) -> None:
        while True:
            with contextlib.suppress(_FailedForNowError):
                async with self._watched("sweep"):
                    if await self._sweeper.run_once():
                        self._context.bells.ring_senders()
                        waiter.ring()
            await asyncio.sleep(self._context.settings.timing.sweep_s)

    async def _notify_loop(self) -> None:
        while True:
            wait_s = _NOTIFY_S_MAX
            self._new_events.clear()
            with contextlib.suppress(_FailedForNowError):
                async with self._watched("notify"):
                    due = await self._notifier.run_once()
                    if due is not None:
                        wait_s = min(max(due - self._context.clock(), 0.05), _NOTIFY_S_MAX)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._new_events.wait()

    async def _renew_loop(self) -> None:
        """Keep the lease, however long anything else takes. Raises `Fenced`."""
        while True:
            with contextlib.suppress(_FailedForNowError):
                async with self._watched("lease"):
                    await self._renew()
            await asyncio.sleep(self._context.settings.timing.lease_s / 3)

    async def _renew(self) -> None:
        timing = self._context.settings.timing
        await self._context.ask(
            self._context.store.work.renew, self._epoch, now=self._context.clock(), lease_s=timing.lease_s
        )

    @contextlib.asynccontextmanager
    async def _watched(self, what: str) -> AsyncIterator[None]:
        """Answer a failure of `what`: say why it does not move, and wait a little.

        Raises `_FailedForNowError` then, and lets `Fenced` through.
        """
        try:
            yield
        except Fenced:
            raise
        except (StoreError, BlobError) as error:
            await self._fails(what, str(error))
            raise _FailedForNowError from error
        except Exception as bug:
            # One batch that trips us must not take all others down with it, again and again.
            log_event(logging.ERROR, "clerk_tripped", what=what, error=bug)
            self._trips[what] += 1
            await self._fails(what, f"{type(bug).__name__} at {what}")
            raise _FailedForNowError from bug
        if what in self._failing:
            self._failing.discard(what)
            self._moves_again()

    async def _fails(self, what: str, reason: str) -> None:
        if not self._failing:
            log_event(logging.ERROR, "clerk_paused", reason=reason)
        self._failing.add(what)
        self._context.board.say(CLERK, reason)
        await asyncio.sleep(_TROUBLE_WAIT_S)

    def _moves_again(self) -> None:
        if not self._failing:
            log_event(logging.WARNING, "clerk_resumed")
            self._context.board.say(CLERK, None)

"""The clerk: admits, finishes, sweeps and notifies, in a process of its own so that neither HTTP nor sending
waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from bulkrate.engine.admit import Admitter
from bulkrate.engine.bell import Waiter
from bulkrate.engine.context import Context
from bulkrate.engine.finish import Finisher
from bulkrate.engine.log import LogWriter
from bulkrate.engine.notify import Notifier
from bulkrate.engine.sweep import Sweeper
from bulkrate.errors import BlobError, Fenced, StoreError
from bulkrate.store.records import BatchRecord
from bulkrate.telemetry import log_event

ROLE = "clerk"
# Batches read side by side; each holds a slice of its file, one line and its bit fields (40 MB at ten million
# lines).
_ADMITTED_AT_ONCE = 16
_TROUBLE_WAIT_S = 1.0
_NOTIFY_S_MAX = 5.0


class Clerk:
    """One clerk, from its enlistment to its end."""

    def __init__(self, context: Context, epoch: int) -> None:
        self._context = context
        self._epoch = epoch
        self._writer = LogWriter(context.store, context.blobs, epoch)
        self._admitter = Admitter(context, self._writer, epoch)
        self._finisher = Finisher(context, self._writer, epoch)
        self._sweeper = Sweeper(context)
        self._notifier = Notifier(context)
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._new_events = asyncio.Event()
        self._troubled = False

    async def run(self, waiter: Waiter) -> None:
        """Work until stopped. Raises `Fenced` when another clerk has taken over."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._main_loop(waiter, group)),
                group.create_task(self._sweep_loop(waiter)),
                group.create_task(self._notify_loop()),
            ]
            await self._stopping.wait()
            for task in (*tasks, *self._reading.values()):
                task.cancel()
        await self._context.ask(self._context.store.work.bury, self._epoch)
        self._writer.close()

    def stop(self) -> None:
        """End soon; whatever was begun is begun again by the next clerk."""
        self._stopping.set()

    async def _main_loop(self, waiter: Waiter, group: asyncio.TaskGroup) -> None:
        while True:
            try:
                await self._renew()
                await self._begin_reading(waiter, group)
                await self._finisher.run_once()
                await self._out_of_trouble()
            except Fenced:
                raise
            except (StoreError, BlobError) as error:
                await self._in_trouble(error)
            self._new_events.set()
            self._context.bells.host.ring()
            await waiter.wait(self._context.settings.timing.poll_s)

    async def _begin_reading(self, waiter: Waiter, group: asyncio.TaskGroup) -> None:
        for batch in await self._context.ask(self._context.store.batches.unplanned):
            if len(self._reading) >= _ADMITTED_AT_ONCE:
                return
            if batch.id not in self._reading:
                self._reading[batch.id] = group.create_task(self._read(batch, waiter))

    async def _read(self, batch: BatchRecord, waiter: Waiter) -> None:
        try:
            await self._admitter.admit(batch)
        except Fenced:
            raise
        except (StoreError, BlobError) as error:
            await self._in_trouble(error)
        finally:
            del self._reading[batch.id]
        self._context.bells.sender.ring()
        waiter.ring()

    async def _sweep_loop(self, waiter: Waiter) -> None:
        while True:
            try:
                if await self._sweeper.run_once():
                    self._context.bells.sender.ring()
                    waiter.ring()
            except (StoreError, BlobError) as error:
                await self._in_trouble(error)
            await asyncio.sleep(self._context.settings.timing.sweep_s)

    async def _notify_loop(self) -> None:
        while True:
            wait_s = _NOTIFY_S_MAX
            try:
                self._new_events.clear()
                due = await self._notifier.run_once()
                if due is not None:
                    wait_s = min(max(due - self._context.clock(), 0.05), _NOTIFY_S_MAX)
            except StoreError as error:
                await self._in_trouble(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._new_events.wait()

    async def _renew(self) -> None:
        timing = self._context.settings.timing
        await self._context.ask(
            self._context.store.work.renew, self._epoch, now=self._context.clock(), lease_s=timing.lease_s
        )

    async def _in_trouble(self, error: StoreError | BlobError) -> None:
        """Say why nothing moves, and try again a little later."""
        if not self._troubled:
            log_event(logging.ERROR, "clerk_paused", reason=str(error))
        self._troubled = True
        with contextlib.suppress(StoreError):  # the store may be what fails; the log has said it
            await self._context.ask(
                self._context.store.upstreams.trouble, ROLE, str(error), now=self._context.clock()
            )
        await asyncio.sleep(_TROUBLE_WAIT_S)

    async def _out_of_trouble(self) -> None:
        if self._troubled and not self._reading:
            self._troubled = False
            log_event(logging.WARNING, "clerk_resumed")
            await self._context.ask(
                self._context.store.upstreams.trouble, ROLE, None, now=self._context.clock()
            )

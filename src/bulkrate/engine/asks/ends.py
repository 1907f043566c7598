"""Waiting for batches to end."""

from __future__ import annotations

import asyncio

from bulkrate.engine.bell import Waiter
from bulkrate.engine.context import Context


class Ends:
    """Wakes whoever waits for a batch whenever any batch has ended."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ended = asyncio.Condition()

    async def listen(self) -> None:
        """Pass each ring of the host's bell on to all who wait. Runs until cancelled."""
        waiter = Waiter(self._context.bells.host)
        try:
            while True:
                await waiter.wait(self._context.settings.timing.poll_s)
                async with self._ended:
                    self._ended.notify_all()
        finally:
            waiter.close()

    async def wait(self, batch_id: str, *, timeout_s: float) -> bool:
        """Return when the batch has ended; False when it has not after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._has_ended(batch_id):
                    async with self._ended:
                        await self._ended.wait()
        except TimeoutError:
            return False
        return True

    async def _has_ended(self, batch_id: str) -> bool:
        batch = await self._context.ask(self._context.store.batches.by_id, batch_id)
        return batch is None or batch.state.terminal

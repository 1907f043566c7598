"""**sweep**: what time does by itself.

Windows close, leases lapse, files and uploads expire, bytes that nobody needs go.
"""

from __future__ import annotations

import logging

from bulkrate.core.lifecycle import Event
from bulkrate.engine import paths
from bulkrate.engine.context import Context
from bulkrate.errors import IllegalTransition
from bulkrate.telemetry import log_event

_AT_ONCE = 200
# Ended webhook deliveries can be looked at for so long.
_DELIVERIES_KEPT_S = 7 * 86_400


class Sweeper:
    """Goes round once in a while."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run_once(self) -> bool:
        """Do what is due; whether a batch was moved or lines were freed by it."""
        moved = await self._close_windows()
        moved |= await self._bury_the_late()
        moved |= await self._abandon_strangers()
        await self._end_uploads()
        await self._purge()
        await self._context.ask(self._context.store.work.close_old_extents, now=self._context.clock())
        older_than = self._context.now() - _DELIVERIES_KEPT_S
        await self._context.ask(self._context.store.webhooks.prune, older_than=older_than)
        return moved

    async def _close_windows(self) -> bool:
        context = self._context
        due = await context.ask(context.store.batches.due, now=context.clock())
        for batch_id in due:
            try:
                await context.ask(
                    context.store.batches.move, batch_id, Event.DEADLINE_PASSED, now=context.now()
                )
            except IllegalTransition:
                continue  # it ended, or was cancelled, in this moment
            log_event(logging.WARNING, "batch_deadline", batch=batch_id)
        return bool(due)

    async def _bury_the_late(self) -> bool:
        dead = await self._context.ask(self._context.store.work.bury_lapsed, now=self._context.clock())
        for epoch in dead:
            log_event(logging.WARNING, "worker_buried", epoch=epoch)
        return bool(dead)

    async def _abandon_strangers(self) -> bool:
        """Batches that shall end must not wait for providers that are not configured any more."""
        context = self._context
        moved = False
        delegated = context.settings.delegated
        for remote in await context.ask(context.store.remotes.of_strangers, delegated):
            batch = await context.ask(context.store.batches.by_id, remote.batch_id)
            if batch is None or not batch.state.sending:
                why = f"the upstream {remote.upstream} is not configured any more"
                await context.ask(context.store.remotes.abandon, remote, now=context.clock(), why=why)
                log_event(
                    logging.ERROR,
                    "remote_abandoned",
                    upstream=remote.upstream,
                    batch=remote.batch_id,
                    remote=remote.id,
                    remote_id=remote.remote_id,
                    reason=why,
                )
                moved = True
        return moved

    async def _end_uploads(self) -> None:
        context = self._context
        uploads = context.store.uploads
        for upload_id in await context.ask(uploads.lapsed, now=context.now()):
            await context.ask(uploads.end, upload_id, "expired")
        for upload_id in await context.ask(uploads.ended_with_parts):
            for part in await context.ask(uploads.parts, upload_id):
                await context.ask(context.blobs.delete, part.blob)
            await context.ask(uploads.forget_parts, upload_id)

    async def _purge(self) -> None:
        context = self._context
        files = context.store.files
        await context.ask(files.expire, now=context.now())
        for file in await context.ask(files.unreferenced, limit=_AT_ONCE):
            if file.blob is not None:
                await context.ask(context.blobs.delete, file.blob)
            else:
                await context.ask(context.blobs.delete_all, paths.of_batch(str(file.batch_id)))
            await context.ask(files.purged, file.id)

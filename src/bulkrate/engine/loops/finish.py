"""**finish**: make the last account of a batch and let its files appear.

When no line will be sent any more, each line that never ran gets its own error line, and the output and error
file come into being as the list of what was committed. Nothing is copied. Dying half-way costs nothing: what
was accounted for stays, the rest is found again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from bulkrate.blobs import Reader
from bulkrate.core.lifecycle import Event, Status
from bulkrate.core.plan import Fate, LineSet, Planned, read_plan
from bulkrate.core.validate import take_apart
from bulkrate.engine.context import Context
from bulkrate.engine.ids import new_file_id, new_id
from bulkrate.engine.log import BatchLog, LogWriter, finished_lines, read_pieces
from bulkrate.engine.points import reach
from bulkrate.engine.retention import expiry
from bulkrate.errors import BlobMissing
from bulkrate.store.records import BatchRecord, Extent, FileRecord, RangeNews, ShardRecord
from bulkrate.telemetry import log_event, traces
from bulkrate.wire.lines import failure_line, line_id

# Lines told of in one commit.
_LINES_AT_ONCE = 5_000

_NEVER_RAN = {
    Status.CANCELLING: ("batch_cancelled", "This line was not run before the batch was cancelled."),
    Status.FINALIZING: (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
}


class Finisher:
    """Closes batches under one epoch of a clerk."""

    def __init__(self, context: Context, writer: LogWriter, epoch: int) -> None:
        self._context = context
        self._writer = writer
        self._epoch = epoch

    async def ready(self) -> list[BatchRecord]:
        """The batches that can be closed now."""
        store = self._context.store.batches
        sent = await self._context.ask(store.sent)
        return sent + await self._context.ask(store.settled, self._epoch)

    async def close(self, batch: BatchRecord) -> None:
        """Account for every line of a batch, and end it. Does nothing to one that has ended."""
        context = self._context
        reach("finish.moved")
        if batch.state.closing:
            shards = await context.ask(
                context.store.work.take_over,
                self._epoch,
                batch.id,
                now=context.clock(),
                lease_s=context.settings.timing.lease_s,
            )
            if shards:
                await self._tell_who_never_ran(batch, shards)
        extents = await context.ask(context.store.work.extents, batch.id)
        now = context.now()
        counted = await context.ask(context.store.batches.by_id, batch.id)
        if counted is None:
            return
        reach("finish.told")
        late = counted.completed + counted.failed < counted.total
        status = await context.ask(
            context.store.batches.close,
            batch.id,
            Event.ACCOUNTED_LATE if late else Event.ACCOUNTED,
            output=_file(batch, extents, "output", now),
            errors=_file(batch, extents, "errors", now),
            now=now,
            event_id=new_id("evt_"),
        )
        reach("finish.closed")
        if status is not None:
            log_event(
                logging.INFO,
                "batch_ended",
                batch=batch.id,
                status=status,
                total=counted.total,
                completed=counted.completed,
                failed=counted.failed,
            )
            traces.ended(
                batch.id,
                status=status,
                created_at=batch.created_at,
                now=context.clock(),
                lines=counted.total,
            )

    async def _tell_who_never_ran(self, batch: BatchRecord, shards: list[ShardRecord]) -> None:
        """One error line for each line without an outcome, in commits of some thousand."""
        context = self._context
        extents = await context.ask(context.store.work.extents, batch.id)
        finished = await context.ask(finished_lines, context.blobs, extents)
        ends = await context.ask(context.store.work.log_ends, self._epoch, batch.id)
        log = BatchLog(batch.id, ends)
        file = await context.ask(context.store.files.place, batch.project, batch.input_file_id)
        with contextlib.ExitStack() as stack:
            source = None
            if file is not None and file.blob is not None:
                with contextlib.suppress(BlobMissing):
                    source = context.blobs.open(file.blob)
                    stack.callback(source.close)
            for shard in shards:
                await self._tell_shard(batch, shard, finished, log, source)

    async def _tell_shard(
        self, batch: BatchRecord, shard: ShardRecord, finished: LineSet, log: BatchLog, source: Reader | None
    ) -> None:
        code, message = _NEVER_RAN[batch.state]
        told = 0
        try:
            plan = self._context.blobs.open(shard.plan)
        except BlobMissing as error:
            # Nobody knows its lines any more. The batch ends all the same, short of them.
            log_event(logging.ERROR, "shard_unreadable", batch=batch.id, shard=shard.shard, reason=str(error))
            await self._commit(log, RangeNews(shard=shard.shard, start=0, done=True))
            return
        try:
            for piece in read_pieces(plan, 0, plan.size):
                for planned in read_plan(piece):
                    if planned.line in finished:
                        continue
                    record = failure_line(
                        line_id(batch.id, planned.line), _custom_id(source, planned), code, message
                    )
                    log.add(planned.line, Fate.NEVER_RAN, record)
                    told += 1
                    if told % _LINES_AT_ONCE == 0:
                        await self._commit(log, RangeNews(shard=shard.shard, start=0))
                        reach("finish.telling")
            await self._commit(log, RangeNews(shard=shard.shard, start=0, done=True))
        finally:
            plan.close()

    async def _commit(self, log: BatchLog, *news: RangeNews) -> None:
        await self._context.ask(
            self._writer.commit,
            [log.hand_over(news)],
            now=self._context.clock(),
            lease_s=self._context.settings.timing.lease_s,
        )
        await asyncio.sleep(0)


def _custom_id(source: Reader | None, planned: Planned) -> bytes:
    """The line's `custom_id` as JSON; its number if it is a plain body, or if the input is gone."""
    if source is None:
        return b'"%d"' % planned.line
    custom_id, _ = take_apart(source.read_at(planned.offset, planned.length))
    return custom_id if custom_id is not None else b'"%d"' % planned.line


def _file(batch: BatchRecord, extents: list[Extent], stream: str, now: int) -> FileRecord | None:
    """The file that a stream becomes; None when it would have no line."""
    size = sum(getattr(extent, f"{stream}_end") - getattr(extent, f"{stream}_start") for extent in extents)
    if size == 0:
        return None
    return FileRecord(
        id=new_file_id(),
        project=batch.project,
        filename=f"{batch.id}_{'output' if stream == 'output' else 'error'}.jsonl",
        purpose="batch_output",
        bytes=size,
        created_at=now,
        expires_at=expiry("batch_output", batch.output_expires_after_s, now),
        batch_id=batch.id,
        stream=stream,
    )

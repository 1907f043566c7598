"""**admit**: read a new batch's input once, check every line, and write the plan.

The plan says for each fit line where it stands, grouped by model into shards. Nothing is sent before the
whole file has been read, because one bad line rejects the batch unless it asks to isolate such lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bulkrate.core.plan import Fate, LineSet
from bulkrate.core.validate import Fault
from bulkrate.engine.context import Context
from bulkrate.engine.ids import new_id
from bulkrate.engine.log import LogWriter, finished_lines
from bulkrate.engine.loops.reading import Reading, checker_for
from bulkrate.engine.points import reach
from bulkrate.engine.upstreams import catalogues_of
from bulkrate.errors import BlobMissing
from bulkrate.store.records import BatchCommit, BatchRecord, FileRecord, LogEnds
from bulkrate.telemetry import traces
from bulkrate.wire.batches import BatchFault

# Faults that a list of batches tells of each; `GET /v1/batches/{id}` tells of all.
_FIRST_FAULTS = 100


class Admitter:
    """Admits batches under one epoch of a clerk."""

    def __init__(self, context: Context, writer: LogWriter, epoch: int) -> None:
        self._context = context
        self._writer = writer
        self._epoch = epoch

    async def admit(self, batch: BatchRecord) -> None:
        """Take a batch from `validating` to `in_progress`, or to `failed`.

        A batch that was cancelled before its lines were known gets its plan too, so that each line can be
        accounted for.
        """
        context = self._context
        file = await context.ask(
            context.store.files.get, batch.project, batch.input_file_id, now=context.clock()
        )
        if file is None or file.blob is None or file.purpose != "batch":
            await self._reject(batch, [_no_file(batch, file)])
            return
        try:
            answered = await context.ask(self._answered_in_family, batch)
        except BlobMissing:
            await self._reject(batch, [_no_results(batch)])
            return
        catalogues = await catalogues_of(context)
        limits = context.settings.limits
        reading = Reading(
            batch.id,
            batch.endpoint,
            checker=checker_for(batch.endpoint, catalogues, limits),
            isolates=batch.on_invalid_line == "isolate" or batch.state.closing,
            already_answered=answered,
            limits=limits,
            blobs=context.blobs,
        )
        try:
            reader = context.blobs.open(file.blob)
        except BlobMissing:
            await self._reject(batch, [_no_file(batch, None)])
            return
        try:
            await reading.read(reader, self._writer)
            await self._settle(batch, reading)
        finally:
            reader.close()
            reading.discard()

    async def give_up(self, batch: BatchRecord) -> None:
        """Reject a batch whose file is beyond us, rather than try it for ever."""
        message = "The server failed while it read this file; its log says where. This is a bug in bulkrate."
        await self._reject(batch, [Fault(0, "internal_error", message)])

    async def _settle(self, batch: BatchRecord, reading: Reading) -> None:
        context = self._context
        if reading.faults and not reading.isolates:
            await self._reject(batch, reading.faults, more=reading.faults_left_out)
            return
        plan = await context.ask(reading.keep)
        await context.ask(reading.spill, self._writer)
        reach("admit.planned")
        await context.ask(
            context.store.batches.admit,
            plan,
            reading.told,
            epoch=self._epoch,
            model=plan[0].model if len(plan) == 1 else None,
            total=sum(shard.lines for shard in plan) + reading.isolated - reading.struck,
            now=context.now(),
        )
        reach("admit.admitted")

    async def _reject(self, batch: BatchRecord, faults: Sequence[Fault], *, more: int = 0) -> None:
        context = self._context
        told = [
            BatchFault(code=fault.code, message=fault.message, param=fault.param, line=fault.line or None)
            for fault in faults
        ]
        if more:
            told.append(BatchFault(code="too_many_errors", message=f"{more} more lines have faults."))
        if batch.state.closing:  # cancelled before it could be rejected: it has no lines that could run
            nothing = BatchCommit(batch_id=batch.id, since=LogEnds(), until=LogEnds())
            await context.ask(
                context.store.batches.admit,
                [],
                nothing,
                epoch=self._epoch,
                model=None,
                total=0,
                now=context.now(),
            )
            return
        await context.ask(
            context.store.batches.reject,
            batch.id,
            msgspec.json.encode(told),
            msgspec.json.encode(told[:_FIRST_FAULTS]),
            now=context.now(),
            event_id=new_id("evt_"),
        )
        traces.ended(batch.id, status="failed", created_at=batch.created_at, now=context.clock(), lines=0)

    def _answered_in_family(self, batch: BatchRecord) -> LineSet:
        """The lines that an earlier batch of the family answered: a retry never sends those again.

        Raises `BlobMissing` when it cannot be known any more.
        """
        answered = LineSet()
        if batch.retry_of is None:
            return answered
        store, blobs = self._context.store, self._context.blobs
        for relative in store.batches.family(batch.family):
            if relative.id != batch.id and relative.completed:
                answered |= finished_lines(blobs, store.work.extents(relative.id), only=Fate.ANSWERED)
        return answered


def _no_file(batch: BatchRecord, file: FileRecord | None) -> Fault:
    if file is None:
        message = f"The input file {batch.input_file_id} does not exist; upload it again."
    else:
        message = (
            f"The input file {batch.input_file_id} has the purpose '{file.purpose}'; upload it with 'batch'."
        )
    return Fault(0, "invalid_request", message, "file_id")


def _no_results(batch: BatchRecord) -> Fault:
    """The output of an earlier batch went between the retry's creation and now."""
    message = (
        f"The results of an earlier batch of {batch.family} are deleted, so nobody knows what it answered; "
        "create a new batch to send them all."
    )
    return Fault(0, "invalid_request", message, "file_id")

"""**admit**: read a new batch's input once, check every line, and write the plan.

The plan says for each fit line where it stands, grouped by model into shards. Nothing is sent before the whole file has been
read, because one bad line rejects the batch unless it asks to isolate such lines.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from bulkrate.blobs import Reader, Writer
from bulkrate.core.duplicates import DuplicateFinder
from bulkrate.core.lines import LineCutter, RawLine
from bulkrate.core.models import Catalogue, is_served, served_names
from bulkrate.core.plan import Fate, LineSet, Planned, digest_of, read_plan, write_planned
from bulkrate.core.validate import Fault, Fit, LineChecker
from bulkrate.engine import paths
from bulkrate.engine.context import Context
from bulkrate.engine.ids import new_id
from bulkrate.engine.log import BatchLog, LogWriter, finished_lines, read_pieces
from bulkrate.errors import BlobMissing
from bulkrate.store.records import BatchCommit, BatchRecord, FileRecord, LogEnds, ShardRecord
from bulkrate.wire.batches import BatchFault
from bulkrate.wire.lines import failure_line, line_id

# A slice of the file between two looks at the other batches: a few milliseconds of checking.
_SLICE_BYTES = 1 << 18
# Bad lines of a batch that isolates them are told of in memory up to this, then on disk.
_SPILL_BYTES = 4 << 20
# A plan keeps one open file per model.
_MODELS_MAX = 500
# The shortest line that can be fit has more bytes than this.
_LINE_BYTES_MIN = 16
# How long a batch waits for the first word of the upstreams, right after the start of the server.
_FIRST_WORD_S = 3.0


class Admitter:
    """Admits batches under one epoch of a clerk."""

    def __init__(self, context: Context, writer: LogWriter, epoch: int) -> None:
        self._context = context
        self._writer = writer
        self._epoch = epoch

    async def admit(self, batch: BatchRecord) -> None:
        """Take a batch from `validating` to `in_progress`, or to `failed`.

        A batch that was cancelled before its lines were known gets its plan too, so that each line can be accounted for.
        """
        context = self._context
        file = await context.ask(context.store.files.get, batch.project, batch.input_file_id, now=context.clock())
        if file is None or file.blob is None or file.purpose != "batch":
            await self._reject(batch, [_no_file(batch, file)])
            return
        catalogues = await self._catalogues()
        reading = Reading(
            batch,
            checker=self._checker(batch, catalogues),
            already_answered=await context.ask(self._answered_in_family, batch),
            context=context,
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

    async def _settle(self, batch: BatchRecord, reading: Reading) -> None:
        context = self._context
        if reading.faults and not reading.isolates:
            await self._reject(batch, reading.faults, more=reading.faults_left_out)
            return
        plan = await context.ask(reading.keep)
        await context.ask(reading.spill, self._writer)
        await context.ask(
            context.store.batches.admit,
            plan,
            reading.told,
            epoch=self._epoch,
            model=plan[0].model if len(plan) == 1 else None,
            total=sum(shard.lines for shard in plan) + reading.isolated - reading.struck,
            now=context.now(),
        )

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
                context.store.batches.admit, [], nothing, epoch=self._epoch, model=None, total=0, now=context.now()
            )
            return
        await context.ask(
            context.store.batches.reject,
            batch.id,
            msgspec.json.encode(told),
            now=context.now(),
            event_id=new_id("evt_"),
        )

    def _checker(self, batch: BatchRecord, catalogues: Sequence[Catalogue]) -> LineChecker:
        limits = self._context.settings.limits

        def known() -> str:
            names = served_names(catalogues)
            listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            return f"served are: {listed}. An alias in the configuration can map it." if names else "none is configured."

        served: dict[str, bool] = {}

        def serves(model: str) -> bool:
            if model not in served and len(served) < _MODELS_MAX:
                served[model] = is_served(catalogues, model)
            return served[model] if model in served else is_served(catalogues, model)

        return LineChecker(
            batch.endpoint,
            serves=serves,
            known_models=known,
            custom_id_chars_max=limits.custom_id_chars_max,
            line_bytes_max=limits.line_bytes_max,
        )

    async def _catalogues(self) -> list[Catalogue]:
        """What the upstreams serve, as far as the senders know; at the very start their first word is waited for."""
        context = self._context
        deadline = context.clock() + _FIRST_WORD_S
        while True:
            told = {row.name: row for row in await context.ask(context.store.upstreams.all)}
            if all(name in told for name in context.settings.upstreams) or context.clock() > deadline:
                break
            await asyncio.sleep(0.02)
        catalogues = []
        for name, upstream in context.settings.upstreams.items():
            models = upstream.models
            if models is None and name in told and (raw := told[name].models) is not None:
                models = msgspec.json.decode(raw, type=list[str])
            catalogues.append(Catalogue(None if models is None else tuple(models), upstream.aliases))
        return catalogues

    def _answered_in_family(self, batch: BatchRecord) -> LineSet:
        """The lines that an earlier batch of the family has an answer for: a retry never sends those again."""
        answered = LineSet()
        if batch.retry_of is None:
            return answered
        store, blobs = self._context.store, self._context.blobs
        for relative in store.batches.family(batch.family):
            if relative.id != batch.id:
                answered |= finished_lines(blobs, store.work.extents(relative.id), only=Fate.ANSWERED)
        return answered


@dataclass
class _Shard:
    """The plan of one model, being written."""

    model: str
    key: str
    writer: Writer
    lines: int = 0
    waiting: list[bytes] = field(default_factory=list)

    def add(self, record: Planned) -> None:
        self.lines += 1
        self.waiting.append(write_planned(record))

    def flush(self) -> None:
        self.writer.write(b"".join(self.waiting))
        self.waiting.clear()


class Reading:
    """One pass over one input file."""

    def __init__(
        self, batch: BatchRecord, *, checker: LineChecker, already_answered: LineSet, context: Context
    ) -> None:
        self.isolates = batch.on_invalid_line == "isolate" or batch.state.closing
        self.faults: list[Fault] = []
        self.faults_left_out = 0
        #: Bad lines told of in the error file, and how many of them stand in the plan all the same (duplicates).
        self.isolated = 0
        self.struck = 0
        #: What the error log says of the bad lines so far: durable, to be counted with the plan.
        self.told = BatchCommit(batch_id=batch.id, since=LogEnds(), until=LogEnds())
        self._log = BatchLog(batch.id, LogEnds())
        self._batch = batch
        self._checker = checker
        self._skip = already_answered
        self._context = context
        self._limits = context.settings.limits
        self._attempt = secrets.token_hex(4)
        self._shards: dict[str, _Shard] = {}
        self._inputs = 0
        self._lines = 0

    async def read(self, reader: Reader, writer: LogWriter) -> None:
        """Check every line. Lets other work of the process go on after each slice."""
        cutter = LineCutter(self._limits.line_bytes_max)
        lines_max = min(self._limits.lines_max, reader.size // _LINE_BYTES_MIN + 1)
        finder = DuplicateFinder(lines_max)
        offset = 0
        while chunk := reader.read_at(offset, _SLICE_BYTES):
            offset += len(chunk)
            self._take(cutter.feed(chunk), finder)
            if self._log.waiting_bytes > _SPILL_BYTES:
                self.spill(writer)
            await asyncio.sleep(0)
        self._take(cutter.finish(), finder)
        for shard in self._shards.values():
            shard.flush()
        if self._lines <= self._limits.lines_max:
            self._find_duplicates(finder)
        self._check_totals()

    def spill(self, writer: LogWriter) -> None:
        """Write what is told of bad lines to the error log; it counts once the plan is committed."""
        group = self._log.hand_over()
        writer.write([group])
        failed = self.told.failed + group.commit.failed
        self.told = replace(self.told, until=group.commit.until, failed=failed)

    def keep(self) -> list[ShardRecord]:
        """Make the plan durable; its shards."""
        plan = []
        for number, shard in enumerate(self._shards.values()):
            shard.writer.keep()
            plan.append(
                ShardRecord(
                    batch_id=self._batch.id, shard=number, model=shard.model, plan=shard.key, lines=shard.lines
                )
            )
        return plan

    def discard(self) -> None:
        """Leave nothing of a plan behind that was not kept."""
        for shard in self._shards.values():
            shard.writer.discard()

    def _take(self, lines: Iterator[RawLine], finder: DuplicateFinder) -> None:
        for line in lines:
            self._lines += 1
            if self._lines > self._limits.lines_max or line.number in self._skip:
                continue
            checked = self._checker.check(line)
            if isinstance(checked, Fit):
                self._plan(line, checked, finder)
            else:
                self._blame(checked)
        for shard in self._shards.values():
            shard.flush()

    def _plan(self, line: RawLine, fit: Fit, finder: DuplicateFinder) -> None:
        self._inputs += fit.inputs
        digest = digest_of(fit.custom_id)
        finder.watch(digest)
        shard = self._shards.get(fit.model)
        if shard is None:
            if len(self._shards) >= _MODELS_MAX:
                message = f"Line {line.number} names one model more than the {_MODELS_MAX} that a batch may have."
                self._blame([Fault(line.number, "invalid_request", message, "body.model")])
                return
            key = paths.of_plan(self._batch.id, self._attempt, len(self._shards))
            shard = self._shards[fit.model] = _Shard(fit.model, key, self._context.blobs.create(key))
        shard.add(Planned(line.offset, line.length, line.number, digest))

    def _blame(self, faults: list[Fault]) -> None:
        if not self.isolates:
            room = max(0, self._limits.faults_max - len(self.faults))
            self.faults += faults[:room]
            self.faults_left_out += len(faults) - len(faults[:room])
            return
        fault = faults[0]
        self.isolated += 1
        message = " ".join(fault.message for fault in faults)
        custom_id = fault.custom_id or msgspec.json.encode(str(fault.line))
        record = failure_line(line_id(self._batch.id, fault.line), custom_id, fault.code, message)
        self._log.add(fault.line, Fate.REJECTED, record)

    def _find_duplicates(self, finder: DuplicateFinder) -> None:
        found: list[Fault] = []
        for record, first in finder.duplicates(self._read_plans):
            message = f"Line {record.line}: its 'custom_id' repeats line {first}; give each line its own."
            fault = Fault(record.line, "duplicate_custom_id", message, "custom_id")
            if self.isolates:
                self.struck += 1
                self._blame([fault])
            else:
                found.append(fault)
        if found:
            found.sort(key=lambda fault: fault.line)
            earlier, self.faults = self.faults, []
            self._blame(list(heapq.merge(earlier, found, key=lambda fault: fault.line)))

    def _read_plans(self) -> Iterator[Planned]:
        for shard in self._shards.values():
            shard.flush()
            yield from _read_back(shard.writer)

    def _check_totals(self) -> None:
        limits = self._limits
        if self._lines > limits.lines_max:
            message = f"The file has {self._lines} lines; a batch may have {limits.lines_max}."
            self._refuse(Fault(0, "too_many_tasks", message))
        elif self._lines == 0:
            self._refuse(Fault(0, "empty_file", "The file has no lines."))
        elif self._batch.endpoint == "/v1/embeddings" and self._inputs > limits.embedding_inputs_max:
            message = f"The file has {self._inputs} inputs to embed; a batch may have {limits.embedding_inputs_max}."
            self._refuse(Fault(0, "too_many_tasks", message))

    def _refuse(self, fault: Fault) -> None:
        """A fault of the whole file: no line of it can run, even where bad lines are isolated."""
        self.isolates = False
        self.faults.append(fault)


def _read_back(writer: Writer) -> Iterator[Planned]:
    for piece in read_pieces(writer, 0, writer.size):
        yield from read_plan(piece)


def _no_file(batch: BatchRecord, file: FileRecord | None) -> Fault:
    if file is None:
        message = f"The input file {batch.input_file_id} does not exist; upload it again."
    else:
        message = f"The input file {batch.input_file_id} has the purpose '{file.purpose}'; upload it with 'batch'."
    return Fault(0, "invalid_request", message, "file_id")

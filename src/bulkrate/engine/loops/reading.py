"""One pass over an input file: every line is checked, and the plan is written.

Used by **admit** for a batch, and by `bulkrate validate` for a file that may never become one.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from bulkrate.blobs import Blobs, Reader, Writer
from bulkrate.config import Limits
from bulkrate.core.duplicates import DuplicateFinder
from bulkrate.core.lines import LineCutter, RawLine
from bulkrate.core.models import Catalogue, is_served, served_names
from bulkrate.core.plan import LINE_MAX, Fate, LineSet, Planned, digest_of, read_plan, write_planned
from bulkrate.core.validate import Fault, Fit, LineChecker, take_apart
from bulkrate.engine import paths
from bulkrate.engine.log import BatchLog, LogWriter, read_pieces
from bulkrate.engine.points import reach
from bulkrate.store.records import BatchCommit, LogEnds, ShardRecord
from bulkrate.wire.lines import failure_line, line_id

# A slice of the file between two looks at the other batches: a few milliseconds of checking.
_SLICE_BYTES = 1 << 18
# Bad lines of a batch that isolates them are told of in memory up to this, then on disk.
_SPILL_BYTES = 4 << 20
# Faults that are found late are put among the others so many at a time.
_MERGED_AT_ONCE = 10_000
# A plan keeps one open file per model.
_MODELS_MAX = 500
# A short line. Only the room for finding repeated ids is measured by it: with more lines than expected, more
# of them are compared for nothing.
_LINE_BYTES_SHORT = 100


def checker_for(endpoint: str, catalogues: Sequence[Catalogue], limits: Limits) -> LineChecker:
    """The checks for a batch at `endpoint`, given what the upstreams serve."""

    def known() -> str:
        names = served_names(catalogues)
        listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        return (
            f"served are: {listed}. An alias in the configuration can map it."
            if names
            else "none is configured."
        )

    served: dict[str, bool] = {}

    def serves(model: str) -> bool:
        if model not in served:
            answer = is_served(catalogues, model)
            if len(served) >= _MODELS_MAX:
                return answer
            served[model] = answer
        return served[model]

    return LineChecker(
        endpoint,
        serves=serves,
        known_models=known,
        custom_id_chars_max=limits.custom_id_chars_max,
        line_bytes_max=limits.line_bytes_max,
    )


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
        self,
        batch_id: str,
        endpoint: str,
        *,
        checker: LineChecker,
        isolates: bool,
        already_answered: LineSet,
        limits: Limits,
        blobs: Blobs,
    ) -> None:
        self.isolates = isolates
        self.faults: list[Fault] = []
        self.faults_left_out = 0
        #: Bad lines told of in the error file, and how many of them stand in the plan all the same
        #: (duplicates).
        self.isolated = 0
        self.struck = 0
        #: What the error log says of the bad lines so far: durable, to be counted with the plan.
        self.told = BatchCommit(batch_id=batch_id, since=LogEnds(), until=LogEnds())
        self._log = BatchLog(batch_id, LogEnds())
        self._batch_id = batch_id
        self._endpoint = endpoint
        self._checker = checker
        self._skip = already_answered
        self._limits = limits
        self._blobs = blobs
        self._attempt = secrets.token_hex(4)
        self._shards: dict[str, _Shard] = {}
        self._inputs = 0
        self._too_far = False
        self.lines = 0

    @property
    def lines_by_model(self) -> dict[str, int]:
        """How many fit lines ask for which model."""
        return {shard.model: shard.lines for shard in self._shards.values()}

    async def read(self, reader: Reader, writer: LogWriter | None = None) -> None:
        """Check every line. Lets other work of the process go on after each slice.

        Raises `NoSpace`, `BlobError`. `writer` takes what is told of isolated lines.
        """
        cutter = LineCutter(self._limits.line_bytes_max)
        finder = DuplicateFinder(min(self._limits.lines_max, reader.size // _LINE_BYTES_SHORT + 1))
        offset = 0
        while chunk := reader.read_at(offset, _SLICE_BYTES):
            offset += len(chunk)
            self._take(cutter.feed(chunk), finder)
            if writer is not None and self._log.waiting_bytes > _SPILL_BYTES:
                self.spill(writer)
            reach("admit.reading")
            await asyncio.sleep(0)
        self._take(cutter.finish(), finder)
        for shard in self._shards.values():
            shard.flush()
        if self.lines <= self._limits.lines_max:
            # Millions of lines are read again: in a thread, or the whole process would stand still.
            await asyncio.to_thread(self._find_duplicates, finder, reader, writer)
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
                    batch_id=self._batch_id,
                    shard=number,
                    model=shard.model,
                    plan=shard.key,
                    lines=shard.lines,
                    struck=self.struck > 0,
                )
            )
        return plan

    def discard(self) -> None:
        """Leave nothing of a plan behind that was not kept."""
        for shard in self._shards.values():
            shard.writer.discard()

    def _take(self, lines: Iterator[RawLine], finder: DuplicateFinder) -> None:
        for line in lines:
            self.lines += 1
            if line.number > LINE_MAX:
                self._too_far = True
            if self._too_far or self.lines > self._limits.lines_max or line.number in self._skip:
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
                message = (
                    f"Line {line.number} names one model more than the {_MODELS_MAX} that a batch may have."
                )
                custom_id, _ = take_apart(line.data or b"")
                self._blame([Fault(line.number, "invalid_request", message, "body.model", custom_id)])
                return
            key = paths.of_plan(self._batch_id, self._attempt, len(self._shards))
            shard = self._shards[fit.model] = _Shard(fit.model, key, self._blobs.create(key))
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
        record = failure_line(line_id(self._batch_id, fault.line), custom_id, fault.code, message)
        self._log.add(fault.line, Fate.REJECTED, record)

    def _find_duplicates(self, finder: DuplicateFinder, reader: Reader, writer: LogWriter | None) -> None:
        found: list[Fault] = []
        for record, first in finder.duplicates(self._read_plans):
            message = f"Line {record.line}: its 'custom_id' repeats line {first}; give each line its own."
            fault = Fault(record.line, "duplicate_custom_id", message, "custom_id")
            if self.isolates:
                custom_id, _ = take_apart(reader.read_at(record.offset, record.length))
                fault = replace(fault, custom_id=custom_id)
                self.struck += 1
                self._blame([fault])
                if writer is not None and self._log.waiting_bytes > _SPILL_BYTES:
                    self.spill(writer)
            else:
                found.append(fault)
                if len(found) > self._limits.faults_max + _MERGED_AT_ONCE:
                    self._merge(found)
        if found:
            self._merge(found)

    def _merge(self, found: list[Fault]) -> None:
        """Put faults that were found late among the others, in line order."""
        found.sort(key=_line_of)
        earlier, self.faults = self.faults, []
        self._blame(list(heapq.merge(earlier, found, key=_line_of)))
        found.clear()

    def _read_plans(self) -> Iterator[Planned]:
        for shard in self._shards.values():
            shard.flush()
            yield from _read_back(shard.writer)

    def _check_totals(self) -> None:
        limits = self._limits
        if self.lines > limits.lines_max:
            message = f"The file has {self.lines} lines; a batch may have {limits.lines_max}."
            self._refuse(Fault(0, "too_many_tasks", message))
        elif self._too_far:
            message = f"The file has more than {LINE_MAX} lines, blank ones included."
            self._refuse(Fault(0, "too_many_tasks", message))
        elif self.lines == 0:
            self._refuse(Fault(0, "empty_file", "The file has no lines."))
        elif self._endpoint == "/v1/embeddings" and self._inputs > limits.embedding_inputs_max:
            most = limits.embedding_inputs_max
            message = f"The file has {self._inputs} inputs to embed; a batch may have {most}."
            self._refuse(Fault(0, "too_many_tasks", message))

    def _refuse(self, fault: Fault) -> None:
        """A fault of the whole file: no line of it can run, even where bad lines are isolated."""
        self.isolates = False
        self.faults.append(fault)


def _line_of(fault: Fault) -> int:
    return fault.line


def _read_back(writer: Writer) -> Iterator[Planned]:
    for piece in read_pieces(writer, 0, writer.size):
        yield from read_plan(piece)

"""The result log: outcomes gather in memory, become durable in groups, and count once committed.

Each worker appends to files of its own (its epoch is in their names), so a late twin can never spoil what
another has written. What lies behind the committed end of a log does not exist.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bulkrate.blobs import Blobs, Reader, Writer
from bulkrate.core.plan import Fate, LineSet, read_ledger, write_settled
from bulkrate.core.stats import CommitStats
from bulkrate.engine import paths
from bulkrate.engine.points import reach
from bulkrate.providers.usage import Usage
from bulkrate.store import Store
from bulkrate.store.records import BatchCommit, Extent, LogEnds, Moving, RangeNews
from bulkrate.telemetry import traces

# Syncs wait for the disk, not for the processor; a few at once are several times faster with many small
# batches.
_WRITERS = 4
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Outcomes of one batch on their way to the disk, and what they will count as."""

    commit: BatchCommit
    output: Sequence[bytes]
    errors: Sequence[bytes]
    ledger: Sequence[bytes]

    @property
    def size(self) -> int:
        """How many bytes are on their way."""
        since, until = self.commit.since, self.commit.until
        return until.output - since.output + until.errors - since.errors + until.ledger - since.ledger


class BatchLog:
    """The outcomes of one batch that one worker has gathered and not yet handed over."""

    def __init__(self, batch_id: str, ends: LogEnds) -> None:
        self.batch_id = batch_id
        self._since = ends
        self._usage = Usage()
        self._start()

    @property
    def waiting_bytes(self) -> int:
        """How much is gathered."""
        return self._output_end - self._since.output + self._errors_end - self._since.errors

    @property
    def waiting_lines(self) -> int:
        """How many outcomes are gathered."""
        return len(self._ledger)

    def add(self, line: int, fate: Fate, record: bytes, usage: Usage | None = None) -> None:
        """Gather the outcome of a line; `record` is its whole line in the output or error file."""
        size = len(record)
        if fate is Fate.ANSWERED:
            self._ledger.append(write_settled(line, fate, self._output_end, size))
            self._output.append(record)
            self._output_end += size
            self._completed += 1
        else:
            self._ledger.append(write_settled(line, fate, self._errors_end, size))
            self._errors.append(record)
            self._errors_end += size
            self._failed += fate.counts_as_failed
        if usage is not None and usage.total_tokens:
            self._usage = self._usage + usage

    def hand_over(self, ranges: tuple[RangeNews, ...] = (), moving: Moving | None = None) -> Group:
        """All that is gathered, as one group; gathering starts anew."""
        ledger_end = self._since.ledger + sum(map(len, self._ledger))
        until = LogEnds(output=self._output_end, errors=self._errors_end, ledger=ledger_end)
        commit = BatchCommit(
            batch_id=self.batch_id,
            since=self._since,
            until=until,
            completed=self._completed,
            failed=self._failed,
            usage=self._usage,
            ranges=ranges,
            moving=moving,
        )
        group = Group(commit=commit, output=self._output, errors=self._errors, ledger=self._ledger)
        self._since = until
        self._start()
        return group

    def _start(self) -> None:
        self._output: list[bytes] = []
        self._errors: list[bytes] = []
        self._ledger: list[bytes] = []
        self._output_end = self._since.output
        self._errors_end = self._since.errors
        self._completed = 0
        self._failed = 0
        self._usage = Usage()


class LogWriter:
    """Makes groups durable and lets them count, under one epoch."""

    def __init__(self, store: Store, blobs: Blobs, epoch: int) -> None:
        #: What was committed; whoever counts on from an earlier process puts its numbers here.
        self.stats = CommitStats()
        self._counting = threading.Lock()  # the clerk commits from several threads
        self._store = store
        self._blobs = blobs
        self._epoch = epoch
        self._threads = ThreadPoolExecutor(_WRITERS, thread_name_prefix="log")

    def write(self, groups: Sequence[Group]) -> None:
        """Write and sync every log of every group. Writing the same groups again does no harm."""
        writes = [
            (
                paths.of_log(group.commit.batch_id, self._epoch, stream),
                getattr(group.commit.since, stream),
                chunks,
            )
            for group in groups
            for stream in ("output", "errors", "ledger")
            if (chunks := getattr(group, stream))
        ]
        for _ in self._threads.map(lambda write: self._blobs.write_log(*write), writes):
            pass

    def commit(self, groups: Sequence[Group], *, now: float, lease_s: float) -> None:
        """Write, then let all of it count.

        Raises `Fenced`, `NoSpace`, `BlobError`, `StoreError`; then nothing counts yet.
        """
        lines = sum(len(group.ledger) for group in groups)
        with traces.commit([group.commit.batch_id for group in groups], lines=lines):
            began = time.perf_counter()
            self.write(groups)
            synced_s = time.perf_counter() - began
            reach("commit.written")
            self._store.work.commit(self._epoch, [group.commit for group in groups], now=now, lease_s=lease_s)
            reach("commit.counted")
        seconds = time.perf_counter() - began
        with self._counting:
            self.stats.synced(synced_s)
            self.stats.committed(lines=lines, bytes_=sum(group.size for group in groups), seconds=seconds)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def read_fates(blobs: Blobs, extents: Sequence[Extent]) -> Iterator[tuple[Extent, int, int, int, int]]:
    """Every committed outcome of a batch, as (extent, line, fate, offset, length)."""
    for extent in extents:
        for stretch in ledger_stretches(blobs, extent):
            for line, fate, offset, length in read_ledger(stretch):
                yield extent, line, fate, offset, length


def ledger_stretches(blobs: Blobs, extent: Extent) -> Iterator[bytes]:
    """The committed part of one ledger, in pieces of whole records."""
    if extent.ledger_start == extent.ledger_end:
        return
    reader = blobs.open(paths.of_log(extent.batch_id, extent.epoch, "ledger"))
    try:
        yield from read_pieces(reader, extent.ledger_start, extent.ledger_end)
    finally:
        reader.close()


def read_pieces(reader: Reader | Writer, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` to `end`, in pieces that hold whole records of every size we use."""
    step = _READ_BYTES // 120 * 120  # 24-byte plan records and 20-byte ledger records both divide 120
    while start < end:
        yield reader.read_at(start, min(step, end - start))
        start += step


def finished_lines(blobs: Blobs, extents: Sequence[Extent], *, only: Fate | None = None) -> LineSet:
    """The lines that have an outcome, or only those with this one."""
    lines = LineSet()
    for extent in extents:
        for stretch in ledger_stretches(blobs, extent):
            lines.add_settled(stretch, only=only)
    return lines


class FinishedLines:
    """The lines of a running batch that have an outcome. Reads no ledger twice."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._lines = LineSet()
        self._read: dict[int, int] = {}

    def catch_up(self, extents: Sequence[Extent]) -> LineSet:
        """All of them, as of these extents."""
        for extent in extents:
            start = max(extent.ledger_start, self._read.get(extent.epoch, 0))
            unread = replace(extent, ledger_start=start)
            for stretch in ledger_stretches(self._blobs, unread):
                self._lines.add_settled(stretch)
            self._read[extent.epoch] = extent.ledger_end
        return self._lines

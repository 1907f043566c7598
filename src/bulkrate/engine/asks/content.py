"""Reading bytes back: a file, a batch's output or error stream, or the output in the order of the input."""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bulkrate.blobs import Blobs, Reader
from bulkrate.core.plan import Fate
from bulkrate.engine import paths
from bulkrate.engine.log import read_fates
from bulkrate.store.records import Extent

_CHUNK_BYTES = 1 << 20
_LINES_AT_ONCE = 1_000


class Content(Protocol):
    """Bytes that can be read from anywhere.

    `complete` is False while a running batch may still add to them.
    """

    size: int
    filename: str
    complete: bool

    def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but not including `end`."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a blob."""

    key: str
    start: int
    end: int


class SegmentedContent:
    """Stretches of blobs, one after the other: nothing is ever joined on disk."""

    def __init__(
        self, blobs: Blobs, segments: Sequence[Segment], *, filename: str, complete: bool = True
    ) -> None:
        self.size = sum(segment.end - segment.start for segment in segments)
        self.filename = filename
        self.complete = complete
        self._blobs = blobs
        self._segments = segments

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but not including `end`."""
        before = 0
        for segment in self._segments:
            length = segment.end - segment.start
            first = max(start - before, 0)
            last = min(end - before, length)
            before += length
            if first < last:
                async for chunk in self._stretch(segment.key, segment.start + first, segment.start + last):
                    yield chunk

    async def _stretch(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        reader = await asyncio.to_thread(self._blobs.open, key)
        try:
            while start < end:
                chunk = await asyncio.to_thread(reader.read_at, start, min(_CHUNK_BYTES, end - start))
                if not chunk:
                    return
                start += len(chunk)
                yield chunk
        finally:
            reader.close()


def stream_segments(extents: Sequence[Extent], stream: str) -> list[Segment]:
    """Where the `output` or `errors` of a batch stand, in the order in which they came to count."""
    return [
        Segment(paths.of_log(extent.batch_id, extent.epoch, stream), start, end)
        for extent in extents
        if (start := getattr(extent, f"{stream}_start")) < (end := getattr(extent, f"{stream}_end"))
    ]


# Where the answer of a line stands: which extent (from 1; 0 is none), the offset in its log, the length.
_PLACE = struct.Struct("<IQI")
_Place = tuple[int, int, int]


class InputOrderedOutput:
    """The output of an ended batch, line by line in the order of the input.

    An index of 16 bytes a line is built in a temporary file, so that memory stays flat for any number of
    lines.
    """

    complete = True

    def __init__(self, blobs: Blobs, extents: Sequence[Extent], *, filename: str) -> None:
        self.filename = filename
        self.size = sum(extent.output_end - extent.output_start for extent in extents)
        self._blobs = blobs
        self._extents = extents

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but not including `end`."""
        with tempfile.TemporaryFile() as scratch, _OpenLogs(self._blobs) as logs:
            pieces = self._pieces(scratch.fileno(), logs, start, end)
            while piece := await asyncio.to_thread(next, pieces, b""):
                yield piece

    def _pieces(self, scratch: int, logs: _OpenLogs, start: int, end: int) -> Iterator[bytes]:
        if not self._index(scratch):
            return
        with mmap.mmap(scratch, 0, prot=mmap.PROT_READ) as index:
            position = 0
            for group, length in _groups(_PLACE.iter_unpack(index)):
                if position >= end:
                    return
                if position + length > start:
                    yield self._join(group, logs)[max(0, start - position) : end - position]
                position += length

    def _index(self, fd: int) -> int:
        """Write the place of each answered line at its line number; how many lines the index spans."""
        extent_number = {extent.number: number for number, extent in enumerate(self._extents, start=1)}
        highest = 0
        for extent, line, fate, offset, length in read_fates(self._blobs, self._extents):
            if fate == Fate.ANSWERED:
                os.pwrite(fd, _PLACE.pack(extent_number[extent.number], offset, length), line * _PLACE.size)
                highest = max(highest, line)
        return highest

    def _join(self, places: Sequence[_Place], logs: _OpenLogs) -> bytes:
        records = []
        for number, offset, length in places:
            extent = self._extents[number - 1]
            reader = logs.open(paths.of_log(extent.batch_id, extent.epoch, "output"))
            records.append(reader.read_at(offset, length))
        return b"".join(records)


def _groups(places: Iterable[_Place]) -> Iterator[tuple[list[_Place], int]]:
    """Neighbouring answers that are read at once, with how long they are together."""
    group: list[_Place] = []
    size = 0
    for place in places:
        if place[2]:
            group.append(place)
            size += place[2]
        if size >= _CHUNK_BYTES or len(group) >= _LINES_AT_ONCE:
            yield group, size
            group, size = [], 0
    if group:
        yield group, size


class _OpenLogs:
    """Logs that stay open while an answer is read from here and there."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._readers: dict[str, Reader] = {}

    def open(self, key: str) -> Reader:
        if key not in self._readers:
            self._readers[key] = self._blobs.open(key)
        return self._readers[key]

    def __enter__(self) -> _OpenLogs:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers.values():
            reader.close()

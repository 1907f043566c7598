"""What each row came to: an append-only log, and an index by row number beside it.

The log is the truth up to the length that the job's record names; the rest of it is cut off when it is opened
to be written to, and the index is made anew each time. A row may be told of more than once: the better
outcome counts, and of two as good the later. Memory does not grow with the rows.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bulkrate.errors import StoreError


class Status(IntEnum):
    """What a row came to; the higher is the better."""

    PENDING = 0
    FAILED = 1
    INVALID = 2
    ANSWERED = 3
    SKIPPED = 4


class Outcome(msgspec.Struct, array_like=True, kw_only=True, frozen=True):
    """One row's. `cells` are the columns that the answer adds, encoded; `text` is what a model said that was
    not as asked; `alone` says that the request it shared failed as a whole, so it may do better by itself.
    """

    row: int
    status: int
    cells: bytes | None = None
    code: str | None = None
    message: str | None = None
    retryable: bool = False
    alone: bool = False
    text: str | None = None
    confidence: float | None = None
    model: str | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 1
    #: Taken over from an earlier job: nothing was sent.
    reused: bool = False
    #: The upstream whose batch API answered, where a server of ours says so.
    delegated: str | None = None


_decode = msgspec.msgpack.Decoder(Outcome).decode
_encode = msgspec.msgpack.Encoder().encode
# Before each record: its length, its row, its status, and how many requests it tells of.
_HEAD = struct.Struct("<IIBB")
# Of each row: where its record is in the log, its length, how many requests it was in.
_PLACE = struct.Struct("<QIB3x")
_ATTEMPTS_MAX = 255
#: The log is written and read in gulps of about this size.
_GULP_BYTES = 1 << 20
_STATUSES_AT_ONCE = 1 << 16


class Answers:
    """The outcomes of `rows` rows, in the folder `path`. Every method raises `StoreError`.

    With `writable=False` nothing is changed: a second process may read so while the first adds.
    """

    def __init__(self, path: Path, *, rows: int, committed: int, writable: bool = True) -> None:
        self._rows = rows
        self._name = path / "answers.log"
        self._end = committed
        self._unwritten = bytearray()
        #: How many rows have each status.
        self.counts = [0] * len(Status)
        self.counts[Status.PENDING] = rows
        with self._translated():
            flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
            if not writable and not committed and not self._name.exists():
                self._log = os.open(os.devnull, os.O_RDONLY)
            else:
                self._log = os.open(self._name, flags, 0o600)
            try:
                if os.fstat(self._log).st_size < committed:
                    raise StoreError(f"{self._name} is shorter than it should be; it was cut or replaced")
                if writable:
                    os.ftruncate(self._log, committed)
                # Without a name: it goes with its process. Statuses stand behind the places.
                with tempfile.TemporaryFile(dir=path if os.access(path, os.W_OK) else None) as file:
                    # Not truncate: to write into a hole of a full disk would kill the process.
                    os.posix_fallocate(file.fileno(), 0, max(rows, 1) * (_PLACE.size + 1))
                    self._index = mmap.mmap(file.fileno(), 0)
            except BaseException:
                os.close(self._log)
                raise
        self._statuses = rows * _PLACE.size
        try:
            self._read_index(0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._rows

    def close(self) -> None:
        """Let go of the files; what was not committed is forgotten."""
        self._index.close()
        os.close(self._log)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes in. They count once they are committed."""
        for outcome in outcomes:
            record = _encode(outcome)
            attempts = min(outcome.attempts, _ATTEMPTS_MAX)
            self._unwritten += _HEAD.pack(len(record), outcome.row, outcome.status, attempts)
            self._unwritten += record
            self._place(outcome.row, outcome.status, attempts, self._end + _HEAD.size, len(record))
            self._end += _HEAD.size + len(record)
            if len(self._unwritten) >= _GULP_BYTES:
                self._write()

    def commit(self) -> int:
        """Make everything durable; the length of the log that now counts."""
        self._write()
        with self._translated():
            os.fsync(self._log)
        return self._end

    def status(self, row: int) -> Status:
        """What a row has come to so far."""
        return Status(self._index[self._statuses + row])

    def attempts(self, row: int) -> int:
        """How many requests a row has been in."""
        attempts: int = _PLACE.unpack_from(self._index, row * _PLACE.size)[2]
        return attempts

    def get(self, row: int) -> Outcome | None:
        """A row's outcome, if it has one."""
        if not self._index[self._statuses + row]:
            return None
        if self._unwritten:
            self._write()
        offset, length, _ = _PLACE.unpack_from(self._index, row * _PLACE.size)
        return self._decoded(offset, length)

    def of_status(self, *statuses: Status) -> Iterator[int]:
        """The numbers of the rows with one of these statuses, in order."""
        wanted = bytes(statuses)
        for first in range(0, self._rows, _STATUSES_AT_ONCE):
            last = min(first + _STATUSES_AT_ONCE, self._rows)
            there = self._index[self._statuses + first : self._statuses + last]
            for row, status in enumerate(there, start=first):
                if status in wanted:
                    yield row

    def extend(self, committed: int) -> None:
        """Take in what another process has committed since."""
        begin, self._end = self._end, committed
        self._read_index(begin)

    def between(self, begin: int, end: int) -> Iterator[Outcome]:
        """What was told between two lengths of the log, in the order of telling."""
        while begin < end:
            with self._translated():
                head = os.pread(self._log, _HEAD.size, begin)
            length = _HEAD.unpack(head)[0]
            yield self._decoded(begin + _HEAD.size, length)
            begin += _HEAD.size + length

    def _decoded(self, offset: int, length: int) -> Outcome:
        with self._translated():
            record = os.pread(self._log, length, offset)
        try:
            return _decode(record)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise StoreError(f"{self._name} is damaged: an answer in it cannot be read") from fault

    def _place(self, row: int, status: int, attempts: int, offset: int, length: int) -> None:
        at = row * _PLACE.size
        before = self._index[self._statuses + row]
        old_offset, old_length, tried = _PLACE.unpack_from(self._index, at)
        tried = min(tried + attempts, _ATTEMPTS_MAX)
        if status < before:
            offset, length = old_offset, old_length
        else:
            self._index[self._statuses + row] = status
            self.counts[before] -= 1
            self.counts[status] += 1
        _PLACE.pack_into(self._index, at, offset, length, tried)

    def _read_index(self, begin: int) -> None:
        """Go through the log, from head to head."""
        gulp, at = b"", 0
        while begin + at < self._end:
            if len(gulp) - at < _HEAD.size:
                begin, at = begin + at, 0
                with self._translated():
                    gulp = os.pread(self._log, _GULP_BYTES, begin)
            try:
                length, row, status, attempts = _HEAD.unpack_from(gulp, at)
                self._place(row, status, attempts, begin + at + _HEAD.size, length)
            except (struct.error, IndexError) as fault:
                raise StoreError(f"{self._name} is damaged: it does not fit the job's rows") from fault
            at += _HEAD.size + length
            if at > len(gulp):
                begin, gulp, at = begin + at, b"", 0

    def _write(self) -> None:
        view = memoryview(self._unwritten)
        offset = self._end - len(view)
        with self._translated():
            while view:
                written = os.pwrite(self._log, view, offset)
                view, offset = view[written:], offset + written
        self._unwritten = bytearray()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise StoreError(f"{self._name}: {fault.strerror or fault}") from fault

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
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec


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


_decode = msgspec.msgpack.Decoder(Outcome).decode
_encode = msgspec.msgpack.Encoder().encode
_HEAD = struct.Struct("<I")
# Offset of the record in the log, its length, its status, how often the row was sent.
_PLACE = struct.Struct("<QIBBxx")
_ATTEMPTS_MAX = 255


class Answers:
    """The outcomes of `rows` rows, in the folder `path`."""

    def __init__(self, path: Path, *, rows: int, committed: int, writable: bool = True) -> None:
        self._rows = rows
        log = path / "answers.log"
        self._log = log.open("a+b" if writable or not log.exists() else "rb")
        if writable:
            self._log.truncate(committed)
        self._end = committed
        with tempfile.TemporaryFile(dir=path) as file:
            file.truncate(max(rows, 1) * _PLACE.size)
            self._index = mmap.mmap(file.fileno(), 0)
        self.counts: Counter[Status] = Counter({Status.PENDING: rows})
        for offset, length, outcome in self._scan():
            self._place(outcome, offset, length)

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
        self._log.close()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes in. They count once they are committed."""
        for outcome in outcomes:
            record = _encode(outcome)
            self._log.write(_HEAD.pack(len(record)))
            self._log.write(record)
            self._place(outcome, self._end, len(record))
            self._end += _HEAD.size + len(record)

    def commit(self) -> int:
        """Make everything durable; the length of the log that now counts."""
        self._log.flush()
        os.fsync(self._log.fileno())
        return self._end

    def status(self, row: int) -> Status:
        """What a row has come to so far."""
        return Status(self._read_place(row)[2])

    def attempts(self, row: int) -> int:
        """How many requests a row has been in."""
        return self._read_place(row)[3]

    def get(self, row: int) -> Outcome | None:
        """A row's outcome, if it has one."""
        offset, length, status, _ = self._read_place(row)
        if status == Status.PENDING:
            return None
        if self._log.writable():
            self._log.flush()
        return _decode(os.pread(self._log.fileno(), length, offset + _HEAD.size))

    def of_status(self, *statuses: Status) -> Iterator[int]:
        """The numbers of the rows with one of these statuses, in order."""
        for row in range(self._rows):
            if self.status(row) in statuses:
                yield row

    def _read_place(self, row: int) -> tuple[int, int, int, int]:
        offset, length, status, attempts = _PLACE.unpack_from(self._index, row * _PLACE.size)
        return offset, length, status, attempts

    def _place(self, outcome: Outcome, offset: int, length: int) -> None:
        _, _, before, attempts = place = self._read_place(outcome.row)
        attempts = min(attempts + outcome.attempts, _ATTEMPTS_MAX)
        if outcome.status >= before:
            _PLACE.pack_into(self._index, outcome.row * _PLACE.size, offset, length, outcome.status, attempts)
            self.counts[Status(before)] -= 1
            self.counts[Status(outcome.status)] += 1
        else:
            _PLACE.pack_into(self._index, outcome.row * _PLACE.size, *place[:3], attempts)

    def _scan(self) -> Iterator[tuple[int, int, Outcome]]:
        offset = 0
        self._log.seek(0)
        while offset < self._end:
            (length,) = _HEAD.unpack(self._log.read(_HEAD.size))
            yield offset, length, _decode(self._log.read(length))
            offset += _HEAD.size + length
        self._log.seek(0, os.SEEK_END)

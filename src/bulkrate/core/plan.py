"""The two compact indexes of a batch, and the set of its finished lines.

The **plan** says where each line stands in the input; one fixed record a line, grouped by model into shards.
The **ledger** says what became of each line and where its answer stands in the log; one fixed record per
outcome, in the order of the outcomes. Neither is ever a row in a database.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple


class Planned(NamedTuple):
    """A line to be sent."""

    offset: int
    length: int
    line: int
    digest: int


class Fate(IntEnum):
    """What became of a line."""

    ANSWERED = 0
    #: It ran, and failed for good.
    FAILED = 1
    #: It was not fit to be sent, and the batch asked to isolate such lines.
    REJECTED = 2
    #: The window closed or the batch was cancelled before it could run.
    NEVER_RAN = 3

    @property
    def in_output(self) -> bool:
        """Whether the line stands in the output file, and not in the error file."""
        return self is Fate.ANSWERED

    @property
    def counts_as_failed(self) -> bool:
        """Whether `request_counts.failed` includes the line. What never ran is in no count, as at OpenAI."""
        return self in {Fate.FAILED, Fate.REJECTED}


class Settled(NamedTuple):
    """The outcome of a line: where in the output or error log of the worker it stands."""

    line: int
    fate: int
    offset: int
    length: int


_PLANNED = struct.Struct("<QIIQ")
_SETTLED = struct.Struct("<IBxxxQI")
_SETTLED_LINE = struct.Struct("<IB15x")
# The highest line number that a record holds.
LINE_MAX = 2**32 - 1
PLANNED_BYTES = _PLANNED.size
SETTLED_BYTES = _SETTLED.size


def digest_of(custom_id: str) -> int:
    """64 bits that stand for a `custom_id`.

    Two different ids among ten million share them once in 370,000 such files. They would be reported as
    duplicates.
    """
    return int.from_bytes(
        hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def write_planned(record: Planned) -> bytes:
    """The bytes of a plan record."""
    return _PLANNED.pack(*record)


def read_plan(data: bytes) -> Iterator[Planned]:
    """The records in a stretch of a plan."""
    return map(Planned._make, _PLANNED.iter_unpack(data))


def write_settled(line: int, fate: Fate, offset: int, length: int) -> bytes:
    """The bytes of a ledger record."""
    return _SETTLED.pack(line, fate, offset, length)


def read_ledger(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The records in a stretch of a ledger, as plain (line, fate, offset, length)."""
    return _SETTLED.iter_unpack(data)


def find_planned(data: bytes, digest: int) -> Planned | None:
    """The record with this digest in a stretch of a plan."""
    place = _find(data, digest.to_bytes(8, "little"), PLANNED_BYTES, at=16)
    return None if place is None else Planned(*_PLANNED.unpack_from(data, place))


def find_settled(data: bytes, line: int) -> Settled | None:
    """The record of this line in a stretch of a ledger."""
    place = _find(data, line.to_bytes(4, "little"), SETTLED_BYTES, at=0)
    return None if place is None else Settled(*_SETTLED.unpack_from(data, place))


def _find(data: bytes, needle: bytes, size: int, *, at: int) -> int | None:
    """Where the record begins that has `needle` at its byte `at`.

    `bytes.find` is a hundred times faster than reading record by record.
    """
    place = data.find(needle)
    while place >= 0:
        if place % size == at:
            return place - at
        place = data.find(needle, place + 1)
    return None


class LineSet:
    """A set of line numbers as bits: ten million lines take 1.25 MB."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, line: int) -> None:
        """Put a line into the set."""
        self._reach(line)
        self._bits[line >> 3] |= 1 << (line & 7)

    def add_settled(self, ledger: bytes, *, only: Fate | None = None) -> None:
        """Put the lines of a stretch of a ledger into the set, or only those with this fate.

        A restart waits for this, once per line that was finished before it.
        """
        lines = [line for line, fate in _SETTLED_LINE.iter_unpack(ledger) if only is None or fate == only]
        self._reach(max(lines, default=0))
        bits = self._bits
        for line in lines:
            bits[line >> 3] |= 1 << (line & 7)

    def __ior__(self, other: LineSet) -> LineSet:
        """Put all lines of another set into this one."""
        union = int.from_bytes(self._bits, "little") | int.from_bytes(other._bits, "little")
        self._bits = bytearray(union.to_bytes(max(len(self._bits), len(other._bits)), "little"))
        return self

    def __contains__(self, line: int) -> bool:
        byte = line >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (line & 7) & 1)

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def _reach(self, line: int) -> None:
        missing = (line >> 3) + 1 - len(self._bits)
        if missing > 0:
            self._bits.extend(bytes(missing + 4096))

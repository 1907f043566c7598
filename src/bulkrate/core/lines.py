"""Cutting a stream of bytes into lines, and saying where each one stands.

Line numbers count every physical line from 1, as an editor does; offsets are bytes from the start of the
file. A byte order mark, blank lines, CRLF and a missing final newline are all fine.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r"


class RawLine(msgspec.Struct, frozen=True, gc=False):
    """A line that is not blank.

    `data` is None when it is longer than the limit; `length` is known all the same.
    """

    number: int
    offset: int
    length: int
    data: bytes | None


class LineCutter:
    """Takes chunks, gives lines. Never holds more than a chunk and one line of the longest length allowed."""

    def __init__(self, line_bytes_max: int) -> None:
        self._max = line_bytes_max
        # A byte order mark before the line and a CR or a blank behind it are not of the line.
        self._room = line_bytes_max + len(BOM) + 2
        self._tail = b""
        # Bytes of the unfinished line that were dropped because it is too long already.
        self._dropped = 0
        self._number = 0
        self._offset = 0

    def feed(self, chunk: bytes) -> Iterator[RawLine]:
        """The lines that end in this chunk."""
        first, *rest = chunk.split(b"\n")
        if not rest:
            self._hold(first)
            return
        yield from self._end(self._tail + first)
        last = rest.pop()
        room = self._max
        for line in rest:
            if line and line[-1] not in _BLANKS and len(line) <= room:
                self._number += 1
                yield RawLine(self._number, self._offset, len(line), line)
                self._offset += len(line) + 1
            else:
                yield from self._end(line)
        self._hold(last)

    def finish(self) -> Iterator[RawLine]:
        """The last line, if the file does not end in a newline."""
        if self._tail or self._dropped:
            yield from self._end(self._tail)

    def _hold(self, piece: bytes) -> None:
        self._tail += piece
        if len(self._tail) > self._room:
            self._dropped += len(self._tail)
            self._tail = b""

    def _end(self, line: bytes) -> Iterator[RawLine]:
        length = self._dropped + len(line)
        offset = self._offset
        self._number += 1
        self._offset += length + 1
        too_long = self._dropped > 0
        self._tail = b""
        self._dropped = 0
        if too_long or length > self._room:
            yield RawLine(self._number, offset, length, None)
            return
        if offset == 0 and line.startswith(BOM):
            line = line[len(BOM) :]
            offset += len(BOM)
        stripped = line.rstrip(_BLANKS)
        if not stripped:
            return
        yield RawLine(self._number, offset, len(stripped), stripped if len(stripped) <= self._max else None)

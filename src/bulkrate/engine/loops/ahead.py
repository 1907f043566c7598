"""Reading ahead in an input file."""

from __future__ import annotations

from bulkrate.blobs import Reader

# A thousand loads at once hold 32 MB of it.
_STRETCH_BYTES = 32 * 1024


class ReadAhead:
    """Reads lines that mostly follow each other, a stretch at once.

    Each read lets go of the interpreter and waits to have it back, which costs more than the read.
    """

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._start = 0
        self._stretch = b""

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`. Raises `BlobError`."""
        place = offset - self._start
        if place < 0 or place + length > len(self._stretch):
            if offset < self._start or length > _STRETCH_BYTES:
                return self._source.read_at(offset, length)  # an earlier line, tried again, or a huge one
            self._stretch = self._source.read_at(offset, _STRETCH_BYTES)
            self._start, place = offset, 0
        return self._stretch[place : place + length]

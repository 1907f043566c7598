"""The seam to where bytes are kept.

Keys are relative paths of our own making (`files/file-…`, `batches/batch_…/7.output`), never a caller's
words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class Writer(Protocol):
    """A new blob on its way in. Nothing is seen under its key until `keep` returned."""

    size: int

    def write(self, data: bytes) -> None:
        """Append. Raises `NoSpace`, `BlobError`."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Read back what was written."""

    def keep(self) -> None:
        """Make it durable and visible."""

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after `keep`."""


class Reader(Protocol):
    """An open blob."""

    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end."""

    def close(self) -> None:
        """Let go of it."""


class Blobs(Protocol):
    """A place for bytes."""

    def create(self, key: str) -> Writer:
        """Begin a new blob. Raises `NoSpace`, `BlobError`."""

    def open(self, key: str) -> Reader:
        """Open a blob. Raises `BlobMissing`."""

    def write_log(self, key: str, offset: int, chunks: Iterable[bytes]) -> int:
        """Write `chunks` at `offset` of a log, durably; the new end.

        Whatever stood behind `offset` was never committed and is overwritten. Raises `NoSpace`, `BlobError`.
        """

    def delete(self, key: str) -> None:
        """Remove a blob; one that is not there is as good as removed."""

    def delete_all(self, prefix: str) -> None:
        """Remove every blob below a folder."""

    def keys(self, folder: str) -> Iterator[str]:
        """The keys of the blobs that lie directly in a folder."""

    def clean(self) -> None:
        """Remove what unfinished writers of a dead process left behind."""

    def free_bytes(self) -> int:
        """How much room there is."""

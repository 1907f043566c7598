"""Bytes on a local disk.

A blob is written beside its place and renamed into it, so a reader never sees half of one. What is reported
as kept has been synced, its folder entry too.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkrate.errors import BlobError, BlobMissing, NoSpace

# EDQUOT and EFBIG are the same to a user as a full disk: make room, and it goes on.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as cause:
        raise BlobMissing(f"there are no bytes for {what}") from cause
    except OSError as cause:
        kind = NoSpace if cause.errno in _FULL else BlobError
        raise kind(f"writing or reading {what} failed: {cause.strerror or cause}") from cause


class LocalWriter:
    """A new file, unseen until it is kept."""

    def __init__(self, place: Path, temporary: Path) -> None:
        self.size = 0
        self._place = place
        self._temporary = temporary
        self._fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._open = True

    def write(self, data: bytes) -> None:
        """Append. Raises `NoSpace`, `BlobError`."""
        with _translated(self._place.name):
            _write_all(self._fd, data, self.size)
        self.size += len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Read back what was written."""
        with _translated(self._place.name):
            return os.pread(self._fd, length, offset)

    def keep(self) -> None:
        """Make it durable and visible."""
        with _translated(self._place.name):
            os.fsync(self._fd)
            _make_folder(self._place.parent)
            self._temporary.rename(self._place)
            self._close()
            _sync_folder(self._place.parent)

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after `keep`."""
        if self._open:
            self._close()
            self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        self._open = False
        os.close(self._fd)


class LocalReader:
    """An open file; may be read from several threads."""

    def __init__(self, path: Path) -> None:
        with _translated(path.name):
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end."""
        with _translated("an open blob"):
            return os.pread(self._fd, length, offset)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


class LocalBlobs:
    """Blobs as files below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._new = root / "new"
        with _translated(str(root)):
            self._new.mkdir(parents=True, exist_ok=True)

    def create(self, key: str) -> LocalWriter:
        """Begin a new blob."""
        with _translated(key):
            return LocalWriter(self._root / key, self._new / secrets.token_hex(8))

    def open(self, key: str) -> LocalReader:
        """Open a blob. Raises `BlobMissing`."""
        return LocalReader(self._root / key)

    def write_log(self, key: str, offset: int, chunks: Iterable[bytes]) -> int:
        """Write `chunks` at `offset` of a log, durably; the new end.

        The file is opened for each group: groups are few a second, while open logs may be thousands.
        """
        path = self._root / key
        with _translated(key):
            # At the start even if it exists: a write that failed made the file, but not its name durable.
            # Later if it does not: two groups are written at once, and the second may be the quicker.
            fresh = offset == 0 or not path.exists()
            if fresh:
                _make_folder(path.parent)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                data = b"".join(chunks)
                _write_all(fd, data, offset)
                os.fdatasync(fd)
            finally:
                os.close(fd)
            if fresh:
                _sync_folder(path.parent)
        return offset + len(data)

    def delete(self, key: str) -> None:
        """Remove a blob; one that is not there is as good as removed."""
        with _translated(key):
            (self._root / key).unlink(missing_ok=True)

    def delete_all(self, prefix: str) -> None:
        """Remove every blob below a folder."""
        shutil.rmtree(self._root / prefix, ignore_errors=True)

    def keys(self, folder: str) -> Iterator[str]:
        """The keys of the blobs that lie directly in a folder."""
        place = self._root / folder
        if place.is_dir():
            yield from (f"{folder}/{entry.name}" for entry in place.iterdir())

    def clean(self) -> None:
        """Remove what unfinished writers of a dead process left behind."""
        for left in self._new.iterdir():
            left.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """How much room there is."""
        with _translated("the data folder"):
            return shutil.disk_usage(self._root).free


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, each of them durable."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

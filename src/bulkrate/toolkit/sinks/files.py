"""A file that comes into being whole or not at all, wherever it lies.

A local one is written beside its place and renamed into it; one on S3 or Google Cloud, and standard output,
are kept in a temporary file until they are whole. What is written is the caller's business.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from bulkrate.errors import SinkError
from bulkrate.toolkit import extras
from bulkrate.toolkit.addresses import PACKED, connect, local, public, remote, translated

_BUFFER_BYTES = 1 << 20


class Target(Protocol):
    """A file to be. Its methods raise `OSError`, or `SinkError` where there is more to say."""

    #: As a person would name it.
    name: str
    #: A folder with room for what must wait; None for the system's.
    folder: Path | None

    def exists(self) -> bool:
        """Whether something is there already."""

    def begin(self) -> BinaryIO:
        """Begin anew: where to write. Refuses when it could not be kept later."""

    def keep(self) -> None:
        """All is written: make it durable and visible."""

    def discard(self) -> None:
        """Leave what was there. May be called at any time."""


class LocalFile:
    """A file on a local disk. An existing one keeps its permissions, and stays until the new one is whole."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path.resolve()
        self._part = self._path.with_name(f".{self._path.name}.part")
        self.folder: Path | None = self._path.parent
        self._file: BinaryIO | None = None

    def exists(self) -> bool:
        return self._path.exists()

    def begin(self) -> BinaryIO:
        if not self._path.parent.is_dir():
            raise SinkError(f"{self.name}: there is no folder {self._path.parent}; make it first")
        if self._path.exists():
            if not self._path.is_file():
                raise SinkError(f"{self.name} is no regular file; give the path of one, or -")
            if not os.access(self._path, os.W_OK):
                raise SinkError(
                    f"{self.name} may not be written; change its permissions or give another path"
                )
        self.discard()
        self._file = self._locked()
        return self._file

    def keep(self) -> None:
        if self._file is None:
            return
        mode = stat.S_IMODE(self._path.stat().st_mode) if self._path.exists() else 0o666 & ~_umask()
        self._file.flush()
        os.fchmod(self._file.fileno(), mode)
        os.fsync(self._file.fileno())
        self._part.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems know no such thing
                os.fsync(folder)
        finally:
            os.close(folder)
            self._file.close()
            self._file = None

    def discard(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            self._part.unlink(missing_ok=True)
            file.close()

    def _locked(self) -> BinaryIO:
        """The part file, empty and ours. A dead process's is taken over, a living one's is not."""
        for _ in range(3):
            file = os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT, 0o600), "r+b", _BUFFER_BYTES)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                break
            # Its owner may have renamed it between our open and our lock: then it is whole, and not ours.
            if self._part.exists() and os.path.samestat(self._part.stat(), os.fstat(file.fileno())):
                file.truncate()
                return file
            file.close()
        raise SinkError(f"{self.name} is being written by another process; wait for it, or give another path")


class RemoteFile:
    """A file on a pyarrow file system. It is sent when it is whole, and appears when all of it was sent."""

    folder: Path | None = None

    def __init__(self, system: Any, path: str, name: str) -> None:
        self.name = name
        self._system = system
        self._path = path
        self._file: BinaryIO | None = None

    def exists(self) -> bool:
        with translated(self.name, SinkError):
            return bool(self._system.get_file_info(self._path).is_file)

    def begin(self) -> BinaryIO:
        self.discard()
        # Only writing shows whether one may write, so an empty file is written beside the place and removed.
        # Whoever reads the folder meanwhile passes over names that begin with a dot.
        folder, _, name = self._path.rpartition("/")
        probe = f"{folder}/.{name}.bulkrate-check"
        try:
            self._system.open_output_stream(probe).close()
        except FileNotFoundError as fault:
            raise SinkError(f"{self.name}: there is no such bucket; make it, or give another") from fault
        self._system.delete_file(probe)
        named = tempfile.NamedTemporaryFile(buffering=_BUFFER_BYTES)  # noqa: SIM115 (kept until it is sent)
        self._file = cast("BinaryIO", named)
        return self._file

    def keep(self) -> None:
        if self._file is not None:
            self._file.flush()
            fs = import_module("pyarrow.fs")
            # In one call, which no signal interrupts. A stream of pyarrow can only be closed, never given up,
            # and closing it makes an object of the half that was sent.
            fs.copy_files(
                self._file.name,
                self._path,
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self._system,
                chunk_size=_BUFFER_BYTES,
            )
            self.discard()

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class StandardOutput:
    """Standard output: nothing is said until all is known."""

    name = "standard output"
    folder: Path | None = None

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._file: BinaryIO | None = None

    def exists(self) -> bool:
        return False

    def begin(self) -> BinaryIO:
        self.discard()
        self._file = _temporary()
        return self._file

    def keep(self) -> None:
        if self._file is not None:
            self._file.seek(0)
            shutil.copyfileobj(self._file, self._stream, _BUFFER_BYTES)
            self._stream.flush()
            self.discard()

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Output:
    """What a sink writes to: a target, packed where its name says so, with its faults told as ours."""

    def __init__(self, target: Target, packing: str | None) -> None:
        self.name = target.name
        self.folder = target.folder
        self._target = target
        self._packing = packing
        self._packed: BinaryIO | None = None

    def begin(self) -> BinaryIO:
        """Begin anew: where to write. Raises `SinkError`."""
        with translated(self.name, SinkError):
            file = self._target.begin()
            self._packed = _packed(file, self._packing, self.name)
        return self._packed or file

    def keep(self) -> None:
        """All is written: make it durable and visible. Raises `SinkError`."""
        with translated(self.name, SinkError):
            if self._packed is not None:
                self._packed.close()
                self._packed = None
            self._target.keep()

    def discard(self) -> None:
        """Leave what was there."""
        with suppress(OSError, ValueError):
            if self._packed is not None:
                self._packed.close()
        self._packed = None
        with suppress(OSError):
            self._target.discard()


def target_of(address: str | Path) -> Target:
    """The file at a path or address. Raises `SinkError`."""
    if str(address) == "-":
        return StandardOutput(sys.stdout.buffer)
    if isinstance(address, str) and remote(address):
        system, path = connect(address, SinkError)
        return RemoteFile(system, path, public(address))
    return LocalFile(local(address))


def output(address: str | Path) -> Output:
    """What to write to at a path or address. Raises `SinkError`."""
    return Output(target_of(address), PACKED.get(str(address).rpartition(".")[2]))


def _packed(file: BinaryIO, packing: str | None, name: str) -> BinaryIO | None:
    if packing == "gzip":
        return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="wb", mtime=0))
    if packing == "zstd":
        arrow = extras.load("pyarrow", "tables", f"packing {name} with Zstandard", SinkError)
        return cast("BinaryIO", arrow.CompressedOutputStream(_Kept(file), packing))
    return None


class _Kept:
    """A file that is not closed by whoever packs what goes into it."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write
        self.flush = file.flush

    def close(self) -> None:
        """Left to its owner."""


def _temporary() -> BinaryIO:
    return cast("BinaryIO", tempfile.TemporaryFile(buffering=_BUFFER_BYTES))


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

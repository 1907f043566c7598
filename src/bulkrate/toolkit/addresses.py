"""Files by path or address: on a local disk, on S3 or on Google Cloud Storage, packed or not.

Names and opens what is there; knows nothing of what stands in it, and writes nothing.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import os
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec

from bulkrate.errors import BulkrateError, SourceError
from bulkrate.toolkit import extras

#: What pyarrow can reach, and its other spellings.
REMOTE = ("s3", "gs", "gcs")
PACKED = {"gz": "gzip", "zst": "zstd"}
#: So long Google's client tries again; left alone it does for 15 minutes. That of S3 gives up by itself.
GOOGLE_RETRY_S = 10
#: Names an emulator of Google Cloud Storage, as Google's own libraries in Go, Java and Python have it.
GOOGLE_EMULATOR = "STORAGE_EMULATOR_HOST"
# What stays as it is in an address: RFC 3986's signs, and what is percent-encoded already.
_SPELT = "%:/?#[]@!$&'()*+,;="


class File(msgspec.Struct, frozen=True):
    """One file that rows can be read from. `system` is a pyarrow file system, None for the local disk."""

    path: str
    system: Any = None
    scheme: str = ""

    @property
    def name(self) -> str:
        """As a person would name it."""
        return f"{self.scheme}://{self.path}" if self.scheme else self.path

    def open(self) -> BinaryIO:
        """Its bytes from the beginning, unpacked where the name says so. Raises `OSError`."""
        packing = PACKED.get(self.path.rpartition(".")[2])
        if self.system is not None:
            return _buffered(self.system.open_input_stream(self.path, compression=packing))
        if packing == "gzip":
            return cast("BinaryIO", gzip.open(self.path))
        if packing == "zstd":
            arrow = extras.load(
                "pyarrow", "tables", f"{self.name} is packed with Zstandard; reading it", SourceError
            )
            return _buffered(arrow.input_stream(self.path, compression=packing))
        return Path(self.path).open("rb")

    def head(self) -> BinaryIO:
        """Its bytes for a first look."""
        return self.open()

    def open_random(self) -> Any:
        """Its bytes for reading here and there, as pyarrow wants them. Raises `OSError`."""
        if self.system is not None:
            return self.system.open_input_file(self.path)
        return extras.load("pyarrow", "tables", f"reading {self.name}", SourceError).OSFile(self.path)

    def mark(self) -> str | None:
        """Size and time of the last change."""
        if self.system is None:
            stat = Path(self.path).stat()
            return f"{stat.st_size}-{stat.st_mtime_ns}"
        info = self.system.get_file_info(self.path)
        return f"{info.size}-{info.mtime_ns}"


class Standard:
    """Standard input: what has been seen of it for a first look is given again, once."""

    name = "standard input"
    path = ""
    #: Enough for any header, and to tell one kind of file from another.
    _HEAD_BYTES = 1 << 20

    def __init__(self, stream: BinaryIO) -> None:
        self._stream: BinaryIO | None = stream
        self._head = stream.read(self._HEAD_BYTES)

    def head(self) -> BinaryIO:
        """The beginning of it."""
        return io.BytesIO(self._head)

    def open(self) -> BinaryIO:
        """All of it, once. Raises `SourceError` the second time."""
        if self._stream is None:
            raise SourceError("standard input can be read only once; save it to a file to read it again")
        stream, self._stream = self._stream, None
        return cast("BinaryIO", io.BufferedReader(_Joined(self._head, stream)))

    def open_random(self) -> Any:
        """Not to be had. Raises `SourceError`."""
        raise SourceError("standard input can hold CSV or JSONL only; save a table to a file first")

    def mark(self) -> None:
        """Nobody can tell."""


class _Joined(io.RawIOBase):
    """Bytes that are at hand, then those of a stream."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._parts: list[BinaryIO] = [io.BytesIO(head), rest]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._parts:
            if data := self._parts[0].read(len(buffer)):
                buffer[: len(data)] = data
                return len(data)
            self._parts.pop(0)
        return 0


def extension(path: str) -> str:
    """What a path's name says of its format, without the packing: `csv` for `reviews.csv.gz`."""
    parts = path.rpartition("/")[2].lower().split(".")[1:]
    if parts and parts[-1] in PACKED:
        parts.pop()
    return parts[-1] if parts else ""


def remote(address: str) -> bool:
    """Whether pyarrow has to reach it."""
    return address.partition("://")[0] in REMOTE and "://" in address


def local(address: str | Path) -> Path:
    """A local path as it stands, from `file://` and `~` too."""
    text = str(address)
    return Path(text.removeprefix("file://") if text.startswith("file:///") else text).expanduser()


def connect(address: str, error: type[BulkrateError]) -> tuple[Any, str]:
    """The pyarrow file system of a remote address, and the path within it. Raises `error`.

    Keys and places come from the environment, as AWS and Google have them, or stand in the address as
    Arrow has it: https://arrow.apache.org/docs/python/filesystems.html
    """
    fs = extras.load("pyarrow.fs", "tables", f"reading and writing {public(address)}", error)
    if not address.startswith("s3://"):
        address = _at_google(address, os.environ)
    with translated(public(address), error):
        try:
            system, path = fs.FileSystem.from_uri(quote(address, safe=_SPELT))
        except ValueError as fault:
            raise error(f"{public(address)} is no address of an object: {fault}") from fault
    return system, path


def files(address: str | Path) -> list[File]:
    """The file at an address, or those in a folder or of a pattern, by name. Raises `SourceError`.

    Names that begin with a dot or an underline are passed over in folders, as everywhere with tables.
    """
    if isinstance(address, str) and remote(address):
        return _remote_files(address)
    path = local(address)
    if path.is_dir():
        found = sorted(str(inner) for inner in path.rglob("*") if inner.is_file() and _seen(inner, path))
        return [File(inner) for inner in found] or _nothing(f"{path} holds no files")
    if path.exists() or not glob.has_magic(str(path)):
        if not path.exists():
            raise SourceError(f"{path} does not exist")
        return [File(str(path))]
    found = sorted(inner for inner in glob.glob(str(path), recursive=True) if Path(inner).is_file())  # noqa: PTH207 (any root)
    return [File(inner) for inner in found] or _nothing(f"no file fits {path}")


def marks(all_of_them: Sequence[File]) -> str:
    """One mark for several files: it changes when one of them does, or goes, or comes."""
    lines = "".join(f"{file.name} {file.mark()}\n" for file in all_of_them)
    return hashlib.sha256(lines.encode()).hexdigest()


def public(address: str) -> str:
    """An address without its password and its parameters, to be shown."""
    parts = urlsplit(address)
    if not parts.scheme:
        return address
    host = parts.netloc.rpartition("@")
    user = host[0].partition(":")[0]
    return (
        f"{parts.scheme}://{user}@{host[2]}{parts.path}"
        if user
        else f"{parts.scheme}://{host[2]}{parts.path}"
    )


@contextmanager
def translated(name: str, error: type[BulkrateError]) -> Iterator[None]:
    """What goes wrong with a file's bytes, as `error` with the file's name."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise error(f"{name} is cut short or damaged: {fault}") from fault
    except OSError as fault:
        raise error(f"{name}: {_said(str(fault.strerror or fault))}") from fault
    except Exception as fault:
        # Arrow has no better word for some of what a store's client says.
        if type(fault) is not getattr(sys.modules.get("pyarrow"), "ArrowException", None):
            raise
        raise error(f"{name}: {_said(str(fault))}") from fault


# google::cloud::Status(NOT_FOUND: Permanent error, with a last message of … error_info={…})
_GOOGLE_STATUS = re.compile(
    r"google::cloud::Status\((\w+): (?:.*?with a last message of )?(.*?)(?: error_info=|\)$|$)", re.DOTALL
)
_REQUEST_ID = re.compile(r" \(Request ID: [^)]*\)")
_NOT_ALLOWED = re.compile("ACCESS_DENIED|ACCESS_KEY|SIGNATURE|PERMISSION_DENIED|UNAUTHENTICATED|OAuth2")


def _said(fault: str) -> str:
    """What a store's client has to say, without what concerns only its authors."""
    google = _GOOGLE_STATUS.search(fault)
    said = f"{google[2]} ({google[1]})" if google else _REQUEST_ID.sub("", fault)
    return (
        f"{said}; check the keys in the environment, and what they allow"
        if _NOT_ALLOWED.search(said)
        else said
    )


def _at_google(address: str, environ: Mapping[str, str]) -> str:
    """An address with what Arrow does not find out by itself. What it says already stays."""
    parts = urlsplit(address)
    said = dict(parse_qsl(parts.query))
    said.setdefault("retry_limit_seconds", str(GOOGLE_RETRY_S))
    bucket = parts.netloc
    if (emulator := environ.get(GOOGLE_EMULATOR)) and "endpoint_override" not in said:
        scheme, _, host = emulator.rpartition("://")
        said |= {"scheme": scheme or "http", "endpoint_override": host.rstrip("/")}
        bucket = "anonymous@" + bucket.rpartition("@")[2]  # it knows no accounts
    return urlunsplit(("gs", bucket, parts.path, urlencode(said), ""))


def _seen(inner: PurePath, folder: PurePath) -> bool:
    return not any(part.startswith((".", "_")) for part in inner.relative_to(folder).parts)


def _nothing(what: str) -> list[File]:
    raise SourceError(f"{what}; give a file, a folder of files or a pattern like 'reviews-*.csv'")


def _remote_files(address: str) -> list[File]:
    """As `files`. In a pattern `*` is anything within one name; "?" begins the address's settings."""
    name, scheme = public(address), address.partition("://")[0]
    folder, starred, _ = address.partition("*")
    system, path = connect(folder.rpartition("/")[0] if starred else address, SourceError)
    fs = extras.load("pyarrow.fs", "tables", f"reading {name}", SourceError)
    with translated(name, SourceError):
        if not starred:
            info = system.get_file_info(path)
            if info.type == fs.FileType.File:
                return [File(path, system, scheme)]
            if info.type == fs.FileType.NotFound:
                raise SourceError(f"{name} does not exist, or may not be seen")
        inside = system.get_file_info(fs.FileSelector(path, recursive=True))
    paths = sorted(entry.path for entry in inside if entry.type == fs.FileType.File)
    if starred:
        pattern = name.partition("://")[2]
        found = [inner for inner in paths if PurePosixPath(inner).match(pattern)]
    else:
        found = [inner for inner in paths if _seen(PurePosixPath(inner), PurePosixPath(path))]
    return [File(inner, system, scheme) for inner in found] or _nothing(f"there is no file at {name}")


def _buffered(stream: Any) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(stream, buffer_size=1 << 20))

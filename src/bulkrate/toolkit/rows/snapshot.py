"""Rows kept in files of our own, so that answers can be joined to them later, whatever becomes of the source.

`RowLog` is append-only and forgets nothing that was committed; `Spool` is for rows that wait a moment and
vanishes with its process. Both keep every cell exactly: its type, a time's zone, a decimal's zeros. Neither
holds rows in memory.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Any, Self
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

from bulkrate.errors import SourceError, StoreError
from bulkrate.toolkit.durable import sync_folder
from bulkrate.toolkit.rows.table import Row, Vector, VectorType

#: How a row stands in the index: where its record begins, and how many bytes it has.
_PLACE = struct.Struct("<QI")
_RECORD_BYTES_MAX = 2**32 - 1
#: Rows are read in gulps of about this size.
_GULP_BYTES = 1 << 20
_PLACES_PER_GULP = 4096
#: A group of rows from a spool ends when it has this many bytes, were it of one row.
_GROUP_BYTES = 16 << 20

_NATIVE = frozenset({NoneType, bool, float, str, bytes})


class RowLog:
    """Rows in the file `path`, each found by its number through `path`.index.

    `rows` is how many were committed; whatever stands behind them is cut off. Without it, all whole rows
    are kept. With `writable=False` nothing is changed, and `len` is what was there when it was opened: a
    second process may read so while the first appends. One thread appends; any may read.
    """

    def __init__(self, path: str | Path, *, rows: int | None = None, writable: bool = True) -> None:
        self.path = Path(path)
        flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
        with _translated(self.path):
            self._data = os.open(self.path, flags, 0o600)
            try:
                self._index = os.open(self.path.with_name(self.path.name + ".index"), flags, 0o600)
            except OSError:
                os.close(self._data)
                raise
        try:
            self._rows = self._whole_rows() if rows is None else rows
            self._bytes = self._end_of(self._rows)
            if writable:
                os.ftruncate(self._data, self._bytes)
                os.ftruncate(self._index, self._rows * _PLACE.size)
                sync_folder(self.path.parent)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return self._rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows behind the last. Raises `SourceError` for a cell that cannot be kept, `StoreError`.

        After either, none of them was added.
        """
        records = []
        for number, row in enumerate(rows, start=self._rows + 1):
            records.append(record := encoded(row, number))
            if len(record) > _RECORD_BYTES_MAX:
                raise SourceError(f"row {number} has more than 4 GiB; leave out what is not needed")
        places, end = bytearray(), self._bytes
        for record in records:
            places += _PLACE.pack(end, len(record))
            end += len(record)
        with _translated(self.path):
            _write(self._data, b"".join(records), self._bytes)
            _write(self._index, bytes(places), self._rows * _PLACE.size)
        self._rows, self._bytes = self._rows + len(records), end

    def commit(self) -> tuple[int, int]:
        """Make all rows durable: how many there are, and in how many bytes. Raises `StoreError`."""
        with _translated(self.path):
            os.fsync(self._data)
            os.fsync(self._index)
        return self._rows, self._bytes

    def get(self, number: int) -> Row:
        """Row `number`, counted from 0. Raises `IndexError`, `StoreError`."""
        if not 0 <= number < self._rows:
            raise IndexError(f"row {number} of {self._rows}")
        offset, length = _PLACE.unpack(self._read(self._index, _PLACE.size, number * _PLACE.size))
        return self._decoded(self._read(self._data, length, offset))

    def rows(self, start: int = 0) -> Iterator[Row]:
        """All rows from number `start`, in order. Raises `StoreError`."""
        while start < self._rows:
            count = min(_PLACES_PER_GULP, self._rows - start)
            raw = self._read(self._index, count * _PLACE.size, start * _PLACE.size)
            yield from self._records(list(_PLACE.iter_unpack(raw)))
            start += count

    def close(self) -> None:
        """Let go of the files."""
        for name in ("_data", "_index"):
            if (file := getattr(self, name, -1)) >= 0:
                os.close(file)
                setattr(self, name, -1)

    def _records(self, places: list[tuple[int, int]]) -> Iterator[Row]:
        first = 0
        while first < len(places):
            begin, last = places[first][0], first + 1
            while last < len(places) and places[last][0] + places[last][1] - begin <= _GULP_BYTES:
                last += 1
            gulp = self._read(self._data, sum(places[last - 1]) - begin, begin)
            for offset, length in places[first:last]:
                yield self._decoded(gulp[offset - begin : offset - begin + length])
            first = last

    def _decoded(self, record: bytes) -> Row:
        try:
            return decoded(record)
        except StoreError as fault:
            raise StoreError(f"{self.path} is damaged: a row in it cannot be read") from fault

    def _whole_rows(self) -> int:
        """How many rows are whole: a process may have died between the record and the index."""
        rows, size = os.fstat(self._index).st_size // _PLACE.size, os.fstat(self._data).st_size
        while rows and sum(self._place(rows - 1)) > size:
            rows -= 1
        return rows

    def _end_of(self, rows: int) -> int:
        if rows * _PLACE.size > os.fstat(self._index).st_size:
            raise StoreError(f"{self.path} has fewer than the {rows} rows it should; it was cut or replaced")
        return sum(self._place(rows - 1)) if rows else 0

    def _place(self, number: int) -> tuple[int, int]:
        offset, length = _PLACE.unpack(self._read(self._index, _PLACE.size, number * _PLACE.size))
        return offset, length

    def _read(self, file: int, length: int, offset: int) -> bytes:
        try:
            data = os.pread(file, length, offset)
            while len(data) < length and (part := os.pread(file, length - len(data), offset + len(data))):
                data += part
        except OSError as fault:
            raise StoreError(f"{self.path}: {fault.strerror or fault}") from fault
        if len(data) < length:
            raise StoreError(f"{self.path} is shorter than its index says; it was cut or replaced")
        return data


class Spool:
    """Rows that wait on the disk to be read once more. Nobody else can see them, and nothing stays behind.

    `folder` is where there is room for them; None is the system's folder for temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=_GULP_BYTES)  # noqa: SIM115 (closed by close)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows. Raises `SourceError` for a cell that cannot be kept, `OSError`."""
        for row in rows:
            record = encoded(row, self._rows + 1)
            self._file.write(len(record).to_bytes(8, "little"))
            self._file.write(record)
            self._rows += 1

    def groups(self, size: int) -> Iterator[list[Row]]:
        """All rows in order, `size` at a time, or fewer large ones. Nothing may be added meanwhile."""
        self._file.seek(0)
        group: list[Row] = []
        held = 0
        for _ in range(self._rows):
            length = int.from_bytes(self._file.read(8), "little")
            group.append(decoded(self._file.read(length)))
            held += length
            if len(group) == size or held >= _GROUP_BYTES:
                yield group
                group, held = [], 0
        if group:
            yield group

    def close(self) -> None:
        """Forget the rows."""
        with suppress(OSError):  # what could not be written is forgotten too
            self._file.close()


def encoded(row: Row, number: int) -> bytes:
    """One row as msgpack. Raises `SourceError`, naming row `number` and the column, for what is no cell."""
    try:
        return _ENCODE({_name(name): _packed(cell) for name, cell in row.items()})
    except (TypeError, UnicodeEncodeError, RecursionError):
        raise _culprit(row, number) from None


def decoded(record: bytes) -> Row:
    """The row that `encoded` made a record of. Raises `StoreError` for what is none."""
    try:
        row: Row = _DECODER.decode(record)
    except (msgspec.MsgspecError, ValueError) as fault:
        raise StoreError("what is kept of a row is damaged, and cannot be read") from fault
    return row


def _name(name: Any) -> str:
    if type(name) is not str:
        raise TypeError
    return name


def _packed(cell: Any) -> Any:
    kind = type(cell)
    if kind in _NATIVE:
        return cell
    if kind is int:
        return cell if -(2**63) <= cell < 2**64 else Ext(_INT, hex(cell).encode())
    if kind is list:
        return [_packed(item) for item in cell]
    if kind is dict:
        return {key: _packed(item) for key, item in cell.items()}
    if (known := _PACKERS.get(kind)) is None:
        raise TypeError
    code, pack = known
    return Ext(code, pack(cell))


def _culprit(row: Row, number: int) -> SourceError:
    for name, cell in row.items():
        if type(name) is not str:
            return SourceError(f"row {number} has a column named by a {type(name).__name__}; names are texts")
        try:
            _ENCODE(_packed(cell))
        except (TypeError, RecursionError):
            fault = f"a {type(cell).__name__} that is no cell, holds what is none, or is nested too deeply"
            return SourceError(f"row {number}, column {name!r}: {fault}; give plain Python values")
        except UnicodeEncodeError:
            return SourceError(f"row {number}, column {name!r}: half of a surrogate pair, which is no text")
    return SourceError(f"row {number} cannot be kept: a column's name is no text")


def _pack_zoned(moment: datetime | time) -> bytes:
    """The clock's reading, the zone by its name if it has one, and which of two equal readings is meant."""
    zone = moment.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key:
        return _ENCODE([moment.replace(tzinfo=None).isoformat(), zone.key, moment.fold])
    return _ENCODE([moment.isoformat(), None, moment.fold])


def _unpacked(kind: type[datetime | time]) -> Callable[[bytes], datetime | time]:
    def unpack(data: bytes) -> datetime | time:
        text, zone, fold = msgspec.msgpack.decode(data)
        moment = kind.fromisoformat(text)
        return moment.replace(tzinfo=ZoneInfo(zone) if zone else moment.tzinfo, fold=fold)

    return unpack


def _pack_vector(vector: Vector) -> bytes:
    return _ENCODE([vector.dtype, vector.scale, vector.data])


def _unpack_vector(data: bytes) -> Vector:
    dtype: VectorType
    dtype, scale, numbers = msgspec.msgpack.decode(data)
    return Vector(dtype=dtype, data=numbers, scale=scale)


def _pack_span(span: timedelta) -> bytes:
    return _ENCODE([span.days, span.seconds, span.microseconds])


# The codes are in files: never give one another meaning.
_INT = 1
_PACKERS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    datetime: (2, _pack_zoned),
    date: (3, lambda day: day.isoformat().encode()),
    time: (4, _pack_zoned),
    timedelta: (5, _pack_span),
    Decimal: (6, lambda number: str(number).encode()),
    UUID: (7, lambda uuid: uuid.bytes),
    Vector: (8, _pack_vector),
}
_UNPACKERS: dict[int, Callable[[bytes], Any]] = {
    _INT: lambda data: int(data, 16),
    2: _unpacked(datetime),
    3: lambda data: date.fromisoformat(data.decode()),
    4: _unpacked(time),
    5: lambda data: timedelta(*msgspec.msgpack.decode(data)),
    6: lambda data: Decimal(data.decode()),
    7: lambda data: UUID(bytes=data),
    8: _unpack_vector,
}


def _ext(code: int, data: memoryview) -> Any:
    return _UNPACKERS[code](bytes(data))


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODER = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=_ext)


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """The operating system's refusal as ours, with the file's name."""
    try:
        yield
    except OSError as fault:
        raise StoreError(f"{path}: {fault.strerror or fault}") from fault

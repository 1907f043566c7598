"""Parquet and Arrow files, some rows at a time; cells keep their types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from bulkrate.errors import SourceError
from bulkrate.toolkit.addresses import File, Standard, translated
from bulkrate.toolkit.rows import arrow
from bulkrate.toolkit.rows.table import Column, Row

#: Rows that are turned into cells at once.
ROWS_AT_ONCE = 1_000
#: Of each column, so much of a row group is read ahead.
_BUFFER_BYTES = 1 << 20


class Parquet:
    """One Parquet file."""

    def __init__(self, file: File | Standard) -> None:
        self._file = file
        self.name = file.name
        with self._opened() as table:
            self.schema = table.schema_arrow
            self.length: int | None = table.metadata.num_rows
        self.columns: tuple[Column, ...] | None = arrow.columns_of(self.schema, self.name)
        self.arrow: bytes | None = arrow.schema_bytes(self.schema)

    def mark(self) -> str | None:
        """Size and time of the file."""
        return self._file.mark()

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`."""
        with self._opened() as table:
            first = 0
            for batch in table.iter_batches(batch_size=ROWS_AT_ONCE):
                yield from arrow.rows_of(batch, self.name, first)
                first += batch.num_rows

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        with _understood(self.name), self._file.open_random() as file:
            yield pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)


class Ipc:
    """One Arrow file (Feather), or a stream that was saved as one."""

    length = None

    def __init__(self, file: File | Standard) -> None:
        self._file = file
        self.name = file.name
        with self._opened() as (self.schema, _):
            pass
        self.columns: tuple[Column, ...] | None = arrow.columns_of(self.schema, self.name)
        self.arrow: bytes | None = arrow.schema_bytes(self.schema)

    def mark(self) -> str | None:
        """Size and time of the file."""
        return self._file.mark()

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`."""
        with self._opened() as (_, batches):
            yield from rows_of_batches(batches, self.name)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Iterator[Any]]]:
        with _understood(self.name), self._file.open_random() as file:
            is_file = file.read(6) == b"ARROW1"
            file.seek(0)
            if is_file:
                reader = pa.ipc.open_file(file)
                yield reader.schema, (reader.get_batch(at) for at in range(reader.num_record_batches))
            else:
                stream = pa.ipc.open_stream(file)
                yield stream.schema, iter(stream)


def rows_of_batches(batches: Iterator[Any], name: str) -> Iterator[Row]:
    """The rows of record batches of any size. Raises `SourceError`."""
    first = 0
    for batch in batches:
        for offset in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield from arrow.rows_of(batch.slice(offset, ROWS_AT_ONCE), name, first + offset)
        first += batch.num_rows


@contextmanager
def _understood(name: str) -> Iterator[None]:
    try:
        with translated(name, SourceError):
            yield
    except pa.ArrowException as fault:
        raise SourceError(f"{name} cannot be read as what its name says it is: {fault}") from fault

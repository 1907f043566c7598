"""Parquet and Arrow files. Columns of the source keep its types, vectors are lists of a fixed size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from bulkrate.errors import SinkError
from bulkrate.toolkit.addresses import translated
from bulkrate.toolkit.rows.table import Row
from bulkrate.toolkit.sinks.arrow_table import Writing, known
from bulkrate.toolkit.sinks.files import Output
from bulkrate.toolkit.sinks.spooled import Spooled

#: A row group ends with the batch in which it reaches one of these.
_GROUP_ROWS = 100_000
_GROUP_BYTES = 64 << 20


class _File(Spooled):
    def __init__(self, output: Output) -> None:
        super().__init__(output.name)
        self.folder = output.folder
        self._output = output

    def begin(self) -> set[str]:
        """Take hold of the file."""
        self._file: BinaryIO = self._output.begin()
        self._fields = known(self.table)
        return set(self._fields)

    def put(self, groups: Iterator[list[Row]]) -> None:
        """Write the whole file, and put it in its place."""
        writing = Writing(self.name, self.layout, self._fields, self.fits)
        try:
            with translated(self.name, SinkError):
                self._write(writing, groups)
        except pa.ArrowException as fault:
            raise SinkError(f"{self.name} cannot be written: {fault}") from fault
        self._output.keep()

    def forget(self) -> None:
        """Let go of the file."""
        self._output.discard()

    def _write(self, writing: Writing, groups: Iterator[list[Row]]) -> None:
        raise NotImplementedError


class Parquet(_File):
    """One Parquet file, packed with Zstandard within."""

    def _write(self, writing: Writing, groups: Iterator[list[Row]]) -> None:
        with pq.ParquetWriter(self._file, writing.schema, compression="zstd") as writer:
            batches: list[Any] = []
            rows = size = written = 0
            for group in groups:
                batches.append(batch := writing.batch(group, written + 1))
                written += len(group)
                rows, size = rows + len(group), size + batch.nbytes
                if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
                    writer.write_table(pa.Table.from_batches(batches))
                    batches, rows, size = [], 0, 0
            if batches:
                writer.write_table(pa.Table.from_batches(batches))


class Ipc(_File):
    """One Arrow file, as Feather has it."""

    def begin(self) -> set[str]:
        """Take hold of the file."""
        typed = super().begin()
        # The format wants one dictionary for the whole file, and ours would grow with it.
        self._fields = {name: _spelled_out(field) for name, field in self._fields.items()}
        return typed

    def _write(self, writing: Writing, groups: Iterator[list[Row]]) -> None:
        with pa.ipc.new_file(self._file, writing.schema) as writer:
            written = 0
            for group in groups:
                writer.write_batch(writing.batch(group, written + 1))
                written += len(group)


def _spelled_out(field: Any) -> Any:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field

"""CSV, TSV, JSONL and JSON: each row is written as it comes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, NamedTuple

from bulkrate.errors import SinkError
from bulkrate.toolkit.addresses import translated
from bulkrate.toolkit.rows.plain import json_of, text_of
from bulkrate.toolkit.rows.table import Row, Table
from bulkrate.toolkit.sinks.files import Output
from bulkrate.toolkit.sinks.layout import Layout


class Text:
    """Rows as text. A subclass says how they are told, and what stands before and behind them all."""

    behind = b""

    def __init__(self, output: Output) -> None:
        self.name = output.name
        self._output = output
        self._file: BinaryIO | None = None

    def open(self, table: Table) -> None:
        """Begin. Raises `SinkError` when it cannot be written to."""
        layout = Layout(table, self.name)
        self._file = self._output.begin()
        with translated(self.name, SinkError):
            self._file.write(self._begin(layout))

    def write(self, rows: Sequence[Row]) -> None:
        """Take some rows. Raises `SinkError`."""
        if self._file is None:
            raise SinkError(f"{self.name} is not open")
        with translated(self.name, SinkError):
            self._file.write(self._told(rows))

    def commit(self) -> None:
        """Make all of it visible and durable. Raises `SinkError`."""
        if self._file is not None:
            with translated(self.name, SinkError):
                self._file.write(self.behind)
            self._output.keep()
            self._file = None

    def discard(self) -> None:
        """Leave things as they were."""
        self._output.discard()
        self._file = None

    def _begin(self, layout: Layout) -> bytes:
        raise NotImplementedError

    def _told(self, rows: Sequence[Row]) -> bytes:
        raise NotImplementedError


class JsonLines(Text):
    """One object per line."""

    def _begin(self, layout: Layout) -> bytes:
        self._row = layout.row
        return b""

    def _told(self, rows: Sequence[Row]) -> bytes:
        return b"".join(json_of(self._row(row)) + b"\n" for row in rows)


class JsonArray(Text):
    """One array of objects, each on a line of its own."""

    behind = b"\n]\n"

    def _begin(self, layout: Layout) -> bytes:
        self._row = layout.row
        self._separator = b"\n"
        return b"["

    def _told(self, rows: Sequence[Row]) -> bytes:
        told = bytearray()
        for row in rows:
            told += self._separator + json_of(self._row(row))
            self._separator = b",\n"
        return bytes(told)


class Delimited(Text):
    """Cells with separators between them, and a header. None and the empty text look the same."""

    def __init__(self, output: Output, delimiter: str = ",") -> None:
        super().__init__(output)
        self._delimiter = delimiter

    def _begin(self, layout: Layout) -> bytes:
        self._cells = layout.cells
        return self._lines([layout.names])

    def _told(self, rows: Sequence[Row]) -> bytes:
        return self._lines([text_of(cell) for cell in self._cells(row)] for row in rows)

    def _lines(self, records: Iterable[list[str]]) -> bytes:
        told: list[str] = []
        # With this line end the library quotes cells with either of its signs; we write one.
        writer = csv.writer(_Taking(told.append), delimiter=self._delimiter, lineterminator="\r\n")
        writer.writerows(records)
        return "".join(f"{line[:-2]}\n" for line in told).encode()


class _Taking(NamedTuple):
    """What the library takes for a file: it writes one record at a time."""

    write: Callable[[str], object]

"""CSV and TSV: a header, then one row per record; every cell is a text.

An empty cell is the empty text, for the format cannot say more. A row must have as many cells as the header.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from bulkrate.errors import SourceError
from bulkrate.toolkit.addresses import File, Standard, translated
from bulkrate.toolkit.rows.table import Column, Row
from bulkrate.toolkit.sources.lines import LINE_BYTES_MAX, lines

#: In a .csv, what separates the names of the header: the first of these that occurs in it.
_SEPARATORS = (",", ";", "\t")


class Delimited:
    """One file of cells with separators between them; `delimiter` None finds it in the header."""

    arrow = None
    length = None

    def __init__(self, file: File | Standard, delimiter: str | None = None) -> None:
        self._file = file
        self.name = file.name
        with translated(self.name, SourceError), file.head() as stream:
            line = next(lines(stream, self.name), "")
        self._delimiter = delimiter or next((sign for sign in _SEPARATORS if sign in line), ",")
        with translated(self.name, SourceError), file.head() as stream:
            header = next(self._records(stream), (0, None))[1]
        self._names = self._checked(header)
        self.columns = tuple(Column(name=name, kind="text") for name in self._names)

    def mark(self) -> str | None:
        """Size and time of the file."""
        return self._file.mark()

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`, naming the line."""
        names = self._names
        with translated(self.name, SourceError), self._file.open() as stream:
            records = self._records(stream)
            next(records, None)  # the header
            for line, cells in records:
                if len(cells) != len(names):
                    raise SourceError(
                        f"{self.name}, line {line}: {len(cells)} cells, but the header has {len(names)}; "
                        f"put cells that hold {self._delimiter!r} or quotes in quotes"
                    )
                yield dict(zip(names, cells, strict=True))

    def _records(self, stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
        """Each record with the line it begins in; empty lines are none."""
        if csv.field_size_limit() < LINE_BYTES_MAX:
            csv.field_size_limit(LINE_BYTES_MAX)  # the library's own limit, 128 KiB, is for the whole process
        reader = csv.reader(lines(stream, self.name), delimiter=self._delimiter, strict=True)
        begin = 1
        try:
            for cells in reader:
                if cells:
                    yield begin, cells
                begin = reader.line_num + 1
        except csv.Error as fault:
            raise SourceError(
                f"{self.name}: the record that begins in line {begin} is no CSV: {fault}; "
                "is a quote not closed, or not doubled within quotes?"
            ) from None

    def _checked(self, header: list[str] | None) -> list[str]:
        if header is None:
            raise SourceError(f"{self.name} is empty; its first line must name the columns")
        for number, name in enumerate(header, start=1):
            if not name.strip():
                raise SourceError(
                    f"{self.name}: column {number} of {len(header)} has no name; give each column one "
                    "(an index written by pandas is left out with index=False)"
                )
            if name in header[: number - 1]:
                raise SourceError(f"{self.name}: two columns are named {name!r}; give each a name of its own")
        return header

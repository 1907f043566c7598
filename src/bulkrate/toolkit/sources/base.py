"""What rows can be read from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bulkrate.toolkit.rows.table import Column, Row


class Source(Protocol):
    """Rows, one after the other, in an order that is the same each time; never all in memory."""

    #: As a person would name it: a path, an address without its password, "standard input", "DataFrame".
    name: str

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """The columns, if they are known before the rows are read."""

    @property
    def arrow(self) -> bytes | None:
        """The Arrow schema (IPC form), if the cells have types beyond JSON's."""

    @property
    def length(self) -> int | None:
        """How many rows there are, if that is known without reading them."""

    def mark(self) -> str | None:
        """A text that changes when the content does (size and time of a file); None when nobody can tell."""

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`, naming the line or row at fault."""

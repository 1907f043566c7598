"""What rows can be written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bulkrate.toolkit.rows.table import Row, Table


class Sink(Protocol):
    """Takes rows in groups and makes them visible at once, or not at all.

    `write` is called with groups of up to a thousand rows, in the order of the source. Nobody sees anything
    before `commit`; a process that dies before it leaves what was there. A store that has no such promise
    (some vector stores) replaces row by key, so that doing it all again gives the same.
    """

    #: As a person would name it: a path, an address without its password.
    name: str

    def open(self, table: Table) -> None:
        """Begin. Raises `SinkError` when it cannot be written to, before anything was paid for."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take some rows; each has the table's columns, a missing cell is None. Raises `SinkError`."""

    def commit(self) -> None:
        """Make all of it visible and durable. Raises `SinkError`."""

    def discard(self) -> None:
        """Leave things as they were. May be called at any time, also after a failure."""

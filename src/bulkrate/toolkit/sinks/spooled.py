"""For what must know every cell before it can write the first: rows wait on the disk until the commit.

A column whose type nobody told would otherwise fail at its first cell of another type, after everything was
paid for. So the rows are looked at as they come, and written when all of them were seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from bulkrate.errors import SinkError, SourceError
from bulkrate.toolkit.addresses import translated
from bulkrate.toolkit.rows.fitting import Fit
from bulkrate.toolkit.rows.snapshot import Spool
from bulkrate.toolkit.rows.table import Row, Table
from bulkrate.toolkit.sinks.layout import Layout

#: Rows that are written at once.
ROWS_AT_ONCE = 1_000


class Spooled(ABC):
    """A sink that writes at the commit. `typed` names the columns whose type the source's schema tells."""

    #: A folder with room for the rows; None for the system's.
    folder: Path | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self._spool: Spool | None = None

    def open(self, table: Table) -> None:
        """Begin. Raises `SinkError` when it cannot be written to."""
        self.discard()
        self.table = table
        self.layout = Layout(table, self.name)
        self.fits = self._unseen(set())
        self.fits = self._unseen(self.begin())
        with translated(self.name, SinkError):
            self._spool = Spool(self.folder)

    def _unseen(self, typed: set[str]) -> dict[str, Fit]:
        """What is to be found out: of all columns but those whose type is known."""
        return {column.name: Fit(column) for column in self.layout.columns if column.name not in typed}

    def write(self, rows: Sequence[Row]) -> None:
        """Take some rows. Raises `SinkError`."""
        if self._spool is None:
            raise SinkError(f"{self.name} is not open")
        rows = [self.layout.row(row) for row in rows]
        try:
            for name, fit in self.fits.items():
                fit.see(row[name] for row in rows)
            with translated(self.name, SinkError):
                self._spool.append(rows)
        except (ValueError, SourceError) as fault:
            raise SinkError(f"{self.name}: {fault}") from fault

    def commit(self) -> None:
        """Make all of it visible and durable. Raises `SinkError`."""
        if self._spool is not None:
            self.put(self._spool.groups(ROWS_AT_ONCE))
            self._spool.close()
            self._spool = None

    def discard(self) -> None:
        """Leave things as they were."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self.forget()

    @abstractmethod
    def begin(self) -> set[str]:
        """Make sure that `table` can be written; the columns whose types are known. Raises `SinkError`."""

    @abstractmethod
    def put(self, groups: Iterator[list[Row]]) -> None:
        """Write all rows, and make them visible and durable. Raises `SinkError`."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of what `begin` took hold of, if it did."""

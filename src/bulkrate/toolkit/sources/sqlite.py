"""SQLite: a query or a table, read row by row from a database that is never written to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from bulkrate.errors import SourceError
from bulkrate.toolkit.databases import Database, said
from bulkrate.toolkit.rows.table import Column, Row
from bulkrate.toolkit.sources.asked import columns_named


class Sqlite:
    """The rows of `query`."""

    arrow = None
    length = None

    def __init__(self, database: Database, query: str) -> None:
        self.name = database.name
        self._path = Path(database.place)
        self._query = query
        if not self._path.is_file():
            raise SourceError(f"{self.name}: there is no file {self._path}")
        with self._asked() as cursor:
            self._names = columns_named([part[0] for part in cursor.description or ()], self.name)
        self.columns: tuple[Column, ...] | None = tuple(Column(name=name) for name in self._names)

    def mark(self) -> None:
        """Nobody can tell."""

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`."""
        with self._asked() as cursor:
            given = 0
            try:
                for cells in cursor:
                    given += 1
                    yield dict(zip(self._names, cells, strict=True))
            except UnicodeDecodeError:
                raise SourceError(f"{self.name}, row {given + 1}: a text that is no UTF-8") from None

    @contextmanager
    def _asked(self) -> Iterator[sqlite3.Cursor]:
        address = f"file:{quote(str(self._path.resolve()))}?mode=ro"
        try:
            # One thread after the other may ask for rows; none do at once.
            with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as connection:
                connection.text_factory = bytes.decode  # the library's own error would quote the text
                with closing(connection.execute(self._query)) as cursor:
                    yield cursor
        except (sqlite3.Error, sqlite3.Warning) as fault:
            raise SourceError(f"{self.name}: {said(fault)}") from fault

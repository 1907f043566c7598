"""DuckDB: a query or a table, as a stream of record batches, from a database that is never written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bulkrate.errors import SourceError
from bulkrate.toolkit import extras
from bulkrate.toolkit.databases import Database, said
from bulkrate.toolkit.rows import arrow
from bulkrate.toolkit.rows.table import Column, Row
from bulkrate.toolkit.sources.asked import columns_named
from bulkrate.toolkit.sources.tables import ROWS_AT_ONCE, rows_of_batches


class Duckdb:
    """The rows of `query`."""

    length = None

    def __init__(self, database: Database, query: str) -> None:
        self.name = database.name
        self._path = Path(database.place)
        self._query = query
        self._duckdb = extras.load("duckdb", "duckdb", f"reading {self.name}", SourceError)
        if not self._path.is_file():
            raise SourceError(f"{self.name}: there is no file {self._path}")
        with self._asked(f"SELECT * FROM ({query}) LIMIT 0") as reader:  # noqa: S608 (it is the user's query)
            columns_named(reader.schema.names, self.name)
            self.columns: tuple[Column, ...] | None = arrow.columns_of(reader.schema, self.name)
            self.arrow: bytes | None = arrow.schema_bytes(reader.schema)

    def mark(self) -> None:
        """Nobody can tell."""

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`."""
        with self._asked(self._query) as reader:
            yield from rows_of_batches(reader, self.name)

    @contextmanager
    def _asked(self, query: str) -> Iterator[Any]:
        try:
            with self._duckdb.connect(str(self._path), read_only=True) as connection:
                found = connection.sql(query)
                if found is None:
                    raise SourceError(f"{self.name}: the query gives no rows; it must be a SELECT")
                # It was named so by DuckDB 1, and is named so since 2.
                read = getattr(found, "to_arrow_reader", None) or found.fetch_arrow_reader
                yield read(ROWS_AT_ONCE)
        except self._duckdb.Error as fault:
            raise SourceError(f"{self.name}: {said(fault)}") from fault

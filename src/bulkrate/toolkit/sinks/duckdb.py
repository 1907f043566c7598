"""A table of DuckDB. Rows go in as Arrow: columns of the source keep their types, vectors their size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from bulkrate.errors import SinkError
from bulkrate.toolkit import extras
from bulkrate.toolkit.databases import said
from bulkrate.toolkit.rows import arrow
from bulkrate.toolkit.rows.table import Row
from bulkrate.toolkit.sinks.arrow_table import Writing, known
from bulkrate.toolkit.sinks.database import TableSink


class DuckdbSink(TableSink):
    """`duckdb:///path#table`."""

    def rehearse(self) -> set[str]:
        """Try it; a database that was not there is not there afterwards."""
        path = Path(self.place.place)
        if not path.resolve().parent.is_dir():
            raise SinkError(f"{self.name}: there is no folder {path.parent}; make it first")
        self._fields = known(self.table)
        fresh = not path.exists()
        try:
            with self.transaction(keep=False) as connection:
                self.transfer(connection, iter(()))
        finally:
            if fresh:
                path.unlink(missing_ok=True)
        return set(self._fields)

    @contextmanager
    def transaction(self, *, keep: bool) -> Iterator[Any]:
        """All or nothing."""
        duckdb = extras.load("duckdb", "duckdb", f"writing {self.name}", SinkError)
        try:
            with duckdb.connect(self.place.place) as connection:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT" if keep else "ROLLBACK")
        except duckdb.Error as fault:
            raise SinkError(f"{self.name}: {said(fault)}") from fault

    def run(self, connection: Any, statement: str) -> list[Any]:
        """Run a statement."""
        return list(connection.execute(statement).fetchall())

    def existing(self, connection: Any) -> dict[str, str]:
        """By the catalogue."""
        schema, _, name = self.target.rpartition(".")
        found = connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE table_name = ? AND schema_name = coalesce(?, current_schema()) ORDER BY column_index",
            [name, schema or None],
        )
        return dict(found.fetchall())

    def types(self) -> dict[str, str]:
        """As DuckDB itself takes our Arrow types."""
        duckdb = extras.load("duckdb", "duckdb", f"writing {self.name}", SinkError)
        empty = pa.Table.from_batches([], schema=arrow.single_precision(self._writing().schema))
        with duckdb.connect() as scratch:
            scratch.register("rows", empty)
            return {
                name: kind for name, kind, *_ in scratch.execute("DESCRIBE SELECT * FROM rows").fetchall()
            }

    def fill(self, connection: Any, table: str, groups: Iterator[list[Row]]) -> None:
        """Batch by batch."""
        writing, written = self._writing(), 0
        schema = arrow.single_precision(writing.schema)
        for group in groups:
            batch = pa.Table.from_batches([writing.batch(group, written + 1)])
            connection.register("bulkrate_batch", batch.cast(schema))
            connection.execute(f"INSERT INTO {table} SELECT * FROM bulkrate_batch")  # noqa: S608 (our own name)
            connection.unregister("bulkrate_batch")
            written += len(group)

    def _writing(self) -> Writing:
        return Writing(self.name, self.layout, self._fields, self.fits)

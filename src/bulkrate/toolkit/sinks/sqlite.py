"""A table of SQLite. Dates, decimals and whatever else it has no type for are texts, vectors JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bulkrate.errors import SinkError
from bulkrate.toolkit.databases import column_quoted, said
from bulkrate.toolkit.rows.fitting import Shape
from bulkrate.toolkit.rows.plain import json_of, text_of
from bulkrate.toolkit.rows.table import Row
from bulkrate.toolkit.sinks.database import TableSink, records

_TYPES = {
    Shape.BOOLEAN: "BOOLEAN",
    Shape.INTEGER: "INTEGER",
    Shape.NUMBER: "REAL",
    Shape.BYTES: "BLOB",
}
#: How long others may hold the database.
_WAIT_S = 30


class SqliteSink(TableSink):
    """`sqlite:///path#table`."""

    def rehearse(self) -> set[str]:
        """Try it; a database that was not there is not there afterwards."""
        path = Path(self.place.place)
        if not path.resolve().parent.is_dir():
            raise SinkError(f"{self.name}: there is no folder {path.parent}; make it first")
        fresh = not path.exists()
        try:
            with self.transaction(keep=False) as connection:
                self.transfer(connection, iter(()))
        finally:
            if fresh and path.exists() and path.stat().st_size == 0:
                path.unlink()
        return set()

    @contextmanager
    def transaction(self, *, keep: bool) -> Iterator[sqlite3.Connection]:
        """All or nothing; who else writes waits."""
        try:
            with closing(
                sqlite3.connect(self.place.place, timeout=_WAIT_S, isolation_level=None)
            ) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT" if keep else "ROLLBACK")
        except sqlite3.Error as fault:
            raise SinkError(f"{self.name}: {said(fault)}") from fault

    def run(self, connection: sqlite3.Connection, statement: str) -> list[Any]:
        """Run a statement."""
        return connection.execute(statement).fetchall()

    def existing(self, connection: sqlite3.Connection) -> dict[str, str]:
        """SQLite converts by itself, so the types do not matter."""
        found = connection.execute("SELECT name FROM pragma_table_info(?)", (self.target,))
        return dict.fromkeys((name for (name,) in found), "")

    def types(self) -> dict[str, str]:
        """By what the cells are."""
        return {name: _TYPES.get(fit.shape, "TEXT") for name, fit in self.fits.items()}

    def fill(self, connection: sqlite3.Connection, table: str, groups: Iterator[list[Row]]) -> None:
        """One statement, many rows."""
        names = list(self.fits)
        json = [fit.shape is Shape.JSON for fit in self.fits.values()]
        texts = [kind == "TEXT" for kind in self.types().values()]
        places = ", ".join("?" * len(names))
        into = ", ".join(map(column_quoted, names))
        connection.executemany(
            f"INSERT INTO {table} ({into}) VALUES ({places})",  # noqa: S608 (all names are quoted)
            (
                [_cell(cell, text=text, json=js) for cell, text, js in zip(cells, texts, json, strict=True)]
                for cells in records(groups, names)
            ),
        )


def _cell(cell: Any, *, text: bool, json: bool) -> Any:
    if cell is None or not text:
        return cell
    return json_of(cell).decode() if json else text_of(cell)

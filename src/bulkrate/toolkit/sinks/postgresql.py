"""A table of PostgreSQL. Rows go in by COPY; a vector is an array of numbers.

A text with a NUL, which PostgreSQL has no place for, gets U+FFFD in its stead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import Any

from bulkrate.errors import SinkError
from bulkrate.toolkit import extras
from bulkrate.toolkit.databases import column_quoted, quoted, said
from bulkrate.toolkit.rows.fitting import Fit, Shape
from bulkrate.toolkit.rows.plain import json_of, numbers, text_of
from bulkrate.toolkit.rows.table import Row
from bulkrate.toolkit.sinks.database import TableSink, records

_TYPES = {
    Shape.BOOLEAN: "boolean",
    Shape.INTEGER: "bigint",
    Shape.NUMBER: "double precision",
    Shape.DECIMAL: "numeric",
    Shape.DATE: "date",
    Shape.DATETIME: "timestamp",
    Shape.MOMENT: "timestamptz",
    Shape.TIME: "time",
    Shape.DURATION: "interval",
    Shape.BYTES: "bytea",
    Shape.UUID: "uuid",
    Shape.JSON: "jsonb",
    Shape.TEXT: "text",
}
_CONNECT_S = 20
#: How long a table may be held by others.
_LOCK_TIMEOUT = "30s"
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class PostgresqlSink(TableSink):
    """`postgresql://user:password@host:port/database#table`, the table perhaps with its schema."""

    folds_names = False

    def rehearse(self) -> set[str]:
        """Try it."""
        with self.transaction(keep=False) as connection:
            self.transfer(connection, iter(()))
        return set()

    @contextmanager
    def transaction(self, *, keep: bool) -> Iterator[Any]:
        """All or nothing."""
        psycopg = extras.load("psycopg", "postgres", f"writing {self.name}", SinkError)
        try:
            with psycopg.connect(self.place.place, connect_timeout=_CONNECT_S) as connection:
                connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                connection.execute("SET LOCAL client_min_messages = 'warning'")
                yield connection
                if not keep:
                    connection.rollback()
        except psycopg.Error as fault:
            raise SinkError(f"{self.name}: {said(fault)}") from fault

    def run(self, connection: Any, statement: str) -> list[Any]:
        """Run a statement."""
        done = connection.execute(statement)
        return list(done.fetchall()) if done.description else []

    def existing(self, connection: Any) -> dict[str, str]:
        """By the catalogue."""
        return dict(connection.execute(_COLUMNS, (quoted(self.target),)).fetchall())

    def types(self) -> dict[str, str]:
        """By what the cells are."""
        return {name: _type(fit) for name, fit in self.fits.items()}

    def fill(self, connection: Any, table: str, groups: Iterator[list[Row]]) -> None:
        """By COPY, all cells as texts that PostgreSQL reads."""
        told = [_teller(fit) for fit in self.fits.values()]
        into = ", ".join(map(column_quoted, self.fits))
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({into}) FROM STDIN") as copy:
            for cells in records(groups, list(self.fits)):
                copy.write_row(
                    [None if cell is None else tell(cell) for tell, cell in zip(told, cells, strict=True)]
                )


def _type(fit: Fit) -> str:
    if fit.shape is Shape.VECTOR:
        return "smallint[]" if fit.dtype == "int8" else "real[]"
    return _TYPES[fit.shape]


def _teller(fit: Fit) -> Callable[[Any], str]:
    if fit.shape is Shape.TEXT:
        return lambda cell: text_of(cell).replace("\0", "\ufffd")
    if fit.shape is Shape.JSON:
        return lambda cell: json_of(_without_nul(cell)).decode()
    if fit.shape is Shape.VECTOR:
        return lambda cell: "{" + ",".join(map(str, numbers(cell))) + "}"
    return _told


def _without_nul(cell: Any) -> Any:
    if isinstance(cell, str):
        return cell.replace("\0", "\ufffd")
    if isinstance(cell, list):
        return [_without_nul(item) for item in cell]
    if isinstance(cell, dict):
        return {_without_nul(key): _without_nul(item) for key, item in cell.items()}
    return cell


def _told(cell: Any) -> str:
    if isinstance(cell, bytes):
        return f"\\x{cell.hex()}"
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return f"{cell.days} days {cell.seconds} seconds {cell.microseconds} microseconds"
    return str(cell)

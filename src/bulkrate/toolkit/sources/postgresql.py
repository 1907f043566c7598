"""PostgreSQL: a query or a table, through a cursor on the server, in a transaction that only reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bulkrate.errors import SourceError
from bulkrate.toolkit import extras
from bulkrate.toolkit.databases import Database, said
from bulkrate.toolkit.rows.plain import plain
from bulkrate.toolkit.rows.table import Column, Kind, Row
from bulkrate.toolkit.sources.asked import columns_named

#: Rows that the server sends at once.
_ROWS_AT_ONCE = 1_000
_CONNECT_S = 20
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("int2", "int4", "int8"), "integer"),
    **dict.fromkeys(("float4", "float8"), "number"),
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), "text"),
    **dict.fromkeys(("json", "jsonb"), "json"),
    "bool": "boolean",
}


class Postgresql:
    """The rows of `query`."""

    arrow = None
    length = None

    def __init__(self, database: Database, query: str) -> None:
        self.name = database.name
        self._place = database.place
        self._query = query
        self._psycopg = extras.load("psycopg", "postgres", f"reading {self.name}", SourceError)
        with self._asked() as cursor:
            types = {
                part.name: self._psycopg.adapters.types.get(part.type_code) for part in cursor.description
            }
            self._names = columns_named([part.name for part in cursor.description], self.name)
        self.columns: tuple[Column, ...] | None = tuple(
            Column(name=name, kind=_KINDS.get(types[name].name, "any") if types[name] else "any")
            for name in self._names
        )

    def mark(self) -> None:
        """Nobody can tell."""

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`."""
        with self._asked() as cursor:
            for cells in cursor:
                yield {name: _cell(cell) for name, cell in zip(self._names, cells, strict=True)}

    @contextmanager
    def _asked(self) -> Iterator[Any]:
        try:
            with self._psycopg.connect(self._place, connect_timeout=_CONNECT_S) as connection:
                connection.read_only = True
                connection.execute("SET TIME ZONE 'UTC'")
                with connection.cursor(name="bulkrate") as cursor:
                    cursor.itersize = _ROWS_AT_ONCE
                    cursor.execute(self._query)
                    yield cursor
        except self._psycopg.Error as fault:
            raise SourceError(f"{self.name}: {said(fault)}") from fault


def _cell(value: Any) -> Any:
    try:
        return plain(value)
    except TypeError:
        return str(value)  # addresses of networks, ranges: as PostgreSQL shows them, or near it

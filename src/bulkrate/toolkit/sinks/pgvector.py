"""Rows into a table of PostgreSQL with a column of pgvector's type.

The rows wait in a file of our own until all are there, since no connection outlives a batch of a day; then
one transaction puts them in, in place of those with the same keys. Others stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from bulkrate.errors import SinkError
from bulkrate.toolkit.addresses import public
from bulkrate.toolkit.rows.fitting import Fit, Shape
from bulkrate.toolkit.rows.plain import text_of
from bulkrate.toolkit.rows.table import Row, Table, Vector
from bulkrate.toolkit.sinks.points import (
    ROW_COLUMN,
    Distance,
    Points,
    first_line,
    index_of,
    json_value,
    need,
    options,
)
from bulkrate.toolkit.sinks.spooled import Spooled

_CONNECT_TIMEOUT_S = 20
_OWN_OPTIONS = ("table", "index", "distance")
_TYPES: dict[Shape, str] = {
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
# What PostgreSQL says of data and broken rules quotes the data: SQLSTATE classes 22 and 23.
_QUOTING = ("22", "23")

_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), atttypmod FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
_MAY = """
SELECT has_database_privilege(current_database(), 'TEMP'),
       CASE WHEN to_regclass(%(table)s) IS NULL
       THEN has_schema_privilege(coalesce(%(schema)s, current_schema()), 'CREATE')
       ELSE has_table_privilege(to_regclass(%(table)s), 'SELECT')
        AND has_table_privilege(to_regclass(%(table)s), 'INSERT')
        AND has_table_privilege(to_regclass(%(table)s), 'UPDATE') END
"""
# The columns of each rule by which rows are told apart: what ON CONFLICT needs.
_UNIQUE = """
SELECT array_agg(attname::text) FROM pg_index
JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
WHERE indrelid = to_regclass(%s) AND indisunique AND indpred IS NULL AND indexprs IS NULL GROUP BY indexrelid
"""


class PgvectorSink(Spooled):
    """`postgresql+pgvector://USER:PASSWORD@HOST:PORT/DATABASE?table=NAME`, `NAME` perhaps with its schema.

    PostgreSQL compares by whatever operator a query uses. With `index=hnsw` an index is built, for the
    distance that is named with it. Other options of the address are PostgreSQL's (`sslmode`, …).
    """

    _points: Points  # since `open`

    def __init__(self, name: str, connection: str, table: str, *, index: Distance | None = None) -> None:
        """`connection` is an address as PostgreSQL has it; `index` the distance of an index to be built."""
        super().__init__(name)
        #: Rows without a vector, which were not written.
        self.left_out = 0
        self._connection = connection
        self._schema, _, self._table_name = table.rpartition(".")
        self._index = index
        #: Types of the columns of the table that is there.
        self._types: dict[str, str] = {}

    @classmethod
    def at(cls, address: str, **given: Any) -> Self:
        """The sink at an address; `table`, `index` and `distance` may stand in it. Raises `SinkError`."""
        parts, place = urlsplit(address), public(address)
        asked = parse_qsl(parts.query, keep_blank_values=True)
        own = urlencode([(name, value) for name, value in asked if name in _OWN_OPTIONS])
        found = options(own, given, _OWN_OPTIONS, place)
        table = unquote(parts.fragment) or found.get("table", "")
        if not table:
            raise SinkError(f"{place}: no table is named; add ?table=NAME")
        others = urlencode([(name, value) for name, value in asked if name not in _OWN_OPTIONS])
        connection = urlunsplit(("postgresql", parts.netloc, parts.path, others, ""))
        return cls(f"{place}#{table}", connection, table, index=index_of(found, place))

    def open(self, table: Table) -> None:
        """See whether the table can be written to, and compare columns with one that is there."""
        need("psycopg", "pgvector")
        need("pgvector.psycopg", "pgvector")
        self._points = Points(table, self.name)
        super().open(self._points.table)

    def write(self, rows: Sequence[Row]) -> None:
        """Take some rows; nobody sees them yet."""
        points = self._points.rows(rows)
        self.left_out = self._points.left_out
        super().write(points)

    def begin(self) -> set[str]:
        """Look at the database; pgvector's extension is created where it is missing."""
        with self._connected("cannot be opened") as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            may = {"table": self._quoted(connection), "schema": self._schema or None}
            temporary, write = connection.execute(_MAY, may).fetchone()
            if not temporary or not write:
                raise SinkError(
                    f"{self.name}: this user may not write there; it needs CREATE in the schema, or SELECT, "
                    "INSERT and UPDATE on the table, and TEMPORARY in the database"
                )
            self._compare(connection)
        return set()

    def put(self, groups: Iterator[list[Row]]) -> None:
        """Put all rows in, in one transaction."""
        if self._points.dimensions is None:
            return  # there was no vector, so nobody knows what the table would be
        with self._connected("takes no rows") as connection:
            self._compare(connection)
            self._load(connection, groups)
            self._upsert(connection)
        if self._index is not None:
            with self._connected("has the rows, but an index cannot be built") as connection:
                self._build_index(connection, self._index)

    def forget(self) -> None:
        """No connection is held."""

    def _compare(self, connection: Any) -> None:
        """Raise `SinkError` unless the table is missing, or can take our columns and replace by our keys."""
        quoted = self._quoted(connection)
        found = connection.execute(_COLUMNS, (quoted,)).fetchall()
        self._types = {name: kind for name, kind, _ in found}
        if not found:
            return
        if missing := [name for name in self.layout.names if name not in self._types]:
            raise SinkError(f"{self.name} has no column {', '.join(missing)}; add it, or name another table")
        vector = self._points.column.name
        if not self._types[vector].startswith(("vector", "halfvec")):
            raise SinkError(
                f"{self.name}: column {vector!r} is {self._types[vector]}, no vector; name another table"
            )
        dimensions = next(modifier for name, _, modifier in found if name == vector)
        self._points.expect(None if dimensions < 0 else dimensions)
        unique = [set(columns) for (columns,) in connection.execute(_UNIQUE, (quoted,)).fetchall()]
        if set(self._keys) not in unique:
            keys = ", ".join(self._keys)
            raise SinkError(
                f"{self.name} has no unique index on ({keys}); rows are replaced by it, so create one"
            )

    def _load(self, connection: Any, groups: Iterator[list[Row]]) -> None:
        """All rows into a table that goes with the transaction."""
        sql = need("psycopg.sql", "pgvector")
        types = self._found_types()
        columns = [
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in types.items()
        ]
        create = "CREATE TEMPORARY TABLE bulkrate_rows ({}) ON COMMIT DROP"
        connection.execute(sql.SQL(create).format(sql.SQL(", ").join(columns)))
        cells = _Cells(self.fits)
        with connection.cursor().copy("COPY bulkrate_rows FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types([kind.partition("(")[0] for kind in types.values()])
            for group in groups:
                for row in group:
                    copy.write_row([cells.cast(name, row[name]) for name in types])

    def _upsert(self, connection: Any) -> None:
        sql = need("psycopg.sql", "pgvector")
        types = self._found_types()
        names, keys = [sql.Identifier(name) for name in types], [sql.Identifier(name) for name in self._keys]
        if not self._types:
            columns = [
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in types.items()
            ]
            create = sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))")
            comma = sql.SQL(", ")
            connection.execute(create.format(self._identifier(), comma.join(columns), comma.join(keys)))
        cast = [
            sql.SQL("{}::{}").format(sql.Identifier(name), sql.SQL(self._types.get(name, kind)))
            for name, kind in types.items()
        ]
        others = [sql.Identifier(name) for name in types if name not in self._keys]
        upsert = sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {cast} FROM bulkrate_rows"
            " ON CONFLICT ({keys}) DO UPDATE SET {set}"
        )
        connection.execute(
            upsert.format(
                table=self._identifier(),
                names=sql.SQL(", ").join(names),
                cast=sql.SQL(", ").join(cast),
                keys=sql.SQL(", ").join(keys),
                set=sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(name) for name in others),
            )
        )

    def _build_index(self, connection: Any, distance: Distance) -> None:
        sql = need("psycopg.sql", "pgvector")
        vector = self._points.column.name
        kind = (self._types.get(vector) or self._found_types()[vector]).partition("(")[0]
        connection.execute(
            sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw ({} {})").format(
                # PostgreSQL's longest name has 63 bytes.
                sql.Identifier(f"{self._table_name}_{vector}_{distance}"[:63]),
                self._identifier(),
                sql.Identifier(vector),
                sql.SQL(f"{kind}_{distance}_ops"),
            )
        )

    @property
    def _keys(self) -> tuple[str, ...]:
        return self._points.keys or (ROW_COLUMN,)

    def _found_types(self) -> dict[str, str]:
        """What our own cells are, by column."""
        vector = self._points.column.name
        kind = "halfvec" if self._points.column.dtype == "float16" else "vector"
        types = {name: _TYPES[self.fits[name].shape] for name in self.layout.names if name != vector}
        return types | {vector: f"{kind}({self._points.dimensions})"}

    def _identifier(self) -> Any:
        parts = [self._schema, self._table_name] if self._schema else [self._table_name]
        return need("psycopg.sql", "pgvector").Identifier(*parts)

    def _quoted(self, connection: Any) -> str:
        return str(self._identifier().as_string(connection))

    @contextmanager
    def _connected(self, what: str) -> Iterator[Any]:
        """A connection for one transaction, which is committed at the end."""
        library, adapter = need("psycopg", "pgvector"), need("pgvector.psycopg", "pgvector")
        try:
            with library.connect(self._connection, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
                if connection.execute("SELECT to_regtype('vector')").fetchone()[0]:
                    adapter.register_vector(connection)
                yield connection
        except library.Error as cause:
            raise SinkError(f"{self.name} {what}: {_said(cause)}") from cause


class _Cells:
    """Cells as PostgreSQL's types want them."""

    def __init__(self, fits: Mapping[str, Fit]) -> None:
        self._shapes = {name: fit.shape for name, fit in fits.items()}
        json = need("psycopg.types.json", "pgvector").Jsonb
        self._makers: dict[Shape, Callable[[Any], Any]] = {
            Shape.VECTOR: self._vector,
            Shape.TEXT: text_of,
            Shape.JSON: lambda cell: json(json_value(cell)),
            Shape.NUMBER: float,
            Shape.DECIMAL: Decimal,
        }
        self._pgvector = need("pgvector", "pgvector")
        self._numpy = need("numpy", "pgvector")

    def cast(self, column: str, cell: Any) -> Any:
        """The cell, which is no wider than its column."""
        make = self._makers.get(self._shapes[column])
        return cell if cell is None or make is None else make(cell)

    def _vector(self, cell: Vector) -> Any:
        if cell.dtype == "float16":
            return self._pgvector.HalfVector(self._numpy.frombuffer(cell.data, "<f2"))
        return self._pgvector.Vector(self._numpy.frombuffer(cell.data, "<f4"))


def _said(cause: Any) -> str:
    """PostgreSQL's words, unless they quote a row."""
    if (cause.sqlstate or "").startswith(_QUOTING):
        return f"a row does not fit ({type(cause).__name__}, SQLSTATE {cause.sqlstate})"
    return str(cause.diag.message_primary or first_line(cause))

"""Rows into a table of LanceDB, in a folder.

The rows wait in a file of our own until all are there. A table that is not there yet is made in one go; in
one that is, rows with the same keys are replaced and others stay, some hundred megabytes at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.fitting import Fit
from bulkrate.toolkit.rows.table import Row, Table
from bulkrate.toolkit.sinks.layout import Layout
from bulkrate.toolkit.sinks.points import ROW_COLUMN, Distance, Points, first_line, index_of, need, options
from bulkrate.toolkit.sinks.spooled import Spooled

if TYPE_CHECKING:
    from bulkrate.toolkit.sinks.arrow_table import Writing

# LanceDB's own rule for names: without it a bad one would be found only when the rows are there.
_NAME = re.compile(r"[a-zA-Z0-9._-]+")
_DEFAULT_TABLE = "rows"
_METRICS = {"cosine": "cosine", "l2": "l2", "ip": "dot"}


class LanceDBSink(Spooled):
    """`lancedb://FOLDER#TABLE`; or a path: `DATABASE.lancedb` (table `rows`), `DATABASE/TABLE.lance`.

    LanceDB compares by whatever distance a search asks for. With `index=hnsw` an index is built, for the
    distance that is named with it.
    """

    #: LanceDB holds in memory what it merges, several times over: 256 MB took 1.5 GB, 64 MB took 0.8 GB. More
    #: bytes than this are merged in steps, each a version.
    bytes_per_version = 128 << 20

    # Since `open`.
    _points: Points
    _database: Any
    #: Types of columns, by name: of the table that is there, else of the source.
    _fields: dict[str, Any]

    def __init__(self, folder: Path, table: str, *, index: Distance | None = None) -> None:
        """`index`: the distance that an index is to be built for, once the rows are there."""
        super().__init__(f"lancedb://{folder}#{table}")
        self.folder = folder
        #: Rows without a vector, which were not written.
        self.left_out = 0
        self._table_name = table
        self._index = index

    @classmethod
    def at(cls, address: str, **given: Any) -> Self:
        """The sink at an address or path; `index` and `distance` may stand in it. Raises `SinkError`."""
        path, _, fragment = address.removeprefix("lancedb://").partition("#")
        path, _, query = path.partition("?")
        table = unquote(fragment)
        if "://" not in address and not table:
            suffix = Path(path).suffix
            path, table = (
                (str(Path(path).parent), Path(path).stem) if suffix == ".lance" else (path, _DEFAULT_TABLE)
            )
        place = f"lancedb://{path}"
        if not path or not _NAME.fullmatch(table):
            raise SinkError(
                f"{place}: say lancedb://FOLDER#TABLE; a table's name has letters, digits, '_', '-' and '.'"
            )
        found = options(query, given, ["index", "distance"], place)
        return cls(Path(unquote(path)), table, index=index_of(found, place))

    def open(self, table: Table) -> None:
        """Make the folder if it is not there, and compare columns with a table that is."""
        need("lancedb", "lancedb")
        self._points = Points(table, self.name)
        super().open(self._points.table)

    def write(self, rows: Sequence[Row]) -> None:
        """Take some rows; nobody sees them yet."""
        points = self._points.rows(rows)
        self.left_out = self._points.left_out
        super().write(points)

    def begin(self) -> set[str]:
        """Connect, and compare columns with a table that is there."""
        from bulkrate.toolkit.sinks.arrow_table import known  # noqa: PLC0415  # Arrow is an extra

        try:
            self._database = need("lancedb", "lancedb").connect(str(self.folder))
            there = self._find()
        except Exception as cause:
            raise self._failed("cannot be opened", cause) from cause
        self._fields = known(self.table) if there is None else self._compare(there.schema)
        return set(self._fields)

    def put(self, groups: Iterator[list[Row]]) -> None:
        """Make the table, or new versions of it."""
        if self._points.dimensions is None:
            return  # there was no vector, so nobody knows what the table would be
        batches = _Batches(self.name, groups)
        try:
            there = self._find()
            table = self._create(batches) if there is None else self._merge(there, batches)
        except SinkError:
            raise
        except Exception as cause:
            raise batches.fault or self._failed("takes no rows", cause) from cause
        self._build_index(table)

    def forget(self) -> None:
        """LanceDB holds nothing open."""
        self._database = None

    def _find(self) -> Any:
        try:
            return self._database.open_table(self._table_name)
        except (ValueError, FileNotFoundError):  # LanceDB's words for a table that is not there
            return None

    def _compare(self, schema: Any) -> dict[str, Any]:
        """The fields of the table that is there. Raises `SinkError` unless its columns are ours."""
        vector, ours = self._points.column.name, set(self.layout.names)
        if missing := ours - set(schema.names):
            raise SinkError(f"{self.name} has no column {', '.join(sorted(missing))}; name another table")
        if more := set(schema.names) - ours:
            raise SinkError(
                f"{self.name} also has {', '.join(sorted(more))}, which these rows lack; name another table"
            )
        kind = schema.field(vector).type
        if not hasattr(kind, "list_size"):
            raise SinkError(f"{self.name}: its column {vector!r} holds no vectors; name another table")
        self._points.expect(kind.list_size)
        return {field.name: field for field in schema if field.name != vector}

    def _create(self, batches: _Batches) -> Any:
        reader = batches.reader(self.layout, self._fields, self.fits)
        try:
            # Overwrite: what a process that died in the middle left here is no table.
            return self._database.create_table(self._table_name, data=reader, mode="overwrite")
        except BaseException:
            with suppress(Exception):
                self._database.drop_table(self._table_name)
            raise

    def _merge(self, table: Any, batches: _Batches) -> Any:
        self._fields = self._compare(table.schema)
        keys = list(self._points.keys) or [ROW_COLUMN]
        reader = batches.reader(self.layout, self._fields, self.fits)
        while part := _some(reader, self.bytes_per_version):
            merge = table.merge_insert(keys).when_matched_update_all().when_not_matched_insert_all()
            merge.execute(need("pyarrow", "lancedb").Table.from_batches(part, reader.schema))
        return table

    def _build_index(self, table: Any) -> None:
        if self._index is None:
            return
        kind = need("lancedb.index", "lancedb").HnswSq(distance_type=_METRICS[self._index])
        try:
            table.create_index(self._points.column.name, config=kind)
        except Exception as cause:
            raise self._failed("has the rows, but an index cannot be built", cause) from cause

    def _failed(self, what: str, cause: Exception) -> SinkError:
        return SinkError(f"{self.name} {what}: {first_line(cause)}")


class _Batches:
    """Rows as Arrow wants them. `fault` is what was wrong with one: Arrow tells it in words of its own."""

    def __init__(self, name: str, groups: Iterator[list[Row]]) -> None:
        self._name = name
        self._groups = groups
        self.fault: SinkError | None = None

    def reader(self, layout: Layout, fields: Mapping[str, Any], fits: Mapping[str, Fit]) -> Any:
        """All batches, made as they are read."""
        from bulkrate.toolkit.sinks.arrow_table import Writing  # noqa: PLC0415

        writing = Writing(self._name, layout, fields, fits)
        return need("pyarrow", "lancedb").RecordBatchReader.from_batches(writing.schema, self._made(writing))

    def _made(self, writing: Writing) -> Iterator[Any]:
        written = 0
        try:
            for group in self._groups:
                yield writing.batch(group, written + 1)
                written += len(group)
        except SinkError as fault:
            self.fault = fault
            raise


def _some(reader: Any, size: int) -> list[Any]:
    """The next batches, until they have `size` bytes; none at the end."""
    part: list[Any] = []
    for batch in reader:
        part.append(batch)
        size -= batch.nbytes
        if size <= 0:
            break
    return part

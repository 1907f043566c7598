"""A row on its way into a vector store: its id, its numbers, and the cells that go with them.

What the vector stores share. Talks to none of them; drops only rows without a vector, and counts them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib import import_module
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from bulkrate.errors import SinkError
from bulkrate.toolkit import extras
from bulkrate.toolkit.rows.lineage import key_of
from bulkrate.toolkit.rows.table import Column, Row, Table, Vector, VectorType

#: How near two vectors are: by angle, by straight line, by inner product.
Distance: TypeAlias = Literal["cosine", "l2", "ip"]
#: The column of row numbers, in stores that want one where no key columns are named.
ROW_COLUMN = "_row"

_NUMBERS = {"float32": "<f4", "float16": "<f2", "int8": "i1"}
# What no store's text may hold: PostgreSQL no NUL, UTF-8 no half of a surrogate pair.
_UNFIT = re.compile("[\x00\ud800-\udfff]")


class Point(msgspec.Struct, frozen=True):
    """A row with its vector. `numbers` is a NumPy array, `id` a UUID made of its keys or its row number."""

    id: UUID | int
    numbers: Any
    row: Row


class Points:
    """Turns rows into points, all of one dimension; counts those without a vector in `left_out`.

    Raises `SinkError` for a table that has no vector column, or several, or lacks a key column.
    """

    def __init__(self, table: Table, place: str) -> None:
        vectors = [column for column in table.columns if column.kind == "vector"]
        if len(vectors) != 1:
            raise SinkError(
                f"{place}: a vector store takes one vector a row, here are {len(vectors)} vector columns; "
                "make one with `bulkrate embed`, or write to a table or a file"
            )
        self.column: Column = vectors[0]
        #: What goes with the vector.
        self.payload = tuple(column for column in table.columns if column is not self.column)
        names = [column.name for column in self.payload]
        if missing := [key for key in table.keys if key not in names]:
            raise SinkError(f"{place}: there is no key column {missing[0]!r}; there are {', '.join(names)}")
        if not table.keys and ROW_COLUMN in names:
            raise SinkError(
                f"{place}: column {ROW_COLUMN!r} is the row number's; rename it, or name key columns"
            )
        self.keys = table.keys
        self._arrow = table.arrow
        #: Numbers per vector, once known: from the table, from the store, or from the first vector.
        self.dimensions = self.column.dimensions
        self.left_out = 0
        self._place = place
        self._rows = 0

    def expect(self, dimensions: int | None) -> None:
        """Say how many numbers the store's vectors have, if it has any. Raises `SinkError` if ours differ."""
        if dimensions is None:
            return
        if self.dimensions not in {None, dimensions}:
            raise self._unequal(dimensions, self.dimensions)
        self.dimensions = dimensions

    def take(self, rows: Sequence[Row]) -> list[Point]:
        """The points of those rows that have a vector. Raises `SinkError` for one of another dimension."""
        numpy = import_module("numpy")  # every vector store's library brings it
        points = []
        for row in rows:
            number, self._rows = self._rows, self._rows + 1
            vector: Vector | None = row[self.column.name]
            if vector is None:
                self.left_out += 1
                continue
            numbers = numpy.frombuffer(vector.data, _NUMBERS[vector.dtype])
            if vector.dtype == "int8":
                numbers = numbers.astype("f4") * numpy.float32(vector.scale)
            if self.dimensions is None:
                self.dimensions = len(numbers)
            elif len(numbers) != self.dimensions:
                raise self._unequal(self.dimensions, len(numbers))
            points.append(Point(self._id(row) if self.keys else number, numbers, row))
        return points

    @property
    def table(self) -> Table:
        """What `rows` returns: cells by column, after the row number where no keys are named."""
        number = () if self.keys else (Column(name=ROW_COLUMN, kind="integer"),)
        dtype: VectorType = "float16" if self.column.dtype == "float16" else "float32"
        vector = Column(name=self.column.name, kind="vector", dtype=dtype, dimensions=self.dimensions)
        return Table(columns=(*number, *self.payload, vector), arrow=self._arrow, keys=self.keys)

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """As `take`, for stores of tables: no int8, no text that they cannot hold."""
        dtype: VectorType = "float16" if self.column.dtype == "float16" else "float32"
        made = []
        for point in self.take(rows):
            row: Row = {} if self.keys else {ROW_COLUMN: point.id}
            row |= {column.name: _fit(point.row.get(column.name)) for column in self.payload}
            row[self.column.name] = Vector(dtype, point.numbers.tobytes())
            made.append(row)
        return made

    def _id(self, row: Row) -> UUID:
        key = key_of(row, self.keys).encode("utf-8", "surrogatepass")
        # 5, made from a name, is the nearest; 8, which means this, is unknown to Python 3.13 and before.
        return UUID(bytes=blake2b(key, digest_size=16).digest(), version=5)

    def _unequal(self, there: int, here: int | None) -> SinkError:
        return SinkError(
            f"{self._place}: vectors there have {there} numbers, column {self.column.name!r} has {here}; "
            "use the model and dimensions it was made with, or another name"
        )


def json_value(cell: Any) -> Any:
    """A cell as JSON has it. NaN and infinities are None, integers beyond 64 bits are text, as are dates."""
    match cell:
        case float():
            return cell if math.isfinite(cell) else None
        case str():
            return _fit(cell)
        case dict():
            return {_fit(str(name)): json_value(value) for name, value in cell.items()}
        case list():
            return [json_value(value) for value in cell]
        case int() if not -(2**63) <= cell < 2**63:
            return str(cell)
        case _:
            # Dates and times as ISO 8601, Decimal as text, bytes as base64; None, True and 1 as they are.
            return msgspec.to_builtins(cell, enc_hook=str)


def first_line(cause: Exception) -> str:
    """What a library said, without what it goes on about: bodies and hints may hold rows."""
    said = str(cause).strip() or type(cause).__name__
    return said.splitlines()[0][:200]


def need(module: str, extra: str) -> Any:
    """A module that comes with the extra of a store. Raises `SinkError`, naming the extra, without it."""
    return extras.load(module, extra, f"writing to {extra}", SinkError)


def options(query: str, given: Mapping[str, Any], allowed: Sequence[str], place: str) -> dict[str, str]:
    """The options behind the `?` of an address and those given beside it. Raises `SinkError` for others."""
    found = dict(parse_qsl(query, keep_blank_values=True)) | {name: str(it) for name, it in given.items()}
    if unknown := [name for name in found if name not in allowed]:
        raise SinkError(f"{place}: there is no option {unknown[0]!r}; there are {', '.join(allowed)}")
    return found


def distance_of(found: Mapping[str, str], place: str) -> Distance:
    """The option `distance`; cosine if it is not given."""
    value = found.get("distance", "cosine")
    for name in get_args(Distance):
        if value == name:
            chosen: Distance = name
            return chosen
    raise SinkError(f"{place}: there is no distance {value!r}; there are {', '.join(get_args(Distance))}")


def index_of(found: Mapping[str, str], place: str) -> Distance | None:
    """The distance of the index that is asked for, in stores where a search chooses its own without one."""
    if found.get("index") not in {None, "hnsw"}:
        raise SinkError(f"{place}: there is no index {found['index']!r}; there is hnsw")
    if "index" in found:
        return distance_of(found, place)
    if "distance" in found:
        raise SinkError(f"{place}: each search chooses its distance here; it needs one only with index=hnsw")
    return None


def _fit(cell: Any) -> Any:
    """The cell with U+FFFD for what no store's text may hold."""
    match cell:
        case str():
            return _UNFIT.sub("\ufffd", cell)
        case dict():
            return {_fit(name): _fit(value) for name, value in cell.items()}
        case list():
            return [_fit(value) for value in cell]
        case _:
            return cell

"""The Arrow schema of what is written, and groups of rows as record batches of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows import arrow
from bulkrate.toolkit.rows.fitting import Fit, Shape
from bulkrate.toolkit.rows.table import Row, Table
from bulkrate.toolkit.sinks.layout import Layout

_TYPES: dict[Shape, Any] = {
    Shape.BOOLEAN: pa.bool_(),
    Shape.INTEGER: pa.int64(),
    Shape.NUMBER: pa.float64(),
    Shape.DATE: pa.date32(),
    Shape.DATETIME: pa.timestamp("us"),
    Shape.TIME: pa.time64("us"),
    Shape.DURATION: pa.duration("us"),
    Shape.BYTES: pa.binary(),
    Shape.UUID: pa.string(),
    Shape.JSON: pa.string(),
    Shape.TEXT: pa.string(),
}


def known(table: Table) -> dict[str, Any]:
    """The fields that the source's schema tells, by column."""
    wanted = {column.name for column in table.columns if column.kind != "vector"}
    return {field.name: field for field in arrow.schema_of(table.arrow) if field.name in wanted}


class Writing:
    """Turns rows into batches, the types of all columns being settled."""

    def __init__(self, name: str, layout: Layout, fields: Mapping[str, Any], fits: Mapping[str, Fit]) -> None:
        self._name = name
        self._fits = fits
        self.schema = pa.schema([fields.get(column) or _field(fits[column]) for column in layout.names])

    def batch(self, rows: Sequence[Row], first: int) -> Any:
        """Rows as a record batch; the first of them is row number `first`. Raises `SinkError`."""
        arrays = []
        for field in self.schema:
            cells = [row[field.name] for row in rows]
            try:
                arrays.append(self._array(cells, field))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as fault:
                where = f"{self._name}, rows {first} to {first + len(rows) - 1}, column {field.name!r}"
                raise SinkError(f"{where}: a cell that is no {field.type}: {type(fault).__name__}") from fault
        return pa.record_batch(arrays, schema=self.schema)

    def _array(self, cells: list[Any], field: Any) -> Any:
        fit = self._fits.get(field.name)
        if fit is None:
            return arrow.array_of(cells, field.type)
        if fit.shape is Shape.VECTOR and fit.dimensions is not None:
            return arrow.vector_array_of(cells, fit.dtype, fit.dimensions)
        return arrow.json_array_of(cells) if fit.shape is Shape.JSON else arrow.array_of(cells, field.type)


def _field(fit: Fit) -> Any:
    if fit.shape is Shape.VECTOR:
        # No vector was there to tell how long they are: a column of nothing, but of the right sort.
        kind = arrow.vector_type(fit.dtype, fit.dimensions) if fit.dimensions else pa.list_(pa.float32())
    elif fit.shape is Shape.MOMENT:
        kind = pa.timestamp("us", fit.zone)
    elif fit.shape is Shape.DECIMAL:
        digits = fit.whole_digits + fit.fraction_digits
        make = pa.decimal128 if digits <= 38 else pa.decimal256
        kind = make(max(digits, 1), fit.fraction_digits)
    else:
        kind = _TYPES[fit.shape]
    return pa.field(fit.name, kind)

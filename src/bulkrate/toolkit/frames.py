"""Rows as a table in memory: Arrow, pandas, Polars. For those who ask for one; nothing here streams.

Columns have the types that a Parquet file of the same rows would give them, but lists and objects stay values
where all of a column fit in one Arrow type.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from bulkrate.errors import SinkError
from bulkrate.toolkit import extras
from bulkrate.toolkit.rows.fitting import Fit, Shape
from bulkrate.toolkit.rows.table import Row, Table
from bulkrate.toolkit.sinks.layout import Layout

_ROWS_AT_ONCE = 1_000
#: What pandas calls whole numbers of which some are missing.
_INTEGERS = {f"{sign}int{bits}": f"{sign.upper()}Int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def to_arrow(rows: Iterable[Row], table: Table) -> Any:
    """The rows as a `pyarrow.Table`. Raises `SinkError`."""
    arrow = extras.load("pyarrow", "tables", "making an Arrow table", SinkError)
    from bulkrate.toolkit.sinks.arrow_table import Writing, known  # noqa: PLC0415

    layout = Layout(table, "table")
    fields = known(table)
    held = [layout.row(row) for row in rows]
    fits = {column.name: Fit(column) for column in layout.columns if column.name not in fields}
    try:
        for name, fit in fits.items():
            fit.see(row[name] for row in held)
    except ValueError as fault:
        raise SinkError(f"table: {fault}") from fault
    writing = Writing("table", layout, fields, fits)
    groups = range(0, len(held), _ROWS_AT_ONCE)
    batches = [writing.batch(held[first : first + _ROWS_AT_ONCE], first + 1) for first in groups]
    made = arrow.Table.from_batches(batches, schema=writing.schema)
    for name, fit in fits.items():
        if fit.shape is Shape.JSON:
            made = _with_values(arrow, made, name, [row[name] for row in held])
    return made


def to_pandas(rows: Iterable[Row], table: Table) -> Any:
    """The rows as a `pandas.DataFrame`. Raises `SinkError`."""
    pandas = _library("pandas")
    made = to_arrow(rows, table)
    frame = made.to_pandas()
    for name, column in zip(made.column_names, made.columns, strict=True):
        if pandas.api.types.is_float_dtype(frame[name]) and str(column.type) in _INTEGERS:
            # For want of a missing number pandas makes them floats, and large ones others than they are.
            frame[name] = pandas.array(column.to_pylist(), dtype=_INTEGERS[str(column.type)])
    return frame


def to_polars(rows: Iterable[Row], table: Table) -> Any:
    """The rows as a `polars.DataFrame`. Raises `SinkError`."""
    polars = _library("polars")
    return polars.from_arrow(to_arrow(rows, table))


def _library(name: str) -> Any:
    """Those who want frames of a library have it, so no extra brings it."""
    try:
        return import_module(name)
    except ImportError as fault:
        raise SinkError(f"making a frame of {name} needs it: pip install {name}") from fault


def _with_values(arrow: Any, made: Any, name: str, cells: list[Any]) -> Any:
    """The table with a column of values instead of JSON texts, if Arrow has a type for them."""
    try:
        values = arrow.array(cells)
    except (arrow.ArrowException, TypeError, ValueError, OverflowError):
        return made
    return made.set_column(made.schema.get_field_index(name), name, values)

"""Frames of pandas and Polars, and tables and readers of Arrow. Neither pandas nor Polars is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from bulkrate.errors import SourceError
from bulkrate.toolkit.rows import arrow
from bulkrate.toolkit.rows.plain import plain
from bulkrate.toolkit.rows.table import Column, Row
from bulkrate.toolkit.sources.base import Source
from bulkrate.toolkit.sources.tables import ROWS_AT_ONCE, rows_of_batches


class Batches:
    """Record batches of one schema; `once` if they can be had one time only."""

    def __init__(
        self,
        name: str,
        schema: Any,
        batches: Callable[[], Iterator[Any]],
        *,
        length: int | None,
        once: bool = False,
    ) -> None:
        self.name = name
        self.length = length
        self.columns: tuple[Column, ...] | None = arrow.columns_of(schema, name)
        self.arrow: bytes | None = arrow.schema_bytes(schema)
        self._batches: Callable[[], Iterator[Any]] | None = batches
        self._once = once

    def mark(self) -> None:
        """Nobody can tell."""

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`, also when they can be had only once and were."""
        if self._batches is None:
            raise SourceError(
                f"the rows of a {self.name} can be had only once; give a table to have them again"
            )
        batches = self._batches
        if self._once:
            self._batches = None
        return rows_of_batches(batches(), self.name)


class Mixed:
    """A pandas frame with columns that Arrow has no one type for: those are taken cell by cell."""

    arrow = None

    def __init__(self, frame: Any) -> None:
        self.name = "DataFrame"
        self.length: int | None = len(frame)
        self.columns: tuple[Column, ...] | None = tuple(Column(name=name) for name in frame.columns)
        self._frame = frame

    def mark(self) -> None:
        """Nobody can tell."""

    def rows(self) -> Iterator[Row]:
        """All rows. Raises `SourceError`, naming row and column."""
        names = list(self._frame.columns)
        for first in range(0, len(self._frame), ROWS_AT_ONCE):
            part = self._frame.iloc[first : first + ROWS_AT_ONCE]
            missing = part.isna()
            columns = [
                [
                    None if absent is True else cell
                    for cell, absent in zip(part[name], missing[name], strict=True)
                ]
                for name in names
            ]
            for number, cells in enumerate(zip(*columns, strict=True), start=first + 1):
                yield {name: self._cell(cell, name, number) for name, cell in zip(names, cells, strict=True)}

    def _cell(self, cell: Any, name: str, number: int) -> Any:
        try:
            return plain(cell)
        except TypeError as fault:
            raise SourceError(f"{self.name}, row {number}, column {name!r}: {fault}") from fault


def framed(what: Any, library: str) -> Source:
    """The rows of a frame or table of `library`. Raises `SourceError`."""
    made = {"pandas": _pandas, "polars": _polars, "pyarrow": _arrow}[library](what)
    if made is None:
        raise SourceError(
            f"a {type(what).__name__} of {library} is no table; give a frame or a table, or a list of texts"
        )
    return made


def _pandas(frame: Any) -> Source | None:
    if type(frame).__name__ != "DataFrame":
        return None
    for name in frame.columns:
        if not isinstance(name, str):
            raise SourceError(f"DataFrame: a column is named {name!r}, which is no text; rename it")
    if not frame.columns.is_unique:
        raise SourceError("DataFrame: two columns have the same name; give each a name of its own")
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError):
        return Mixed(frame)
    return Batches("DataFrame", table.schema, lambda: iter(table.to_batches()), length=len(frame))


def _polars(frame: Any) -> Source | None:
    kind = type(frame).__name__
    if kind == "DataFrame":
        table = frame.to_arrow()
        return Batches("DataFrame", table.schema, lambda: iter(table.to_batches()), length=len(frame))
    if kind != "LazyFrame":
        return None
    schema = frame.limit(0).collect().to_arrow().schema

    def batches() -> Iterator[Any]:
        for part in frame.collect_batches(chunk_size=ROWS_AT_ONCE, maintain_order=True):
            yield from part.to_arrow().to_batches()

    return Batches("LazyFrame", schema, batches, length=None)


def _arrow(table: Any) -> Source | None:
    name = type(table).__name__
    if isinstance(table, pa.Table):
        return Batches(name, table.schema, lambda: iter(table.to_batches()), length=table.num_rows)
    if isinstance(table, pa.RecordBatch):
        return Batches(name, table.schema, lambda: iter([table]), length=table.num_rows)
    if isinstance(table, pa.RecordBatchReader):
        return Batches(name, table.schema, lambda: iter(table), length=None, once=True)
    return None

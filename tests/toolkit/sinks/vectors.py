"""Rows with vectors, for the tests of vector stores."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from bulkrate.toolkit.rows.table import Column, Row, Table, Vector, VectorType

#: Three directions; a search for one must find it first.
EAST, NORTH, UP = [3.0, 0.1, 0.0, 0.0], [0.1, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]


def table(
    *columns: str, keys: Sequence[str] = (), dtype: VectorType = "float32", dimensions: int | None = 4
) -> Table:
    """Columns as a source has them, and the one that `embed` adds."""
    embedding = Column(name="embedding", kind="vector", dtype=dtype, dimensions=dimensions)
    return Table(columns=(*(Column(name=name) for name in columns), embedding), keys=tuple(keys))


def vector(numbers: Sequence[float], dtype: VectorType = "float32") -> Vector:
    """The numbers as `embed` keeps them."""
    if dtype == "int8":
        scale = max(map(abs, numbers)) / 127
        return Vector("int8", struct.pack(f"{len(numbers)}b", *(round(x / scale) for x in numbers)), scale)
    return Vector(dtype, struct.pack(f"<{len(numbers)}{'f' if dtype == 'float32' else 'e'}", *numbers))


def rows(dtype: VectorType = "float32") -> list[Row]:
    """Three products with vectors, and one whose request failed."""
    named = {"east": EAST, "north": NORTH, "up": UP}
    made: list[Row] = [
        {"sku": sku, "stars": stars, "embedding": vector(numbers, dtype)}
        for stars, (sku, numbers) in enumerate(named.items())
    ]
    return [*made[:2], {"sku": "failed", "stars": None, "embedding": None}, *made[2:]]


#: A cell of every kind that a source may have.
EVERY_CELL: dict[str, Any] = {
    "nothing": None,
    "truth": True,
    "whole": 2**40,
    "huge": 2**70,
    "real": 1.5,
    "nan": float("nan"),
    "text": "ü\x00\ud800",
    "bytes": b"\x00\xff",
    "list": [1, "two", None],
    "object": {"a": {"b": [1]}},
    "day": date(2026, 11, 21),
    "moment": datetime(2026, 11, 21, 12, 30, tzinfo=UTC),
    "exact": Decimal("12.50"),
}

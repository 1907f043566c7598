"""What travels between sources, recipes and sinks: rows of named cells, and what a column holds.

A cell is a plain Python value: None, bool, int, float, str, bytes, list or dict of these, date, time,
datetime, Decimal; in a vector column, a `Vector`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Row: TypeAlias = dict[str, Any]

#: What the cells of a column are. `json` is a list or an object; `any` is taken as it comes from the source.
Kind: TypeAlias = Literal["any", "text", "integer", "number", "boolean", "json", "vector"]
#: How the numbers of a vector are kept.
VectorType: TypeAlias = Literal["float32", "float16", "int8"]


class Vector(msgspec.Struct, frozen=True):
    """One embedding: little-endian numbers of `dtype`, back to back. For int8, number = stored * `scale`."""

    dtype: VectorType
    data: bytes
    scale: float = 1.0


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column by name. For a vector column `dimensions` is known once the first vector is."""

    name: str
    kind: Kind = "any"
    dtype: VectorType = "float32"
    dimensions: int | None = None

    @property
    def scale(self) -> str | None:
        """The name of the column beside it that holds the scale of each vector; None where there is none."""
        return f"{self.name}_scale" if self.kind == "vector" and self.dtype == "int8" else None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of what is written: the source's columns, then those that the answers add.

    `arrow` is the source's Arrow schema in IPC form, when its cells have types that plain values do not show;
    `keys` are the columns that identify a row, for sinks that replace rows.
    """

    columns: tuple[Column, ...]
    arrow: bytes | None = None
    keys: tuple[str, ...] = ()

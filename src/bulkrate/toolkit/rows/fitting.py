"""Which one type all cells of a column fit in, found by looking at them, whatever comes last.

Numbers fit in each other as long as nothing is lost; what has nothing else in common fits in a text. Says
nothing of any file or database: those name these shapes their own way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from bulkrate.toolkit.rows.plain import NUMBER_BYTES
from bulkrate.toolkit.rows.table import Column, Kind, Vector, VectorType


class Shape(Enum):
    """What a column is written as. `MOMENT` is a date and time with a zone, `DATETIME` one without."""

    NONE = "none"
    BOOLEAN = "boolean"
    INTEGER = "integer"  # of 64 bits
    NUMBER = "number"
    DECIMAL = "decimal"
    DATE = "date"
    DATETIME = "datetime"
    MOMENT = "moment"
    TIME = "time"
    DURATION = "duration"
    BYTES = "bytes"
    UUID = "uuid"
    JSON = "json"
    TEXT = "text"
    VECTOR = "vector"


_SHAPES: dict[type, Shape] = {
    bool: Shape.BOOLEAN,
    int: Shape.INTEGER,
    float: Shape.NUMBER,
    Decimal: Shape.DECIMAL,
    date: Shape.DATE,
    datetime: Shape.DATETIME,
    time: Shape.TIME,
    timedelta: Shape.DURATION,
    bytes: Shape.BYTES,
    UUID: Shape.UUID,
    list: Shape.JSON,
    dict: Shape.JSON,
    str: Shape.TEXT,
    Vector: Shape.VECTOR,
}
_DECLARED: dict[Kind, Shape] = {
    "any": Shape.NONE,
    "text": Shape.TEXT,
    "integer": Shape.INTEGER,
    "number": Shape.NUMBER,
    "boolean": Shape.BOOLEAN,
    "json": Shape.JSON,
    "vector": Shape.VECTOR,
}
#: Whole numbers beyond this are not all doubles.
_EXACT_MAX = 2**53
#: What Arrow's widest decimal holds.
_DIGITS_MAX = 76


class Fit:
    """One column's, while its cells are seen."""

    def __init__(self, column: Column) -> None:
        self.name = column.name
        self._kind = column.kind
        self._shape = _DECLARED[column.kind]
        self._ints = 0  # the largest, without its sign
        #: Of decimals and of whole numbers beside them: digits before the point, and behind it.
        self.whole_digits = 1
        self.fraction_digits = 0
        self._zones: set[str] = set()
        self.dtype: VectorType = column.dtype
        self.dimensions = column.dimensions

    def see(self, cells: Iterable[Any]) -> None:
        """Take note of some cells. Raises `ValueError` for vectors that do not fit, or a cell beside them."""
        if self._shape in {Shape.TEXT, Shape.JSON} and self._kind != "any":
            return  # it is that, whatever comes
        by_type: dict[type, list[Any]] = {}
        for cell in cells:
            if cell is not None:
                by_type.setdefault(type(cell), []).append(cell)
        for kind, alike in by_type.items():
            self._shape = self._joined(self._shape, self._look(kind, alike))

    @property
    def shape(self) -> Shape:
        """What all cells fit in; `TEXT` if there were none, and nothing was said of them."""
        if self._shape is Shape.NONE:
            return Shape.TEXT
        if self._shape is Shape.DECIMAL and self.whole_digits + self.fraction_digits > _DIGITS_MAX:
            return Shape.TEXT
        if self._shape is Shape.NUMBER and self._ints > _EXACT_MAX:
            return Shape.TEXT
        return self._shape

    @property
    def zone(self) -> str:
        """The zone that all moments share, or UTC."""
        return next(iter(self._zones)) if len(self._zones) == 1 else "UTC"

    def _look(self, kind: type, cells: list[Any]) -> Shape:
        """The shape of cells of one type."""
        shape = _SHAPES[kind]
        if shape is Shape.INTEGER:
            lowest, highest = min(cells), max(cells)
            self._ints = max(self._ints, abs(lowest), abs(highest))
            self.whole_digits = max(self.whole_digits, len(str(min(self._ints, 10**99))))
            return shape if lowest >= -(2**63) and highest < 2**63 else Shape.DECIMAL
        if shape is Shape.DECIMAL:
            return self._look_at_decimals(cells)
        if shape is Shape.DATETIME:
            zoned = [cell.tzinfo for cell in cells if cell.tzinfo is not None]
            self._zones |= {zone.key if isinstance(zone, ZoneInfo) and zone.key else "UTC" for zone in zoned}
            return shape if not zoned else Shape.MOMENT if len(zoned) == len(cells) else Shape.TEXT
        if shape is Shape.TIME and any(cell.tzinfo is not None for cell in cells):
            return Shape.TEXT
        if shape is Shape.VECTOR:
            self._look_at_vectors(cells)
        return shape

    def _look_at_decimals(self, cells: list[Decimal]) -> Shape:
        for cell in cells:
            _, digits, exponent = cell.as_tuple()
            if not isinstance(exponent, int):  # NaN and infinity
                return Shape.TEXT
            self.whole_digits = max(self.whole_digits, len(digits) + exponent)
            self.fraction_digits = max(self.fraction_digits, -exponent)
        return Shape.DECIMAL

    def _look_at_vectors(self, cells: list[Vector]) -> None:
        for cell in cells:
            if self.dimensions is None:
                self.dtype, self.dimensions = cell.dtype, len(cell.data) // NUMBER_BYTES[cell.dtype]
            if cell.dtype != self.dtype or len(cell.data) != self.dimensions * NUMBER_BYTES[self.dtype]:
                found = f"{len(cell.data) // NUMBER_BYTES[cell.dtype]} numbers of {cell.dtype}"
                wanted = f"{self.dimensions} numbers of {self.dtype}"
                raise ValueError(f"column {self.name!r} has vectors of {wanted}, but one of {found}")

    def _joined(self, one: Shape, other: Shape) -> Shape:
        if one is Shape.NONE or one is other:
            return other
        both = {one, other}
        if Shape.VECTOR in both:
            raise ValueError(f"column {self.name!r} holds vectors, and other cells beside them")
        if both == {Shape.INTEGER, Shape.NUMBER}:
            return Shape.NUMBER
        return Shape.DECIMAL if both == {Shape.INTEGER, Shape.DECIMAL} else Shape.TEXT

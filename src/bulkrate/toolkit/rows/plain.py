"""What one cell can be, and how it is told as JSON and as text.

These are the rules wherever a file cannot hold a type: dates and times as ISO 8601, decimals as JSON numbers,
bytes as base64, UUIDs in their usual form, NaN and infinity as null, a vector as the list of its stored
numbers. Reads and writes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any
from uuid import UUID

import msgspec

from bulkrate.toolkit import json_text
from bulkrate.toolkit.rows.table import Vector, VectorType

#: Taken as they are, without a look inside.
SIMPLE = frozenset(
    {NoneType, bool, int, float, str, bytes, date, datetime, time, timedelta, Decimal, UUID, Vector}
)
#: Bytes per number of a vector, and its `struct` letter.
NUMBER_BYTES: dict[VectorType, int] = {"float32": 4, "float16": 2, "int8": 1}
_LETTERS: dict[VectorType, str] = {"float32": "f", "float16": "e", "int8": "b"}


def plain(value: Any) -> Any:
    """`value` as a cell: numbers of numpy, missing values of pandas, tuples and enums become plain.

    Half a surrogate pair in a text becomes U+FFFD. Raises `TypeError`, naming the type, for what has no such
    form.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else json_text.whole(value)
    if kind in SIMPLE:
        return value
    if kind is list or kind is tuple:
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    return _unusual(value)


def numbers(vector: Vector) -> list[float] | list[int]:
    """The stored numbers of a vector, not scaled."""
    count = len(vector.data) // NUMBER_BYTES[vector.dtype]
    return list(struct.unpack(f"<{count}{_LETTERS[vector.dtype]}", vector.data))


def json_of(cell: Any) -> bytes:
    """A cell, or a whole row of them, as JSON on one line."""
    if type(cell) is Vector:
        return _JSON.encode(numbers(cell))
    if type(cell) is dict and any(type(item) is Vector for item in cell.values()):
        cell = {name: numbers(item) if type(item) is Vector else item for name, item in cell.items()}
    told = _JSON.encode(cell)
    # A decimal is written as it stands, and JSON has no such numbers. Seldom true, and then mostly of a text.
    return _JSON.encode(_finite(cell)) if b"NaN" in told or b"Inf" in told else told


def text_of(cell: Any) -> str:
    """A cell as text, for files that hold nothing else; None is the empty text."""
    if type(cell) is str:
        return cell
    if cell is None:
        return ""
    told = json_of(cell).decode()
    # A date is told as a JSON string and a number as a number; the quotes are not part of the text.
    return msgspec.json.decode(told, type=str) if told.startswith('"') else told


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    if isinstance(key, int | float | bool | date):
        return text_of(key)
    raise TypeError(f"an object with a key of type {type(key).__name__}; keys are texts")


def _unusual(value: Any) -> Any:
    """Subclasses of plain types, and the scalars of numpy and pandas, known by what they can do."""
    if type(value).__name__ in {"NaTType", "NAType"}:
        return None
    for convert in ("to_pydatetime", "to_pytimedelta", "tolist", "model_dump"):  # pandas, numpy, Pydantic
        if callable(method := getattr(value, convert, None)):
            return plain(method())
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, list | tuple | set | frozenset):
        return [
            plain(item) for item in (value if isinstance(value, list | tuple) else sorted(value, key=repr))
        ]
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    for base in (str, int, float, bytes):
        if isinstance(value, base):
            return plain(base(value))  # type: ignore[arg-type]
    raise TypeError(f"a value of type {type(value).__name__}, which no cell can hold")


def _finite(cell: Any) -> Any:
    if type(cell) is Decimal:
        return cell if cell.is_finite() else None
    if type(cell) is list:
        return [_finite(item) for item in cell]
    if type(cell) is dict:
        return {key: _finite(item) for key, item in cell.items()}
    return cell


_JSON = msgspec.json.Encoder(decimal_format="number")

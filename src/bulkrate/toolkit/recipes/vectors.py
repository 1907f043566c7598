"""Numbers of an embedding into a `Vector`: read from base64 or a list, scaled, and kept in fewer bytes.

With the standard library alone: a table of 10,000 vectors of 1,536 numbers takes a few seconds at most.
"""

from __future__ import annotations

import binascii
import math
import struct
import sys
from array import array

from bulkrate.toolkit.rows.table import Vector, VectorType

_INT8_MAX = 127
_FLOAT16_MAX = 65_504.0


def numbers_of(embedding: object) -> array[float] | None:
    """The float32 numbers of an answer's `embedding`, be it base64 or a list; None if it is no such vector.

    Base64 holds little-endian float32, as OpenAI's API sends it for `encoding_format: base64`.
    """
    numbers = array("f")
    try:
        if isinstance(embedding, str):
            numbers.frombytes(binascii.a2b_base64(embedding, strict_mode=True))
            if sys.byteorder == "big":
                numbers.byteswap()
        elif isinstance(embedding, list):
            numbers.fromlist(embedding)
        else:
            return None
    except (ValueError, TypeError, OverflowError):
        return None
    # A sum of float32 cannot overflow a double, and is no number if one of them is none.
    return numbers if numbers and math.isfinite(sum(numbers)) else None


def vector(numbers: array[float], dtype: VectorType, *, normalise: bool) -> Vector | None:
    """`numbers` kept as `dtype`, scaled to length 1 if asked; None if that cannot be.

    It cannot where all are zero, or one is too large. For int8 the scale is the vector's own: its largest
    number becomes 127.
    """
    if normalise:
        length = math.hypot(*numbers)
        if length == 0:
            return None
        numbers = array("f", [number / length for number in numbers])
    if dtype == "float16":
        if max(map(abs, numbers)) > _FLOAT16_MAX:
            return None
        return Vector(dtype=dtype, data=struct.pack(f"<{len(numbers)}e", *numbers))
    if dtype == "int8":
        scale = max(map(abs, numbers)) / _INT8_MAX or 1.0
        return Vector(
            dtype=dtype, data=array("b", [round(n / scale) for n in numbers]).tobytes(), scale=scale
        )
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return Vector(dtype=dtype, data=numbers.tobytes())

"""JSON for any text there is: lone surrogates are written as U+FFFD, and read where strict readers give up.

Half a surrogate pair is no Unicode text, but CSV files and models do contain it. Nothing else is repaired.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

_plain = msgspec.json.Encoder(enc_hook=str, decimal_format="number")


def encode(value: object) -> bytes:
    """`value` as JSON, one line. Numbers stay numbers, NaN is null; what JSON has no word for is its text."""
    try:
        return _plain.encode(value)
    except UnicodeEncodeError:
        return _plain.encode(whole(value))


def decode(data: bytes | str) -> Any:
    """The value of a JSON text. Raises `ValueError` if it is none, or is nested too deeply."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass  # a lone surrogate perhaps, or a number beyond a double
    try:
        return whole(json.loads(data, parse_constant=_no_constant))
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def whole(value: Any) -> Any:
    """`value` with every text in it made valid Unicode: pairs are joined, halves become U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {whole(key): whole(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [whole(part) for part in value]
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")

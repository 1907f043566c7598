"""The first setting that does not fit its type, in words: which it is, what was found, what would fit.

Pure: it looks at values and types, and converts nothing that anybody keeps. It never repeats a value that may
be a secret.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

_AT = re.compile(r" - at `.*`$", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<kinds>[a-z |]+)`(?: (?P<sign>[<>]=?) (?P<bound>[0-9.]+))?")
_KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "a table",
    "array": "a list",
}
_SIGNS = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}
_SECRET = re.compile(r"(^|_)(key|secret)$|headers")
_SHOWN_CHARS_MAX = 64
_UNIONS = (typing.Union, types.UnionType)


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A value that does not fit. `path` leads to it; `words` begin with "is" and tell no secret."""

    path: tuple[str, ...]
    words: str


def first_misfit(given: Any, shape: Any) -> Misfit | None:
    """The first value in `given`, in the order of the fields of `shape`, that does not fit."""
    return _first(given, shape, ())


def _first(given: Any, shape: Any, path: tuple[str, ...]) -> Misfit | None:
    try:
        msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as cause:
        inner = (_first(value, kind, (*path, key)) for key, value, kind in _parts(given, shape))
        found = next((misfit for misfit in inner if misfit is not None), None)
        return found or Misfit(path=path, words=_words(given, shape, path, str(cause)))
    return None


def _parts(given: Any, shape: Any) -> Iterator[tuple[str, Any, Any]]:
    """What a table or a list holds: the key or the number, the value and the type of each."""
    if typing.get_origin(shape) in _UNIONS:
        for arm in typing.get_args(shape):
            yield from _parts(given, arm)
    elif isinstance(given, list) and typing.get_origin(shape) is list:
        for number, value in enumerate(given):
            yield str(number), value, typing.get_args(shape)[0]
    elif isinstance(given, dict) and typing.get_origin(shape) is dict:
        for key, value in given.items():
            yield key, value, typing.get_args(shape)[1]
    elif isinstance(given, dict) and isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        for field in msgspec.structs.fields(shape):
            if field.name in given:
                yield field.name, given[field.name], field.type


def _words(given: Any, shape: Any, path: tuple[str, ...], cause: str) -> str:
    return f"is {_shown(given, path)}; give {_wanted(shape, cause)}"


def _shown(given: Any, path: tuple[str, ...]) -> str:
    if isinstance(given, dict):
        return "a table"
    if isinstance(given, list):
        return "a list"
    if isinstance(given, bool):
        return "true" if given else "false"
    if any(_SECRET.search(part) for part in path):
        return "something else"
    shown = repr(given)
    return shown if len(shown) <= _SHOWN_CHARS_MAX else f"{shown[:_SHOWN_CHARS_MAX]}…"


def _wanted(shape: Any, cause: str) -> str:
    if choices := _choices(shape):
        return " or ".join(map(repr, choices))
    text = _AT.sub("", cause)
    expected = _EXPECTED.fullmatch(text.partition(", got ")[0])
    if expected is None:
        return f"another value ({text})"
    kinds = [kind for kind in expected["kinds"].split(" | ") if kind != "null"]
    wanted = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
    return f"{wanted} {_SIGNS[expected['sign']]} {expected['bound']}" if expected["sign"] else wanted


def _choices(shape: Any) -> list[str]:
    """What a closed choice may be, also where nothing may be given; an empty list for any other type."""
    if isinstance(shape, type) and issubclass(shape, enum.Enum):
        return [str(choice.value) for choice in shape]
    if typing.get_origin(shape) is typing.Literal:
        return [str(choice) for choice in typing.get_args(shape)]
    if typing.get_origin(shape) in _UNIONS:
        return [choice for arm in typing.get_args(shape) for choice in _choices(arm)]
    return []

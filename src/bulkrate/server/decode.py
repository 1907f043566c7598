"""From JSON or form fields to what was asked, and msgspec's complaints in OpenAI's words.

Syntax only: names and types. Whether a value makes sense is the engine's to say.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from bulkrate.errors import InvalidRequest
from bulkrate.wire.base import Ask

A = TypeVar("A", bound=Ask)

#: Form fields that hold an object: as JSON text, or as `name[key]` or `name.key` fields.
OBJECT_FIELDS = frozenset({"expires_after", "output_expires_after", "metadata"})

_PATH = re.compile(r" - at `(?P<path>(?:key in )?\$.*)`$")
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)
_TYPE = re.compile(r"Expected `(?P<expected>[a-z |]+)`, got `(?P<got>[a-z]+)`")
_CHOICE = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)

_TYPE_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "object": "an object",
    "array": "an array",
    "null": "null",
}


def decode_json(body: bytes, ask: type[A]) -> A:
    """What `body` asks for."""
    try:
        return msgspec.json.decode(body, type=ask)
    except msgspec.ValidationError as wrong:
        raise in_openai_words(wrong, ask) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        place = re.search(r"\(byte [0-9]+\)", str(wrong))
        where = f" {place.group()}" if place else ""
        raise InvalidRequest(
            f"We could not parse the JSON body of your request{where}. Send one JSON object in UTF-8."
        ) from None
    except RecursionError:
        raise InvalidRequest("The JSON body of your request is nested too deeply.") from None


def decode_fields(fields: Mapping[str, str], ask: type[A]) -> A:
    """What the fields of a form ask for. Fields that it does not know are ignored: clients add their own."""
    try:
        return msgspec.convert(_gather(fields, ask), ask, strict=False)
    except msgspec.ValidationError as wrong:
        raise in_openai_words(wrong, ask) from None


def _gather(fields: Mapping[str, str], ask: type[Ask]) -> dict[str, object]:
    gathered: dict[str, object] = {}
    for name in ask.__struct_fields__:
        nested = _nested(fields, name) if name in OBJECT_FIELDS else {}
        if nested:
            gathered[name] = nested
        elif name in OBJECT_FIELDS:
            if fields.get(name, "").strip():
                gathered[name] = _json_text(name, fields[name])
        elif name in fields:
            gathered[name] = fields[name]
    return gathered


def _nested(fields: Mapping[str, str], name: str) -> dict[str, object]:
    """`name[key]` as SDKs write it, `name.key` as Azure's documentation does."""
    nested: dict[str, object] = {}
    for field, value in fields.items():
        if field.startswith(f"{name}[") and field.endswith("]"):
            nested[field[len(name) + 1 : -1]] = value
        elif field.startswith(f"{name}."):
            nested[field[len(name) + 1 :]] = value
    return nested


def _json_text(name: str, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(
            f"Invalid value for '{name}': expected JSON, or fields named {name}[...].",
            code="invalid_value",
            param=name,
        ) from None


def in_openai_words(wrong: msgspec.ValidationError, ask: type[Ask]) -> InvalidRequest:
    """The refusal that OpenAI would send for what msgspec found."""
    text = str(wrong)
    path = ""
    if at := _PATH.search(text):
        text = text[: at.start()]
        path = at["path"].removeprefix("key in ").removeprefix("$").removeprefix(".")
    if found := _MISSING.fullmatch(text):
        return _missing(_join(path, found["field"]))
    if found := _UNKNOWN.fullmatch(text):
        return _unknown(path, found["field"], ask)
    if found := _TYPE.fullmatch(text):
        return _wrong_type(path, found["expected"], found["got"])
    if found := _CHOICE.fullmatch(text):
        return _not_a_choice(path, found["value"], ask)
    return InvalidRequest(
        f"Invalid value for '{path}': {text[:200]}.", code="invalid_value", param=path or None
    )


def _missing(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )


def _unknown(path: str, field: str, ask: type[Ask]) -> InvalidRequest:
    known = _type_at(ask, path)
    names = known.__struct_fields__ if isinstance(known, type) and issubclass(known, msgspec.Struct) else ()
    param = _join(path, field)[:256]
    near = difflib.get_close_matches(field[:64], names, 1)
    hint = f" Did you mean '{near[0]}'?" if near else f" Known are: {', '.join(names)}."
    return InvalidRequest(f"Unknown parameter: '{param}'.{hint}", code="unknown_parameter", param=param)


def _wrong_type(path: str, expected: str, got: str) -> InvalidRequest:
    wanted = " or ".join(_TYPE_WORDS.get(name, name) for name in expected.split(" | "))
    what = f"'{path}'" if path else "the body"
    return InvalidRequest(
        f"Invalid type for {what}: expected {wanted}, but got {_TYPE_WORDS.get(got, got)} instead.",
        code="invalid_type",
        param=path or None,
    )


def _not_a_choice(path: str, value: str, ask: type[Ask]) -> InvalidRequest:
    supported = ", ".join(f"'{choice}'" for choice in typing.get_args(_type_at(ask, path)))
    return InvalidRequest(
        f"Invalid value: {value[:64]}. Supported values are: {supported}.", code="invalid_value", param=path
    )


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _type_at(ask: type[Ask], path: str) -> Any:
    """The type of the field at a dotted path, without its `| None`; None if there is no such field."""
    found: Any = ask
    for name in filter(None, path.split(".")):
        if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
            return None
        found = next((field.type for field in msgspec.structs.fields(found) if field.name == name), None)
        if typing.get_origin(found) in (typing.Union, types.UnionType):
            found = next((arm for arm in typing.get_args(found) if arm is not type(None)), None)
    return found

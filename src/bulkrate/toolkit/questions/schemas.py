"""JSON schemas: had from what a user has, made strict for the request, and held against the answer.

OpenAI's structured outputs take a part of JSON Schema: every object closed, every property required
(https://platform.openai.com/docs/guides/structured-outputs#supported-schemas). A property that may be left
out becomes one that may be null; keywords that only narrow (`maxLength`) are not sent but are checked in the
answer; a schema that cannot be said so is sent as it is, without `strict`. Schemas at other addresses are
never fetched, and no error carries what an answer holds.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema_rs
import msgspec

from bulkrate.errors import RecipeError
from bulkrate.toolkit import json_text

Schema: TypeAlias = dict[str, Any]

_WRAP = "answer"
_FAULTS_MAX = 5
_ENUM_MAX = 1_000  # OpenAI's limit of enum values in a schema
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_STRICT_NAME = re.compile(r"[^A-Za-z0-9_-]")

# What strict schemas may say. `title` and `description` help the model.
_SENT = frozenset(
    {
        "type",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "$defs",
        "definitions",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "title",
        "description",
        "pattern",
        "format",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
    }
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
# What says nothing about values, or is said otherwise.
_UNSAID = frozenset(
    {"default", "examples", "$comment", "$schema", "deprecated", "readOnly", "writeOnly", "discriminator"}
)
# What no strict schema can say in other words.
_LOOSE = frozenset(
    {"allOf", "patternProperties", "prefixItems", "$dynamicRef", "$recursiveRef", "$id", "$anchor"}
)
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_VALUES = frozenset({"enum", "const", "default", "examples"})


def schema_of(given: object) -> Schema:
    """The JSON schema that `given` stands for.

    A path of a JSON file; `module:Name` (imported now, the current folder on the path); a Pydantic model; a
    schema; names with Python types (`{"age": int}`); any type that has a schema (a dataclass, a TypedDict,
    `list[str]`, an Enum). Raises `RecipeError` if it is none of these, or is no valid schema.
    """
    schema = _had(given)
    try:
        jsonschema_rs.validator_for(schema, offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise RecipeError(f"the schema is not valid JSON Schema: {str(error).splitlines()[0]}") from error
    return schema


class Form:
    """A schema, ready for use.

    `sent` is what goes into the request and `strict` whether it can be enforced as it stands; `notes` say
    what of the schema is not sent. Raises `RecipeError` if it is no valid schema.
    """

    def __init__(self, schema: Schema) -> None:
        rooted = _inlined(schema)
        self.wrapped = rooted.get("type") != "object"
        if self.wrapped:
            rooted = _wrapped(rooted)
        checked: Schema = _with_nulls(rooted)
        notes: list[str] = []
        try:
            self.sent: Schema = _strict(checked, "", notes)
            self.strict = True
        except _CannotSay as reason:
            self.sent, self.strict = checked, False
            notes = [f"not strict: {reason}; answers are checked all the same"]
        self.notes = tuple(notes)
        self._properties: dict[str, Schema] = checked.get("properties", {})
        self.name = _STRICT_NAME.sub("_", str(schema.get("title") or _WRAP))[:64]
        self._root = checked
        try:
            self._validator = jsonschema_rs.validator_for(
                checked, offline=True, validate_formats=True, mask="this value"
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise RecipeError(f"the schema is not valid: {str(error).splitlines()[0]}") from error

    def kinds(self) -> dict[str, str]:
        """For each top-level property the JSON type of its values ("string", …), "" where they vary."""
        return {name: _type_of(part, self._root) for name, part in self._properties.items()}

    def read(self, text: str) -> Read:
        """The value in an answer: JSON, alone, in a code fence or between other words; then checked."""
        for candidate in _candidates(text):
            try:
                value = json_text.decode(candidate)
            except ValueError:
                continue
            return self._checked(value)
        return Read(fault="it is not JSON; answer with the JSON alone")

    def _checked(self, value: Any) -> Read:
        if self.wrapped and not (isinstance(value, dict) and value.keys() == {_WRAP}):
            value = {_WRAP: value}  # a model that was not held to the schema may leave our wrapping out
        try:
            faults = [
                _told(error)
                for error, _ in zip(self._validator.iter_errors(value), range(_FAULTS_MAX), strict=False)
            ]
        except ValueError:  # jsonschema-rs: deeper than it goes
            faults = ["the JSON is nested too deeply"]
        if faults:
            return Read(fault="; ".join(faults))
        return Read(value=value[_WRAP] if self.wrapped else value)


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A value that fits, or the fault, told by path."""

    value: Any = None
    fault: str | None = None


class _CannotSay(Exception):
    """A strict schema has no words for this."""


def _had(given: object) -> Schema:
    match given:
        case str() | Path():
            return _named(str(given))
        case Mapping() if any(_is_type(part) for part in given.values()):
            names = {f"field_{place}": str(name) for place, name in enumerate(given)}
            fields = list(zip(names, given.values(), strict=True))
            return _of_type(msgspec.defstruct("Answer", fields, rename=names))
        case Mapping():
            return _plain(given)
    if callable(model_schema := getattr(given, "model_json_schema", None)):
        try:
            return _plain(model_schema())
        except Exception as error:
            raise RecipeError(f"the Pydantic model {given!r} has no JSON schema: {error}") from error
    return _of_type(given)


def _plain(given: object) -> Schema:
    """`given`, held to be JSON, and an object that says something."""
    try:
        schema = json.loads(json.dumps(given))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"the schema is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise RecipeError(f"the schema must be a JSON object; it is a {type(schema).__name__}")
    # The form in which OpenAI's API takes it.
    for key in ("json_schema", "schema"):
        if isinstance(inner := schema.get(key), dict) and "properties" not in schema:
            schema = inner
    if not schema.keys() & (_SENT | _LOOSE | {"oneOf"}):
        raise RecipeError(
            "the schema says nothing about values; give JSON Schema, "
            'such as {"type": "object", "properties": {"name": {"type": "string"}}}'
        )
    return schema


def _of_type(given: object) -> Schema:
    try:
        return _inlined(msgspec.json.schema(given))
    except (TypeError, RecursionError) as error:
        raise RecipeError(
            f"there is no JSON schema for {given!r}; give a path, module:Name, a Pydantic model, "
            "a JSON schema or a Python type"
        ) from error


def _is_type(part: object) -> bool:
    return part is not None and not isinstance(part, str | int | float | list | dict | bool)


def _named(name: str) -> Schema:
    path = Path(name)
    if path.is_file():
        try:
            return _plain(json.loads(path.read_text(encoding="utf-8-sig")))
        except (OSError, ValueError) as error:
            raise RecipeError(f"the schema file {name!r} cannot be read as JSON: {error}") from error
    module, colon, inside = name.partition(":")
    if not colon or not inside or not module.replace(".", "").isidentifier():
        raise RecipeError(f"there is no schema file {name!r}; give a path, or module:PydanticModel")
    with _here_on_path():
        try:
            found: Any = importlib.import_module(module)
            for part in inside.split("."):
                found = getattr(found, part)
        except ImportError as error:
            raise RecipeError(f"the module of schema {name!r} cannot be imported: {error}") from error
        except AttributeError as error:
            raise RecipeError(f"the schema {name!r} is not there: {error}") from error
        except Exception as error:
            raise RecipeError(
                f"the module of schema {name!r} fails: {type(error).__name__}: {error}"
            ) from error
    if isinstance(found, str):
        raise RecipeError(f"the schema {name!r} is a text; it must be a model, a type or a JSON schema")
    return _had(found)


@contextmanager
def _here_on_path() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _inlined(schema: Schema) -> Schema:
    """The schema with an object at its root, where that was only referred to."""
    for _ in range(len(schema.get("$defs", ())) + 1):
        found = _referred(str(schema.get("$ref", "")), schema)
        if found is None or found is schema:
            break
        kept = {key: part for key, part in schema.items() if key != "$ref"}
        schema = _without_unused({**kept, **found})
    return {"type": "object", **schema} if "properties" in schema and "type" not in schema else schema


def _without_unused(schema: Schema) -> Schema:
    """The schema without definitions that nothing refers to; they would be paid for in every request."""
    used = {key: part for key, part in schema.items() if key != "$defs"}
    waiting = dict(schema.get("$defs", {}))
    kept: Schema = {}
    while named := [name for name in waiting if f'"#/$defs/{name}' in json.dumps([used, kept])]:
        kept |= {name: waiting.pop(name) for name in named}
    return {**used, "$defs": kept} if kept else used


def _referred(reference: str, root: Schema) -> Schema | None:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) and step else found
    return found if isinstance(found, dict) and reference.startswith("#") else None


def _wrapped(schema: Schema) -> Schema:
    inner = {key: part for key, part in schema.items() if key not in ("$defs", "definitions", "$schema")}
    outer = {key: part for key, part in schema.items() if key in ("$defs", "definitions")}
    return {"type": "object", "properties": {_WRAP: inner}, "required": [_WRAP], **outer}


def _with_nulls(node: Any) -> Any:
    """The same schema, where what may be left out may also be null."""
    if isinstance(node, list):
        return [_with_nulls(part) for part in node]
    if not isinstance(node, dict):
        return node
    made: Schema = {}
    for key, part in node.items():
        if key in _VALUES:
            made[key] = part
        elif key in _NAMED and isinstance(part, dict):
            made[key] = {name: _with_nulls(inner) for name, inner in part.items()}
        else:
            made[key] = _with_nulls(part)
    if isinstance(properties := made.get("properties"), dict):
        required = made.get("required", ())
        for name, part in properties.items():
            if name not in required:
                properties[name] = _or_null(part)
    return made


def _or_null(part: Any) -> Any:
    if not isinstance(part, dict) or _allows_null(part):
        return part
    kind = part.get("type")
    if isinstance(kind, str) and not part.keys() & {"enum", "const"}:
        return {**part, "type": [kind, "null"]}
    return {"anyOf": [part, {"type": "null"}]}


def _allows_null(part: Any) -> bool:
    match part:
        case {"type": "null"} | {"const": None}:
            return True
        case {"type": list(kinds)}:
            return "null" in kinds
        case {"enum": list(values)}:
            return None in values
        case {"anyOf": list(branches)} | {"oneOf": list(branches)}:
            return any(map(_allows_null, branches))
    return False


def _strict(node: Any, path: str, notes: list[str]) -> Schema:
    """The node in the words of strict schemas; raises `_CannotSay`. What is not sent goes to `notes`."""
    where = path or "the root"
    if not isinstance(node, dict):
        raise _CannotSay(f"{where} is no object")
    node = _unfolded(node)
    if unsayable := sorted(node.keys() & _LOOSE - (set() if path else {"$id"})):
        raise _CannotSay(f"{where} uses {unsayable[0]!r}")
    made: Schema = {}
    for key, part in node.items():
        if key in ("anyOf", "oneOf") and isinstance(part, list):
            made["anyOf"] = [_strict(branch, path, notes) for branch in part]
        elif key in ("properties", "$defs", "definitions") and isinstance(part, dict):
            below = path if key == "properties" else f"{path}/{key}"
            made[key] = {name: _strict(inner, f"{below}/{name}", notes) for name, inner in part.items()}
        elif key == "items":
            made[key] = _strict(part, f"{path}/items", notes)
        elif key in _SENT and (key != "format" or part in _FORMATS):
            made[key] = part
        elif key not in _UNSAID and key != "$id":
            notes.append(f"{where}: {key!r} is not sent; answers are checked for it")
    _hold_closed(made, node, where)
    return made


def _unfolded(node: Schema) -> Schema:
    """`allOf` of one is that one."""
    match node:
        case {"allOf": [dict(only)], **rest}:
            return {**rest, **only}
    return node


def _hold_closed(made: Schema, node: Schema, where: str) -> None:
    kinds = node.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "object" in kinds or "properties" in node:
        properties = made.get("properties", {})
        if isinstance(node.get("additionalProperties"), dict):
            raise _CannotSay(f"{where} has properties of any name")
        if not properties and node.get("additionalProperties") is not False:
            raise _CannotSay(f"{where} is an object without named properties")
        if unnamed := set(node.get("required", ())) - properties.keys():
            raise _CannotSay(f"{where} requires {min(unnamed)!r}, which it does not describe")
        made |= {
            "type": node.get("type", "object"),
            "required": list(properties),
            "additionalProperties": False,
        }
    if "array" in kinds and "items" not in made:
        raise _CannotSay(f"{where} is a list of anything")
    if len(node.get("enum", ())) > _ENUM_MAX:
        raise _CannotSay(f"{where} has more than {_ENUM_MAX} values")
    if not made.keys() & {"type", "anyOf", "$ref", "enum", "const"}:
        raise _CannotSay(f"{where} says no type")
    values = node.get("enum", [node["const"]] if "const" in node else [])
    if "type" not in made and values and all(isinstance(value, str) for value in values):
        made["type"] = "string"


def _type_of(part: Any, root: Schema) -> str:
    match part:
        case {"$ref": str(reference)}:
            found = _referred(reference, root)
            return "" if found is None or found == part else _type_of(found, root)
        case {"type": str(kind)}:
            return kind
        case {"type": list(kinds)}:
            named = [kind for kind in kinds if kind != "null"]
        case {"anyOf": list(branches)} | {"oneOf": list(branches)} | {"allOf": [_] as branches}:
            found_in = (_type_of(branch, root) for branch in branches)
            named = sorted({kind for kind in found_in if kind != "null"})
        case {"enum": list(values)} if all(isinstance(value, str) for value in values):
            return "string"
        case {"const": str()}:
            return "string"
        case _:
            named = []
    return str(named[0]) if len(named) == 1 else ""


def _candidates(text: str) -> Iterator[str]:
    yield text
    if len(fenced := _FENCE.findall(text)) == 1:
        yield fenced[0]
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    end = max(text.rfind("}"), text.rfind("]"))
    if starts and end > min(starts):
        yield text[min(starts) : end + 1]


def _told(error: jsonschema_rs.ValidationError) -> str:
    path = "".join(f"/{step}" for step in error.instance_path)
    return f"{path}: {error.message}" if path else error.message

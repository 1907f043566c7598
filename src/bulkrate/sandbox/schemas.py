"""Makes JSON that fits a simple JSON schema, for requests that ask for structured output.

Objects, arrays, strings, numbers, booleans, null, enum, const, local $ref and the first branch of anyOf are
fitted, with their bounds. Patterns and conditions are not: a schema that uses them gets JSON of the right
types that may still break them.
"""

import math
from collections.abc import Callable

from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.labels import choose
from bulkrate.sandbox.request import Fields

_DEEPEST = 12  # schemas may refer to themselves; below this everything is null
_MOST_ITEMS = 1000
_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "sandbox@example.com",
    "hostname": "sandbox.example.com",
    "uri": "https://sandbox.example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class SchemaFitter:
    """Fits one schema; `text` is what the user wrote, read only to choose between enum values."""

    def __init__(self, schema: Fields, text: str, dice: Dice) -> None:
        self._schema = schema
        self._text = text
        self._dice = dice
        self._makers: dict[object, Callable[[Fields, str, int], object]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._integer,
            "boolean": lambda _schema, name, _depth: bool(self._dice.number(name) & 1),
            "null": lambda _schema, _name, _depth: None,
        }

    def value(self) -> object:
        return self._fit(self._schema, "answer", 0)

    def _fit(self, schema: object, name: str, depth: int) -> object:
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None
        if "$ref" in schema:
            return self._fit(self._referred(schema["$ref"]), name, depth + 1)
        if "const" in schema:
            return schema["const"]
        branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if isinstance(branches, list) and branches:
            return self._fit(branches[0], name, depth + 1)
        values = schema.get("enum")
        if isinstance(values, list) and values:
            return self._one_of(values, name)
        return self._makers.get(_kind(schema), self._string)(schema, name, depth)

    def _referred(self, reference: object) -> object:
        found: object = self._schema
        for step in str(reference).removeprefix("#").strip("/").split("/"):
            if step:
                found = found.get(step) if isinstance(found, dict) else None
        return found

    def _one_of(self, values: list[object], name: str) -> object:
        words = [value for value in values if isinstance(value, str)]
        if len(words) == len(values):
            return choose(words, self._text, self._dice)
        return self._dice.pick(name, values)

    def _object(self, schema: Fields, name: str, depth: int) -> object:
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return {}
        return {key: self._fit(value, f"{name}.{key}", depth + 1) for key, value in properties.items()}

    def _array(self, schema: Fields, name: str, depth: int) -> object:
        least = int(_bound(schema, "minItems", 0))
        most = int(_bound(schema, "maxItems", max(least, 2)))
        count = min(max(least, min(2, most)), _MOST_ITEMS)
        return [self._fit(schema.get("items"), f"{name}.{place}", depth + 1) for place in range(count)]

    def _string(self, schema: Fields, name: str, _depth: int) -> object:
        made = _FORMATS.get(str(schema.get("format")))
        if made is not None:
            return made
        text = f"sandbox: {name.rpartition('.')[2]} {self._dice.bytes_of(name, 3).hex()}"
        text = text.ljust(min(int(_bound(schema, "minLength", 0)), _MOST_ITEMS), ".")
        return text[: int(_bound(schema, "maxLength", len(text)))]

    def _integer(self, schema: Fields, name: str, _depth: int) -> object:
        low, high = _range(schema, 1)
        first, last = math.ceil(low), math.floor(high)
        return first + self._dice.number(name) % max(1, last - first + 1)

    def _number(self, schema: Fields, name: str, _depth: int) -> object:
        low, high = _range(schema, 0)
        # Stay in the middle half, clear of bounds that may be exclusive.
        return round(low + (0.25 + self._dice.share(name) / 2) * (high - low), 6)


def _kind(schema: Fields) -> object:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((one for one in kind if one != "null"), "null")
    if kind is None and "properties" in schema:
        return "object"
    return kind if isinstance(kind, str) else None


def _bound(schema: Fields, name: str, default: float) -> float:
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def _range(schema: Fields, step: float) -> tuple[float, float]:
    """Lowest and highest number allowed; `step` keeps clear of exclusive bounds."""
    low = _bound(schema, "minimum", _bound(schema, "exclusiveMinimum", -math.inf) + step)
    high = _bound(schema, "maximum", _bound(schema, "exclusiveMaximum", math.inf) - step)
    if low == -math.inf:
        low = min(0.0, high - 100) if high != math.inf else 0.0
    return low, high if high != math.inf else low + 100

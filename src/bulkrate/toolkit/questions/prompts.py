"""Templates over a row's columns: compiled once, checked against the columns before anything is sent.

They are Jinja templates in a sandbox, without autoescape. A column is used by its name, `{{ text }}`, or as
`{{ row["review text"] }}`; `row` is all of them. An empty cell (None) is empty text, `is none`, and takes a
`default`. A template never reads files and changes no row; no error of it carries what a cell holds.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bulkrate.errors import RecipeError
from bulkrate.toolkit import json_text

#: Names in every template that are no columns; a column of such a name is reached through `row`.
OURS = frozenset({"row", "range", "namespace"})
_NAMES_SHOWN_MAX = 40
# With these, a template says itself what is to be done without the column.
_ASKS_IF_THERE = frozenset({"defined", "undefined", "default", "d"})
# Their messages name types and attributes only; those of other errors may carry a cell.
_SAFE_TO_TELL = (UndefinedError, SecurityError, TypeError)


class _Empty(str):
    """What an empty cell is in a template: empty text that also equals None."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


_EMPTY = _Empty()


class _Environment(ImmutableSandboxedEnvironment):
    """`row.items` is the column of that name before it is a method; None in a row is an empty cell."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict) and attribute in obj:
            return _seen(obj[attribute])
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, dict) and isinstance(argument, str) and argument in obj:
            return _seen(obj[argument])
        return super().getitem(obj, argument)


def _seen(cell: Any) -> Any:
    return _EMPTY if cell is None else cell


class Prompt:
    """A compiled template.

    `what` is its name in errors ("prompt", "template"); `names` are given to `render` beside the columns.
    Raises `RecipeError` if it is no template.

    `needs` are the columns without which it cannot be rendered, `columns` those it may use. `whole_row` says
    that it uses the row as a whole, so that any column may be used.
    """

    def __init__(self, text: str, *, what: str = "prompt", names: Collection[str] = ()) -> None:
        self.text = text
        self._what = what
        try:
            tree = _environment.parse(text)
            undeclared = meta.find_undeclared_variables(tree)
            self._template = _environment.from_string(text)
        except TemplateSyntaxError as error:
            raise RecipeError(f"the {what} is no template: line {error.lineno}: {error.message}") from error
        if any(True for _ in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))):
            raise RecipeError(f"the {what} includes another template; put all of it into one")
        self._named = frozenset(undeclared - OURS - set(names))
        through_row, self.whole_row = _through_row(tree) if "row" in undeclared else (frozenset(), False)
        self.columns = self._named | through_row
        self.needs = self.columns - _optional(tree)

    def render(self, row: Mapping[str, Any], **names: object) -> str:
        """The text for `row`. Raises `RecipeError` when it lacks a column, or the template fails on it."""
        if not self.needs <= row.keys():
            raise lacks(f"the {self._what}", min(self.needs - row.keys()), row)
        seen = {name: _seen(row[name]) for name in self._named if name in row}
        try:
            return self._template.render({**seen, "row": row, **names})
        except RecursionError:
            raise RecipeError(f"the {self._what} is nested too deeply") from None
        except Exception as error:  # noqa: BLE001 - a template may fail in any way; its cause may hold a cell
            why = f": {error}" if isinstance(error, _SAFE_TO_TELL) else ""
            raise RecipeError(f"the {self._what} fails on a row with {type(error).__name__}{why}") from None


def columns_of(template: str) -> frozenset[str]:
    """The columns that a template uses by name. Raises `RecipeError` if it is no template."""
    return Prompt(template).columns


def lacks(who: str, name: str, columns: Collection[str]) -> RecipeError:
    """The error for a column that is asked for and is not there: the nearest name, and those there are."""
    there = [str(column) for column in columns]
    by_folded = {column.casefold(): column for column in there}
    near = difflib.get_close_matches(name.casefold(), by_folded, 1)
    hint = f" Did you mean {by_folded[near[0]]!r}?" if near else ""
    more = ", …" if len(there) > _NAMES_SHOWN_MAX else ""
    shown = ", ".join(there[:_NAMES_SHOWN_MAX]) or "none"
    return RecipeError(f"{who} asks for column {name!r}, which is not there.{hint} Columns: {shown}{more}")


def _through_row(tree: nodes.Template) -> tuple[frozenset[str], bool]:
    """The columns used as `row.name` and `row["name"]`, and whether `row` is used in any other way."""
    if any(name.name == "row" and name.ctx == "store" for name in tree.find_all(nodes.Name)):
        return frozenset(), True  # the template calls something else so, too: `{% for row in rows %}`
    called = {id(call.node) for call in tree.find_all(nodes.Call)}
    names = [
        name
        for part in tree.find_all((nodes.Getattr, nodes.Getitem))
        if isinstance(part, nodes.Getattr | nodes.Getitem)
        and _is_row(part.node)
        and id(part) not in called
        and (name := _name(part)) is not None
    ]
    return frozenset(names), sum(map(_is_row, tree.find_all(nodes.Name))) > len(names)


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "row"


def _name(part: nodes.Expr) -> str | None:
    """The column that `row.name` or `row["name"]` means; None if only the row itself can tell."""
    if isinstance(part, nodes.Getattr):
        return part.attr
    if isinstance(part, nodes.Getitem) and isinstance(part.arg, nodes.Const):
        return part.arg.value if isinstance(part.arg.value, str) else None
    return None


def _optional(tree: nodes.Template) -> frozenset[str]:
    return frozenset(_asked_if_there(tree))


def _asked_if_there(tree: nodes.Template) -> Iterator[str]:
    for asked in tree.find_all((nodes.Test, nodes.Filter)):
        if asked.name in _ASKS_IF_THERE and asked.node is not None:
            name = asked.node.name if isinstance(asked.node, nodes.Name) else _name(asked.node)
            if name is not None:
                yield name


def _truncate_words(value: object, words: int) -> str:
    """At most so many words; an ellipsis says that there were more."""
    text = str(value)
    parts = text.split(None, words)
    return text if len(parts) <= words else " ".join(parts[:words]) + " …"


def _json_lines(rows: Collection[object], characters: int = 60_000) -> str:
    """Each as JSON on a line of its own, as many as fit; the last line says how many did not."""
    lines: list[str] = []
    for row in rows:
        line = _tojson(row)
        characters -= len(line) + 1
        if characters < 0:
            lines.append(f"({len(rows) - len(lines)} of {len(rows)} are left out, for length)")
            break
        lines.append(line)
    return "\n".join(lines)


def _default(value: object, instead: object = "", falsy: bool = False) -> object:
    missing = isinstance(value, Undefined) or _is_empty(value)
    return instead if missing or (falsy and not value) else value


def _is_empty(value: object) -> bool:
    """Whether a cell is empty: a null, or the empty text that an empty cell of a CSV file is."""
    return value is None or (isinstance(value, str) and not value)


def _tojson(value: object, indent: int | None = None) -> str:
    try:
        text = _json.encode(value)
    except UnicodeEncodeError:
        text = json_text.encode(value)
    return (msgspec.json.format(text, indent=indent) if indent else text).decode()


def _beyond_json(value: object) -> str | None:
    return None if value is _EMPTY else str(value)


_json = msgspec.json.Encoder(enc_hook=_beyond_json, decimal_format="number")
_environment = _Environment(
    undefined=StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: "" if value is None else value,
)
_environment.globals = {name: _environment.globals[name] for name in OURS - {"row"}}
_environment.filters |= {
    "truncate_words": _truncate_words,
    "tojson": _tojson,
    "json_lines": _json_lines,
    "default": _default,
    "d": _default,
}
_environment.tests["none"] = _is_empty

"""The columns that answers of a schema fill, and the cells of one answer."""

from __future__ import annotations

from typing import Any

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.schemas import Form
from bulkrate.toolkit.recipes.base import Invalid, Reading, Value
from bulkrate.toolkit.recipes.said import Said
from bulkrate.toolkit.rows.table import Column, Kind, Row

_KINDS: dict[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "object": "json",
    "array": "json",
}
_INTEGER_MAX = 2**63 - 1  # what tables hold


class Fields:
    """One column per top-level property; or one of JSON, if `answer` names it.

    A schema that is no object fills a single column, named `answer` unless told otherwise.
    """

    def __init__(self, form: Form, answer: str | None) -> None:
        self._form = form
        self._in_one = form.wrapped or answer is not None
        kinds = {name: _KINDS.get(kind, "json") for name, kind in form.kinds().items()}
        if form.wrapped:
            ((_, kind),) = kinds.items()
            self.columns: tuple[Column, ...] = (Column(name=answer or "answer", kind=kind),)
        elif answer is not None:
            self.columns = (Column(name=answer, kind="json"),)
        else:
            self.columns = tuple(Column(name=name, kind=kind) for name, kind in kinds.items())
        if not self.columns:
            raise RecipeError("the schema names no property, so that there is no column to fill; name one")

    def read(self, found: Said, _row: Row) -> Reading:
        """The cells, if the answer fits the schema; the fault, if not."""
        read = self._form.read(found.text)
        if read.fault is not None:
            return Invalid(fault=read.fault, text=found.text)
        if self._in_one:
            cells = {self.columns[0].name: read.value}
        else:
            cells = {column.name: read.value.get(column.name) for column in self.columns}
        for column in self.columns:
            cell = cells[column.name] = _fitted(cells[column.name], column.kind)
            if isinstance(cell, int) and abs(cell) > _INTEGER_MAX:
                return Invalid(fault=f"/{column.name}: the number is too large", text=found.text)
        return Value(cells=cells, confidence=found.probability)


def _fitted(cell: Any, kind: Kind) -> Any:
    """JSON Schema takes 2.0 for an integer and 2 for a number; a column has one type."""
    if kind == "integer" and isinstance(cell, float):
        return int(cell)
    if kind == "number" and isinstance(cell, int):
        return float(cell) if abs(cell) <= _INTEGER_MAX else cell
    return cell

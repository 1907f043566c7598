"""One document for every group of rows: the model writes about them, a template lays it out.

The rows of this recipe are groups, as `grouping.Groups` makes them: the columns of `group_by`, and `rows`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bulkrate.errors import RecipeError
from bulkrate.toolkit import json_text
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.questions.prompts import Prompt, lacks
from bulkrate.toolkit.questions.schemas import Form
from bulkrate.toolkit.recipes.base import Invalid, Reading, Recipe, Value
from bulkrate.toolkit.recipes.said import Said
from bulkrate.toolkit.recipes.written import WRITTEN, Written
from bulkrate.toolkit.rows.table import Column, Row

SETTINGS = (WRITTEN - {"column"}) | {"schema", "group_by", "template"}

#: The column of a group that holds its rows, each an object.
ROWS = "rows"
_RULES = (
    "Write in Markdown. Use only what the records say; name the numbers they hold. "
    "Answer with the text alone."
)
_PROMPT = (
    "Write a short report about {{ group | tojson }}, from these {{ rows | length }} records "
    "(JSON, one on each line):\n\n{{ rows | json_lines }}"
)


def recipe(asking: Asking) -> Recipe:
    """The document in `answer` (or "report"): what the model wrote, or `template` around it.

    Prompt and template may use `group` (the columns of `group_by`), `rows` and those columns by name; the
    template also `answer`, a text, or with a schema an object. Raises `RecipeError` without `group_by`.
    """
    if not asking.group_by:
        raise RecipeError("report needs the columns to group by, one document for each group")
    if ROWS in asking.group_by:
        raise RecipeError(f"the column {ROWS!r} cannot be grouped by; rename it")
    form = Form(asking.schema) if asking.schema is not None else None
    document = asking.answer or "report"
    reader = _Reader(document, asking, form)
    return Written(
        msgspec.structs.replace(asking, prompt=asking.prompt or _PROMPT),
        columns=[Column(name=document, kind="text")],
        read_as=reader.read,
        rules=_RULES if form is None and asking.system is None else "",
        form=form,
        seen_as=reader.seen,
    )


class _Reader:
    """How a group is seen by templates, and what an answer about it becomes."""

    def __init__(self, document: str, asking: Asking, form: Form | None) -> None:
        self._document = document
        self._by = asking.group_by
        self._form = form
        self._layout: Prompt | None = None
        if asking.template is not None:
            self._layout = Prompt(asking.template, what="template", names={"group", ROWS, "answer"})
            if missing := self._layout.needs - set(self._by):
                raise lacks("the template", min(missing), ("group", ROWS, "answer", *self._by))

    def seen(self, row: Row) -> Row:
        """The group with `group` beside its columns."""
        return {**row, "group": {name: row.get(name) for name in self._by}}

    def read(self, found: Said, row: Row) -> Reading:
        answer: Any = found.text
        if self._form is not None:
            read = self._form.read(found.text)
            if read.fault is not None:
                return Invalid(fault=read.fault, text=found.text)
            answer = read.value
        try:
            document = self._laid_out(answer, self.seen(row))
        except RecipeError as error:
            return Invalid(fault=f"it cannot be laid out: {error}", text=found.text)
        return Value(cells={self._document: document}, confidence=found.probability)

    def _laid_out(self, answer: Any, seen: Row) -> str:
        if self._layout is not None:
            return self._layout.render(seen, group=seen["group"], rows=seen[ROWS], answer=answer)
        if isinstance(answer, str):
            return answer
        return msgspec.json.format(json_text.encode(answer), indent=2).decode()

"""Ask anything about every row: a text back, or JSON that fits a schema."""

from __future__ import annotations

from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.questions.schemas import Form
from bulkrate.toolkit.recipes.base import Reading, Recipe, Value
from bulkrate.toolkit.recipes.fields import Fields
from bulkrate.toolkit.recipes.said import Said
from bulkrate.toolkit.recipes.written import WRITTEN, Written
from bulkrate.toolkit.rows.table import Column, Row

SETTINGS = WRITTEN | {"schema"}


def recipe(asking: Asking) -> Recipe:
    """The text in `answer`; with a schema one column per property, or all of it in `answer`."""
    if asking.schema is not None:
        form = Form(asking.schema)
        fields = Fields(form, asking.answer)
        return Written(asking, columns=fields.columns, read_as=fields.read, form=form)
    return text_recipe(asking, answer=asking.answer or "answer")


def text_recipe(asking: Asking, *, answer: str, task: str = "", rules: str = "") -> Recipe:
    """A recipe whose answer is a text, as it is."""

    def read(found: Said, _row: Row) -> Reading:
        return Value(cells={answer: found.text}, confidence=found.probability)

    return Written(asking, columns=[Column(name=answer, kind="text")], read_as=read, task=task, rules=rules)

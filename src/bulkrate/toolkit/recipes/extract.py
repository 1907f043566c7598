"""Take from every row what a schema asks for; what does not fit is asked again, with the fault."""

from __future__ import annotations

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.questions.schemas import Form
from bulkrate.toolkit.recipes.base import Recipe
from bulkrate.toolkit.recipes.fields import Fields
from bulkrate.toolkit.recipes.written import WRITTEN, Written

SETTINGS = WRITTEN | {"schema"}

_RULES = (
    "Extract data from text. Take only what the text says; where it does not say, "
    "answer null if that is allowed. Do not invent."
)


def recipe(asking: Asking) -> Recipe:
    """One column per property, or all of it in `answer`. Raises `RecipeError` without a schema."""
    if asking.schema is None:
        raise RecipeError("extract needs a schema: what to take from each text")
    form = Form(asking.schema)
    fields = Fields(form, asking.answer)
    return Written(
        asking,
        columns=fields.columns,
        read_as=fields.read,
        rules=_RULES,
        task="Extract the data from this text:",
        form=form,
    )

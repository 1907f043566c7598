"""A shorter text for every row."""

from __future__ import annotations

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes.base import Recipe
from bulkrate.toolkit.recipes.mapping import text_recipe
from bulkrate.toolkit.recipes.written import WRITTEN

SETTINGS = WRITTEN | {"words"}

_WORDS = 60


def recipe(asking: Asking) -> Recipe:
    """The summary in `answer` (or "summary"), of at most `words` words: the model is told, nothing is cut."""
    words = asking.words if asking.words is not None else _WORDS
    if words < 1:
        raise RecipeError(f"words is {words}; it must be at least 1")
    return text_recipe(
        asking,
        answer=asking.answer or "summary",
        rules=f"Summarize in at most {words} words, in the language of the text. "
        "Answer with the summary alone.",
        task="Summarize this text:",
    )

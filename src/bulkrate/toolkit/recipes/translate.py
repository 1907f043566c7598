"""Every row's text in another language."""

from __future__ import annotations

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes.base import Recipe
from bulkrate.toolkit.recipes.mapping import text_recipe
from bulkrate.toolkit.recipes.written import WRITTEN

SETTINGS = WRITTEN | {"language"}


def recipe(asking: Asking) -> Recipe:
    """The translation in `answer` (or "translation"). Raises `RecipeError` when no language is named."""
    language = (asking.language or "").strip()
    if not language:
        raise RecipeError("translate needs a language to translate into, such as 'German'")
    return text_recipe(
        asking,
        answer=asking.answer or "translation",
        rules=f"Translate into {language}. Keep the meaning, the tone and the formatting; leave names, code "
        "and numbers as they are. Answer with the translation alone.",
        task=f"Translate this text into {language}:",
    )

"""What can be asked of rows: one file per recipe. Each is thin: a prompt, a schema, a reading."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection

import msgspec

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.questions.prompts import Prompt, lacks
from bulkrate.toolkit.recipes import classify, embed, extract, mapping, report, summarize, translate
from bulkrate.toolkit.recipes.base import Recipe

#: By name, the settings it knows and what makes it.
RECIPES: dict[str, tuple[frozenset[str], Callable[[Asking], Recipe]]] = {
    "map": (mapping.SETTINGS, mapping.recipe),
    "classify": (classify.SETTINGS, classify.recipe),
    "embed": (embed.SETTINGS, embed.recipe),
    "extract": (extract.SETTINGS, extract.recipe),
    "summarize": (summarize.SETTINGS, summarize.recipe),
    "translate": (translate.SETTINGS, translate.recipe),
    "report": (report.SETTINGS, report.recipe),
}


def recipe_of(asking: Asking) -> Recipe:
    """The recipe asked for.

    Raises `RecipeError` for an unknown one, for a setting it does not know, and for what it cannot use.
    """
    known, make = _entry(asking.recipe)
    for field in msgspec.structs.fields(asking):
        if field.name in known or field.name == "recipe":
            continue
        if getattr(asking, field.name) != _default(field):
            raise RecipeError(
                f"{asking.recipe} has no setting {field.name!r}; it has {', '.join(sorted(known))}"
            )
    return make(asking)


def check(asking: Asking, columns: Collection[str]) -> None:
    """Hold what is asked to the columns of the source (before it is grouped), before any row is read.

    Raises `RecipeError` for a column that is asked for and is not there.
    """
    for name in (*([asking.column] if asking.column else []), *asking.group_by):
        if name not in columns:
            raise lacks(asking.recipe, name, columns)
    seen = (*asking.group_by, "group", report.ROWS) if asking.group_by else columns
    for what, template in (("prompt", asking.prompt), ("system text", asking.system)):
        if template and (missing := Prompt(template, what=what).needs - set(seen)):
            raise lacks(f"the {what}", min(missing), seen)


def tells_confidence(asking: Asking) -> bool:
    """Whether answers to this say how sure they are: `classify` asks, and so do probabilities of tokens."""
    return asking.confidence or bool(asking.params.get("logprobs"))


def _entry(name: str) -> tuple[frozenset[str], Callable[[Asking], Recipe]]:
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        hint = f" did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"there is no recipe {name!r};{hint} there are: {', '.join(RECIPES)}")
    return RECIPES[name]


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()

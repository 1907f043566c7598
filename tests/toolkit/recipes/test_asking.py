"""What is asked for is held to what a recipe knows, before anything is sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes import RECIPES, check, recipe_of

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
WORKING = {
    "map": Asking(prompt="{{ text }}"),
    "classify": Asking(recipe="classify", column="text", labels=("a", "b")),
    "embed": Asking(recipe="embed", column="text"),
    "extract": Asking(recipe="extract", column="text", schema=SCHEMA),
    "summarize": Asking(recipe="summarize", column="text"),
    "translate": Asking(recipe="translate", column="text", language="German"),
    "report": Asking(recipe="report", group_by=("company",)),
}


def test_every_recipe_has_an_example_here() -> None:
    assert WORKING.keys() == RECIPES.keys()


@pytest.mark.parametrize("name", WORKING)
def test_a_recipe_shows_what_it_asks_with_cells_as_names(name: str) -> None:
    recipe = recipe_of(WORKING[name])
    assert recipe.name == name
    assert ("{{ rows" if name == "report" else "{{ text }}") in recipe.shown()


@pytest.mark.parametrize("name", WORKING)
def test_a_recipe_made_of_a_stored_asking_is_the_same(name: str) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(WORKING[name]), type=Asking)
    assert recipe_of(stored).shown() == recipe_of(WORKING[name]).shown()


@pytest.mark.parametrize("name", WORKING)
def test_a_setting_of_another_recipe_is_refused_with_those_there_are(name: str) -> None:
    values: dict[str, Any] = {"labels": ("a",), "words": 5, "language": "x", "dtype": "int8", "template": "x"}
    known, _ = RECIPES[name]
    for setting, value in values.items():
        if setting not in known:
            with pytest.raises(RecipeError) as caught:
                recipe_of(msgspec.structs.replace(WORKING[name], **{setting: value}))
            assert f"{name} has no setting {setting!r}" in str(caught.value)
            assert all(one in str(caught.value) for one in known)


@pytest.mark.parametrize(
    ("asking", "message"),
    [
        (Asking(recipe="clasify"), "did you mean 'classify'?"),
        (Asking(), "what is to be asked of each row? give prompt="),
        (Asking(recipe="classify", labels=("a", "b")), "give column= or prompt="),
        (Asking(prompt="the same for all"), "uses no column"),
        (Asking(prompt="{{ a }}", params={"n": 3}), "n asks for several answers"),
        (Asking(prompt="{{ a }}", params={"stream": True}), "stream cannot be set"),
        (Asking(prompt="{{ a }}", params={"messages": []}), "messages cannot be set"),
        (Asking(prompt="{{ a }}", params={"x": object()}), "not JSON"),
        (Asking(prompt="{{ a }}", endpoint="/v1/embeddings"), "'/v1/embeddings' cannot be used here"),
        (Asking(recipe="embed", column="a", endpoint="/v1/responses"), "use /v1/embeddings"),
        (Asking(recipe="embed", column="a", texts_per_request=5000), "from 1 to 2,048"),
        (Asking(recipe="embed", column="a", dimensions=-1), "dimensions is -1"),
        (Asking(recipe="classify", column="a", labels=("x",)), "at least two labels"),
        (Asking(recipe="classify", column="a", labels=("x", " ")), "none of them empty"),
        (Asking(recipe="classify", column="a", labels=("x", "x ")), "'x' is given twice"),
        (Asking(recipe="extract", column="a"), "needs a schema"),
        (
            Asking(recipe="extract", column="a", schema={"type": "object", "properties": {}}),
            "no column to fill",
        ),
        (Asking(recipe="translate", column="a"), "needs a language"),
        (Asking(recipe="summarize", column="a", words=0), "words is 0"),
        (Asking(recipe="report"), "group by"),
        (Asking(recipe="report", group_by=("rows",)), "rename it"),
        (Asking(recipe="report", group_by=("a",), template="{{ ansewr }}"), "Did you mean 'answer'?"),
    ],
)
def test_what_cannot_be_asked_is_refused(asking: Asking, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_of(asking)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("asking", "message"),
    [
        (
            Asking(prompt="{{ txet }}"),
            "the prompt asks for column 'txet', which is not there. Did you mean 'text'?",
        ),
        (Asking(prompt="{{ text }}", system="{{ lang }}"), "the system text asks for column 'lang'"),
        (Asking(recipe="embed", column="body"), "embed asks for column 'body'"),
        (Asking(recipe="report", group_by=("firm",)), "report asks for column 'firm'"),
        (Asking(recipe="report", group_by=("text",), prompt="{{ row.id }} {{ rows }}"), "column 'id'"),
    ],
)
def test_columns_are_checked_before_any_row_is_read(asking: Asking, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check(asking, ["id", "text"])
    assert message in str(caught.value)


@pytest.mark.parametrize("name", WORKING)
def test_columns_that_are_there_pass(name: str) -> None:
    check(WORKING[name], ["id", "text", "company"])


@pytest.mark.parametrize(
    ("asking", "row", "reason"),
    [
        (Asking(recipe="embed", column="text"), {"text": "  "}, "column 'text' is empty"),
        (Asking(recipe="embed", column="text"), {"text": None}, "column 'text' is empty"),
        (Asking(recipe="embed", column="text"), {"text": 0}, None),
        (
            Asking(recipe="embed", prompt="{% if a %}{{ b }}{% endif %}"),
            {"a": 0, "b": "x"},
            "the prompt is empty",
        ),
        (Asking(prompt="{{ a }} {{ b }}"), {"a": None, "b": "", "c": 1}, "columns 'a', 'b' are empty"),
        (Asking(prompt="{{ a }} {{ b }}"), {"a": None, "b": "x"}, None),
        (Asking(prompt="{{ row | tojson }}"), {"a": None}, "column 'a' is empty"),
        (Asking(prompt="{{ a }}", column="text"), {"a": "x", "text": None}, "column 'text' is empty"),
        (Asking(prompt="{{ a }}"), {"b": 1}, None),
    ],
)
def test_a_row_with_nothing_to_ask_about_is_skipped(asking: Asking, row: Any, reason: str | None) -> None:
    assert recipe_of(asking).skip(row) == reason

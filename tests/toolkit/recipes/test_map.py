from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes import recipe_of
from bulkrate.toolkit.recipes.base import Again, Invalid, Value
from bulkrate.toolkit.rows.table import Column
from tests.toolkit.recipes.answers import chat, completion

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "size": {"type": "number"},
        "tags": {"type": "array", "items": {}},
    },
    "required": ["name", "size"],
}


def body(asking: Asking, row: dict[str, Any], again: Again | None = None) -> Any:
    return msgspec.json.decode(recipe_of(asking).body([row], "m", again))


def test_a_prompt_and_a_system_text_become_messages() -> None:
    asking = Asking(prompt="Say {{ a }}", system="For {{ b }}", params={"temperature": 0, "stream": False})
    assert body(asking, {"a": "x", "b": 7}) == {
        "model": "m",
        "messages": [{"role": "system", "content": "For 7"}, {"role": "user", "content": "Say x"}],
        "temperature": 0,
        "stream": False,
    }


def test_a_column_follows_a_prompt_that_does_not_use_it() -> None:
    assert (
        body(Asking(prompt="Shorten:", column="a"), {"a": "x"})["messages"][0]["content"] == "Shorten:\n\nx"
    )
    assert body(Asking(prompt="<{{ a }}>", column="a"), {"a": "x"})["messages"][0]["content"] == "<x>"
    assert body(Asking(column="it's a\\b"), {"it's a\\b": "x"})["messages"][0]["content"] == "x"
    assert body(Asking(column="none"), {"none": "x"})["messages"][0]["content"] == "x"


def test_the_other_endpoints_are_asked_in_their_own_words() -> None:
    asking = Asking(prompt="Say {{ a }}", system="Be brief", endpoint="/v1/responses")
    assert body(asking, {"a": "x"}) == {
        "model": "m",
        "instructions": "Be brief",
        "input": [{"role": "user", "content": "Say x"}],
    }
    asking = Asking(prompt="Say {{ a }}", system="Be brief", endpoint="/v1/completions")
    assert body(asking, {"a": "x"}) == {"model": "m", "prompt": "Be brief\n\nSay x"}


def test_a_row_is_asked_again_in_the_same_conversation() -> None:
    again = Again(text="what it said", fault="it is not JSON")
    objection = "Your answer cannot be used: it is not JSON. Answer once more, as asked at first."
    turns = [
        {"role": "user", "content": "Say x"},
        {"role": "assistant", "content": "what it said"},
        {"role": "user", "content": objection},
    ]
    assert body(Asking(prompt="Say {{ a }}"), {"a": "x"}, again)["messages"] == turns
    assert body(Asking(prompt="Say {{ a }}", endpoint="/v1/responses"), {"a": "x"}, again)["input"] == turns
    asked = body(Asking(prompt="Say {{ a }}", endpoint="/v1/completions"), {"a": "x"}, again)["prompt"]
    assert asked == f"Say x\n\nwhat it said\n\n{objection}"
    silent = Again(text="", fault="it is not JSON")
    assert body(Asking(prompt="Say {{ a }}"), {"a": "x"}, silent)["messages"] == [turns[0], turns[2]]


def test_a_schema_stands_where_the_endpoint_enforces_it_else_in_the_text() -> None:
    chat_body = body(Asking(prompt="{{ a }}", schema={**SCHEMA, "title": "A thing!"}), {"a": "x"})
    shape = chat_body["response_format"]["json_schema"]
    assert (shape["name"], shape["strict"]) == ("A_thing_", False)
    strict = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    shape = body(Asking(prompt="{{ a }}", schema=strict, endpoint="/v1/responses"), {"a": "x"})["text"][
        "format"
    ]
    closed = {**strict, "additionalProperties": False}
    assert shape == {"type": "json_schema", "name": "answer", "strict": True, "schema": closed}
    told = body(Asking(prompt="{{ a }}", schema=strict, endpoint="/v1/completions"), {"a": "x"})["prompt"]
    assert msgspec.json.decode(told.rpartition("\n")[2]) == closed
    params = {"response_format": {"type": "json_object"}}
    own = body(Asking(prompt="{{ a }}", schema=strict, params=params), {"a": "x"})
    assert own["response_format"] == {"type": "json_object"}
    assert "JSON schema" in own["messages"][0]["content"]


def test_each_property_is_a_column_of_its_kind() -> None:
    recipe = recipe_of(Asking(prompt="{{ a }}", schema=SCHEMA))
    assert recipe.columns == (
        Column(name="name", kind="text"),
        Column(name="size", kind="number"),
        Column(name="tags", kind="json"),
    )
    (reading,) = recipe.read(chat('{"name":"x","size":2,"more":1}'), [{}])
    assert reading == Value(cells={"name": "x", "size": 2.0, "tags": None})
    assert isinstance(reading, Value)
    assert isinstance(reading.cells["size"], float)


def test_a_named_answer_holds_all_of_it() -> None:
    recipe = recipe_of(Asking(prompt="{{ a }}", schema=SCHEMA, answer="name"))
    assert recipe.columns == (Column(name="name", kind="json"),)
    assert recipe.read(completion('{"name":"x","size":2}'), [{}]) == [
        Value(cells={"name": {"name": "x", "size": 2}})
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("I do not know", "it is not JSON; answer with the JSON alone"),
        ('{"name":"x"}', '"size" is a required property'),
        ('{"name":"x","size":1e400}', None),
    ],
)
def test_an_answer_that_does_not_fit_is_invalid_with_its_fault(text: str, fault: str | None) -> None:
    (reading,) = recipe_of(Asking(prompt="{{ a }}", schema=SCHEMA)).read(chat(text), [{}])
    assert isinstance(reading, Invalid)
    assert reading.text == text
    assert fault is None or reading.fault == fault


def test_an_integer_that_no_table_holds_is_invalid() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    recipe = recipe_of(Asking(prompt="{{ a }}", schema=schema))
    assert recipe.read(chat('{"n":9223372036854775807}'), [{}]) == [Value(cells={"n": 2**63 - 1})]
    assert recipe.read(chat('{"n":3.0}'), [{}]) == [Value(cells={"n": 3})]
    (reading,) = recipe.read(chat('{"n":9223372036854775808}'), [{}])
    assert reading == Invalid(fault="/n: the number is too large", text='{"n":9223372036854775808}')


def test_a_text_brings_the_probability_of_its_tokens() -> None:
    recipe = recipe_of(Asking(prompt="{{ a }}", params={"logprobs": True}))
    assert recipe.read(chat("yes", logprobs=[0.0]), [{}]) == [Value(cells={"answer": "yes"}, confidence=1.0)]
    assert recipe.read(chat("yes"), [{}]) == [Value(cells={"answer": "yes"}, confidence=None)]


def test_a_row_without_the_column_is_refused() -> None:
    with pytest.raises(RecipeError, match="column 'a'"):
        body(Asking(prompt="{{ a }}"), {"b": 1})
    with pytest.raises(RecipeError, match="the prompt is empty for a row"):
        body(Asking(prompt="{{ a }}"), {"a": ""})

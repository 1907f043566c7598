from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from openai.lib._pydantic import to_strict_json_schema

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.schemas import Form, schema_of


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Line(pydantic.BaseModel):
    name: str
    count: int


class Invoice(pydantic.BaseModel):
    """What an invoice says."""

    number: str
    total: float
    lines: list[Line]
    mood: Mood
    note: str | None


def test_a_schema_comes_from_a_file_a_module_a_model_and_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    (tmp_path / "shapes_of_a_user.py").write_text(
        "import pydantic\n"
        "class Person(pydantic.BaseModel):\n"
        "    name: str\n"
        "    class Inner(pydantic.BaseModel):\n"
        "        deep: int\n"
    )
    monkeypatch.chdir(tmp_path)
    assert schema_of("schema.json") == schema
    assert schema_of(tmp_path / "schema.json") == schema
    assert schema_of({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}) == schema
    assert schema_of("shapes_of_a_user:Person")["properties"]["name"]["type"] == "string"
    assert schema_of("shapes_of_a_user:Person.Inner")["required"] == ["deep"]
    assert schema_of(Invoice) == Invoice.model_json_schema()
    assert schema_of({"name": str, "tags": list[str], "mood": Literal["a", "b"], "age": int | None}) == {
        "title": "Answer",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "mood": {"enum": ["a", "b"]},
            "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["name", "tags", "mood", "age"],
    }
    assert list(schema_of({"not a word": int, "class": str})["properties"]) == ["not a word", "class"]
    assert schema_of(list[int]) == {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.json", "there is no schema file 'nowhere.json'"),
        ("no_such_module_here:Model", "cannot be imported"),
        ("json:Nothing", "is not there"),
        ("json:__name__", "is a text"),
        ({"name": "string"}, "says nothing about values"),
        ({"type": "strin"}, "not valid JSON Schema"),
        ({"type": "string", "pattern": "("}, "not valid JSON Schema"),
        ({"$ref": "https://schemas.invalid/x.json"}, "not valid JSON Schema"),
        (object(), "there is no JSON schema"),
        ({"a": object()}, "there is no JSON schema"),
    ],
)
def test_what_is_no_schema_is_refused(given: Any, message: str) -> None:
    with pytest.raises(RecipeError, match="schema") as caught:
        schema_of(given)
    assert message in str(caught.value)


def test_a_schema_is_made_as_strict_as_the_official_sdk_makes_it() -> None:
    form = Form(schema_of(Invoice))
    assert form.strict
    assert form.sent == to_strict_json_schema(Invoice)


def test_what_may_be_left_out_may_be_null() -> None:
    form = Form(
        {
            "type": "object",
            "properties": {
                "must": {"type": "string"},
                "may": {"type": "integer", "default": 3},
                "one": {"enum": ["a", "b"]},
                "nullable": {"type": ["string", "null"]},
            },
            "required": ["must"],
        }
    )
    assert form.sent == {
        "type": "object",
        "properties": {
            "must": {"type": "string"},
            "may": {"type": ["integer", "null"]},
            "one": {"anyOf": [{"enum": ["a", "b"], "type": "string"}, {"type": "null"}]},
            "nullable": {"type": ["string", "null"]},
        },
        "required": ["must", "may", "one", "nullable"],
        "additionalProperties": False,
    }
    assert form.read('{"must":"x","may":null,"one":null}').fault is None
    assert form.read('{"must":null}').fault == '/must: this value is not of type "string"'


def test_what_only_narrows_is_not_sent_but_checked() -> None:
    form = Form({"type": "object", "properties": {"a": {"type": "string", "minLength": 3, "format": "uri"}}})
    assert form.strict
    assert form.sent["properties"]["a"] == {"type": ["string", "null"]}
    assert form.notes == (
        "/a: 'minLength' is not sent; answers are checked for it",
        "/a: 'format' is not sent; answers are checked for it",
    )
    assert "shorter than 3" in str(form.read('{"a":"x:"}').fault)
    assert "uri" in str(form.read('{"a":"long"}').fault)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object"},
        {"allOf": [{"type": "string"}, {"minLength": 3}]},
        {"type": "array", "prefixItems": [{"type": "string"}]},
        {"type": "array"},
        {},
        True,
    ],
)
def test_what_strict_schemas_cannot_say_is_sent_as_it_is(part: Any) -> None:
    schema = {"type": "object", "properties": {"a": part}, "required": ["a"]}
    form = Form(schema)
    assert not form.strict
    assert form.sent == schema
    assert form.notes[0].startswith("not strict: /a ")


def test_a_schema_that_is_no_object_is_wrapped_and_unwrapped() -> None:
    form = Form({"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}})
    assert form.sent["properties"] == {"answer": {"type": "array", "items": {"$ref": "#/$defs/n"}}}
    assert form.sent["$defs"] == {"n": {"type": "integer"}}
    assert form.read('{"answer":[1,2]}').value == [1, 2]
    assert form.read("[1,2]").value == [1, 2]
    assert form.read('["x"]').fault == '/answer/0: this value is not of type "integer"'


class Tree(pydantic.BaseModel):
    name: str
    below: list[Tree]


def test_a_schema_may_refer_to_itself() -> None:
    form = Form(schema_of(Tree))
    assert form.strict
    assert form.sent["type"] == "object"
    assert form.read('{"name":"a","below":[{"name":"b","below":[]}]}').fault is None
    assert (
        form.read('{"name":"a","below":[{"name":"b"}]}').fault == '/below/0: "below" is a required property'
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '```json\n{"a": 1}\n```',
        'Here it is:\n```\n{"a": 1}\n```\nAnything else?',
        'The answer is {"a": 1}.',
    ],
)
def test_json_is_found_among_other_words(text: str) -> None:
    assert Form({"type": "object", "properties": {"a": {"type": "integer"}}}).read(text).value == {"a": 1}


def test_a_fault_names_the_path_and_never_the_value() -> None:
    form = Form(schema_of(Invoice))
    fault = form.read(
        '{"number":"n","total":"secret","lines":[{"name":"secret","count":1.5}],"mood":"secret","note":null}'
    ).fault
    assert fault is not None
    assert "/total: " in fault
    assert "/lines/0/count: " in fault
    assert "/mood: " in fault
    assert "secret" not in fault
    assert form.read("secret").fault == "it is not JSON; answer with the JSON alone"


def test_json_too_deep_for_checking_is_a_fault() -> None:
    deep = "[" * 900 + "]" * 900
    assert Form({"type": "array", "items": {"enum": [1]}}).read(deep).fault == "the JSON is nested too deeply"

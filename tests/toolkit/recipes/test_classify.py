from __future__ import annotations

import msgspec
import pytest

from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.recipes import recipe_of
from bulkrate.toolkit.recipes.base import Invalid, Value
from bulkrate.toolkit.recipes.labels import Labels
from bulkrate.toolkit.rows.table import Column
from tests.toolkit.recipes.answers import chat

MOODS = Asking(recipe="classify", column="text", labels=("positive", "negative", "very positive"))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("positive", "positive"),
        (" Positive.\n", "positive"),
        ('"POSITIVE"', "positive"),
        ("**positive**", "positive"),
        ("“positive”", "positive"),
        ("very_positive", "very positive"),
        ("Label: negative", "negative"),
        ("The review is negative, I think.", "negative"),
        ("It is very positive!", "very positive"),
        ("positive or negative", None),
        ("positive, even very positive", None),
        ("not positive", None),
        ("It isn't negative", None),
        ("positively", None),
        ("neutral", None),
        ("", None),
        ("...", None),
    ],
)
def test_a_label_is_matched_leniently_but_never_guessed(text: str, label: str | None) -> None:
    assert Labels(MOODS.labels).meant(text) == label


def test_labels_that_differ_in_case_alone_must_be_exact() -> None:
    labels = Labels(["US", "us", "c", "c#"])
    assert labels.meant("us") == "us"
    assert labels.meant("Us") is None
    assert labels.meant("c#") == "c#"
    assert labels.meant("C") is None


def test_the_labels_are_in_the_rules_and_in_the_schema() -> None:
    asking = msgspec.structs.replace(MOODS, other=True, confidence=True, system="You know films.")
    body = msgspec.json.decode(recipe_of(asking).body([{"text": "fine"}], "m"))
    system, user = body["messages"]
    assert system["content"].startswith("You know films.\n\nClassify.")
    assert "positive, negative, very positive, other." in system["content"]
    assert user["content"] == "Classify this text:\n\nfine"
    shape = body["response_format"]["json_schema"]
    assert shape["strict"] is True
    assert shape["schema"]["properties"] == {
        "label": {"type": "string", "enum": ["positive", "negative", "very positive", "other"]},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    }


def test_a_label_with_braces_is_no_template() -> None:
    asking = Asking(recipe="classify", column="text", labels=("{{ a }}", "{% b %}"))
    body = msgspec.json.decode(recipe_of(asking).body([{"text": "fine"}], "m"))
    assert "{{ a }}, {% b %}" in body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ('{"label":"negative","confidence":0.25}', 0.25),
        ('{"label":"Negative","confidence":"25%"}', 0.25),
        ('```json\n{"label":"negative","confidence":"0.25"}\n```', 0.25),
        ('{"label":"negative","confidence":25}', None),
        ('{"label":"negative","confidence":null}', None),
        ('{"label":"negative"}', None),
        ('"negative"', None),
        ("negative", None),
    ],
)
def test_the_confidence_is_the_models_own(text: str, confidence: float | None) -> None:
    recipe = recipe_of(msgspec.structs.replace(MOODS, confidence=True, answer="mood"))
    assert recipe.columns == (Column(name="mood", kind="text"), Column(name="mood_confidence", kind="number"))
    cells = {"mood": "negative", "mood_confidence": confidence}
    assert recipe.read(chat(text, logprobs=[0.0]), [{}]) == [Value(cells=cells, confidence=confidence)]


@pytest.mark.parametrize(
    ("answer", "columns"),
    [
        (None, ["label", "confidence"]),
        ("mood", ["mood", "mood_confidence"]),
        ("confidence", ["confidence", "confidence_confidence"]),
    ],
)
def test_the_confidence_stands_beside_the_label_whatever_that_is_called(
    answer: str | None, columns: list[str]
) -> None:
    recipe = recipe_of(msgspec.structs.replace(MOODS, confidence=True, answer=answer))
    assert [column.name for column in recipe.columns] == columns


def test_without_a_confidence_asked_for_the_tokens_tell_it() -> None:
    recipe = recipe_of(MOODS)
    assert recipe.counted == "label"
    answer = chat('{"label":"negative"}', logprobs=[0.0])
    assert recipe.read(answer, [{}]) == [Value(cells={"label": "negative"}, confidence=1.0)]


@pytest.mark.parametrize("text", ['{"label":"other"}', '{"label":3}', "[]", "other", "positive negative"])
def test_an_answer_that_is_no_label_is_invalid(text: str) -> None:
    assert recipe_of(MOODS).read(chat(text), [{}]) == [
        Invalid(
            fault="it does not name one label; answer with exactly one of: positive, negative, very positive",
            text=text,
        )
    ]

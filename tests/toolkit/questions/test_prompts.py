from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.prompts import Prompt, columns_of


def test_a_missing_column_is_named_with_those_there_are_and_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        Prompt("Hello {{ txet }}").render({"id": 1, "Text": "secret"})
    assert str(caught.value) == (
        "the prompt asks for column 'txet', which is not there. Did you mean 'Text'? Columns: id, Text"
    )


@pytest.mark.parametrize(
    ("template", "columns"),
    [
        ("plain", set()),
        ("{{ a }} {{ row.b }} {{ row['c d'] }}", {"a", "b", "c d"}),
        ("{% for x in items %}{{ x.name }}{% endfor %}", {"items"}),
        ("{% for row in rows %}{{ row.b }}{% endfor %}", {"rows"}),
        ("{% set y = a %}{{ y }} {{ range(3) | list }}", {"a"}),
        ("{{ row | tojson }}", set()),
        ("{% for k, v in row.items() %}{{ k }}{% endfor %}", set()),
    ],
)
def test_the_columns_a_template_uses(template: str, columns: set[str]) -> None:
    assert columns_of(template) == columns
    assert Prompt(template).whole_row is ("row |" in template or "row.items" in template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("[{{ a }}]", "[]"),
        ("[{{ a | upper }}]", "[]"),
        ("[{{ a ~ b }}]", "[x]"),
        ("[{{ row.a }}]", "[]"),
        ("[{{ row.a | upper }}{{ row['a'] | upper }}{{ c.a | upper }}]", "[]"),
        ("[{{ a | default('none given') }}]", "[none given]"),
        ("[{{ a | tojson }}]", "[null]"),
        ("[{% if a is none %}empty{% endif %}]", "[empty]"),
        ("[{% if a == none %}empty{% endif %}]", "[empty]"),
        ("[{{ a | truncate_words(3) }}]", "[]"),
        ("[{{ row | tojson }}]", '[{"a":null,"b":"x","c":{"a":null}}]'),
    ],
)
def test_an_empty_cell_is_empty_text(template: str, text: str) -> None:
    assert Prompt(template).render({"a": None, "b": "x", "c": {"a": None}}) == text


@pytest.mark.parametrize("cell", [None, ""], ids=["null", "empty text, as of CSV"])
@pytest.mark.parametrize("template", ["{{ a | default('-') }}", "{% if a is none %}-{% endif %}"])
def test_an_empty_cell_is_noticed_whatever_the_source_makes_of_it(template: str, cell: str | None) -> None:
    assert Prompt(template).render({"a": cell, "b": "x"}) == "-"


@pytest.mark.parametrize(
    "template", ["{{ a | default('-') }}", "{% if a is defined %}{{ a }}{% else %}-{% endif %}"]
)
def test_a_column_may_be_absent_when_the_template_asks_whether_it_is_there(template: str) -> None:
    assert Prompt(template).render({"b": 1}) == "-"


def test_a_column_may_have_the_name_of_a_method() -> None:
    row = {"items": "x", "title": None}
    assert (
        Prompt("{{ row.items }}{{ row.title }}{{ row.keys() | list }}").render(row) == "x['items', 'title']"
    )


def test_braces_in_a_cell_are_text() -> None:
    assert Prompt("{{ a }}").render({"a": "{{ b }} <&>"}) == "{{ b }} <&>"


def test_words_are_cut_only_where_there_are_more() -> None:
    assert Prompt("{{ a | truncate_words(2) }}").render({"a": " one  two "}) == " one  two "
    assert Prompt("{{ a | truncate_words(2) }}").render({"a": "one  two three four"}) == "one two …"


def test_numbers_stay_numbers_in_json() -> None:
    row = {"a": {"price": Decimal("1.50"), "at": float("nan"), "half": "\ud800"}}
    assert Prompt("{{ a | tojson }}").render(row) == '{"price":1.50,"at":null,"half":"\ufffd"}'


def test_json_lines_say_how_many_are_left_out() -> None:
    lines = Prompt("{{ a | json_lines(22) }}").render({"a": [{"n": number} for number in range(9)]})
    assert lines == '{"n":0}\n{"n":1}\n(7 of 9 are left out, for length)'


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ a", "the prompt is no template: line 1:"),
        ("\n{{ a | shout }}", "line 2: No filter named 'shout'"),
        ("{% include 'other' %}", "includes another template"),
    ],
)
def test_what_is_no_template_is_refused(template: str, message: str) -> None:
    with pytest.raises(RecipeError, match="prompt") as caught:
        Prompt(template)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ a + 1 }}", "TypeError"),
        ("{{ a.split('') }}", "ValueError"),
        ("{{ a.b.c }}", "UndefinedError"),
        ("{{ a.__class__.__mro__ }}", "SecurityError"),
        ("{{ row.update(x=1) }}", "SecurityError"),
    ],
)
def test_a_template_that_fails_on_a_row_tells_nothing_of_it(template: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Prompt(template).render({"a": "very secret"})
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.text())
def test_any_cell_comes_out_as_it_is(text: str) -> None:
    assert Prompt("<{{ row['any column'] }}>").render({"any column": text}) == f"<{text}>"

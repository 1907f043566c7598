"""Which upstream serves a model, and under what name."""

from __future__ import annotations

import pytest

from bulkrate.core.models import ANY, Catalogue, is_served, served_names

KNOWN = Catalogue(("m", "llama3:latest", "qwen*", "org/[ab]-model"), {"gpt-4o": "m", "m": "other"})
UNKNOWN = Catalogue(None, {"gpt-4o": "m"})


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "m"),
        ("m", "other"),  # an alias wins over the upstream's own name
        ("llama3:latest", "llama3:latest"),
        ("llama3", "llama3"),  # Ollama takes the name without the tag
        ("llama3:8b", None),
        ("qwen3-8b", "qwen3-8b"),
        ("qwen", "qwen"),
        ("Qwen3", None),  # names keep their case
        ("org/a-model", "org/a-model"),
        ("org/c-model", None),
        ("", ""),  # a line without a model is served by anyone
        ("gpt-4o-mini", None),
    ],
)
def test_a_model_has_this_name_at_the_upstream(model, name):
    assert KNOWN.name_for(model) == name


@pytest.mark.parametrize(("model", "name"), [("gpt-4o", "m"), ("m", None), ("", None)])
def test_an_upstream_that_has_not_yet_told_serves_its_aliases_alone(model, name):
    assert UNKNOWN.name_for(model) == name


@pytest.mark.parametrize("model", ["anything", "org/x", "", "[", "*"])
def test_an_upstream_of_any_model_takes_every_name(model):
    assert Catalogue((ANY,), {}).name_for(model) == model


@pytest.mark.parametrize("model", ["[", "a[b", "x?"])
def test_a_name_that_looks_like_a_pattern_is_still_a_name(model):
    assert Catalogue((model,), {}).name_for(model) == model


@pytest.mark.parametrize(
    ("catalogues", "model", "served"),
    [
        ([KNOWN], "m", True),
        ([KNOWN], "gpt-5", False),
        ([KNOWN, UNKNOWN], "gpt-5", True),  # it may turn out to be served
        ([KNOWN, Catalogue(("gpt-5",), {})], "gpt-5", True),
        ([], "m", False),
        ([Catalogue((), {})], "m", False),
    ],
)
def test_lines_are_accepted_for_what_some_upstream_serves_or_may_serve(catalogues, model, served):
    assert is_served(catalogues, model) == served


def test_callers_are_told_aliases_and_names_but_no_patterns():
    assert served_names([KNOWN, Catalogue(("a", "m"), {}), UNKNOWN]) == ["a", "gpt-4o", "llama3:latest", "m"]

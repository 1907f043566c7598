"""How many tokens a request takes, and how many its answer may have."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.tokens.guess import Guess
from bulkrate.core.tokens.request import request_tokens
from bulkrate.core.tokens.vocabulary import Vocabulary, vocabulary_of
from bulkrate.errors import InvalidRequest

CHAT = "/v1/chat/completions"


def words(text, vocabulary):
    """A tokeniser by which a word is a token: the sums can be done in the head."""
    count = len(text.split())
    return Guess(count, count, count)


def taken(body, endpoint=CHAT):
    return request_tokens(body, endpoint, words)


def chat(content, **more):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize(
    ("body", "endpoint", "tokens"),
    [
        (chat("one two three"), CHAT, 3 + 1 + 3 + 3),  # overhead, role, words, the answer's beginning
        (chat("one", messages=[]), CHAT, 3),
        ({"messages": [{"role": "system", "content": "a b", "name": "bob"}]}, CHAT, 3 + 1 + 2 + 1 + 1 + 3),
        (chat([{"type": "text", "text": "one two"}, {"type": "text", "text": "three"}]), CHAT, 10),
        ({"input": "one two"}, "/v1/responses", 3 + 2 + 3),
        (
            {"instructions": "be kind", "input": [{"role": "user", "content": "hi"}]},
            "/v1/responses",
            5 + 5 + 3,
        ),
        ({"input": "one two"}, "/v1/embeddings", 2),
        ({"input": ["one two", "three"]}, "/v1/embeddings", 3),
        ({"input": [1, 2, 3]}, "/v1/embeddings", 3),
        ({"input": [[1, 2], [3]]}, "/v1/embeddings", 3),
        ({"input": []}, "/v1/embeddings", 0),
        ({"prompt": ["one two", "three"]}, "/v1/completions", 3),
        ({"input": [{"type": "text", "text": "one two"}]}, "/v1/moderations", 2),
        (chat("one two three"), "/chat/completions", 10),  # as Azure writes it
    ],
)
def test_what_counts_is_added_up(body, endpoint, tokens):
    assert taken(body, endpoint).input == Guess(tokens, tokens, tokens)


def test_tools_and_schemas_are_counted_as_text_with_a_doubt():
    plain = taken(chat("hi")).input
    tool = {"type": "function", "function": {"name": "f", "description": "a b c"}}
    schema = {"type": "json_schema", "json_schema": {"schema": {"description": "a b c d"}}}
    for more in ({"tools": [tool]}, {"response_format": schema}):
        found = taken(chat("hi", **more)).input
        assert plain.likely < found.likely
        assert found.low < found.likely < found.high


def test_images_are_counted_by_their_rule():
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    assert taken(chat([part])).input.likely == 3 + 1 + 85 + 3
    part = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"}
    body = {"model": "gpt-5", "input": [{"role": "user", "content": [part]}]}
    assert taken(body, "/v1/responses").input.likely == 3 + 1 + 70 + 3


@pytest.mark.parametrize("kind", ["input_audio", "file", "something_new"])
def test_what_cannot_be_counted_is_told(kind):
    assert taken(chat([{"type": kind, kind: {}}])).uncounted == 1


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o-mini", Vocabulary.O200K),
        ("openai/gpt-4.1", Vocabulary.O200K),
        ("gpt-5-nano-2025-08-07", Vocabulary.O200K),
        ("o3", Vocabulary.O200K),
        ("openai:o4-mini", Vocabulary.O200K),
        ("gpt-oss:20b", Vocabulary.O200K),
        ("ft:gpt-4o-mini-2024-07-18:acme::9x", Vocabulary.O200K),
        ("gpt-4", Vocabulary.CL100K),
        ("gpt-4-turbo", Vocabulary.CL100K),
        ("azure/gpt-35-turbo", Vocabulary.CL100K),
        ("text-embedding-3-small", Vocabulary.CL100K),
        ("claude-sonnet-4-5", Vocabulary.OTHER),
        ("llama3:8b", Vocabulary.OTHER),
        ("gpt2", Vocabulary.OTHER),
        ("", Vocabulary.OTHER),
    ],
)
def test_a_model_has_its_vocabulary(model, vocabulary):
    assert vocabulary_of(model) is vocabulary


@pytest.mark.parametrize(
    ("more", "ceiling"),
    [
        ({}, None),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 60, "max_tokens": 50}, 60),
        ({"max_tokens": 50, "n": 3}, 150),
        ({"max_tokens": None}, None),
        ({"max_tokens": True}, None),
    ],
)
def test_the_ceiling_is_what_the_body_sets(more, ceiling):
    assert taken(chat("hi", **more)).output_max == ceiling


def test_a_completion_has_a_ceiling_of_its_own():
    assert taken({"prompt": "hi"}, "/v1/completions").output_max == 16


@pytest.mark.parametrize("endpoint", ["/v1/embeddings", "/v1/moderations"])
def test_some_endpoints_write_nothing(endpoint):
    found = taken({"input": "hi"}, endpoint)
    assert (found.output, found.output_max) == (Guess(0, 0, 0), 0)


def test_pictures_are_not_counted():
    assert taken({"prompt": "a cat"}, "/v1/images/generations").uncounted == 1


@pytest.mark.parametrize("kind", ["integer", ["integer", "null"], ["string", "null"], [], {"no": "type"}])
def test_a_schema_may_name_several_types_or_nonsense(kind):
    schema = {"type": "object", "properties": {"count": {"type": kind}}}
    body = chat("hi", response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    assert request_tokens(body, "/v1/chat/completions", words).output_basis == "a guess by the schema"


def test_a_schema_of_labels_has_a_short_answer():
    schema = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}}
    body = chat("hi", response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    found = taken(body)
    assert found.output.likely < 20
    assert found.output_basis == "a guess by the schema"


def test_a_model_that_thinks_writes_more():
    assert taken({**chat("hi"), "model": "o3"}).output.likely > 2 * taken(chat("hi")).output.likely
    assert (
        taken({**chat("hi"), "model": "o3", "reasoning_effort": "minimal"}).output == taken(chat("hi")).output
    )


@pytest.mark.parametrize(
    ("tier", "told"), [("flex", "flex"), ("priority", "priority"), ("auto", None), (7, None)]
)
def test_the_service_tier_is_read(tier, told):
    assert taken(chat("hi", service_tier=tier)).tier == told


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": "\xff"}', b"[" * 100_000])
def test_what_is_no_object_is_refused(body):
    with pytest.raises(InvalidRequest, match="no JSON object"):
        taken(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "messages",
    "input",
    "prompt",
    "tools",
    "response_format",
    "text",
    "max_tokens",
    "n",
    "model",
    "reasoning",
)


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.sampled_from([CHAT, "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/videos", "x"]),
)
def test_no_body_is_too_strange(body, endpoint):
    found = taken(json.dumps(body).encode(), endpoint)
    assert 0 <= found.input.low <= found.input.likely <= found.input.high
    assert 0 <= found.output.low <= found.output.likely <= found.output.high
    assert found.output_max is None or found.output.high <= found.output_max

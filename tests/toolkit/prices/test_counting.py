"""Counters of tokens, with the tokenisers that are installed here."""

from __future__ import annotations

import json

import pytest

from bulkrate.core.tokens.guess import Guess
from bulkrate.core.tokens.vocabulary import Vocabulary
from bulkrate.toolkit.prices import counting
from bulkrate.toolkit.prices.counting import counter

CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello world"}], "max_tokens": 9}


def is_exact(found):
    told = found.text("привет мир")
    return told.low == told.high


def test_exact_is_exact():
    found = counter(exact=True)
    # As tiktoken has it: "hello", " world", and the overhead of one message.
    assert found.text("hello world") == Guess(2, 2, 2)
    assert found.request(BODY, CHAT).input == Guess(9, 9, 9)
    assert found.request(json.dumps(BODY).encode(), CHAT) == found.request(BODY, CHAT)


def test_the_two_vocabularies_differ():
    found = counter(exact=True)
    assert (
        found.text("привет мир", Vocabulary.O200K).likely < found.text("привет мир", Vocabulary.CL100K).likely
    )


def test_another_vendors_tokens_are_a_band_even_where_ours_are_exact():
    found = counter(exact=True).text("The kettle is louder than my old one.", Vocabulary.OTHER)
    assert found.low < found.likely < found.high


def test_exact_is_taken_where_it_is_to_be_had():
    assert is_exact(counter())
    assert not is_exact(counter(exact=False))


def test_a_text_of_many_pieces_is_counted_whole():
    text = "The kettle is louder than my old one. " * 10_000
    assert counter(exact=True).text(text).likely == pytest.approx(
        10_000 * counter(exact=True).text(" The kettle is louder than my old one.").likely, rel=0.001
    )


def test_special_tokens_in_a_text_are_text():
    assert counter(exact=True).text("<|endoftext|>").likely > 1


def test_without_tables_exact_is_refused_and_nothing_is_fetched(monkeypatch, tmp_path):
    """tiktoken would fetch tables that are not in its cache, so an empty cache is as good as none."""
    monkeypatch.setattr(counting, "find_spec", lambda name: object() if name == "tiktoken" else None)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert not is_exact(counter())
    with pytest.raises(counting.ConfigError, match=r"bulkrate\[tokens\]"):
        counter(exact=True)


def test_a_guess_is_near_what_is_exact():
    exact, guessed = counter(exact=True), counter(exact=False)
    text = "I bought this kettle in March and used it every morning until the lid snapped off last week."
    assert abs(guessed.text(text).likely - exact.text(text).likely) <= 3

"""Tokens guessed from letters, held against exact tokenisers."""

from __future__ import annotations

import pytest
from benchmarks.tokens import texts
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.tokens.guess import Guess, guess, measure
from bulkrate.core.tokens.vocabulary import Vocabulary
from bulkrate.toolkit.prices.counting import counter

TEXTS = texts()
OPENAI = (Vocabulary.O200K, Vocabulary.CL100K)


@pytest.mark.parametrize("vocabulary", list(Vocabulary))
def test_nothing_has_no_tokens(vocabulary):
    assert guess("", vocabulary) == Guess(0, 0, 0)


@given(st.text())
@pytest.mark.parametrize("vocabulary", list(Vocabulary))
def test_any_text_has_a_guess_in_its_band(vocabulary, text):
    found = guess(text, vocabulary)
    assert 0 <= found.low <= found.likely <= found.high
    assert found.high > 0 or not text.strip(" ")


@pytest.mark.parametrize("vocabulary", OPENAI)
def test_nine_kinds_of_text_in_ten_are_in_the_band(vocabulary):
    exact = counter(exact=True)
    inside = [
        guess(text, vocabulary).low <= exact.text(text, vocabulary).likely <= guess(text, vocabulary).high
        for text in TEXTS.values()
    ]
    assert sum(inside) >= 0.9 * len(inside)


@pytest.mark.parametrize("kind", ["english", "Python", "JSON", "numbers", "log lines"])
def test_what_most_jobs_are_made_of_is_guessed_within_a_tenth(kind):
    exact = counter(exact=True).text(TEXTS[kind]).likely
    assert abs(guess(TEXTS[kind]).likely / exact - 1) < 0.1


def test_a_long_text_weighs_what_its_parts_weigh():
    part = TEXTS["english"] + "\n"
    whole = guess(part * 400)
    assert abs(whole.likely / (400 * guess(part).likely) - 1) < 0.01


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("the cat", {"english"}),
        ("der Hund", {"well_known"}),
        ("på bordet", {"less_known", "accented"}),
        ("你好", {"han"}),
        ("これは", {"kana"}),
        ("мы были", {"cyrillic"}),
        ("місто", {"cyrillic_rare"}),
        ("a = 1", {"english", "marks", "digits"}),
        ("\n    x", {"newline", "indent", "english"}),
        ("HTTPServer", {"capitals", "english"}),
        ("😀", {"emoji"}),
        ("ሰላም", {"rare"}),
    ],
)
def test_texts_are_told_apart_by_their_letters(text, kinds):
    assert set(measure(text)) == kinds

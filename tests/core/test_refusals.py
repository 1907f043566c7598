"""A line that alone is refused is singled out; one that an upstream refuses as it does others, never."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrate.core.refusals import Refusals, Turnout

SHARES = st.floats(0, 1)
SEEDS = st.integers(0, 2**32)


def refuse(turnout: Turnout, refusals: Refusals, sent_at: float) -> bool:
    turnout.refused(refusals, sent_at)
    return refusals.singled_out


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e3), max_size=50).map(sorted), st.integers(0, 5))
def test_where_nobody_is_answered_nobody_is_singled_out(moments, others):
    turnout, refusals = Turnout(), Refusals()
    for moment in moments:
        assert not any(refuse(turnout, Refusals(), moment) for _ in range(others))
        assert not refuse(turnout, refusals, moment)


@pytest.mark.parametrize(
    ("others", "refusals_needed"),
    [
        (100_000, 8),  # never fewer
        (13, 8),  # (1/14) ** 8 = 7e-10
        (12, 9),  # (1/13) ** 8 = 1.2e-9 is too much
        (1, 30),  # (1/2) ** 30 = 9e-10
    ],
)
def test_the_more_others_are_answered_around_it_the_fewer_refusals_it_takes(others, refusals_needed):
    turnout, refusals = Turnout(), Refusals()
    for number in range(1, 100):
        for _ in range(others):
            turnout.answered(10 * number)
        if refuse(turnout, refusals, 10 * number):
            break
    assert number == refusals_needed


@pytest.mark.parametrize("beside", [range(-2, 0), range(1, 3)], ids=["before", "after"])
def test_who_is_refused_at_either_end_of_a_busy_spell_is_not_singled_out(beside):
    """Others were answered on one side only: the upstream was about to be full, or had been until then."""
    turnout, refusals = Turnout(), Refusals()
    for second in range(100, 10_000, 10):
        for other in beside:
            for _ in range(1_000):
                turnout.answered(second + other)
        assert not refuse(turnout, refusals, second)


def test_thousands_of_answers_around_one_refusal_single_nobody_out():
    """The end of a batch: an upstream that has answered the others refuses the last line from then on."""
    turnout, refusals = Turnout(), Refusals()
    for second in (9, 10, 11):
        for _ in range(10_000):
            turnout.answered(second)
    assert not any(refuse(turnout, refusals, second) for second in range(10, 80))


def test_a_hundred_tries_within_a_second_are_one():
    turnout, refusals = Turnout(), Refusals()
    for _ in range(10_000):
        turnout.answered(10)
    assert not any(refuse(turnout, refusals, 10 + number / 100) for number in range(100))


@settings(max_examples=25, deadline=None)
@given(SHARES, SEEDS)
def test_an_upstream_that_refuses_at_random_singles_nobody_out(share, seed):
    turnout, dice = Turnout(), random.Random(seed)
    lines = [Refusals() for _ in range(20)]
    for second in range(150):
        for place, refusals in enumerate(lines):
            if dice.random() < share:
                assert not refuse(turnout, refusals, second)
            else:
                turnout.answered(second)
                lines[place] = Refusals()  # that one is done, here is the next


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(5, 60), SEEDS)
def test_an_upstream_that_is_open_for_a_while_in_every_minute_singles_nobody_out(open_s, closed_s, seed):
    """While it is closed few try, since those who are refused wait; while it is open it answers hundreds."""
    turnout, dice = Turnout(), random.Random(seed)
    lines = [(dice.randrange(60), Refusals()) for _ in range(10)]
    for second in range(3_000):
        is_open = second % (open_s + closed_s) < open_s
        for _ in range(100 * is_open):
            turnout.answered(second)
        for place, (due, refusals) in enumerate(lines):
            if due <= second:
                assert is_open or not refuse(turnout, refusals, second)
                lines[place] = (second + dice.randrange(1, 60), Refusals() if is_open else refusals)


def test_what_is_kept_is_bounded():
    turnout, refusals = Turnout(), Refusals()
    for second in range(3_000):
        turnout.answered(second)
        refuse(turnout, refusals, second)
    assert len(refusals.seconds) == 64
    assert len(turnout._seconds) == 1_000

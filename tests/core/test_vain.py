"""What is in vain may be tried for so long, and for a share of all time after that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.vain import Vain


def test_it_may_be_tried_until_the_limit_is_spent():
    vain = Vain(limit_s=10, share=0.05)
    vain.spent(9, now=100)
    assert vain.allows(now=100)
    vain.spent(2, now=100)
    assert not vain.allows(now=100)


def test_time_is_forgiven_at_the_share():
    vain = Vain(limit_s=10, share=0.05)
    vain.spent(12, now=0)
    assert not vain.allows(now=39)
    assert vain.allows(now=41)


def test_a_break_has_an_end_however_long_was_spent_at_once():
    vain = Vain(limit_s=10, share=0.05)
    vain.spent(100_000, now=0)
    assert vain.allows(now=10 / 0.05 + 1)


def test_what_paid_off_is_not_held_against_it():
    vain = Vain(limit_s=10, share=0.05)
    vain.spent(12, now=0)
    vain.paid_off()
    assert vain.allows(now=0)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=200), st.floats(0.01, 0.5))
def test_the_limit_is_spent_and_the_share_of_all_time_and_no_more_than_one_trial_beyond(
    trials: list[float], share: float
):
    vain, now, spent = Vain(limit_s=10, share=share), 0.0, 0.0
    for seconds in trials:
        while not vain.allows(now=now):
            now += 1
        now += seconds
        spent += seconds
        vain.spent(seconds, now=now)
    assert spent <= 10 + max(trials) + share * now + 1e-6
